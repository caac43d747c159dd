/** Looks at a node's units: their files, and what the components of those that run answer. */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure, runAgain, tryToAwait } from '../../../lib/failure.ts'
import { kubeconfigFile } from '../../../lib/files/auth-dir.ts'
import { readClientCertificate } from '../../../lib/kubernetes/kubeconfig.ts'
import { asUnknown } from '../../../lib/node/node.ts'
import { folderOf } from '../../../lib/node/place.ts'
import { fileAt, isRunning, type PlacesState, realPath } from '../../../lib/node/state.ts'
import { commonNameOf, readCertificate } from '../../../lib/pki/certificate.ts'
import { isOfOwnCa } from '../../../lib/pki/pair.ts'
import { refuseDisagreement, type UnitOnNode } from '../../inspect/agreement.ts'
import {
  isApiServer,
  type Life,
  type LoadedConfig,
  parseLoadedConfig,
  readHealth,
  readMetrics,
  readSelfMade,
  readServedCertificate,
  readsCaAgain,
  type ServedCertificate,
} from '../../inspect/component.ts'
import { digestAt, installOf, lookAtNode, type NodeLook, placesOf, repeat } from '../../inspect/look.ts'
import type { Health, Place, Port, Unit } from '../../layouts/layout.ts'
import { certTable, nodeUnits, serviceOf } from '../../layouts/tables.ts'
import type { Run } from '../../target.ts'
import { type ListInForce, readInForce } from '../revoked/on-node.ts'
import { isLoaded } from './loaded.ts'

export interface UnitsFound extends NodeLook {
  readonly places: PlacesState
  /** The certificates that are served, by port. */
  readonly served: ReadonlyMap<number, ServedCertificate>
  /** Of the certificate that its API server made itself; undefined where it shows none. */
  readonly selfMade: Life | undefined
  /** Why a unit that runs is not healthy, by its name. */
  readonly unhealthy: ReadonlyMap<string, string>
  /** The encryption config of its API server; undefined if it was not queried, or did not answer. */
  readonly config?: LoadedConfig | undefined
  /** What its API server says of the list of who is revoked; undefined if it was not queried, or did not answer. */
  readonly inForce?: ListInForce | undefined
}

/** Uses the node's one connection. `made`: a look of just now. Throws a Failure if the units could not be looked at. */
export async function lookAtUnits(run: Run, node: ClusterNode, made?: NodeLook): Promise<UnitsFound> {
  try {
    const look = await lookWhenSettled(run, node, made)
    const places = placesOf(look)
    refuseDisagreement(look.units)
    refuseOddPaths(node, look.units, places)
    refuseOtherUsers(run, node, look.units, places)
    const units = await withLoads(run, node, look.units, places)
    const asked = units.filter((unit) => isInstalled(unit, places) && mayAnswer(unit, places))
    const answers = await lookAtAnswers(run, node, asked)
    const hasApi = asked.some(isApiServer)
    const inForce = hasApi ? await readInForce(run, node) : undefined
    return {
      ...look,
      places,
      units,
      ...answers,
      config: await lookAtConfig(run, node, asked, places),
      inForce,
    }
  } catch (error) {
    throw asUnknown(node.name, error)
  }
}

/** Waits until no unit is stopping: a killed run may be restarting it, so it does not count as stopped by its owner. */
async function lookWhenSettled(run: Run, node: ClusterNode, made: NodeLook | undefined): Promise<NodeLook> {
  let look = made ?? (await lookAtNode(run, node))
  const units = nodeUnits(run.cluster, node).map(({ unit }) => unit)
  const why = await repeat(installOf(run).timeout, async () => {
    const stopping = units.find((unit) => placesOf(look).units.get(unit)?.isStopping)
    if (stopping !== undefined) look = await lookAtNode(run, node)
    return stopping
  })
  if (why === undefined) return look
  throw new Failure(`${why} did not stop within install.timeout`, {
    node: node.name,
    code: 'not-looked-at',
    remedy: `find out why on ${node.name}:\n    systemctl status ${serviceOf(run.cluster, why)}\nthen ${runAgain}`,
  })
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
  return unit.files.some((place) => place.part === 'ca' && !embedsCa(run, place, unit, places) && isOpen(place))
}

/** The kubeconfig is as those were that had the CA embedded. */
export function embedsCa(run: Run, { file }: Pick<Place, 'file'>, { files }: Unit, places: PlacesState): boolean {
  const there = files.find((place) => place.file === file && place.part === 'kubeconfig')
  return there !== undefined && fileAt(places, there.path)?.sha256 === digestAt(run, { file, part: 'embedded' })
}

/**
 * A kubeconfig of our CA that is of another user is not replaced: the unit would be somebody else, who may do other
 * things. Nor does a kubelet get another name: it may change neither its own Node nor its lease then, and still gets
 * answers. Throws a Failure.
 */
export function refuseOtherUsers(
  run: Pick<Run, 'auth' | 'cluster' | 'options' | 'command'>,
  node: ClusterNode,
  units: readonly UnitOnNode[],
  places: PlacesState,
): void {
  if (run.options.replaceIdentity) return
  const refuse = (what: string, remedy: string) =>
    new Failure(what, { node: node.name, code: 'wrong-setting', remedy: `${remedy}; then ${runAgain}` })
  for (const unit of units) {
    const other = unit.files.flatMap((place) => otherUserAt(run, place, places))[0]
    if (other)
      throw refuse(
        `${other.path} of ${unit.unit} is a kubeconfig of ${other.held}, not ${other.wanted}`,
        `let ${unit.unit} read another file, or give the node or unit that name in cluster.yaml; or overwrite the file:\n    ${run.command(`install --node ${node.name} --replace-identity`)}`,
      )
    const isOfNode = unit.files.some(({ file }) => file === kubeconfigFile(node.name))
    const name = (unit.nodeName ?? places.hostname)?.toLowerCase()
    if (!isOfNode || !isRunning(places, unit.unit) || name === undefined || name === node.name) continue
    const source = unit.nodeName === undefined ? 'host name' : '--hostname-override'
    throw refuse(
      `its kubelet calls the node ${name} (${source}), not ${node.name}`,
      `use that name in cluster.yaml; or, if no Node ${name} is in use, set --hostname-override=${node.name}, and restart it:\n    systemctl edit --full ${unit.service}`,
    )
  }
}

/** Of a certificate of our CA there whose user is not the one that it should be. */
function otherUserAt(
  { auth, cluster }: Pick<Run, 'auth' | 'cluster'>,
  { file, path, part }: Place,
  places: PlacesState,
) {
  const bytes = part === 'pair' || part === 'kubeconfig' ? places.contents.get(realPath(places, path)) : undefined
  const held = bytes && readCertificate((part === 'kubeconfig' ? readClientCertificate(bytes.toString()) : bytes) ?? '')
  const name = auth.files.parse(file)?.name
  const wanted = certTable(cluster).find((row) => row.name === name)?.profile.subject.CN
  if (!held || wanted === undefined || held.attributes.includes(`CN=${wanted}`)) return []
  if (!isOfOwnCa(auth, held)) return []
  return [{ path, wanted, held: commonNameOf(held) ?? 'nobody' }]
}

/** Root does not write to paths that are ambiguous. */
export function refuseOddPaths(node: ClusterNode, units: readonly UnitOnNode[], { odd, real }: PlacesState): void {
  const refuse = (what: string, remedy: string) =>
    new Failure(`${what}; nothing was installed`, { node: node.name, code: 'odd-path', remedy })
  const remedy = 'set the real path in cluster.yaml (install.units)'
  const rows = units.flatMap(({ unit, files }) => files.map((place) => ({ ...place, unit })))
  const lost = rows.find(({ path }) => odd.includes(path))
  if (lost) throw refuse(`${lost.path} leads nowhere, or to a name with special characters`, remedy)
  for (const same of Map.groupBy(rows, ({ path }) => realPath({ real }, path)).values()) {
    const [first, other] = same.filter(
      (row, i) => same.findIndex(({ file, part }) => file === row.file && part === row.part) === i,
    )
    if (first && other)
      throw refuse(
        `${first.by} of ${first.unit} and ${other.by} of ${other.unit} lead to the same file (${first.path}), which can't hold both ${first.file} and ${other.file}`,
        `set another path for one of them in cluster.yaml (install.units); then ${runAgain}`,
      )
  }
}

/** True if it has finished its start. */
function mayAnswer({ unit }: Unit, { units }: PlacesState): boolean {
  return units.get(unit)?.active === 'active'
}

/**
 * Its metrics are long: they are read only during a rotation, and where the clocks do not show that it has loaded the
 * file.
 */
async function lookAtConfig(
  run: Run,
  node: ClusterNode,
  units: readonly Unit[],
  places: PlacesState,
): Promise<LoadedConfig | undefined> {
  const isRead = (unit: Unit) =>
    unit.files.some(({ mayReload, path }) => mayReload && (run.stagedBy !== undefined || !isLoaded(unit, path, places)))
  // Without an answer the clocks decide.
  return units.some(isRead)
    ? await tryToAwait(async () => parseLoadedConfig(await readMetrics({ run }, node)))
    : undefined
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

/** A unit that its owner stopped is not up, and stays stopped. */
export function isUp({ unit, bundle }: Unit, places: PlacesState): boolean {
  return bundle !== undefined || isRunning(places, unit)
}
