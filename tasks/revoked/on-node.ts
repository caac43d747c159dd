/**
 * The list of who is revoked, on a control node: copied to where its API server reads it, loaded without a restart, and
 * proven there by a review that only this list denies.
 */
import * as v from 'valibot'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, tryToAwait } from '../../lib/failure.ts'
import { authorizationConfigFile, authorizationFiles } from '../../lib/files/auth-dir.ts'
import type { BuildContext } from '../../lib/graph/target.ts'
import { reviewOf } from '../../lib/kubernetes/authorization.ts'
import { diff } from '../../lib/node/place.ts'
import { fileAt, type PlacesState, realPath } from '../../lib/node/state.ts'
import { type Check, type Diff, texts } from '../../lib/results.ts'
import { count } from '../../lib/wording.ts'
import type { UnitOnNode } from '../inspect/agreement.ts'
import { type OnNode, withApi } from '../inspect/component.ts'
import { installOf, reloadTime, repeat } from '../inspect/look.ts'
import { diffsOfUnit, isUnfinished } from '../install/check-units.ts'
import { isInstalled, lookAtUnits, type UnitsFound } from '../install/look-at-units.ts'
import { desiredAt, forgetOld, putBack, refuseOpen, replaceAtPlaces } from '../install/places.ts'
import { apiServer } from '../layouts/layout.ts'
import { serviceOf } from '../layouts/tables.ts'
import type { Run } from '../target.ts'

export type ListFound = UnitsFound & {
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

export async function checkList(run: Run, node: ClusterNode, before?: UnitsFound): Promise<Check<ListFound>> {
  const look = before && (await checkFound({ run, node }, before))
  return look?.diffs.length === 0 ? look : checkFound({ run, node }, await lookAtUnits(run, node))
}

async function checkFound(on: OnNode, found: UnitsFound): Promise<Check<ListFound>> {
  const { run, node } = on
  refuseOwned(node, found)
  const { revoked = [] } = run.cluster
  const isInForce = ofApiServer(found) && (await readInForce(on))
  const open = revoked.length === 0 ? undefined : whyOpen(found, isInForce)
  const revokedInForce = isInForce && open === undefined ? revoked.length : 0
  return {
    diffs: diffsOfList(run, found, isInForce),
    found: { ...found, revokedInForce },
    note: revoked.length > 0 ? `${revokedInForce} of ${revoked.length} revoked entries enforced` : 'nobody is revoked',
    todo: texts(open),
  }
}

/** An API server whose owner has an authorization of their own gets no list. */
function refuseOwned(node: ClusterNode, found: UnitsFound): void {
  const why = ofApiServer(found)?.owned
  if (why === undefined) return
  throw refusal(`revoked can't be enforced by ${apiServer}, as ${why}`, [
    `let it have --authorization-mode=Node,RBAC alone, or remove revoked from cluster.yaml`,
  ]).with({ node: node.name })
}

/** Why its API server does not enforce the list, unless this run is about to change that. */
function whyOpen(found: UnitsFound, isInForce: boolean | undefined): string | undefined {
  const unit = ofApiServer(found)
  if (!unit) return `revoked is not enforced, as ${apiServer} is not installed as a unit`
  if (isInForce) return undefined
  if (isInForce === undefined) return `revoked may not be enforced, as ${apiServer} did not answer`
  return reloads(unit) || unit.notStartedWith.some(isOfList) ? undefined : `revoked is not enforced by ${apiServer}`
}

const ofApiServer = ({ units, places }: UnitsFound) =>
  units.find((unit) => unit.unit === apiServer && isInstalled(unit, places))

const isOfList = ({ file }: { readonly file: string }) => authorizationFiles.includes(file)

function listUnit(found: UnitsFound): UnitOnNode | undefined {
  const unit = ofApiServer(found)
  return unit && { ...unit, files: unit.files.filter(isOfList) }
}

/** Its process was started with the list, so it reloads it. */
const reloads = ({ files }: UnitOnNode) => files.some((place) => isOfList(place) && place.loads === 'reload')

function diffsOfList(run: Run, found: UnitsFound, isInForce: boolean | undefined): Diff[] {
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
export async function bringList(on: OnNode, { found, signal, tell }: BuildContext<ListFound>): Promise<undefined> {
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
