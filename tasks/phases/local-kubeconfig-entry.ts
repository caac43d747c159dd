/** Phase `local-kubeconfig`: the admin's entries in the user's own kubeconfig. kubectl need not be installed. */
import { existsSync, statSync } from 'node:fs'
import { refusal, tryTo } from '../../lib/failure.ts'
import { caName, keepFound } from '../../lib/files/auth-dir.ts'
import { isStaleLock } from '../../lib/files/lock.ts'
import { isInside, replaceFiles, secretMode } from '../../lib/files/plain-file.ts'
import type { Work } from '../../lib/graph/target.ts'
import { isPreviousCa } from '../../lib/kubernetes/identity.ts'
import { type Fields, type KubeconfigAccess, serverUrl } from '../../lib/kubernetes/kubeconfig.ts'
import {
  applyChanges,
  type EntryChange,
  type KubeconfigFile,
  lockOf,
  mergeKubeconfigs,
  planChanges,
  type ReadKubeconfig,
  readKubeconfigFile,
  readTrusted,
  whileLocked,
} from '../../lib/kubernetes/kubeconfig-merge.ts'
import { type Certificate, commonNameOf, readCertificate, readCertificates } from '../../lib/pki/certificate.ts'
import { isOfOwnCa, ownCas } from '../../lib/pki/pair.ts'
import { type Check, type Diff, missing, texts } from '../../lib/results.ts'
import { formatNames, octal, quote } from '../../lib/wording.ts'
import { recoverCommand } from '../auth/fetch-command.ts'
import type { CertRow } from '../layouts/tables.ts'
import type { Run } from '../target.ts'
import { hasAccess, readAccess } from './kubeconfigs.ts'

type Names = Pick<KubeconfigAccess, 'cluster' | 'context' | 'user'>

/** The file that gets our entries, and what kubectl makes of its whole list. */
interface Found {
  readonly file: KubeconfigFile
  readonly seen: ReadKubeconfig
}

/** `isReached`: this run has reached a control node of the cluster. Else another current context stays. */
export function localWork(names: Names, row: CertRow) {
  // Used here, wherever admin.kubeconfig is.
  const here = ({ cluster: { api } }: Run): CertRow => ({ ...row, dials: api.host })
  const access = (run: Run): KubeconfigAccess => ({ ...readAccess(run, here(run)), ...names })
  return {
    check: (run: Run, isReached: boolean): Check<boolean> => ({
      diffs: check(run, names, hasAccess(run, row) ? access(run) : undefined, isReached),
      found: isReached,
    }),
    build: async (run: Run, { signal, found: isReached }: Work<boolean>) => {
      const [path] = run.kubeconfigs()
      const build = () => write(run, access(run), isReached)
      const sentence = await whileLocked(path, { signal, onWait: run.note }, build)
      return { warn: texts(sentence) }
    },
  }
}

/** Without the admin's pair only what is refused is checked. */
function check(run: Run, names: Names, access: KubeconfigAccess | undefined, isReached: boolean): Diff[] {
  const [path] = run.kubeconfigs()
  if (isInside(path, run.auth.path))
    throw refusal(`${path} is in ${run.auth.path}, where no entry is written`, [
      'set localKubeconfig.path in cluster.yaml, or $KUBECONFIG, to another file',
      'or set localKubeconfig: false',
    ])
  const lock = lockOf(path)
  const isStale = isStaleLock(lock)
  const found = existsSync(lock) ? tryTo(() => readFound(run)) : readFound(run)
  // It may be half written: it is checked again under the lock.
  const locked: Diff = { what: isStale ? `stale lock ${lock}` : `${lock} exists` }
  if (!found) return [locked]
  refuse(run, found, names)
  // Without our own files the changes are those to any other content.
  const diffs = diffsOf(found, access ?? { ...unmade, ...names, server: serverOf(run) }, isReached)
  // A stale lock would block kubectl.
  if (isStale) return [locked]
  return access ? diffs : [{ what: 'depends on the certificate of its user' }]
}

const unmade = { ca: Buffer.alloc(0), certificate: Buffer.alloc(0), key: Buffer.alloc(0) }
const serverOf = ({ cluster: { api } }: Run) => serverUrl(api.host, api.port)

function readFound({ kubeconfigs }: Run): Found {
  const [own, ...others] = kubeconfigs()
  const file = readKubeconfigFile(own)
  const contents = others.flatMap((path) => tryTo(() => readKubeconfigFile(path).content) ?? [])
  return { file, seen: mergeKubeconfigs([file.content, ...contents]) }
}

function diffsOf({ file, seen }: Found, access: KubeconfigAccess, isReached: boolean): Diff[] {
  const { path, real, mode } = file
  const changes = planChanges(file, access, { seen, switches: isReached })
  // Refused before anything is made.
  changedText(file, changes)
  if (mode === undefined) return missing([path])
  const [was, now] = [certificateOf(seen.users.get(access.user)), readCertificate(access.certificate)]
  const isAnother = was && now && commonNameOf(was) !== commonNameOf(now)
  const changed = changes.map((change) => formatChange(change, seen.currentContext))
  return [
    ...(changed.length > 0
      ? [{ what: `${formatNames(changed)} changed`, verb: 'change' as const, names: [path] }]
      : []),
    ...(isAnother ? [{ what: `user ${access.user} becomes ${commonNameOf(now)}`, verb: 'change' as const }] : []),
    ...(isOpen(file, access) ? [{ what: `${real} has mode ${octal(mode)}, not 0600`, verb: 'chmod' as const }] : []),
  ]
}

/** Whether others can read our key in it; a file without our key is up to the user. */
function isOpen({ mode = 0, content }: KubeconfigFile, { user }: Names): boolean {
  return (mode & 0o077) !== 0 && content.users.has(user)
}

function formatChange(change: EntryChange, current = ''): string {
  return 'currentContext' in change
    ? `current-context${current && ` (was ${current})`}`
    : `${change.key} ${change.name}`
}

/** Returns a sentence about the current context. */
function write(run: Run, access: KubeconfigAccess, isReached: boolean): string | undefined {
  // Read again under the lock.
  const found = readFound(run)
  refuse(run, found, access)
  const { file, seen } = found
  const { real, mode } = file
  const changes = planChanges(file, access, { seen, switches: isReached })
  const data = changedText(file, changes)
  // As root with the user's HOME it stays the user's.
  const owner = mode === undefined ? undefined : statSync(real)
  if (owner && changes.length > 0) keepOriginal(run, file, owner)
  if (changes.length > 0 || isOpen(file, access))
    replaceFiles([{ path: real, data, mode: secretMode }], { durable: true, owner })
  const isNew = !seen.contexts.has(access.context)
  const current = seen.currentContext ?? access.context
  return isNew && current !== access.context ? formatCurrent(run, access, { current, isReached }) : undefined
}

/**
 * Where an entry trusts another CA, which may be the only one that the other cluster's admin has, in auth/backup. Else
 * beside the file, once, if it has no key of ours yet: nobody would remember that a copy has it too.
 */
function keepOriginal(run: Run, file: KubeconfigFile, owner: { readonly uid: number; readonly gid: number }): void {
  const { real, text, content } = file
  const copy = `${real}.before-harderway`
  if (trustsOurs(run, file) === false) keepFound(run.auth, 'kubeconfig', new Map([[real, Buffer.from(text)]]), run.now)
  else if (!existsSync(copy) && ![...content.users.values()].some((user) => isOurs(run, user)))
    replaceFiles([{ path: copy, data: text, mode: secretMode }], { durable: true, owner })
}

/** Throws a refusal if it can't be changed without touching entries that are not ours. */
function changedText({ path, text }: KubeconfigFile, changes: readonly EntryChange[]): string {
  if (changes.length === 0) return text
  const changed = applyChanges(text, changes)
  if (changed !== undefined) return changed
  throw refusal(`${path} can't be changed without touching the entries of others`, [
    'remove its YAML anchors (kubectl config view --raw prints it without)',
    'or set localKubeconfig.path in cluster.yaml',
  ])
}

/** For a new context of ours beside another: which one is current now, and how to switch. */
function formatCurrent(
  { cluster: { localKubeconfig }, kubeconfigs }: Run,
  { context }: Names,
  { current, isReached }: { current: string; isReached: boolean },
): string {
  const file = localKubeconfig && localKubeconfig.path !== undefined ? ` --kubeconfig ${quote(kubeconfigs()[0])}` : ''
  const use = (name: string) => `kubectl config use-context ${quote(name)}${file}`
  return isReached
    ? `the current context of kubectl is now ${context}; switch back to ${current}:\n    ${use(current)}`
    : `the current context of kubectl is still ${current}; switch to ${context}:\n    ${use(context)}`
}

function refuse(run: Run, { file, seen }: Found, names: Names): void {
  const { cluster, context, user } = names
  const own = seen.contexts.get(context)
  if (own && own.cluster !== cluster)
    throw refusal(`your kubeconfig has a context ${context} for the cluster ${String(own.cluster)}`, [
      'set localKubeconfig.context in cluster.yaml to another name',
    ])
  refuseOtherCa(run, file)
  refuseNewCa(run)
  const refuseUsed = (entry: string, key: string, isOfOthers: (of: Fields) => boolean) => {
    const [by] = [...seen.contexts].find(([name, of]) => name !== context && isOfOthers(of)) ?? []
    if (by === undefined) return
    throw refusal(`your kubeconfig already has a ${entry}, used by context ${by}`, [
      `set ${key} in cluster.yaml to another name`,
    ])
  }
  // A cluster of our name is ours if our context exists.
  if (seen.clusters.has(cluster) && !own && !trustsOurs(run, file))
    refuseUsed(`cluster ${cluster}`, 'name', (of) => of.cluster === cluster)
  // A user of ours may serve several contexts.
  const holder = seen.users.get(user)
  if (holder && !isOurs(run, holder))
    refuseUsed(`user ${user}`, 'localKubeconfig.user', (of) => of.user === user && of.cluster !== cluster)
}

/** Whether our CA has issued the certificate that the user's entry embeds, as ours do. */
function isOurs({ auth }: Run, user: Fields): boolean {
  const certificate = certificateOf(user)
  return certificate !== undefined && isOfOwnCa(auth, certificate)
}

function certificateOf(user: Fields | undefined): Certificate | undefined {
  const data = user?.['client-certificate-data']
  return typeof data === 'string' ? readCertificate(Buffer.from(data, 'base64')) : undefined
}

/**
 * Without a CA in auth/ the entry would be of a cluster that does not exist, and a lost CA must not be replaced for it.
 */
function refuseNewCa(run: Run): void {
  const { auth, command, options } = run
  const isAlone = options.names.every((name) => name === 'local-kubeconfig')
  if (!isAlone || auth.files.pair(caName).some((file) => auth.read(file))) return
  throw refusal(`${auth.path} has no CA; nothing was created`, [
    `if this cluster runs already, recover it:\n    ${recoverCommand(run)}`,
    `to create a new cluster:\n    ${command('bootstrap')}`,
  ])
}

/** Whether our cluster's entry trusts a CA of ours, or an earlier one; undefined if it trusts none. */
function trustsOurs({ auth, cluster }: Run, file: KubeconfigFile): boolean | undefined {
  const trusted = readTrusted(file, cluster.name) ?? ''
  if (!trusted.includes('-----BEGIN CERTIFICATE-----')) return undefined
  const ours = ownCas(auth)
  return readCertificates(trusted).some(
    ({ publicKey }) => ours.some((ca) => ca.publicKey.equals(publicKey)) || isPreviousCa(publicKey, auth),
  )
}

/** An entry that trusts another CA is not overwritten, not even on a new machine with an empty auth/. */
function refuseOtherCa(run: Run, file: KubeconfigFile): void {
  const { auth, cluster, command, options } = run
  if (options.replaceIdentity || trustsOurs(run, file) !== false) return
  const replace = `if the nodes have the CA of auth/, replace the entry (auth/backup keeps a copy):\n    ${command('local-kubeconfig --replace-identity')}`
  throw refusal(`the cluster ${cluster.name} in your kubeconfig trusts a CA that ${auth.path} does not have`, [
    ...(ownCas(auth).length > 0 ? [replace] : []),
    `if the nodes have that CA, recover the cluster:\n    ${recoverCommand(run)}`,
    'or set localKubeconfig.path in cluster.yaml to another file',
  ])
}
