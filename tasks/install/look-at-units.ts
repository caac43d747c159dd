/** Looks at a node's units: their files, and what the components of those that run answer. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { tryToAwait } from '../../lib/failure.ts'
import { asUnknown } from '../../lib/node/node.ts'
import { folderOf } from '../../lib/node/place.ts'
import { fileAt, isRunning, type PlacesState } from '../../lib/node/state.ts'
import { formatDate } from '../../lib/wording.ts'
import type { Beside } from '../deploy/folder.ts'
import { refuseDisagreement, type UnitOnNode } from '../inspect/agreement.ts'
import {
  type Life,
  loadedConfigIn,
  type OnNode,
  readHealth,
  readMetrics,
  readSelfMade,
  readServedCertificate,
  readsCaAgain,
  renewsFrom,
  type ServedCertificate,
} from '../inspect/component.ts'
import { digestAt, installOf, lookAtNode, type NodeLook, placesOf } from '../inspect/look.ts'
import type { Health, Place, Port, Unit } from '../layouts/layout.ts'
import { nodeUnits } from '../layouts/tables.ts'
import { guardList } from '../revoked/revoked.ts'
import type { Run } from '../target.ts'

export interface UnitsFound extends NodeLook {
  readonly places: PlacesState
  readonly served: ReadonlyMap<number, ServedCertificate>
  /** Of the certificate that its API server made itself; undefined where it shows none. */
  readonly selfMade: Life | undefined
  readonly unhealthy: ReadonlyMap<string, string>
  /** SHA-256 of the encryption config that its API server has loaded; undefined if it did not tell. */
  readonly loadedConfig?: string | undefined
}

/**
 * With the check of a node's folder, where nodes are looked at side by side: `install` checks them in the order of their
 * restarts. Without `install`, nothing here restarts an API server whose loopback certificate expires. Throws a refusal for
 * a list of who is revoked that is longer than that of cluster.yaml.
 */
export async function lookBeside({ run, node }: OnNode, look: NodeLook, isCopied: boolean): Promise<Beside> {
  guardList(run, node, look)
  const { install } = run.cluster
  if (install) return { units: isCopied ? undefined : await tryToAwait(() => lookAtUnits(run, node, look)) }
  const life = run.isObserved && (await tryToAwait(() => readSelfMade({ run }, node, nodeUnits(run.cluster, node))))
  if (!life) return {}
  const { notAfter: until } = life
  if (renewsFrom(run, life) > run.now) return { until }
  const warning = `on ${node.name}, restart kube-apiserver before ${formatDate(until, run.now)}, when its loopback certificate expires and it fails:\n    sudo systemctl restart kube-apiserver`
  return { until, warn: [warning] }
}

/** Uses the node's one connection. `made`: a look of just now. Throws a Failure if the units could not be looked at. */
export async function lookAtUnits(run: Run, node: ClusterNode, made?: NodeLook): Promise<UnitsFound> {
  try {
    const look = made ?? (await lookAtNode(run, node))
    const places = placesOf(look)
    refuseDisagreement(look.units)
    const units = await Promise.all(look.units.map((unit) => withPolledCa(run, node, unit, places)))
    const asked = units.filter((unit) => isInstalled(unit, places) && mayAnswer(unit, places))
    const answers = await lookAtAnswers(run, node, asked)
    return { ...look, places, units, ...answers, loadedConfig: await readLoadedConfig(run, node, asked, places) }
  } catch (error) {
    throw asUnknown(node.name, error)
  }
}

/** It polls for the CA of its kubeconfig too, if its metrics say so. Asked where it may have to load another CA. */
async function withPolledCa(run: Run, node: ClusterNode, unit: UnitOnNode, places: PlacesState): Promise<UnitOnNode> {
  const { metrics, files } = unit
  const isOpen = ({ part, path, file }: Place) =>
    part === 'ca' &&
    (run.stagedBy === 'ca' ||
      !isLoaded(unit, path, places) ||
      fileAt(places, path)?.sha256 !== digestAt(run, { file, part }))
  const isAsked = metrics && mayAnswer(unit, places) && files.some(isOpen)
  if (!isAsked || !(await readsCaAgain({ run }, node, metrics))) return unit
  const isPolled = ({ part, isUnnamed }: Place) => part === 'ca' && !isUnnamed
  return { ...unit, files: files.map((place) => (isPolled(place) ? { ...place, loads: 'poll' } : place)) }
}

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

/** True if the unit was started after the last change of the file (of a bundle, its certificates), or has none. */
export function isLoaded({ unit, bundle }: Unit, path: string, places: PlacesState): boolean {
  const changed = fileAt(places, path)?.changed
  if (changed === undefined) return true
  const started = bundle === undefined ? places.units.get(unit)?.started : fileAt(places, bundle)?.changed
  return started !== undefined && started > changed
}

/** A unit that its owner stopped is not up, and stays stopped. */
export function isUp({ unit, bundle }: Unit, places: PlacesState): boolean {
  return bundle !== undefined || isRunning(places, unit)
}

/** By a killed run, and cluster.yaml says how to undo that. */
export function isLeftDrained(run: Run, { places }: UnitsFound): boolean {
  return places.isDrained && installOf(run).undrain !== ''
}
