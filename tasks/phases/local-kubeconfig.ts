/** Phase `local-kubeconfig`: the admin's entries in the user's own kubeconfig. kubectl need not be installed. */
import { existsSync, statSync } from 'node:fs'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { refusal } from '../../lib/failure.ts'
import { caName, keepOverwritten } from '../../lib/files/auth-dir.ts'
import { isInside, replaceFiles, secretMode } from '../../lib/files/plain-file.ts'
import { type BuildContext, type Earlier, isDone, isLost, Skipped } from '../../lib/graph/target.ts'
import { isPreviousCa } from '../../lib/kubernetes/identity.ts'
import {
  type KubeconfigAccess,
  type KubeconfigFile,
  lockOf,
  mergeEntries,
  readKubeconfigFile,
  readTrusted,
  serverUrl,
  whileLocked,
} from '../../lib/kubernetes/kubeconfig.ts'
import { readCertificate, readCertificates } from '../../lib/pki/certificate.ts'
import { isOfOwnCa, ownCas } from '../../lib/pki/pair.ts'
import { type Check, type Diff, missing, texts } from '../../lib/results.ts'
import { formatNames, quote } from '../../lib/wording.ts'
import { recoverCommand } from '../auth/states.ts'
import { deployId } from '../deploy/folder.ts'
import { localHolder } from '../layouts/tables.ts'
import type { ClusterTarget, Run } from '../target.ts'
import { hasAccess, readAccess } from './kubeconfigs.ts'

const id = 'local-kubeconfig'

/** After the control nodes: if none is reached, cluster.yaml may be wrong, and kubectl keeps its context. */
export function targets(cluster: Cluster): ClusterTarget<boolean>[] {
  const { api, localKubeconfig } = cluster
  const holder = localHolder(cluster)
  if (!localKubeconfig || !holder) return []
  const row = { ...holder, dials: api.host }
  const { context, user } = localKubeconfig
  const names = { cluster: cluster.name, context, user, server: serverUrl(api.host, api.port) }
  // Without our own files the changes are those to any other content.
  const unmade = { ...names, ca: Buffer.alloc(0), certificate: Buffer.alloc(0), key: Buffer.alloc(0) }
  const accessOf = (run: Run): KubeconfigAccess => ({ ...readAccess(run, row), ...names })
  const controls = cluster.nodes.filter(({ role }) => role === 'control').map(deployId)
  const isReached = ({ isObserved }: Run, earlier: Earlier | undefined) => {
    const rows = controls.flatMap((each) => earlier?.rows.get(each) ?? [])
    // One control node is enough.
    if (!isObserved && rows.length > 0 && rows.every(isLost)) throw new Skipped(rows.map((row) => row.id))
    return rows.some(isDone)
  }
  const look = (run: Run, switches: boolean): Check<boolean> => {
    const isMade = hasAccess(run, row)
    const diffs = check(run, isMade ? accessOf(run) : unmade, switches)
    return { diffs: isMade ? diffs : [{ what: 'depends on the certificate of its user' }], found: switches }
  }
  return [
    {
      id,
      phase: id,
      needs: [caName, row.id],
      makes: [],
      purpose: 'your kubectl',
      where: 'kubeconfig',
      refuse: (run) => void look(run, false),
      check: (run, _force, earlier) => look(run, isReached(run, earlier)),
      build: async (run, { signal, found: switches }: BuildContext<boolean>) => {
        const write = () => writeEntries(run, accessOf(run), switches)
        return { warn: texts(await whileLocked(run.kubeconfig(), { signal, onWait: run.note }, write)) }
      },
    },
  ]
}

/** `switches`: this run has reached a control node of the cluster. Else another current context stays. */
function check(run: Run, access: KubeconfigAccess, switches: boolean): Diff[] {
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
