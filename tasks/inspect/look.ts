/** Looks at a node: its folder, and with `install` the places of its units, by one command. */

import { setTimeout as delay } from 'node:timers/promises'
import pLimit, { type LimitFunction } from 'p-limit'
import { specialUse } from '../../lib/address.ts'
import { type ClusterNode, completeInstall, type Install } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { authorizationConfigFile, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { sha256 } from '../../lib/files/plain-file.ts'
import { partOf } from '../../lib/kubernetes/kubeconfig.ts'
import { asUnknown, noDigest, type Query } from '../../lib/node/node.ts'
import { folderOf } from '../../lib/node/place.ts'
import type { NodeState, PlacesState } from '../../lib/node/state.ts'
import type { Run } from '../cluster-target.ts'
import type { Place, Port, Unit } from '../layouts/layout.ts'
import { certTable, identityFiles, listPath, nodeFiles, nodeUnits } from '../layouts/tables.ts'
import { refuseDisagreement, type UnitOnNode, unitsOn } from './agreement.ts'
import { addressOf, readServedCertificate } from './component.ts'

export function digestOf({ auth }: Pick<Run, 'auth'>, name: string): string | undefined {
  const bytes = auth.tryBytes(name)
  return bytes && sha256(bytes)
}

/** What belongs at a place; undefined if auth/ has no such file, or a kubeconfig that has no such part. */
export function bytesAt({ auth }: Pick<Run, 'auth'>, { file, part }: Pick<Place, 'file' | 'part'>): Buffer | undefined {
  const bytes = auth.tryBytes(file)
  return part ? bytes && partOf(bytes.toString(), part, file) : bytes
}

export function digestAt(run: Pick<Run, 'auth'>, place: Pick<Place, 'file' | 'part'>): string | undefined {
  const bytes = bytesAt(run, place)
  return bytes && sha256(bytes)
}

export interface NodeLook extends NodeState {
  readonly units: readonly UnitOnNode[]
}

export async function lookAtNode(run: Run, node: ClusterNode): Promise<NodeLook> {
  const there = await run.connect(node)
  return withUnits(run, node, await there.look({ ...folderQuery(run, node), places: placesQuery(run, node) }))
}

type PlacesAsked = NonNullable<Query['places']>

function withUnits(run: Run, node: ClusterNode, look: NodeState): NodeLook {
  if (!run.cluster.install) return { ...look, units: [] }
  const seen = explained(run, node, look)
  const { places } = seen
  return { ...seen, units: !places || places instanceof Failure ? [] : unitsOn(run.cluster, node, places) }
}

/** Adds a remedy if the places could not be inspected, and the component's name to a unit of another name. */
function explained({ cluster }: Run, node: ClusterNode, look: NodeState): NodeState {
  const { install } = cluster
  const { places } = look
  if (!places) return look
  if (!(places instanceof Failure)) {
    const named = nodeUnits(cluster, node).flatMap(({ unit, service }) => {
      const state = places.units.get(service)
      return state ? [[unit, state] as const] : []
    })
    return { ...look, places: { ...places, units: new Map([...places.units, ...named]) } }
  }
  if (!install || places.code !== 'no-root') return { ...look, places: asUnknown(node.name, places) }
  const failure = new Failure(`can't become root with ${install.sudo} (${places.what})`, {
    node: node.name,
    code: 'no-root',
    remedy: `let ${node.user} run sh as root on the node without a password (NOPASSWD in sudoers), or set another install.sudo in cluster.yaml; or set install: false`,
  })
  return { ...look, places: failure }
}

/** For looks that must not miss a cluster: without `install` too, where units read, as far as the login user may. */
export function withPlaces(run: Run, sudo = ''): Run {
  const { cluster } = run
  return cluster.install ? run : { ...run, cluster: { ...cluster, install: { ...completeInstall({}, ''), sudo } } }
}

/** For looks that must not miss a list of who is revoked, whether cluster.yaml has `revoked` or not. */
export function withList({ cluster, ...run }: Run): Run {
  return { ...run, cluster: { ...cluster, revoked: cluster.revoked ?? [] } }
}

/** Reads every file that belongs there. Without `install`, what units read is left out: it may need root. */
export async function readNode(given: Run, node: ClusterNode): Promise<NodeLook> {
  const run = withList(given)
  const expected = new Map(nodeFiles(run.cluster, node).map((name) => [name, noDigest]))
  const seen = withPlaces(run, node.user === 'root' ? '' : 'sudo -n')
  const there = await run.connect(node)
  const read = ({ paths, ...rest }: PlacesAsked) => {
    const places = { ...rest, paths: new Map([...paths.keys()].map((path) => [path, noDigest])) }
    return there.look({ directory: node.directory, names: run.auth.files, expected, places })
  }
  const look = withUnits(seen, node, await read(placesQuery(seen, node) ?? emptyQuery))
  refuseDisagreement(look.units)
  const isWithoutRoot = look.places instanceof Failure && look.places.code === 'no-root'
  return isWithoutRoot && !run.cluster.install ? { ...explained(seen, node, await read(emptyQuery)), units: [] } : look
}

export function hasAddress({ addresses }: Pick<NodeState, 'addresses'>, address: string): boolean {
  return specialUse(address) === 'loopback' || addresses.has(address)
}

/** What a node shows on those of the ports where it serves a certificate; nothing where its address is another machine's. */
export async function readServedCertificates(
  run: Run,
  { node, look, ports }: { readonly node: ClusterNode; readonly look: NodeLook; readonly ports: readonly Port[] },
) {
  if (!hasAddress(look, addressOf(node))) return []
  const asked = [...new Map(ports.map((port) => [port.port, port])).values()]
  const answers = await Promise.all(
    asked.map(async (port) => ({ port: port.port, served: await readServedCertificate({ run }, node, port) })),
  )
  return answers.flatMap(({ port, served }) => (served === 'nothing' ? [] : [{ port, served }]))
}

/** For a node's target that queries other nodes: it holds a slot of `limits.node`, and would wait for itself there. */
export function limitBeside({ cluster }: Pick<Run, 'cluster'>): LimitFunction {
  return pLimit(cluster.ssh.concurrency)
}

export function installOf({ cluster: { install } }: Pick<Run, 'cluster'>): Install {
  if (!install) throw new Error('cluster.yaml has no install')
  return install
}

/** The places of a look at a node with `install`. Throws the Failure if they could not be looked at. */
export function placesOf({ places }: NodeState): PlacesState {
  if (places instanceof Failure) throw places
  if (!places) throw new Error('places were not queried')
  return places
}

/** A key that can't be made again leaves its node only to be backed up before it is overwritten, and so does a leaf's. */
function isSent({ auth, options }: Run, file: string): boolean {
  const kind = auth.files.parse(file)?.kind
  return options.replaceIdentity || (kind !== 'key' && kind !== 'encryption-config')
}

/** Also the content of what differs from ours: whose it is, and whether it is newer. Of CAs, wherever they are. */
function folderQuery(run: Run, node: ClusterNode): Query {
  const { cluster, auth, options } = run
  const others = options.prune
    ? certTable(cluster).flatMap(({ name }) => [auth.files.certificate(name), kubeconfigFile(name)])
    : []
  const names = [...nodeFiles(cluster, node), ...others, ...identityFiles(cluster).keys(), authorizationConfigFile]
  // Ours may not exist yet, as in a plan, and the one on the node be somebody else's, or of this cluster.
  const expected = new Map(
    names.filter((name) => isSent(run, name)).map((name) => [name, digestOf(run, name) ?? noDigest]),
  )
  return { directory: node.directory, names: auth.files, expected }
}

function placesQuery(run: Run, node: ClusterNode): Query['places'] {
  const { cluster } = run
  const { install } = cluster
  if (!install) return undefined
  const units = nodeUnits(cluster, node)
  return {
    sudo: install.sudo,
    units: units.filter(({ bundle }) => bundle === undefined).map(({ service }) => service),
    paths: new Map([
      ...units.flatMap((unit) => expectedAt(run, unit)),
      ...units.flatMap(({ bundle }): [string, string][] => (bundle === undefined ? [] : [[bundle, '']])),
      // A list of the revoked, whether cluster.yaml has `revoked` or not.
      ...(node.role === 'control'
        ? [[listPath(cluster, authorizationConfigFile), digestOf(run, authorizationConfigFile) ?? noDigest] as const]
        : []),
    ]),
    signs: units.flatMap(({ bundle, files }) =>
      files.map(({ path }) => (bundle === undefined ? folderOf(path) : path)),
    ),
  }
}

function expectedAt(run: Run, unit: Unit): [string, string][] {
  return [
    ...unit.files.map((place): [string, string] => [
      place.path,
      isSent(run, place.file) ? (digestAt(run, place) ?? noDigest) : '',
    ]),
    ...(unit.config === undefined ? [] : [[unit.config, noDigest] as [string, string]]),
  ]
}

/** A query without `install`: nothing is done as root. */
const emptyQuery: PlacesAsked = {
  sudo: '',
  units: [],
  paths: new Map(),
  signs: [],
}

/** Milliseconds: without a file event, kubelets and API servers check their files only once a minute. */
export const reloadTime = 90_000
/** Milliseconds from one look to the next. The pause grows with the time waited. */
const pauseAfter = (waited: number) => Math.min(50 + waited / 10, 500)

/** Repeats a look until its time is over. Returns undefined once it finds no reason; otherwise the last reason. */
export async function repeat(
  milliseconds: number,
  look: () => Promise<string | undefined>,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const begun = performance.now()
  const until = begun + milliseconds
  for (;;) {
    const why = await look()
    if (why === undefined || performance.now() > until) return why
    await delay(pauseAfter(performance.now() - begun), undefined, { signal })
  }
}
