/** Looks at a node's units: their files, and what the components of those that run answer. */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure, runAgain, tryToAwait } from '../../../lib/failure.ts'
import { kubeconfigFile } from '../../../lib/files/auth-dir.ts'
import { asUnknown } from '../../../lib/node/node.ts'
import { folderOf } from '../../../lib/node/place.ts'
import { fileAt, isRunning, type PlacesState } from '../../../lib/node/state.ts'
import { refuseDisagreement, type UnitOnNode } from '../../inspect/agreement.ts'
import {
  type Life,
  loadedConfigIn,
  readHealth,
  readMetrics,
  readSelfMade,
  readServedCertificate,
  readsCaAgain,
  type ServedCertificate,
} from '../../inspect/component.ts'
import { digestAt, lookAtNode, type NodeLook, placesOf } from '../../inspect/look.ts'
import type { Health, Place, Port, Unit } from '../../layouts/layout.ts'
import type { Run } from '../../target.ts'

export interface UnitsFound extends NodeLook {
  readonly places: PlacesState
  /** The certificates that are served, by port. */
  readonly served: ReadonlyMap<number, ServedCertificate>
  /** Of the certificate that its API server made itself; undefined where it shows none. */
  readonly selfMade: Life | undefined
  /** Why a unit that runs is not healthy, by its name. */
  readonly unhealthy: ReadonlyMap<string, string>
  /** SHA-256 of the encryption config that its API server has loaded; undefined if it did not tell. */
  readonly loadedConfig?: string | undefined
}

/** Uses the node's one connection. `made`: a look of just now. Throws a Failure if the units could not be looked at. */
export async function lookAtUnits(run: Run, node: ClusterNode, made?: NodeLook): Promise<UnitsFound> {
  try {
    const look = made ?? (await lookAtNode(run, node))
    const places = placesOf(look)
    refuseDisagreement(look.units)
    refuseOtherName(run, node, look.units, places)
    const units = await withLoads(run, node, look.units, places)
    const asked = units.filter((unit) => isInstalled(unit, places) && mayAnswer(unit, places))
    const answers = await lookAtAnswers(run, node, asked)
    return { ...look, places, units, ...answers, loadedConfig: await readLoadedConfig(run, node, asked, places) }
  } catch (error) {
    throw asUnknown(node.name, error)
  }
}

/** When each file is read. */
async function withLoads(run: Run, node: ClusterNode, units: readonly UnitOnNode[], places: PlacesState) {
  return Promise.all(
    units.map(async (unit): Promise<UnitOnNode> => {
      const isAsked = unit.metrics && mayAnswer(unit, places) && isCaOpen(run, unit, places)
      const polls = isAsked && (await readsCaAgain({ run }, node, unit.metrics))
      const isPolled = ({ part, isUnnamed }: Place) => polls && part === 'ca' && !isUnnamed
      return { ...unit, files: unit.files.map((place) => (isPolled(place) ? { ...place, loads: 'poll' } : place)) }
    }),
  )
}

/** It may have to load another CA than it was started with. */
function isCaOpen(run: Run, unit: Unit, places: PlacesState): boolean {
  const isOpen = (place: Place) =>
    run.stagedBy === 'ca' ||
    !isLoaded(unit, place.path, places) ||
    fileAt(places, place.path)?.sha256 !== digestAt(run, place)
  return unit.files.some((place) => place.part === 'ca' && isOpen(place))
}

/**
 * Throws a Failure for a kubelet that calls its node by another name: with our kubeconfig it could change neither its
 * own Node nor its lease, and would still get answers.
 */
export function refuseOtherName(
  run: Pick<Run, 'options'>,
  node: ClusterNode,
  units: readonly UnitOnNode[],
  places: PlacesState,
): void {
  const kubelet = units.find(({ files }) => files.some(({ file }) => file === kubeconfigFile(node.name)))
  const name = (kubelet?.nodeName ?? places.hostname)?.toLowerCase()
  if (!kubelet || !isRunning(places, kubelet.unit) || name === undefined || name === node.name) return
  if (run.options.replaceIdentity) return
  const source = kubelet.nodeName === undefined ? 'host name' : '--hostname-override'
  throw new Failure(`its kubelet calls the node ${name} (${source}), not ${node.name}`, {
    node: node.name,
    code: 'wrong-setting',
    remedy: `use that name in cluster.yaml; or, if no Node ${name} is in use, set --hostname-override=${node.name}, and restart it:\n    systemctl edit --full ${kubelet.service}\nthen ${runAgain}`,
  })
}

/** True if it has finished its start. */
function mayAnswer({ unit }: Unit, { units }: PlacesState): boolean {
  return units.get(unit)?.active === 'active'
}

/** Its metrics are long: they are read only during a rotation, and where its start does not show that it has loaded the file. */
async function readLoadedConfig(
  run: Run,
  node: ClusterNode,
  units: readonly Unit[],
  places: PlacesState,
): Promise<string | undefined> {
  const isRead = (unit: Unit) =>
    unit.files.some(({ mayReload, path }) => mayReload && (run.stagedBy !== undefined || !isLoaded(unit, path, places)))
  return units.some(isRead) ? tryToAwait(async () => loadedConfigIn(await readMetrics({ run }, node))) : undefined
}

type Answers = Pick<UnitsFound, 'served' | 'selfMade' | 'unhealthy'>

async function lookAtAnswers(run: Run, node: ClusterNode, units: readonly Unit[]): Promise<Answers> {
  const served = new Map<number, ServedCertificate>()
  const unhealthy = new Map<string, string>()
  const addServed = async (port: Port) => served.set(port.port, await readServedCertificate({ run }, node, port))
  const healthOf = async ({ unit, serves }: Unit, health: Health) => {
    const seen = await readHealth({ run }, node, health)
    if (seen.why !== undefined) unhealthy.set(unit, seen.why)
    const own = serves.find(({ port }) => port === health.port)
    // A server that is not trusted gives no answer, and still shows a certificate.
    if (own && seen.served) served.set(own.port, seen.served)
    else if (own) await addServed(own)
  }
  const look = ({ health, ...unit }: Unit) => [
    health && healthOf(unit, health),
    ...unit.serves.filter(({ port }) => port !== health?.port).map(addServed),
  ]
  const [selfMade] = await Promise.all([readSelfMade({ run }, node, units), ...units.flatMap(look)])
  return { served, selfMade, unhealthy }
}

export function isInstalled({ unit, bundle, files, isInstalledEarly }: Unit, places: PlacesState): boolean {
  if (bundle !== undefined) return files.some(({ path }) => fileAt(places, path))
  const isThere = files.every(({ path }) => places.folders.has(folderOf(path)))
  if (isInstalledEarly && isThere) return true
  // A unit that runs is installed, even if its unit file is now gone, masked or invalid.
  return isThere && (places.units.get(unit)?.isLoaded === true || isRunning(places, unit))
}

/**
 * True if the unit was started after the last change of the file, by the node's clock, or the file is not there. For a
 * bundle of certificates its last change is the start.
 */
export function isLoaded({ unit, bundle }: Pick<Unit, 'unit' | 'bundle'>, path: string, places: PlacesState): boolean {
  const changed = fileAt(places, path)?.changed
  if (changed === undefined) return true
  const started = bundle === undefined ? places.units.get(unit)?.started : fileAt(places, bundle)?.changed
  return started !== undefined && started > changed
}

/** A unit that its owner stopped is not up, and stays stopped. */
export function isUp({ unit, bundle }: Unit, places: PlacesState): boolean {
  return bundle !== undefined || isRunning(places, unit)
}
