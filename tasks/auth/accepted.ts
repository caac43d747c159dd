/** Who may still be let in: valid certificates that cluster.yaml would not issue now; and files of who left. */
import { join } from 'node:path'
import { tryTo } from '../../lib/failure.ts'
import { type AuthDir, backUp, caName, kubeconfigFile, nextName } from '../../lib/files/auth-dir.ts'
import { usersOf } from '../../lib/kubernetes/authorization.ts'
import { scalarText } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, commonNameOf, endOf, isIssuedBy } from '../../lib/pki/certificate.ts'
import { certificateIn, isOfOwnCa, tryCertificate } from '../../lib/pki/pair.ts'
import { type Notice, notices } from '../../lib/show/rows.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import { endsSoon, type Run } from '../cluster-target.ts'
import { type CertRow, certTable } from '../layouts/tables.ts'

export type HolderInput = Pick<Run, 'auth' | 'cluster' | 'now'>

export interface Holder {
  readonly name: string
  readonly until: Date
  readonly why: 'replaced' | 'removed' | 'group removed'
  /** Those that it has, and that cluster.yaml would not give it now. */
  readonly groups: readonly string[]
  /** In system:masters, or of a former control node, which has keys that no list takes: only rotations end its access. */
  readonly isBeyondList: boolean
}

/** One for each name and reason, without those whose name is revoked. */
export function holdersOf(run: HolderInput): Holder[] {
  const { auth, cluster, now } = run
  const { revoked = [] } = cluster
  const rows = new Map(certTable(cluster).map((row) => [row.profile.subject.CN, row] as const))
  const cas = casOf(auth)
  const found = keptCertificates(auth)
  // Names of control nodes, present and former: SANs of every certificate of the API server.
  const controls = new Set(
    found.flatMap(({ name, certificate: { sans } }) => (name === auth.files.names.api ? sans : [])),
  )
  const isAccepted = ({ certificate }: KeptCertificate) =>
    isForClients(certificate) && certificate.notAfter > now && cas.some((ca) => isIssuedBy(certificate, ca))
  // Each once: that of auth/ itself before a copy of it.
  const accepted = new Map(
    found
      .filter(isAccepted)
      .toReversed()
      .map((each) => [each.certificate.der.toString('base64'), each]),
  )
  const all = [...accepted.values()].toReversed().flatMap((each) => holderOf(run, each, rows, controls))
  const open = all.filter(({ name }) => !revoked.includes(name))
  return [...Map.groupBy(open, ({ name, why }) => `${name} ${why}`).values()].flatMap((same) => {
    const [first] = same.toSorted((one, other) => Number(other.until) - Number(one.until))
    return first ? [{ ...first, groups: [...new Set(same.flatMap(({ groups }) => groups))] }] : []
  })
}

interface KeptCertificate {
  readonly name: string
  readonly isPresent: boolean
  readonly certificate: Certificate
}

function holderOf(
  run: HolderInput,
  { name, isPresent, certificate }: KeptCertificate,
  rows: ReadonlyMap<string, CertRow>,
  controls: ReadonlySet<string>,
): Holder[] {
  const user = commonNameOf(certificate) ?? ''
  const row = rows.get(user)
  const until = endOf(certificate, casOf(run.auth))
  const isMaster = certificate.attributes.includes('O=system:masters')
  if (!row) {
    // The layout's own certificates have another name as a user than as a file.
    if (!usersOf(name).includes(user)) return []
    return [{ name, until, why: 'removed', groups: [], isBeyondList: isMaster || controls.has(name) }]
  }
  const desired = [row.profile.subject.O ?? []].flat()
  const groups = certificate.attributes.flatMap((each) => (each.startsWith('O=') ? each.slice('O='.length) : []))
  const lost = groups.filter((group) => !desired.includes(group))
  const holder = { name: row.name, until, groups: lost, isBeyondList: isMaster }
  if (lost.length > 0) return [{ ...holder, why: 'group removed' }]
  if (isPresent && name === row.name) return []
  // Components and nodes take their new certificate themselves; what a renewal has replaced ends soon by itself.
  const isInOtherHands = isMaster ? !endsSoon(run, until) : row.phase === 'user-certs'
  return isInOtherHands ? [{ ...holder, why: 'replaced' }] : []
}

const casOf = (auth: AuthDir) => [caName, nextName(caName)].flatMap((name) => tryCertificate(auth, name) ?? [])

function keptCertificates(auth: AuthDir): KeptCertificate[] {
  const folders = ['.', ...auth.names('backup').map((folder) => join('backup', folder))]
  return folders.flatMap((folder) =>
    auth.names(folder).flatMap((file) => {
      // A backup of what a node had: its name is the whole path on the node.
      const { kind, name = '' } = auth.files.parse(file.split('%2F').at(-1) ?? '') ?? {}
      const bytes = kind === 'certificate' ? tryTo(() => auth.tryBytes(join(folder, file))) : undefined
      const certificate = bytes && certificateIn(bytes)
      return certificate ? [{ name, isPresent: folder === '.', certificate }] : []
    }),
  )
}

/** id-kp-clientAuth and anyExtendedKeyUsage (RFC 5280, 4.2.1.12), either of which Go takes for a client. */
const clientUsages = ['1.3.6.1.5.5.7.3.2', '2.5.29.37.0']

function isForClients({ isCa, x509 }: Certificate): boolean {
  return !isCa && (x509.keyUsage === undefined || x509.keyUsage.some((each) => clientUsages.includes(each)))
}

/** The line of cluster.yaml to paste: what `revoked` has, and more. */
export function revokedLine({ cluster }: Pick<HolderInput, 'cluster'>, more: readonly string[]): string {
  const names = [...new Set([...(cluster.revoked ?? []), ...more])]
  return `revoked: [${names.map(scalarText).join(', ')}]`
}

/** Files of a name that cluster.yaml lacks, whose certificate a CA of auth/ has signed for that name. */
function formerFiles({ auth, cluster }: Pick<Run, 'auth' | 'cluster'>): string[] {
  const known = new Set(certTable(cluster).map(({ name }) => name))
  const names = new Set(auth.names().flatMap((file) => auth.files.parse(file)?.name ?? []))
  const isFormer = (name: string) => {
    const certificate = known.has(name) ? undefined : tryCertificate(auth, name)
    return certificate && usersOf(name).includes(commonNameOf(certificate) ?? '') && isOfOwnCa(auth, certificate)
  }
  return [...names].filter(isFormer).flatMap((name) =>
    // The certificate last: by it an interrupted move is found.
    [auth.files.key(name), kubeconfigFile(name), auth.files.certificate(name)].filter((file) => auth.read(file)),
  )
}

export function filesToMove(run: Pick<Run, 'auth' | 'cluster' | 'options'>): string[] {
  return run.options.prune ? formerFiles(run) : []
}

export function noteOnFormer(run: Run): string | undefined {
  const files = formerFiles(run)
  if (files.length === 0) return undefined
  if (run.options.prune) return `--prune moves ${formatNames(files)} to auth/backup`
  return `auth/ still has ${formatNames(files)}, of names that cluster.yaml lacks; to move them to auth/backup:\n    ${run.command('bootstrap --prune')}`
}

export function setAside(run: Pick<Run, 'auth' | 'cluster' | 'now' | 'note' | 'options'>): void {
  const { auth, now, note } = run
  const files = filesToMove(run)
  const folder = files.length > 0 ? backUp(auth, files, now) : undefined
  for (const file of files) auth.remove(file)
  if (folder !== undefined)
    note(`moved ${formatNames(files)} to ${folder}, as no node or user of cluster.yaml has that name`)
}

/** A note with all of them, and the line of cluster.yaml that ends the access of those who are gone. */
export function notesOnHolders(run: HolderInput): Notice[] {
  const holders = holdersOf(run)
  if (holders.length === 0) return []
  const gone = holders.filter(({ why, isBeyondList }) => why === 'removed' && !isBeyondList).map(({ name }) => name)
  const list = formatNames(holders.map((each) => `${each.name} (until ${formatDate(each.until)}; ${reasonOf(each)})`))
  const line = `; to revoke who is gone, write in cluster.yaml:\n    ${revokedLine(run, gone)}`
  const isOver = gone.length > 0 && run.cluster.install
  return notices('note', `may still be let in: ${list} (docs/bad-day.md, "Revoke a stolen key")${isOver ? line : ''}`)
}

function reasonOf({ why, groups, isBeyondList }: Holder): string {
  const reason = why === 'group removed' ? `no longer in ${formatNames(groups)}` : why
  return isBeyondList ? `${reason}, and only another CA ends that` : reason
}
