/**
 * Phase `revoked`: the list of who is revoked, as API servers read it, made from `revoked` of cluster.yaml alone. No list
 * is shortened unnoticed: a name that a list in auth/ or on a control node has, and cluster.yaml lacks, stops the run,
 * unless its command names `revoked`.
 */
import * as v from 'valibot'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, tryToAwait } from '../../lib/failure.ts'
import {
  type AuthFile,
  authorizationConfigFile,
  authorizationFiles,
  authorizationWebhookFile,
  etcdCaName,
} from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import type { BuildContext } from '../../lib/graph/target.ts'
import {
  formatAuthorization,
  isForeignAuthorization,
  readRevoked,
  reviewOf,
  webhookKubeconfig,
} from '../../lib/kubernetes/authorization.ts'
import { diff } from '../../lib/node/place.ts'
import { fileAt, type PlacesState, realPath } from '../../lib/node/state.ts'
import { type Check, type Diff, texts } from '../../lib/results.ts'
import { count, formatNames, joinClauses } from '../../lib/wording.ts'
import { holdersOf, revokedLine } from '../auth/accepted.ts'
import { authTarget, type ClusterTarget, type Run } from '../cluster-target.ts'
import { type FileOnNode, fileOn } from '../deploy/owner.ts'
import type { UnitOnNode } from '../inspect/agreement.ts'
import { type OnNode, withApi } from '../inspect/component.ts'
import { digestOf, installOf, type NodeLook, reloadTime, repeat } from '../inspect/look.ts'
import { diffsOfUnit, isUnfinished } from '../install/check-units.ts'
import {
  desiredAt,
  forgetOld,
  isInstalled,
  lookAtUnits,
  putBack,
  refuseOpen,
  replaceAtPlaces,
  type UnitsLook,
} from '../install/places.ts'
import { apiServer } from '../layouts/layout.ts'
import { etcdOf, listPath, serviceOf } from '../layouts/tables.ts'

const name = 'revoked'

export function targets({ revoked }: Cluster): ClusterTarget[] {
  if (revoked === undefined) return []
  return [
    authTarget({
      id: name,
      phase: name,
      needs: [],
      // By the first of its files a target is named.
      makes: authorizationFiles.toReversed(),
      desired: { revoked: revoked.toSorted() },
      purpose: 'who is revoked',
      where: 'auth',
      check,
      build: async (run) => {
        run.auth.writeDurably(...contentsOf(run).map(([file, text]): AuthFile => [file, text, secretMode]))
        return undefined
      },
    }),
  ]
}

/** The kubeconfig comes first: the other file names it. */
function contentsOf({ cluster }: Pick<Run, 'cluster'>): [file: string, text: string][] {
  return [
    [authorizationWebhookFile, webhookKubeconfig],
    [authorizationConfigFile, formatAuthorization(cluster.revoked ?? [], listPath(cluster, authorizationWebhookFile))],
  ]
}

function check(run: Run): Check {
  const { auth, cluster } = run
  const { revoked = [] } = cluster
  const listed = readRevoked(auth.tryBytes(authorizationConfigFile)?.toString() ?? '')?.names ?? []
  const added = revoked.filter((each) => !listed.includes(each))
  const removed = listed.filter((each) => !revoked.includes(each))
  const isOther = added.length + removed.length > 0
  const accepted = new Set(holdersOf({ ...run, cluster: { ...cluster, revoked: [] } }).map((each) => each.name))
  const unknown = added.filter((each) => !accepted.has(each))
  const diffs = contentsOf(run).flatMap(([file, text]): Diff[] => {
    const found = auth.checkFile(file, 'a list written by harderway', (bytes) => bytes.toString())
    const isChanged = !isOther && found.value !== undefined && found.value !== text
    return [...found.diffs, ...(isChanged ? [{ what: `${file} changed`, verb: 'change' as const, names: [file] }] : [])]
  })
  const changed = joinClauses(
    added.length > 0 && `revoked: ${formatNames(added)}`,
    removed.length > 0 && `no longer revoked: ${formatNames(removed)}`,
  )
  return {
    diffs: [...(changed ? [{ what: changed, verb: 'change' as const }] : []), ...diffs],
    warn: texts(unknown.length > 0 && `${auth.path} has no certificate of ${unknown.join(', ')}; check the spelling`),
    todo: etcdIsOpen(run, accepted),
    note: revoked.length === 0 ? 'nobody is revoked' : `revoked: ${formatNames(revoked)}`,
  }
}

/** etcd asks no API server: it takes every certificate of its CA. */
function etcdIsOpen({ cluster, command }: Run, accepted: ReadonlySet<string>): string[] {
  const etcd = etcdOf(cluster)
  const { revoked = [] } = cluster
  if (etcd === undefined || etcd.ca === etcdCaName) return []
  const open = revoked.filter((each) => accepted.has(each))
  if (open.length === 0) return []
  return [
    `certificates of ${formatNames(open)} still open etcd, and so the cluster, through port 2379, until you replace the CA:\n    ${command('rotate ca')}\nor write in cluster.yaml etcd.ca: own, and run:\n    ${command('rotate etcd-ca')}`,
  ]
}

/** Of the list in auth/: why no run may begin. */
export function findRefusedList(run: Run): Failure | undefined {
  const bytes = run.auth.tryBytes(authorizationConfigFile)
  return bytes && refusedList(run, `${run.auth.path}/${authorizationConfigFile}`, bytes.toString())
}

/** Throws a refusal for a list on a control node: in its folder, or where its API server reads one. */
export function guardList(run: Run, node: ClusterNode, look: NodeLook): void {
  for (const { at, bytes, state, file } of listsOn(run, node, look)) {
    // It is that of auth/, which has been looked at.
    if (!bytes && state.sha256 !== undefined && state.sha256 === digestOf(run, file)) continue
    const refused = refusedList(run, at, bytes?.toString())
    if (refused) throw refused.with({ node: node.name })
  }
}

export function listsOn({ cluster }: Pick<Run, 'cluster'>, { role }: ClusterNode, look: NodeLook): FileOnNode[] {
  if (role !== 'control') return []
  const { places } = look
  const file = authorizationConfigFile
  const inFolder = fileOn(look, file, file)
  if (!places || places instanceof Failure) return inFolder
  const atPlaces = fileOn(places, realPath(places, listPath(cluster, file)), file)
  // One that an API server's owner has written is no list of ours.
  return [...inFolder, ...atPlaces.filter(({ bytes }) => !bytes || !isForeignAuthorization(bytes.toString()))]
}

function refusedList(run: Run, file: string, text: string | undefined): Failure | undefined {
  const { cluster, command, options } = run
  const { names = [], keys = [] } = readRevoked(text ?? '') ?? {}
  if (keys.length > 0) return refusalOfKeys(file, keys)
  if (options.names.includes(name) && cluster.revoked !== undefined) return undefined
  const letIn = command(`${name} install`)
  if (cluster.revoked !== undefined && (text === undefined || isForeignAuthorization(text)))
    return refusal(`${file} is not a list that harderway wrote, and may have more than revoked in cluster.yaml`, [
      `move it aside, or replace it:\n    ${letIn}`,
    ])
  const forgotten = names.filter((each) => !cluster.revoked?.includes(each))
  if (forgotten.length === 0) return undefined
  const key = cluster.revoked === undefined ? 'write revoked: [] in cluster.yaml, then run' : 'run'
  return refusal(`${file} lists ${formatNames(forgotten)} as revoked, and cluster.yaml does not`, [
    `write in cluster.yaml:\n    ${revokedLine(run, forgotten)}`,
    `or, to restore access with every certificate that is still valid, ${key}:\n    ${letIn}`,
  ])
}

/** Of a list with keys, as 0.4 and 0.5 write: API servers deny any new certificate of a revoked key's user. */
export function refusalOfKeys(file: string, keys: readonly string[]): Failure {
  return refusal(`${file} revokes keys (${formatNames(keys)}), and this version revokes names alone`, [
    'with harderway 0.5.0, give these people new names in the same groups, and revoke the old names',
    'then, for kube-proxy or a node that keeps its name, run rotate ca --finish with harderway 0.5.0',
    'then take the keys out of revoked, and run revoked install with harderway 0.5.0 (docs/bad-day.md, "A list with keys")',
  ])
}

export type ListLook = UnitsLook & {
  readonly revokedInForce: number
}

const reviewed = v.object({ status: v.nullish(v.object({ denied: v.optional(v.boolean()) })) })

/** True if the API server denies everybody on the list, ahead of Node and RBAC; undefined without an answer. */
async function readInForce({ run, node }: OnNode): Promise<boolean | undefined> {
  const spec = reviewOf(run.cluster.revoked ?? [])
  const review = { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', spec }
  return tryToAwait(() =>
    withApi({ run }, node, async (api) => {
      const path = '/apis/authorization.k8s.io/v1/subjectaccessreviews'
      const { status } = await api.read(reviewed, 'POST', path, review)
      return status?.denied === true
    }),
  )
}

/** Both files are there, so that the API server may be started with them. */
export function isListPlaced(found: { readonly units: readonly UnitOnNode[]; readonly places: PlacesState }): boolean {
  return found.units.flatMap(({ files }) => files.filter(isOfList)).every(({ path }) => fileAt(found.places, path))
}

/** Of a control node: the list is where its API server reads it, loaded, and proven by a review that only it denies. */
export async function checkList(run: Run, node: ClusterNode, before?: UnitsLook): Promise<Check<ListLook>> {
  const look = before && (await checkFound({ run, node }, before))
  return look?.diffs.length === 0 ? look : checkFound({ run, node }, await lookAtUnits(run, node))
}

async function checkFound(on: OnNode, found: UnitsLook): Promise<Check<ListLook>> {
  const { run, node } = on
  refuseOwned(node, found)
  const { revoked = [] } = run.cluster
  const isInForce = ofApiServer(found) && (await readInForce(on))
  const open = revoked.length === 0 ? undefined : whyOpen(found, isInForce)
  const revokedInForce = isInForce && open === undefined ? revoked.length : 0
  return {
    diffs: diffsOfList(run, found, isInForce),
    findings: { ...found, revokedInForce },
    note: revoked.length > 0 ? `${revokedInForce} of ${revoked.length} revoked entries enforced` : 'nobody is revoked',
    todo: texts(open),
  }
}

const versioned = v.object({ minor: v.string() })

/** Before the first list is made. An API server before 1.32 does not know its version, and would not start with it. */
export async function refuseOldVersion(run: Run, node: ClusterNode): Promise<void> {
  if (run.auth.read(authorizationConfigFile)) return
  const version = await tryToAwait(() => withApi({ run }, node, (api) => api.read(versioned, 'GET', '/version')))
  const minor = Number.parseInt(version?.minor ?? '', 10)
  if (!(minor < 32)) return
  throw refusal(`revoked needs Kubernetes 1.32 or later, and ${apiServer} is 1.${minor}`, [
    `take revoked out of cluster.yaml, and end the access with every old certificate:\n    ${run.command('rotate ca')}`,
  ]).with({ node: node.name })
}

/** An API server whose owner has an authorization of their own gets no list. */
function refuseOwned(node: ClusterNode, found: UnitsLook): void {
  const why = ofApiServer(found)?.owned
  if (why === undefined) return
  throw refusal(`revoked can't be enforced by ${apiServer}, as ${why}`, [
    `let it have --authorization-mode=Node,RBAC alone, or remove revoked from cluster.yaml`,
  ]).with({ node: node.name })
}

/** Why its API server does not enforce the list, unless this run is about to change that. */
function whyOpen(found: UnitsLook, isInForce: boolean | undefined): string | undefined {
  const unit = ofApiServer(found)
  if (!unit) return `revoked is not enforced, as ${apiServer} is not installed as a unit`
  if (isInForce) return undefined
  if (isInForce === undefined) return `revoked may not be enforced, as ${apiServer} did not answer`
  return reloads(unit) || unit.notStartedWith.some(isOfList) ? undefined : `revoked is not enforced by ${apiServer}`
}

const ofApiServer = ({ units, places }: UnitsLook) =>
  units.find((unit) => unit.unit === apiServer && isInstalled(unit, places))

const isOfList = ({ file }: { readonly file: string }) => authorizationFiles.includes(file)

function listUnit(found: UnitsLook): UnitOnNode | undefined {
  const unit = ofApiServer(found)
  return unit && { ...unit, files: unit.files.filter(isOfList) }
}

/** Its process was started with the list, so it reloads it. */
const reloads = ({ files }: UnitOnNode) => files.some((place) => isOfList(place) && place.loads === 'reload')

function diffsOfList(run: Run, found: UnitsLook, isInForce: boolean | undefined): Diff[] {
  const unit = listUnit(found)
  if (!unit) return []
  const places = diff(desiredAt(run, [unit], found.places), found.places)
  // A killed run has left the list before: it must never come back.
  const isOld = reloads(unit) && (isInForce === false || isUnfinished(unit, found.places))
  if (places.length === 0 && !isOld) return []
  const why = places.length === 0 ? [`${apiServer} has not loaded ${authorizationConfigFile}`] : []
  return diffsOfUnit({ unit, places, why, isToLoad: true, restarts: false })
}

/** Restores the old file if the API server does not load the new one: it would not start with it. */
export async function bringList(
  on: OnNode,
  { findings: found, signal, tell }: BuildContext<ListLook>,
): Promise<undefined> {
  const { run, node } = on
  const unit = listUnit(found)
  if (!unit) return
  const at = { ...on, signal, tell }
  const all = desiredAt(run, [unit], found.places)
  const paths = new Set(diff(all, found.places).map(({ path }) => path))
  const desired = all.filter(({ path }) => paths.has(path))
  if (desired.length > 0) {
    const files = unit.files.filter(({ path }) => paths.has(realPath(found.places, path)))
    refuseOpen(on, { ...unit, files }, found.places)
    tell(`installing ${count(desired.length, 'file')}`)
  }
  await replaceAtPlaces(at, found, { desired, all })
  if (reloads(unit)) {
    tell(`waiting for ${authorizationConfigFile} of ${apiServer}`)
    const look = async () => ((await readInForce(on)) ? undefined : 'not loaded')
    if ((await repeat(Math.min(reloadTime, installOf(run).timeout), look, signal)) !== undefined) {
      await putBack(at, found, [...paths])
      throw notLoaded(run, node)
    }
  }
  await forgetOld(at, found, new Map(all.map(({ path, sha256 = '' }) => [path, sha256])))
}

function notLoaded({ cluster }: Run, node: ClusterNode): Failure {
  return new Failure(`${apiServer} has not loaded ${authorizationConfigFile}; restored the old file`, {
    node: node.name,
    code: 'not-loaded',
    remedy: `check why:\n    journalctl -u ${serviceOf(cluster, apiServer)}`,
  })
}
