/** Targets that do nothing but what a test tells them, and stop where the test wants to look. */

import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import pLimit from 'p-limit'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { openWalk, type RunOptions } from '../../lib/graph/executor.ts'
import { buildGraph, type Event, type Force, type Outcome } from '../../lib/graph/target.ts'
import { type FileState, root } from '../../lib/node/place.ts'
import type { NodeState, PlacesState } from '../../lib/node/state.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { type Check, missing as missingFiles } from '../../lib/results.ts'
import type { ClusterGraph, ClusterRow, ClusterRows, ClusterTarget, Run } from '../../tasks/cluster-target.ts'
import { unitsOn } from '../../tasks/inspect/agreement.ts'
import { digestAt, type NodeLook } from '../../tasks/inspect/look.ts'
import type { Unit } from '../../tasks/layouts/layout.ts'
import { nodeUnits } from '../../tasks/layouts/tables.ts'
import { parsed } from './files.ts'

export const stale: Check = { diffs: missingFiles(['file']) }
export const fresh: Check = { diffs: [] }

/** A control node, a worker and a gateway, with install. */
export const threeNodes = parsed(`name: kubenet
api: { virtualIP: 192.168.1.21 }
certificates: { key: ecdsa-p256 }
install: { sudo: "" }
nodes:
  - { name: c0, role: control, ip: 192.168.1.11 }
  - { name: w0, role: worker, ip: 192.168.1.14 }
  - { name: g0, role: gateway, ip: 192.168.1.9 }
`)
export const [control, worker, gateway] = threeNodes.nodes as [ClusterNode, ClusterNode, ClusterNode]
export const twoNodes: Cluster = { ...threeNodes, nodes: [control, worker] }

/** What the table has of that unit. */
export function unitOf(name: string, cluster: Cluster = twoNodes, node = control): Unit {
  return nodeUnits(cluster, node).find(({ unit }) => unit === name) ?? assert.fail(name)
}

/** A unit that runs, and its command line. */
export interface Started {
  readonly unit: string
  readonly command: readonly string[]
}

/** One whose flags name all that it reads where the guide has it, with more flags. */
export function startedAs(of: string | Pick<Unit, 'unit' | 'reads'>, ...more: string[]): Started {
  const { unit, reads } = typeof of === 'string' ? unitOf(of) : of
  const flags = reads.flatMap(({ by, usual }) =>
    by.filter((each) => each.startsWith('--')).map((each) => `${each}=${usual}`),
  )
  return processAs(unit, ...flags, ...more)
}

export function processAs(unit: string, ...args: string[]): Started {
  return { unit, command: [`/usr/local/bin/${unit}`, ...args] }
}

export type UnitState = NonNullable<ReturnType<PlacesState['units']['get']>>

/** What `systemctl show` prints of a unit: what is not said otherwise is that of one that runs as root. */
export function shownUnit(unit: string, more: Readonly<Record<string, string>> = {}): string[] {
  const properties = {
    ...{ Id: `${unit}.service`, Names: `${unit}.service`, LoadState: 'loaded', ActiveState: 'active' },
    ...{ SubState: 'running', ExecMainStartTimestamp: '', MainPID: '0' },
    ...{ NeedDaemonReload: 'no', User: '', Group: '', SupplementaryGroups: '' },
  }
  return Object.entries({ ...properties, ...more }).map(([name, value]) => `${name}=${value}`)
}

/** That runs, and no process of it is seen. */
export const runningUnit: UnitState = {
  ...{ hasUnitFile: true, active: 'active', sub: 'running', started: 1000, process: undefined },
  ...{ account: root, command: undefined, start: undefined },
  needsReload: false,
}

/** A file of root's, of which the content is not known. */
export const rootsFile: FileState = {
  ...{ kind: 'file', mode: 0o600, uid: 0, gid: 0, size: 1, changed: 0, sha256: undefined, lines: '' },
}

/** Nothing is there but what is given. */
export function placesWith(given: Partial<PlacesState> = {}): PlacesState {
  return {
    ...{ now: 0, units: new Map(), folders: new Set(), files: new Map(), contents: new Map() },
    ...{ real: new Map(), odd: [], isDrained: false, above: new Map(), hostname: undefined },
    ...given,
  }
}

/** An empty folder of root's, with no places, but for what is given. */
export function folderWith(given: Partial<NodeState> = {}): NodeState {
  return {
    ...{ folder: '/home/ubuntu', above: new Map(), uid: 0, now: 0, leftovers: [] },
    ...{ addresses: new Set(), files: new Map(), contents: new Map(), places: undefined },
    ...given,
  }
}

/** Every folder and file that a place may be in, as it should be. */
export const allThere = {
  ...{ folders: { has: () => true }, files: { get: () => ({ size: 1 }), has: () => true } },
} as unknown as Pick<PlacesState, 'folders' | 'files'>

/** Seconds: when files were placed, when the units that read them were started, and when they are looked at. */
export const [placedAt, startedAt, lookedAt] = [1000, 2000, 3000]
export const healthyUnit = { ...runningUnit, started: startedAt, process: 7 }

/** What a look finds where every unit of the node runs, and has loaded what is in auth/. */
export function foundAsIn(run: Pick<Run, 'auth' | 'cluster'>, node: ClusterNode) {
  const units = nodeUnits(run.cluster, node)
  const files = units.flatMap((unit) =>
    unit.files.map((place): [string, FileState] => {
      const mode = run.auth.files.mode(place.file)
      return [place.path, { ...rootsFile, mode, changed: placedAt, sha256: digestAt(run, place) }]
    }),
  )
  const bundles = units.flatMap(({ bundle }): [string, FileState][] =>
    bundle === undefined ? [] : [[bundle, { ...rootsFile, changed: startedAt }]],
  )
  return {
    places: placesWith({
      now: lookedAt,
      units: new Map(units.map((unit) => [unit.unit, { ...healthyUnit, command: startedAs(unit).command }])),
      folders: new Set(files.map(([path]) => path.replace(/\/[^/]*$/, ''))),
      files: new Map([...files, ...bundles]),
    }),
    served: new Map(
      units.flatMap(({ serves }) =>
        serves.map(({ port, name: leaf }) => [port, tryCertificate(run.auth, leaf)?.x509.raw ?? ('nothing' as const)]),
      ),
    ),
    unhealthy: new Map(),
  }
}

/** A look, with what its units read in that cluster. */
export function seenIn(cluster: Cluster, node: ClusterNode, look: NodeState): NodeLook {
  const { places } = look
  if (!places || places instanceof Failure) return { ...look, units: [] }
  return { ...look, units: unitsOn(cluster, node, places) }
}

/** What it was refused with; undefined where it was not. */
export function failureOf(work: () => unknown): Failure | undefined {
  try {
    work()
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
  return undefined
}

/** Stale, without needs, in a phase of its own, built at once: unless told otherwise. */
export function fakeTarget(id: string, told: Partial<ClusterTarget> = {}): ClusterTarget {
  const [phase = id] = id.split('/')
  return {
    id,
    phase,
    needs: [],
    makes: [],
    where: 'auth',
    check: () => stale,
    build: async () => undefined,
    ...told,
  }
}

/** Of a fake target. */
export function fakeRow(id: string, outcome: Outcome): ClusterRow {
  return { diffs: [], ...outcome, id, target: fakeTarget(id) }
}

export function fakeRows(outcomes: Readonly<Record<string, Outcome>>): ClusterRows {
  return new Map(Object.entries(outcomes).map(([id, outcome]) => [id, fakeRow(id, outcome)]))
}

/** No fake target looks at it. */
export const nowhere = { builtInPlan: 'auth' } as Run

interface FakeRunOptions {
  readonly mode?: RunOptions['mode']
  readonly forced?: Readonly<Record<string, Force>>
  readonly auth?: number
  readonly node?: number
  readonly onEvent?: (event: Event) => void
}

/** Without listr2. */
export function startAll(graph: ClusterGraph, options: RunOptions): Promise<ClusterRows> {
  const walk = openWalk(graph, options)
  for (const id of graph.keys()) walk.start(id)
  return walk.rows()
}

export function runFakes(targets: readonly ClusterTarget[], options: FakeRunOptions = {}) {
  const events: Event[] = []
  /** "started a", "building a", "built a", in the order in which they came. */
  const told: string[] = []
  const abort = new AbortController()
  const limits: Run['limits'] = {
    auth: pLimit(options.auth ?? 100),
    node: pLimit(options.node ?? 100),
    kubeconfig: pLimit(1),
  }
  const rows = startAll(buildGraph(targets), {
    run: { ...nowhere, limits },
    mode: options.mode ?? 'run',
    forced: new Map(Object.entries(options.forced ?? {})),
    signal: abort.signal,
    emit: (event) => {
      events.push(event)
      told.push(`${event.type === 'ended' ? event.row.state : event.type} ${event.id}`)
      options.onEvent?.(event)
    },
  })
  return { events, told, rows, abort }
}

/**
 * Until everything that can go on by itself has done so: no test has more targets than these turns of the event loop.
 */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 40; turn++) await setImmediate()
}
