/** Phases `kubeconfigs` and `local-kubeconfig`, the admin's entries in the user's own. kubectl need not be installed. */
import { existsSync, statSync } from 'node:fs'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { refusal } from '../../lib/failure.ts'
import { caName, keepOverwritten, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { isInside, replaceFiles, secretMode } from '../../lib/files/plain-file.ts'
import { type BuildContext, type Earlier, isDone, isFailedOrSkipped, Skipped } from '../../lib/graph/target.ts'
import {
  compareKubeconfig,
  formatKubeconfig,
  type KubeconfigAccess,
  type KubeconfigFile,
  lockOf,
  mergeEntries,
  partOf,
  readKubeconfigFile,
  readTrusted,
  serverUrl,
  whileLocked,
} from '../../lib/kubernetes/kubeconfig.ts'
import { readCertificate, readCertificates } from '../../lib/pki/certificate.ts'
import { isOfOwnCa, ownCas } from '../../lib/pki/pair.ts'
import { type Check, type Diff, missing, texts } from '../../lib/results.ts'
import { formatNames, quote } from '../../lib/wording.ts'
import { recoverCommand, signingCa } from '../auth/states.ts'
import { authTarget, type ClusterTarget, type Run } from '../cluster-target.ts'
import { deployId } from '../deploy/folder.ts'
import { isPreviousCa } from '../deploy/owner.ts'
import { type CertRow, certTable, controlsOf, localHolder } from '../layouts/tables.ts'

export function targets(cluster: Cluster, { phase }: { readonly phase: string }): ClusterTarget[] {
  if (phase === local) return localTargets(cluster)
  return certTable(cluster)
    .filter(({ isClient }) => isClient)
    .map((row) =>
      authTarget({
        id: `${phase}/${row.name}`,
        phase,
        node: row.node,
        needs: [caName, row.id],
        makes: [kubeconfigFile(row.name)],
        desired: namesIn(cluster, row),
        purpose: 'its kubeconfig',
        where: 'auth',
        check: (run) => check(run, row),
        build: async (run) => {
          run.auth.write(kubeconfigFile(row.name), formatKubeconfig(readAccess(run, row)), secretMode)
          return undefined
        },
      }),
    )
}

function check(run: Run, row: CertRow): Check {
  const path = kubeconfigFile(row.name)
  // `status` looks at it even if its certificate is missing.
  const compare = (bytes: Buffer) => {
    const what = hasAccess(run, row) ? compareKubeconfig(bytes.toString(), readAccess(run, row)) : []
    // `install` splits it line by line, on the node.
    const isSplit = !run.cluster.install || partOf(bytes.toString(), 'pair', '') !== undefined
    return what?.length === 0 && !isSplit ? ['users'] : what
  }
  const { value: changed = [], diffs } = run.auth.checkFile(path, 'a valid kubeconfig', compare)
  const named = changed.map((field) => contents.get(field) ?? field)
  // A run has made its certificate by now.
  if (diffs.length === 0 && !hasAccess(run, row)) diffs.push({ what: `depends on ${row.id}` })
  if (named.length > 0) diffs.push({ what: `${formatNames(named)} changed`, verb: 'change' })
  return { diffs }
}

const contents = new Map([
  ['users', 'credentials'],
  ['clusters', 'server or CA'],
])

export function hasAccess({ auth, now }: Run, { name }: CertRow): boolean {
  const { trusted } = signingCa(auth, now)
  return [...trusted.map(auth.files.certificate), ...auth.files.pair(name)].every((file) => auth.tryBytes(file))
}

function namesIn(cluster: Cluster, { profile, dials }: CertRow) {
  return {
    cluster: cluster.name,
    server: serverUrl(dials, cluster.api.port),
    user: profile.subject.CN,
    context: 'default',
  }
}

export function readAccess({ auth, cluster, now }: Run, row: CertRow): KubeconfigAccess {
  const { name } = row
  const { trusted } = signingCa(auth, now)
  return {
    ...namesIn(cluster, row),
    ca: joinPems(trusted.map((each) => auth.bytes(auth.files.certificate(each)))),
    certificate: auth.bytes(auth.files.certificate(name)),
    key: auth.bytes(auth.files.key(name)),
  }
}

/** A single one stays as it is, byte for byte. */
function joinPems([first = Buffer.alloc(0), ...others]: readonly Buffer[]): Buffer {
  if (others.length === 0) return first
  return Buffer.from([first, ...others].map((pem) => pem.toString().replace(/\n*$/, '\n')).join(''))
}

const local = 'local-kubeconfig'

/** After the control nodes: if none is reached, cluster.yaml may be wrong, and kubectl keeps its context. */
function localTargets(cluster: Cluster): ClusterTarget<boolean>[] {
  const { api, localKubeconfig } = cluster
  const holder = localHolder(cluster)
  if (!localKubeconfig || !holder) return []
  const row = { ...holder, dials: api.host }
  const { context, user } = localKubeconfig
  const names = { cluster: cluster.name, context, user, server: serverUrl(api.host, api.port) }
  // Without our own files the changes are those to any other content.
  const unmade = { ...names, ca: Buffer.alloc(0), certificate: Buffer.alloc(0), key: Buffer.alloc(0) }
  const accessOf = (run: Run): KubeconfigAccess => ({ ...readAccess(run, row), ...names })
  const controls = controlsOf(cluster).map(deployId)
  const isReached = ({ isObserved }: Run, earlier: Earlier | undefined) => {
    const rows = controls.flatMap((each) => earlier?.rows.get(each) ?? [])
    // One control node is enough.
    if (!isObserved && rows.length > 0 && rows.every(isFailedOrSkipped)) throw new Skipped(rows.map((row) => row.id))
    return rows.some(isDone)
  }
  const look = (run: Run, switches: boolean): Check<boolean> => {
    const isMade = hasAccess(run, row)
    const diffs = checkLocal(run, isMade ? accessOf(run) : unmade, switches)
    return { diffs: isMade ? diffs : [{ what: 'depends on the certificate of its user' }], findings: switches }
  }
  return [
    {
      id: local,
      phase: local,
      needs: [caName, row.id],
      makes: [],
      purpose: 'your kubectl',
      where: 'kubeconfig',
      refuse: (run) => void look(run, false),
      check: (run, _force, earlier) => look(run, isReached(run, earlier)),
      build: async (run, { signal, findings: switches }: BuildContext<boolean>) => {
        const write = () => writeEntries(run, accessOf(run), switches)
        return { warn: texts(await whileLocked(run.kubeconfig(), { signal, onWait: run.note }, write)) }
      },
    },
  ]
}

/** `switches`: this run has reached a control node of the cluster. Else another current context stays. */
function checkLocal(run: Run, access: KubeconfigAccess, switches: boolean): Diff[] {
  const path = run.kubeconfig()
  if (isInside(path, run.auth.path))
    throw refusal(`${path} is in ${run.auth.path}, where no entry is written`, [
      'set localKubeconfig.path in cluster.yaml, or $KUBECONFIG, to another file',
      'or set localKubeconfig: false',
    ])
  // It may be half written: the build reads it under the lock.
  if (existsSync(lockOf(path))) return [{ what: `${lockOf(path)} exists` }]
  const file = readKubeconfigFile(path)
  refuse(run, file, access)
  const { changed } = mergeEntries(file, access, switches)
  if (file.mode === undefined) return missing([path])
  const what = `${formatNames(changed)} changed`
  return [
    ...(changed.length > 0 ? [{ what, verb: 'change' as const, names: [path] }] : []),
    ...(isOpen(file, access) ? [{ what: `${file.real} can be read by others`, verb: 'chmod' as const }] : []),
  ]
}

/** Whether others can read our key in it; a file without our key is up to the user. */
function isOpen({ mode = 0, content }: KubeconfigFile, { user }: KubeconfigAccess): boolean {
  return (mode & 0o077) !== 0 && content.users.has(user)
}

/** Under the lock, so the file is read again. Returns a sentence about the current context. */
function writeEntries(run: Run, access: KubeconfigAccess, switches: boolean): string | undefined {
  const file = readKubeconfigFile(run.kubeconfig())
  refuse(run, file, access)
  const { real, mode, content } = file
  const { changed, text: data } = mergeEntries(file, access, switches)
  // What another CA's entry has may be all that its admin has.
  if (changed.length > 0 && trustsOurs(run, file) === false)
    keepOverwritten(run.auth, 'kubeconfig', new Map([[real, Buffer.from(file.text)]]), run.now)
  // As root with the user's HOME it stays the user's.
  const owner = mode === undefined ? undefined : statSync(real)
  if (changed.length > 0 || isOpen(file, access))
    replaceFiles([{ path: real, data, mode: secretMode }], { durable: true, owner })
  const { currentContext: current = access.context } = content
  if (content.contexts.has(access.context) || current === access.context) return undefined
  const [now, other] = switches ? [access.context, current] : [current, access.context]
  return `the current context of kubectl is ${now}; switch to ${other}:\n    kubectl config use-context ${quote(other)} --kubeconfig ${quote(run.kubeconfig())}`
}

/** Throws a refusal if an entry of our names is another cluster's. */
function refuse(run: Run, file: KubeconfigFile, { cluster, context, user }: KubeconfigAccess): void {
  const { contexts, users } = file.content
  const own = contexts.get(context)
  if (own && own.cluster !== cluster)
    throw refusal(`your kubeconfig has a context ${context} for the cluster ${String(own.cluster)}`, [
      'set localKubeconfig.context in cluster.yaml to another name',
    ])
  refuseOtherCa(run, file)
  const data = users.get(user)?.['client-certificate-data']
  const certificate = typeof data === 'string' ? readCertificate(Buffer.from(data, 'base64')) : undefined
  const isOurs = certificate !== undefined && isOfOwnCa(run.auth, certificate)
  const [by] = [...contexts].find(([, of]) => of.user === user && of.cluster !== cluster) ?? []
  if (by !== undefined && users.has(user) && !isOurs)
    throw refusal(`your kubeconfig already has a user ${user}, used by context ${by}`, [
      'set localKubeconfig.user in cluster.yaml to another name',
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
