/** Looks at a node: its folder, and with `install` the places of its units, by one command. */
import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type ClusterNode, completeInstall, type Install } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import { clientPairFile } from '../../lib/files/names.ts'
import { once } from '../../lib/files/plain-file.ts'
import type { Run } from '../../lib/graph/run.ts'
import { partOf } from '../../lib/kubernetes/kubeconfig.ts'
import { asUnknown, noDigest, type Query } from '../../lib/node/node.ts'
import { folderOf } from '../../lib/node/place.ts'
import type { NodeState, PlacesState } from '../../lib/node/state.ts'
import type { Place } from '../layouts/layout.ts'
import { identityFiles, nodeFiles } from '../tables/files.ts'
import { nodeUnits } from '../tables/places.ts'
import { addressOf, readShown } from './component.ts'
import { filesNamedBy } from './settings.ts'

export const sha256 = once((bytes) => createHash('sha256').update(bytes).digest('hex'))

/** The digest of the file in auth/; undefined if there is none. */
export function digestOf({ auth }: Pick<Run, 'auth'>, name: string): string | undefined {
  const bytes = auth.tryBytes(name)
  return bytes && sha256(bytes)
}

/** The digest of what belongs at a place; undefined if auth/ has no such file, or a kubeconfig that has no such part. */
export function digestAt(run: Pick<Run, 'auth'>, { file, part }: Pick<Place, 'file' | 'part'>) {
  if (!part) return digestOf(run, file)
  const bytes = run.auth.tryBytes(file)
  const made = bytes && partOf(bytes.toString(), part, clientPairFile(file))
  return made && sha256(made)
}

/**
 * A sudo or a unit may make the command hang, or close the connection. The folder can still be inspected, so a second look then
 * looks only at the folder.
 */
export async function lookAtNode(run: Run, node: ClusterNode): Promise<NodeState> {
  const query = folderQuery(run, node)
  const places = placesQuery(run, node)
  const there = await run.connect(node)
  try {
    const seen = explained(run, node, await there.look({ ...query, places }), places !== undefined)
    const more = places && withNamed(places, seen)
    return more ? explained(run, node, await there.look({ ...query, places: more }), true) : seen
  } catch (error) {
    if (!places || !(error instanceof Failure)) throw error
    if (error.code !== 'connection-lost' && !there.wasReached) throw error
    return { ...(await there.look(query)), places: error }
  }
}

/** Also the files that flags of the units' processes name elsewhere; undefined if there are none. */
function withNamed(query: NonNullable<Query['places']>, { places }: NodeState): Query['places'] {
  const named = places && !(places instanceof Failure) ? filesNamedBy(places) : []
  const more = named.filter(({ path }) => !query.paths.has(path))
  if (more.length === 0) return undefined
  const paths = more.map(({ path, isRead }): [string, string] => [path, isRead ? noDigest : ''])
  return { ...query, paths: new Map([...query.paths, ...paths]) }
}

/** Adds a remedy if the places could not be looked at. */
function explained({ cluster: { install } }: Run, node: ClusterNode, look: NodeState, isQueried: boolean): NodeState {
  const { places } = look
  if (!places && isQueried) {
    const remedy = `check what sudo prints there; then ${runAgain}`
    const failure = new Failure('the places of its units could not be looked at', {
      node: node.name,
      code: 'not-looked-at',
      remedy,
    })
    return { ...look, places: failure }
  }
  if (!(places instanceof Failure)) return look
  if (!install || places.code !== 'no-root') return { ...look, places: asUnknown(node.name, places) }
  const failure = new Failure(`can't become root (${install.sudo}): ${places.what}`, {
    node: node.name,
    code: 'no-root',
    remedy: `let ${node.user} run sh as root there without a password (sudoers: NOPASSWD), or set install.sudo in cluster.yaml to what does; or install: false`,
  })
  return { ...look, places: failure }
}

/** For looks that must not miss a cluster: without `install` too, where units read, as far as the login user may. */
export function withPlaces(run: Run, sudo = ''): Run {
  const { cluster } = run
  return cluster.install ? run : { ...run, cluster: { ...cluster, install: { ...completeInstall({}, ''), sudo } } }
}

/**
 * Reads the content of every file that belongs there, unless it is larger than one of ours can be. Without `install`, where root may
 * not be had, what units read is left out.
 */
export async function readNode(run: Run, node: ClusterNode): Promise<NodeState> {
  const expected = new Map(nodeFiles(run.cluster, node).map((name) => [name, noDigest]))
  const seen = withPlaces(run, node.user === 'root' ? '' : 'sudo -n')
  const query = placesQuery(seen, node) ?? emptyQuery
  const there = await run.connect(node)
  const read = async (places: Query['places']) =>
    explained(
      seen,
      node,
      await there.look({ directory: node.directory, names: run.auth.files, expected, places }),
      true,
    )
  const look = await read({ ...query, paths: new Map([...query.paths.keys()].map((path) => [path, noDigest])) })
  const isWithoutRoot = look.places instanceof Failure && look.places.code === 'no-root'
  return isWithoutRoot && !run.cluster.install ? await read(emptyQuery) : look
}

/** The node's clock, and those of the ports that a process there listens on, at its address. */
export async function lookAtMachine(run: Run, node: ClusterNode, ports: readonly number[]) {
  return (await run.connect(node)).listening(addressOf(node), ports)
}

/** What a node shows on those of the ports that something listens on; it is asked about no other. */
export async function readAllShown(run: Run, node: ClusterNode, ports: readonly number[]) {
  const listening = (await lookAtMachine(run, node, ports)).ports
  const open = ports.filter((port) => listening.has(port))
  return Promise.all(open.map(async (port) => ({ port, shown: await readShown({ run }, node, port) })))
}

/** For what is done with `install` alone. */
export function installOf({ cluster: { install } }: Pick<Run, 'cluster'>): Install {
  if (!install) throw new Error('cluster.yaml has no install')
  return install
}

/** Milliseconds for a restart or a drain: install.timeout, but at least two minutes. */
export function commandLimit(run: Run): number {
  return Math.max(installOf(run).timeout, 120_000)
}

/** The places of a look at a node with `install`. Throws the Failure if they could not be looked at. */
export function placesOf({ places }: NodeState): PlacesState {
  if (places instanceof Failure) throw places
  if (!places) throw new Error('places were not queried')
  return places
}

/**
 * Queries the content of identity files, even if they do not belong on the node or are missing in auth/; of certificates and
 * kubeconfigs, to see whether they are newer than ours; and of all other certificates, to find those of former nodes.
 */
function folderQuery(run: Run, node: ClusterNode): Query {
  const { cluster, auth } = run
  const dated = nodeFiles(cluster, node).filter((name) => auth.files.parse(name)?.kind !== 'key')
  const expected = new Map([
    ...dated.flatMap((name): [string, string][] => {
      const digest = digestOf(run, name)
      return digest === undefined ? [] : [[name, digest]]
    }),
    ...[...identityFiles(cluster).keys()].map((name): [string, string] => [name, digestOf(run, name) ?? noDigest]),
  ])
  return { directory: node.directory, names: auth.files, expected, hasOthers: true }
}

/** The same for places. The content of a leaf's key is never needed. */
function placesQuery(run: Run, node: ClusterNode): Query['places'] {
  const { auth, cluster } = run
  const { install } = cluster
  if (!install) return undefined
  const units = nodeUnits(cluster, node)
  const expected = (place: Place): [string, string] => {
    const isLeafKey = auth.files.parse(place.file)?.kind === 'key' && !identityFiles(cluster).has(place.file)
    return [place.path, isLeafKey ? '' : (digestAt(run, place) ?? noDigest)]
  }
  return {
    sudo: install.sudo,
    units: units.filter(({ bundle }) => bundle === undefined).map(({ unit }) => unit),
    paths: new Map([
      ...units.flatMap(({ files }) => files.map(expected)),
      ...units.flatMap(({ bundle }): [string, string][] => (bundle === undefined ? [] : [[bundle, '']])),
      ...units.flatMap(({ config }): [string, string][] => (config === undefined ? [] : [[config, noDigest]])),
    ]),
    alsoIfPresent: units.flatMap(({ bundle, files, isInstalledEarly }) => {
      if (isInstalledEarly) return files.map(({ path }) => folderOf(path))
      return bundle === undefined ? [] : files.map(({ path }) => path)
    }),
  }
}

/** A query without `install`: nothing is done as root. */
const emptyQuery: NonNullable<Query['places']> = { sudo: '', units: [], paths: new Map(), alsoIfPresent: [] }

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
