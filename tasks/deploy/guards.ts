/**
 * Guards for a node's folder and for where its units read: another identity than ours (--replace-identity overwrites
 * it), and certificates of ours that are newer than in auth/ (--force does).
 */
import type { KeyObject } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { list, map, type Raw } from '../../lib/cluster/problem.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { type AuthDir, backups, caName, caNames, hasDigest, keepFound } from '../../lib/files/auth-dir.ts'
import { isOtherIdentity, isPreviousCa, lacksOurKey } from '../../lib/kubernetes/identity.ts'
import { parseFields, readClientCertificate, readEmbeddedCa } from '../../lib/kubernetes/kubeconfig.ts'
import { type FilesSeen, largestFile } from '../../lib/node/place.ts'
import {
  type Certificate,
  commonNameOf,
  isIssuedBy,
  readCertificate,
  readCertificates,
} from '../../lib/pki/certificate.ts'
import { ownCas } from '../../lib/pki/pair.ts'
import { formatNames } from '../../lib/wording.ts'
import { recoverCommand, waysOutOfLost } from '../auth/fetch-command.ts'
import { digestOf, type NodeLook } from '../inspect/look.ts'
import { certTable, identityFiles } from '../layouts/tables.ts'
import type { Run } from '../target.ts'
import { type HeldFile, heldOn, whyNotCompared } from './held.ts'

export interface Other {
  readonly held: HeldFile
  readonly label: string | undefined
  readonly why: string | undefined
}

/**
 * Finds identities other than ours, as components that run with them would break with ours; and in the folder, somebody
 * else's certificates and keys.
 */
function otherIdentities(run: Run, held: readonly HeldFile[], folder: FilesSeen): Other[] {
  const { auth } = run
  return held.flatMap((each) => {
    const { file, state, bytes } = each
    if (state.sha256 !== undefined && state.sha256 === digestOf(run, file)) return []
    const kind = auth.files.parse(file)?.kind
    if (kind === 'kubeconfig') return otherTrust(run, each)
    if (!identityFiles(run.cluster).has(file)) {
      if (each.isPlace || isOurs(run, folder, file)) return []
      return [{ held: each, label: kind === 'key' ? privateKey : kind, why: undefined }]
    }
    const label = identityFiles(run.cluster).get(file)
    // Unreadable, or behind a symbolic link: it counts as another.
    if (!bytes) return [{ held: each, label, why: whyNotCompared(state) }]
    if (isOtherIdentity(file, auth, bytes, (name) => backups(auth, name)))
      return [{ held: each, label, why: undefined }]
    const isRead = each.isPlace || !run.cluster.install
    return isRead && isWithoutOurKey(run, each) ? [{ held: each, label, why: 'it lacks our encryption key' }] : []
  })
}

const privateKey = 'private key'

/**
 * Whether overwriting or removing the file in the deploy directory loses nothing of anybody else: auth/ or its backup has
 * it, or a CA of ours has issued its certificate, or the one beside the key.
 */
export function isOurs(run: Run, folder: FilesSeen, file: string): boolean {
  const { auth } = run
  const [state, bytes] = [folder.files.get(file), folder.contents.get(file)]
  const { kind, name = '' } = auth.files.parse(file) ?? {}
  if (!state || state.size === 0 || state.kind === 'link' || kind === 'authorization') return true
  if (identityFiles(run.cluster).has(file) && bytes)
    return !isOtherIdentity(file, auth, bytes, (each) => backups(auth, each))
  if (bytes && kind === 'kubeconfig' && isStrangers(run, { file, bytes })) return false
  const certificate = auth.files.certificate(name)
  const isBesideOurs = kind === 'key' && folder.files.has(certificate) && isOurs(run, folder, certificate)
  return isBesideOurs || isIssuedByUs(auth, certificatesIn(auth, file, bytes)) || hasDigest(auth, file, state.sha256)
}

/** By a CA of auth/ or its backup, directly or through a CA in the same file that one of these has signed. */
function isIssuedByUs(auth: AuthDir, [certificate, ...links]: readonly Certificate[]): boolean {
  if (!certificate) return false
  const isIssuer = (ca: Certificate) =>
    isIssuedBy(certificate, ca) || links.some((link) => isIssuedBy(link, ca) && isIssuedBy(certificate, link))
  const replaced = () =>
    caNames.flatMap((name) => backups(auth, auth.files.certificate(name)).flatMap(readCertificates))
  return ownCas(auth).some(isIssuer) || replaced().some(isIssuer)
}

/**
 * Only where API servers read it: one that has ours would encrypt what the others can't decrypt. Either may be out of
 * date.
 */
function isWithoutOurKey({ auth }: Run, { file, bytes }: HeldFile): boolean {
  const isConfig = auth.files.parse(file)?.kind === 'encryption-config'
  return isConfig && bytes !== undefined && lacksOurKey(auth.tryBytes(file), bytes)
}

/**
 * A kubeconfig is of another cluster if it trusts none of our CAs, nor one that preceded ours: its name and its place
 * are the same in every cluster and layout. One that is larger than any of ours counts as another's; any other of which
 * there are no bytes is as expected.
 */
function otherTrust({ auth, cluster }: Run, held: HeldFile): Other[] {
  const ca = auth.files.certificate(caName)
  const other = (why: string): Other[] => [{ held, label: identityFiles(cluster).get(ca), why }]
  const { bytes, state } = held
  if (!bytes) return state.size > largestFile ? other(whyNotCompared(state)) : []
  // Where units read, it may be in a file of its own.
  const trusted = held.part === 'ca' ? bytes : (readEmbeddedCa(bytes.toString()) ?? '')
  const theirs = readCertificates(trusted).map(({ publicKey }) => publicKey)
  const ours = [...ownCas(auth), ...backups(auth, ca).flatMap((pem) => readCertificates(pem))]
  const isKnown = (key: KeyObject) => ours.some(({ publicKey }) => publicKey.equals(key)) || isPreviousCa(key, auth)
  if (ours.length === 0 || theirs.length === 0 || theirs.some(isKnown)) return []
  return other('it trusts another CA')
}

/**
 * Before anything is replaced on the node: all guards, for its folder and its places. Returns what is to be kept before
 * it is overwritten.
 */
export function guard(run: Run, node: ClusterNode, seen: NodeLook, isForced: boolean): Other[] {
  const others = guardIdentity(run, node, seen)
  if (!isForced) guardNewer(run, node, seen)
  const strangers = heldOn(run, node, seen).filter(
    (each) => isStrangers(run, each) && !others.some(({ held }) => held.at === each.at),
  )
  return [...others, ...strangers.map((held) => ({ held, label: 'kubeconfig', why: undefined }))]
}

const ownFields = ['client-certificate', 'client-key'].flatMap((field) => [field, `${field}-data`])

/**
 * A kubeconfig with credentials that would be lost: a token, or a key beside a certificate of another name than ours.
 */
function isStrangers(
  { auth, cluster }: Run,
  { file, bytes, part }: Pick<HeldFile, 'file' | 'bytes' | 'part'>,
): boolean {
  const { kind, name } = auth.files.parse(file) ?? {}
  if (kind !== 'kubeconfig' || !bytes || part === 'ca' || part === 'pair') return false
  const fields = parseFields(bytes.toString())
  const CN = certTable(cluster).find((row) => row.name === name)?.profile.subject.CN
  const isOurs = (user: Raw) => {
    const certificate = readCertificate(Buffer.from(String(user['client-certificate-data'] ?? ''), 'base64'))
    const isNamedSo = certificate && (CN === undefined || commonNameOf(certificate) === CN)
    const isKeyOurs = user['client-key-data'] === undefined || isNamedSo
    return isKeyOurs && Object.keys(user).every((field) => ownFields.includes(field))
  }
  return !fields || !list(fields.users).every((each) => isOurs(map(map(each).user)))
}

/** Throws a refusal if the node holds another identity, or returns it with --replace-identity. */
function guardIdentity(run: Run, node: ClusterNode, look: NodeLook): Other[] {
  const others = otherIdentities(run, heldOn(run, node, look), look)
  const folder = others.find(({ held }) => held.state.kind === 'folder')?.held.at
  if (folder !== undefined)
    throw new Failure(`${folder} is a directory, which no file can replace`, {
      node: node.name,
      code: 'not-a-file',
      remedy: `move it aside on ${node.name}, then ${runAgain}`,
    })
  if (others.length > 0 && !run.options.replaceIdentity) throw otherIdentityRefused(run, node, others)
  return others
}

/** Copies what is about to be overwritten to auth/backup. Throws a Failure if a file could not be read. */
export function keepOthers({ auth, now }: Run, node: ClusterNode, others: readonly Other[]): void {
  const unread = others.filter(({ held: { bytes, state } }) => !bytes && state.kind === 'file' && state.size > 0)
  if (unread.length > 0)
    throw new Failure(`couldn't back up ${formatNames(unread.map(({ held }) => held.at))} to auth/backup`, {
      node: node.name,
      code: 'not-kept',
      remedy: `move it aside on ${node.name}, then ${runAgain}`,
    })
  const files = others.flatMap(({ held: { at, bytes } }): [string, Buffer][] => (bytes ? [[at, bytes]] : []))
  keepFound(auth, node.name, new Map(files), now)
}

/**
 * "CA in ca.pem, ca-key.pem and encryption key in /var/lib/kubernetes/encryption-config.yaml (it lacks our encryption
 * key)"
 */
export function formatOthers(others: readonly Other[]): string {
  const named = [...Map.groupBy(others, ({ label }) => label)]
  return named.map(([label, some]) => `${label} in ${some.map(formatOther).join(', ')}`).join(' and ')
}

function formatOther({ held: { at }, why }: Other): string {
  return why === undefined ? at : `${at} (${why})`
}

/** A control node has all of the identity, and no other node has a key. */
function otherIdentityRefused(run: Run, node: ClusterNode, others: readonly Other[]): Failure {
  const { auth, cluster } = run
  const isPair = ({ label }: Other) => label === 'certificate' || label === privateKey
  const isLost = (other: Other) =>
    !isPair(other) && [...identityFiles(cluster)].every(([name, label]) => label !== other.label || !auth.read(name))
  const source = node.role === 'control' ? node : undefined
  const command = run.command(`${cluster.install ? 'install' : 'deploy'} --node ${node.name} --replace-identity`)
  const overwrite = `if auth/ is right, overwrite the node (auth/backup keeps its files):\n    ${command}`
  const right = [
    'to tell which is right, see docs/bad-day.md, "A node of another cluster"',
    source
      ? `if ${node.name} is right, recover the cluster:\n    ${recoverCommand(run, source)}`
      : 'if the node is right, this auth/ belongs to another cluster; use the auth/ that the node was deployed from',
    overwrite,
  ]
  const ways = others.every(isPair) ? [`move them aside on ${node.name}, then ${runAgain}`, overwrite] : right
  return refusal(
    `another ${formatOthers(others)} than in ${auth.path}`,
    others.some(isLost) ? waysOutOfLost(run, source) : ways,
  ).with({ node: node.name })
}

/**
 * An out-of-date copy of auth/ would undo a renewal made elsewhere. What is not valid yet, by this machine's clock and
 * by the node's, was issued with a wrong clock: nobody can use it there, so it is overwritten.
 */
function guardNewer(run: Run, node: ClusterNode, look: NodeLook): void {
  const theirs = look.now ?? (look.places instanceof Failure ? undefined : look.places?.now)
  const isValidYet = ({ notBefore }: Newer) =>
    theirs === undefined || notBefore <= run.now || notBefore.getTime() <= theirs * 1000
  const newer = newerOn(run, node, look).filter(isValidYet)
  if (newer.length > 0) throw newerThere(run, node, newer)
}

export type Newer = Readonly<ReturnType<typeof newerOn>[number]>

/** Certificates of our CAs there that are newer than in auth/. */
export function newerOn(run: Run, node: ClusterNode, look: NodeLook) {
  const { auth } = run
  const cas = ownCas(auth)
  const dated = heldOn(run, node, look).filter(({ part }) => part !== 'ca')
  return dated.flatMap(({ at, file, bytes }) => {
    // Without bytes it is the same as ours, or not readable.
    if (!bytes) return []
    const [[theirs, ...links] = [], [ours] = []] = [bytes, auth.tryBytes(file)].map((each) =>
      certificatesIn(auth, file, each),
    )
    if (!theirs || !ours) return []
    // During a rotation that was begun elsewhere, our CA has signed the CA that issued the certificate.
    const issuers = [...cas, ...links.filter((link) => link.isCa && cas.some((ca) => isIssuedBy(link, ca)))]
    const isOurs = issuers.some((by) => isIssuedBy(theirs, by))
    return isOurs && theirs.notBefore > ours.notBefore ? [{ at, file, notBefore: theirs.notBefore }] : []
  })
}

/** What makes all certificates of auth/ newer than those on nodes, and deploys them. A CA is renewed by name. */
export function waysOutOfOlder({ auth, command }: Pick<Run, 'auth' | 'command'>, newer: readonly Newer[] = []): string {
  const isCaNewer = newer.some(({ file }) => caNames.some((name) => file === auth.files.certificate(name)))
  return [...(isCaNewer ? ['ca --renew'] : []), 'certs --force', 'bootstrap']
    .map((task) => `\n    ${command(task)}`)
    .join('')
}

function newerThere(run: Run, node: ClusterNode, newer: readonly Newer[]): Failure {
  const { auth, cluster, command } = run
  const verb = newer.length === 1 ? 'is' : 'are'
  const phases = cluster.install ? 'deploy install' : 'deploy'
  const restarts = cluster.install ? ', which restarts the units that read them at start' : ''
  return new Failure(`${formatNames(newer.map(({ at }) => at))} ${verb} newer than in ${auth.path}`, {
    node: node.name,
    code: 'newer-on-node',
    remedy: [
      `${auth.path} is older than the nodes; use the auth/ that they were deployed from`,
      `if that auth/ is lost, issue newer certificates:${waysOutOfOlder(run, newer)}`,
      `or overwrite them with the older ones${restarts}:\n    ${command(`${phases} --node ${node.name} --force`)}`,
      `if a clock is wrong (compare date -u on both machines), set it, then ${runAgain}`,
    ].join('\n'),
  })
}

function certificatesIn({ files }: AuthDir, name: string, bytes: Buffer | undefined): Certificate[] {
  if (!bytes) return []
  // Where units read, its pair may be in a file of its own.
  const isKubeconfig = files.parse(name)?.kind === 'kubeconfig'
  return readCertificates((isKubeconfig && readClientCertificate(bytes.toString())) || bytes)
}
