/** Phase `local-kubeconfig`: the admin's entry in the user's own kubeconfig. kubectl need not be installed. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { Failure, refusal, tryTo } from '../../lib/failure.ts'
import { caName, keepFound } from '../../lib/files/auth-dir.ts'
import { isStaleLock } from '../../lib/files/lock.ts'
import { isInside, readPlainFile, replaceFiles, secretMode } from '../../lib/files/plain-file.ts'
import type { Work } from '../../lib/graph/target.ts'
import { isPreviousCa } from '../../lib/kubernetes/identity.ts'
import { type Fields, type KubeconfigAccess, serverUrl } from '../../lib/kubernetes/kubeconfig.ts'
import {
  applyChanges,
  currentContextIn,
  type EntryChange,
  findEntry,
  type KubeconfigFile,
  planChanges,
  readKubeconfig,
  readKubeconfigs,
  readPem,
  readTrusted,
  whileLocked,
} from '../../lib/kubernetes/kubeconfig-merge.ts'
import { type Certificate, isIssuedBy, readCertificate, readCertificates } from '../../lib/pki/certificate.ts'
import { ownCas, readPair, readPrivateKey, tryCertificate } from '../../lib/pki/pair.ts'
import { asFindings, type CheckResult, type Finding, type Reason } from '../../lib/results.ts'
import { formatNames, pasteable, quote } from '../../lib/wording.ts'
import { recoverCommand } from '../auth/fetch-command.ts'
import type { CertRow } from '../layouts/tables.ts'
import type { Run } from '../target.ts'
import { hasAccess, readAccess } from './kubeconfigs.ts'

type Names = Pick<KubeconfigAccess, 'cluster' | 'context' | 'user'>

/** `isReached`: this run has reached a control node of the cluster. Else another current context stays. */
export function localWork(names: Names, row: CertRow) {
  // Used here, wherever admin.kubeconfig is.
  const here = ({ cluster: { api } }: Run): CertRow => ({ ...row, dials: api.host })
  const access = (run: Run): KubeconfigAccess => ({ ...readAccess(run, here(run)), ...names })
  return {
    check: (run: Run, isReached: boolean): CheckResult<boolean> => {
      const own = hasAccess(run, row) ? access(run) : undefined
      const checked = check(run, names, own, isReached)
      return { ...checked, change: changeOf(run, checked.reasons), found: isReached }
    },
    build: async (run: Run, { signal, reasons, found: isReached }: Work<boolean>) => {
      const change = changeOf(run, reasons)
      const sentences = await build(run, access(run), isReached, signal)
      return { change, findings: asFindings([sentences.join('\n')]) }
    },
  }
}

/** For a new context of ours beside another: which one is current now, and how to switch. */
function formatCurrent(
  { cluster: { localKubeconfig }, kubeconfigs }: Run,
  { context }: Names,
  { current, isReached }: { current: string; isReached: boolean },
): string {
  const file = localKubeconfig && localKubeconfig.path !== undefined ? kubeconfigs() : []
  const use = (name: string) =>
    pasteable(
      ['kubectl config use-context', quote(name), ...file.map((path) => `--kubeconfig ${quote(path)}`)].join(' '),
    )
  return isReached
    ? `the current context of kubectl is now ${context}; switch back to ${current}: ${use(current)}`
    : `the current context of kubectl is still ${current}; switch to ${context}: ${use(context)}`
}

/** Where ours is new: contexts of our user for this cluster, which had another name. No run deletes them. */
function earlierContexts(run: Run, files: readonly KubeconfigFile[], { cluster, context, user }: Names) {
  if (findEntry(files, 'contexts', context)) return []
  return files.flatMap(({ path, content }) =>
    [...content.contexts].flatMap(([name, of]) =>
      of.user === user && of.cluster !== cluster && trustsOurs(files, run, String(of.cluster)) ? [{ name, path }] : [],
    ),
  )
}

const formatEarlier = ({ name, path }: { readonly name: string; readonly path: string }) =>
  `context ${name} in ${path} is of this cluster under an earlier name; delete it: ${pasteable(`kubectl config delete-context ${quote(name)} --kubeconfig ${quote(path)}`)}`

const namesIn = ({ attributes }: Certificate) =>
  attributes.filter((each) => each.startsWith('CN=')).map((each) => each.slice('CN='.length))

/** Without a reason that names a file, the entries go to the first file that exists, else to the last of the list. */
function changeOf({ kubeconfigs }: Run, reasons: readonly Reason[]) {
  if (reasons.every(({ kind }) => kind === 'locked')) return undefined
  const paths = kubeconfigs()
  const own = reasons.flatMap((reason) => ('path' in reason && reason.kind !== 'locked' ? [reason.path] : []))
  const likely = paths.find((path) => existsSync(path)) ?? paths.at(-1)
  const files = own.length > 0 || likely === undefined ? own : [likely]
  return { kind: 'made' as const, files, isNew: !files.some((path) => existsSync(path)) }
}

/** Without the admin's pair only conflicts are checked. */
function check(run: Run, names: Names, access: KubeconfigAccess | undefined, isReached: boolean): CheckResult {
  refuseOwnFiles(run)
  const locks = run.kubeconfigs().map((path) => `${path}.lock`)
  const lockedBy = (path: string): CheckResult => ({ reasons: [{ kind: 'locked', path, isStale: path === left }] })
  // A stale lock would block kubectl.
  const left = locks.find(isStaleLock)
  let files: KubeconfigFile[]
  try {
    files = readKubeconfigs(run.kubeconfigs())
  } catch (error) {
    // It may be half written: checked again once we hold the lock.
    const held = error instanceof Failure ? (left ?? locks.find((path) => existsSync(path))) : undefined
    if (held === undefined) throw error
    return lockedBy(held)
  }
  refuse(files, run, names)
  // Without our own files the changes are those to any other content.
  const reasons = reasonsOf(files, access ?? { ...unmade, ...names, server: serverOf(run) }, isReached)
  const warnings = [
    ...keptOf(trustsOurs(files, run) === false),
    ...earlierContexts(run, files, names).map(formatEarlier),
    ...copiesOfKeys(run, files),
  ]
  const findings = asFindings([warnings.join('\n')])
  if (left !== undefined) return { ...lockedBy(left), findings }
  return { reasons: access ? reasons : [], findings }
}

const unmade = { ca: Buffer.alloc(0), certificate: Buffer.alloc(0), key: Buffer.alloc(0) }
const serverOf = ({ cluster: { api } }: Run) => serverUrl(api.host, api.port)

function refuse(files: readonly KubeconfigFile[], run: Run, names: Names): void {
  refuseOtherContext(files, names)
  refuseOtherCa(files, run)
  refuseNewCa(run)
  refuseConflicts(files, run, names)
}

function reasonsOf(files: readonly KubeconfigFile[], access: KubeconfigAccess, isReached: boolean): Reason[] {
  const current = currentContextIn(files)
  const changed = [...planChanges(files, access, { switches: isReached })].map(([file, changes]): Reason => {
    const { path, mode } = file
    // Refused before anything is made.
    changedText(file, changes)
    if (mode === undefined) return { kind: 'missing', path }
    return { kind: 'content-changed', path, what: changes.map((change) => formatChange(change, path, current)) }
  })
  const open = files
    .filter((file) => isOpen(file, access))
    .map(({ real, mode = 0 }): Reason => ({ kind: 'wrong-mode', path: real, was: mode, wanted: secretMode }))
  return [...changed, ...open]
}

/** Whether others can read our key in it; a file without our key is up to the user. */
function isOpen({ mode = 0, content }: KubeconfigFile, { user }: KubeconfigAccess): boolean {
  return (mode & 0o077) !== 0 && content.users.has(user)
}

function formatChange(change: EntryChange, path: string, current = ''): string {
  if ('currentContext' in change) return `current-context${current && ` (was ${current})`} in ${path}`
  return `${change.key} ${change.name} in ${path}`
}

/** Returns sentences: what became of the current context, and which copies of files hold a key of ours. */
async function build(run: Run, access: KubeconfigAccess, isReached: boolean, signal: AbortSignal) {
  return await whileLocked(run.kubeconfigs(), { signal, onWait: run.note }, () => {
    // Read again under the lock.
    const files = readKubeconfigs(run.kubeconfigs())
    refuse(files, run, access)
    // All are computed before the first is written: one may be refused.
    const changes = planChanges(files, access, { switches: isReached })
    const texts = new Map([...changes].map(([file, own]) => [file, changedText(file, own)]))
    const isOtherCa = trustsOurs(files, run) === false
    const kept = files.filter((file) => isOtherCa && texts.has(file) && file.mode !== undefined)
    keepFound(run.auth, 'kubeconfig', new Map(kept.map(({ real, text }) => [real, Buffer.from(text)])), run.now)
    for (const file of files) {
      const text = texts.get(file)
      if (text !== undefined && !isOtherCa && !holdsKey(run, file, access)) keepOriginal(file)
      if (text !== undefined || isOpen(file, access)) write(file, text)
    }
    const [current, isNew] = [currentContextIn(files), !findEntry(files, 'contexts', access.context)]
    const earlier = earlierContexts(run, files, access)
    // An earlier name of this cluster is no other to switch back to.
    const isRenamed = earlier.some(({ name }) => name === current)
    const isBeside = isNew && current !== undefined && current !== access.context && !isRenamed
    return [
      ...(isBeside ? [formatCurrent(run, access, { current, isReached })] : []),
      ...earlier.map(formatEarlier),
      ...keptOf(isOtherCa),
      ...copiesOfKeys(run, files),
    ]
  })
}

/** Throws a refusal if it can't be changed without touching entries that are not ours. */
function changedText({ path, text }: KubeconfigFile, changes: readonly EntryChange[]): string {
  const changed = applyChanges(text, changes)
  if (changed !== undefined) return changed
  throw refusal(`${path} can't be changed without touching the entries of others`, [
    'remove its YAML anchors (kubectl config view --raw prints it without)',
    'or set localKubeconfig.path in cluster.yaml',
  ])
}

/** As root with the user's HOME: it stays the user's. */
const ownerOf = ({ real, mode }: KubeconfigFile) => (mode === undefined ? undefined : statSync(real))

function write(file: KubeconfigFile, text = file.text): void {
  replaceFiles([{ path: file.real, data: text, mode: secretMode }], { durable: true, owner: ownerOf(file) })
}

const copyOf = ({ real }: KubeconfigFile) => `${real}.before-harderway`

function keepOriginal(file: KubeconfigFile): void {
  const [copy, owner] = [copyOf(file), ownerOf(file)]
  if (owner && !existsSync(copy))
    replaceFiles([{ path: copy, data: file.text, mode: secretMode }], { durable: true, owner })
}

/**
 * Of a file with our entries, or that of whoever set the cluster up, a copy would keep a key which nobody remembers.
 */
function holdsKey(run: Run, file: KubeconfigFile, { context, user }: Names): boolean {
  const { contexts, users } = file.content
  const isEntered = contexts.get(context)?.user === user && users.get(user)?.['client-key-data'] !== undefined
  return isEntered || ownKeysIn(run, file).length > 0
}

/**
 * The entries with a key of this cluster: one that auth/ has still, or one beside a certificate of our CA.
 * `certificate`: the one in auth/ over that key, else the one beside it.
 */
function ownKeysIn({ auth, cluster, now }: Run, { path, content }: Pick<KubeconfigFile, 'path' | 'content'>) {
  const cas = ownCas(auth)
  const own = [auth.files.names.admin, ...cluster.users.map(({ name }) => name)].flatMap(
    (name) => tryCertificate(auth, name) ?? [],
  )
  return [...content.users].flatMap(([user, fields]) => {
    const [pem, key] = (['client-certificate', 'client-key'] as const).map((field) =>
      tryTo(() => readPem(path, fields, field)),
    )
    if (!key) return []
    const beside = pem && readCertificate(pem)
    const privateKey = readPrivateKey(key)
    const publicKey = privateKey ? createPublicKey(privateKey) : beside?.publicKey
    const kept = own.find((each) => publicKey && each.publicKey.equals(publicKey))
    const certificate = kept ?? (beside && cas.some((ca) => isIssuedBy(beside, ca)) ? beside : undefined)
    return certificate ? [{ path, user, certificate, isValid: kept !== undefined || certificate.notAfter > now }] : []
  })
}

/**
 * The keys in your kubeconfigs that this cluster accepts, also those entered before cluster.yaml named another file, or
 * none. `isMade`: a run makes that entry.
 */
function findOwnKeys(run: Run) {
  const { localKubeconfig } = run.cluster
  const wanted = localKubeconfig ? run.kubeconfigs() : []
  const read = new Map<string, KubeconfigFile | undefined>()
  for (const path of new Set([...wanted, ...run.usualKubeconfigs()])) {
    const file = tryTo(() => readKubeconfigs([path])[0])
    if (!read.has(file?.real ?? path)) read.set(file?.real ?? path, file)
  }
  const files = [...read.values()].flatMap((file) => (file && !isInside(file.real, run.auth.path) ? file : []))
  const { user = '' } = localKubeconfig || {}
  const made = files.find(({ path, content }) => wanted.includes(path) && content.users.has(user))
  const keys = files.flatMap((file) =>
    ownKeysIn(run, file).map((key) => ({ ...key, isMade: file === made && key.user === user })),
  )
  return {
    keys: keys.filter(({ isValid }) => isValid),
    unread: [...read].flatMap(([path, file]) => (file ? [] : [path])),
  }
}

const isAdmin = ({ attributes }: Certificate) => attributes.includes('O=system:masters')

/** A sentence for each entry with the admin's key that no run makes. No run removes it either: it may be wanted. */
export function notesOnAdminKeys(run: Run): Finding[] {
  const { keys, unread } = findOwnKeys(run)
  const others = keys.filter(({ certificate, isMade }) => isAdmin(certificate) && !isMade)
  return asFindings([
    ...others.map(
      ({ path, user }) =>
        `user ${user} in ${path} has the admin key, with all rights; remove it: ${pasteable(`kubectl config delete-user ${quote(user)} --kubeconfig ${quote(path)}`)}`,
    ),
    ...unread.map(formatUnread),
  ])
}

const formatUnread = (path: string) => `can't read ${path}, which may hold a key of this cluster`

/** Earlier versions copied a file with our key in it, too. */
function copiesOfKeys(run: Run, files: readonly KubeconfigFile[]): string[] {
  return files.flatMap((file) => {
    const copy = copyOf(file)
    const found = tryTo(() => readPlainFile(copy) ?? 'none')
    if (found === undefined) return [formatUnread(copy)]
    const content = found !== 'none' && found.kind === 'file' ? readKubeconfig(found.bytes.toString()) : undefined
    const held = content ? ownKeysIn(run, { path: copy, content }) : []
    const names = held.flatMap(({ certificate }) => namesIn(certificate))
    return names.length > 0
      ? [`${copy} has the key of ${formatNames(names)} too; remove it: ${pasteable(`rm ${quote(copy)}`)}`]
      : []
  })
}

/** Files in auth/ contain only what cluster.yaml wants: `KUBECONFIG=auth/admin.kubeconfig` is not the user's own. */
function refuseOwnFiles({ auth, kubeconfigs }: Run): void {
  const own = kubeconfigs().find((path) => isInside(path, auth.path))
  if (own === undefined) return
  throw refusal(`${own} is in ${auth.path}, where no entry is written`, [
    'set localKubeconfig.path in cluster.yaml, or $KUBECONFIG, to another file',
    'or set localKubeconfig: false',
  ])
}

/** The user's own context of that name, for another cluster, is not overwritten. */
function refuseOtherContext(files: readonly KubeconfigFile[], { cluster, context }: Names): void {
  const own = findEntry(files, 'contexts', context)
  if (own && own.cluster !== cluster)
    throw refusal(`your kubeconfig has a context ${context} for the cluster ${String(own.cluster)}`, [
      'set localKubeconfig.context in cluster.yaml to another name',
    ])
}

/** Entries that another context of the user's uses are not overwritten, unless they are of our cluster. */
function refuseConflicts(files: readonly KubeconfigFile[], run: Run, names: Names): void {
  const others = files.flatMap(({ content }) => [...content.contexts]).filter(([name]) => name !== names.context)
  const refuseUsed = (entry: string, key: string, isConflict: (of: Fields) => boolean) => {
    const [by] = others.find(([, of]) => isConflict(of)) ?? []
    if (by !== undefined)
      throw refusal(`your kubeconfig already has a ${entry}, used by context ${by}`, [
        `set ${key} in cluster.yaml to another name`,
      ])
  }
  const [own, context] = [findEntry(files, 'clusters', names.cluster), findEntry(files, 'contexts', names.context)]
  // A cluster of our name is ours if our context exists.
  if (own && !context && !trustsOurs(files, run))
    refuseUsed(`cluster ${names.cluster}`, 'name', ({ cluster }) => cluster === names.cluster)
  const holder = files.find(({ content }) => content.users.has(names.user))
  // A user may serve several contexts of our cluster.
  const isConflict = ({ user, cluster }: Fields) => user === names.user && cluster !== names.cluster
  if (holder && !ownKeysIn(run, holder).some(({ user }) => user === names.user))
    refuseUsed(`user ${names.user}`, 'localKubeconfig.user', isConflict)
}

/**
 * Without a CA in auth/ the entry would be of a cluster that does not exist, and a lost CA must not be replaced for it.
 */
function refuseNewCa(run: Run): void {
  const { auth, command, options } = run
  const isAlone = options.names.every((name) => name === 'local-kubeconfig')
  if (!isAlone || auth.files.pair(caName).some((file) => auth.read(file))) return
  throw refusal(`${auth.path} has no CA; nothing was created`, [
    `if this cluster runs already, recover it: ${recoverCommand(run)}`,
    `to create a new cluster: ${command('bootstrap')}`,
  ])
}

function ownCaKeys(auth: Run['auth']): KeyObject[] {
  const { certificate, key } = readPair(auth, caName)
  return [certificate?.publicKey, key && createPublicKey(key)].filter((each) => each !== undefined)
}

/** Whether an entry, of our cluster, trusts a CA of ours, or an earlier one; undefined if it trusts none. */
function trustsOurs(
  files: readonly KubeconfigFile[],
  { auth, cluster }: Run,
  name = cluster.name,
): boolean | undefined {
  const trusted = readTrusted(files, name) ?? ''
  if (!trusted.includes('-----BEGIN CERTIFICATE-----')) return undefined
  const ours = ownCaKeys(auth)
  return readCertificates(trusted).some(
    ({ publicKey }) => ours.some((our) => our.equals(publicKey)) || isPreviousCa(publicKey, auth),
  )
}

/** An entry that trusts another CA is not overwritten, not even on a new machine with an empty auth/. */
function refuseOtherCa(files: readonly KubeconfigFile[], run: Run): void {
  const { auth, cluster, command, options } = run
  if (options.replaceIdentity || trustsOurs(files, run) !== false) return
  const found = `the cluster ${cluster.name} in your kubeconfig trusts`
  const elsewhere = 'or set localKubeconfig.path in cluster.yaml to another file'
  if (ownCaKeys(auth).length === 0)
    throw refusal(`${found} a CA, but ${auth.path} has none`, [
      `recover the cluster: ${recoverCommand(run)}`,
      elsewhere,
    ])
  throw refusal(`${found} another CA than the one in ${auth.path}`, [
    // Not by the command that has just done so.
    ...(options.onNodes ? [] : [`compare auth/ with the nodes: ${command('status --on-nodes')}`]),
    `if they have the CA of auth/, replace the entry (auth/backup keeps a copy): ${command('local-kubeconfig --replace-identity')}`,
    `if they have another, recover the cluster: ${recoverCommand(run)}`,
    elsewhere,
  ])
}

/** The overwritten entry may be the only one that the other cluster's admin has. */
const keptOf = (isOtherCa: boolean) =>
  isOtherCa ? ['auth/backup keeps a copy of your kubeconfig, whose entry trusts another CA'] : []
