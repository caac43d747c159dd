/** Phase `local-kubeconfig`: the admin's entry in the kubeconfig of whoever runs this. kubectl need not be there. */

import { existsSync, mkdirSync, realpathSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { doing, Failure, refusal, tryTo } from '../../lib/failure.ts'
import { type Lock, mayBeLeft, takeLock } from '../../lib/files/lock.ts'
import { caName } from '../../lib/files/names.ts'
import { type PlainFile, readPlainFile, replaceFile, secretMode } from '../../lib/files/plain-file.ts'
import type { Access } from '../../lib/kubernetes/kubeconfig.ts'
import {
  applyChanges,
  type Change,
  isAsAsked,
  type ReadKubeconfig,
  readKubeconfig,
  stanzasOf,
} from '../../lib/kubernetes/kubeconfig-merge.ts'
import type { Reason, Verdict } from '../../lib/reason.ts'
import type { Target, Work } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { certTable } from '../tables/certs.ts'
import { hasAccess, readAccess } from './kubeconfigs.ts'

export function localKubeconfigTargets(cluster: Cluster): Target[] {
  const { localKubeconfig } = cluster
  const admin = certTable(cluster).find(({ name }) => name === 'admin')
  if (!localKubeconfig || !admin) return []
  const id = 'local-kubeconfig'
  const { context, user } = localKubeconfig
  const access = (at: Workspace): Access => ({ ...readAccess(at, admin), context, user })
  return [
    {
      id,
      phase: id,
      needs: [caName, admin.id],
      makes: [],
      purpose: 'your kubectl',
      where: 'user',
      check: (at) => check(at, { cluster: cluster.name, context }, hasAccess(at, admin) ? access(at) : undefined),
      build: (at, work) => build(at, access(at), work),
    },
  ]
}

interface Place {
  readonly path: string
  /** Behind a symbolic link, if the path is one. */
  readonly real: string
  readonly file: PlainFile | undefined
  readonly text: string
  readonly content: ReadKubeconfig
}

/** The files of kubectl's list, in its order. Throws a Failure for one that can't be read. */
function readPlaces({ kubeconfigs }: Workspace): Place[] {
  return kubeconfigs().map((path) => {
    const real = existsSync(path) ? realpathSync(path) : path
    const file = readPlainFile(real)
    const text = file?.kind === 'file' ? decodeUtf8(file.bytes) : ''
    const content = (file && file.kind !== 'file') || text === undefined ? undefined : readKubeconfig(text)
    if (!content || text === undefined)
      throw refusal(`${path} is no kubeconfig that can be read, and is left as it is`, [
        'mend it, or set localKubeconfig.path in cluster.yaml',
      ])
    return { path, real, file, text, content }
  })
}

function decodeUtf8(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** What kubectl would use as our user against our cluster; undefined where it is not all there. */
export function readLocalPair({ cluster, kubeconfigs }: Pick<Workspace, 'cluster' | 'kubeconfigs'>) {
  if (!cluster.localKubeconfig) return undefined
  const files = kubeconfigs().flatMap((path) => readKubeconfig(tryTo(() => textOf(path)) ?? '') ?? [])
  const find = (list: 'clusters' | 'users', name: string, field: string) => {
    const data = files.map((file) => file.find(list, name)).find(Boolean)?.[field]
    return typeof data === 'string' ? Buffer.from(data, 'base64') : undefined
  }
  const { user } = cluster.localKubeconfig
  const [ca, certificate, key] = [
    find('clusters', cluster.name, 'certificate-authority-data'),
    find('users', user, 'client-certificate-data'),
    find('users', user, 'client-key-data'),
  ]
  return ca && certificate && key && { ca, certificate, key }
}

function textOf(path: string): string {
  const file = existsSync(path) ? readPlainFile(realpathSync(path)) : undefined
  return file?.kind === 'file' ? file.bytes.toString() : ''
}

/** What has to change, by the file that it has to change in. */
function plan(places: readonly Place[], access: Access): Map<Place, Change[]> {
  // A new entry and the current context go to the first file that exists, else to the last of the list.
  const target = places.find(({ file }) => file) ?? places.at(-1)
  const changes = new Map<Place, Change[]>()
  const add = (place: Place | undefined, change: Change) =>
    place && changes.set(place, [...(changes.get(place) ?? []), change])
  for (const stanza of stanzasOf(access)) {
    const place = places.find(({ content }) => content.find(stanza.list, stanza.name))
    if (!isAsAsked(place?.content.find(stanza.list, stanza.name), stanza)) add(place ?? target, stanza)
  }
  const current = places.find(({ content }) => content.currentContext !== undefined)?.content.currentContext
  if (current !== access.context) add(target, { currentContext: access.context })
  return changes
}

/** Without the admin's pair, which a dry run may have to do without, only what stands in the way is looked for. */
function check(at: Workspace, names: Pick<Access, 'cluster' | 'context'>, access: Access | undefined): Verdict {
  const locks = at.kubeconfigs().map((path) => `${path}.lock`)
  const lockedBy = (path: string): Verdict => ({ reasons: [{ kind: 'locked', path }] })
  // What a killed run left of a lock would block kubectl.
  const left = locks.find(mayBeLeft)
  if (left !== undefined) return lockedBy(left)
  let places: Place[]
  try {
    places = readPlaces(at)
  } catch (error) {
    // What is being written is judged again once the lock is ours.
    const held = error instanceof Failure ? locks.find((path) => existsSync(path)) : undefined
    if (held === undefined) throw error
    return lockedBy(held)
  }
  refuseOtherContext(places, names)
  if (!access) return { reasons: [] }
  refuseConflicts(places, access)
  const changes = plan(places, access)
  const reasons = [...changes].map(
    ([{ path, file }, list]): Reason =>
      file
        ? { kind: 'content-changed', path, what: list.map((change) => describe(change, path)) }
        : { kind: 'missing', path },
  )
  const modes = places.flatMap(({ real, file, content }): Reason[] => {
    const holdsOurs = content.find('users', access.user) !== undefined
    return file?.kind === 'file' && holdsOurs && (file.mode & 0o077) !== 0
      ? [{ kind: 'wrong-mode', path: real, was: file.mode, asked: secretMode }]
      : []
  })
  return { reasons: [...reasons, ...modes] }
}

function describe(change: Change, path: string): string {
  return 'currentContext' in change ? `current-context in ${path}` : `${change.key} ${change.name} in ${path}`
}

/** The user's own context of that name, for another cluster, is not overwritten. */
function refuseOtherContext(places: readonly Place[], { cluster, context }: Pick<Access, 'cluster' | 'context'>): void {
  const own = places.flatMap(({ content }) => content.contexts).find(({ name }) => name === context)
  if (own && own.cluster !== cluster)
    throw refusal(`your kubeconfig has a context ${context}, for the cluster ${String(own.cluster)}`, [
      'give ours another name: localKubeconfig.context in cluster.yaml',
    ])
}

/** What another context of the user's relies on is not overwritten. */
function refuseConflicts(places: readonly Place[], access: Access): void {
  const contexts = places.flatMap(({ content }) => content.contexts)
  const others = contexts.filter(({ name }) => name !== access.context)
  const own = contexts.find(({ name }) => name === access.context)
  for (const stanza of stanzasOf(access)) {
    const found = places.map(({ content }) => content.find(stanza.list, stanza.name)).find(Boolean)
    if (!found || isAsAsked(found, stanza)) continue
    const user =
      stanza.list === 'users' && others.find((other) => other.user === access.user && other.cluster !== access.cluster)
    if (user)
      throw refusal(`your kubeconfig has a user ${access.user} already, which context ${user.name} uses`, [
        'give ours another name: localKubeconfig.user in cluster.yaml',
      ])
    const cluster = stanza.list === 'clusters' && !own && others.find((other) => other.cluster === access.cluster)
    if (cluster)
      throw refusal(`your kubeconfig has a cluster ${access.cluster} already, which context ${cluster.name} uses`, [
        'give ours another name: name in cluster.yaml',
      ])
  }
}

async function build(at: Workspace, access: Access, { signal }: Work): Promise<string | undefined> {
  const locks: Lock[] = []
  try {
    // In one order for all, as kubectl does: of two runs with two lists neither waits for the other's second lock.
    for (const path of at.kubeconfigs().toSorted()) locks.push(await lock(path, signal, at.note))
    // Read again: it is ours alone only now.
    const places = readPlaces(at)
    refuseOtherContext(places, access)
    refuseConflicts(places, access)
    const changes = plan(places, access)
    for (const place of places) {
      for (const each of locks) each.assertHeld()
      write(place, changes.get(place) ?? [])
    }
  } finally {
    for (const each of locks.reverse()) each.release()
  }
  return undefined
}

/** kubectl's own lock; it neither waits for one nor removes what is left of one. */
async function lock(path: string, signal: AbortSignal, onWait: (text: string) => void): Promise<Lock> {
  doing('make the folder', dirname(path), () => mkdirSync(dirname(path), { recursive: true, mode: 0o700 }))
  // Longer than it takes until one that a container left counts as left.
  return takeLock(`${path}.lock`, { signal, wait: 90_000, waitForNameless: 10_000, onWait })
}

function write({ path, real, file, text }: Place, changes: readonly Change[]): void {
  if (changes.length === 0 && (file?.kind !== 'file' || (file.mode & 0o077) === 0)) return
  const changed = applyChanges(text, changes)
  if (changed === undefined)
    throw new Failure(`${path} can't be changed without touching entries that are not ours`, {
      remedy:
        'take its YAML anchors out (kubectl config view --raw writes it plainly), or set localKubeconfig.path in cluster.yaml',
    })
  const copy = `${real}.before-harderway`
  // As root with the user's HOME: it stays the user's.
  const owner = file ? statSync(real) : undefined
  if (file && changes.length > 0 && !existsSync(copy))
    replaceFile(copy, file.kind === 'file' ? file.bytes : '', secretMode, { durable: true, owner })
  replaceFile(real, changed, secretMode, { durable: true, owner })
}
