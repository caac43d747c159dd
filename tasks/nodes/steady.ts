/** Waits, before a node's turn is over, until each of its units stays up. */
import { setTimeout as delay } from 'node:timers/promises'
import type { UnitState } from '../../lib/remote/answer.ts'
import type { Unit } from '../layouts/layout.ts'
import { nodeUnits } from '../tables/places.ts'
import type { NodeRun } from './places.ts'
import { notHealthy } from './restart.ts'
import {
  isInstalled,
  keptFor,
  lookAtUnits,
  settlingTime,
  settlingTimeOfClients,
  type UnitsFound,
  whyUnsteady,
} from './units.ts'

/** Seconds that a process which was started meanwhile has to be healthy, at least. Tests on machines shorten it. */
export const hold = { shortest: 10 }
/** Milliseconds from one look to the next while a unit is not healthy. */
const pause = 500

/** The looks at a node's units since its turn began. */
export interface Watch {
  readonly units: readonly Unit[]
  /** The look before anything was changed. */
  readonly before: UnitsFound
  /** Those that this run has restarted since, or given other files. */
  readonly renewed: readonly Unit[]
  /** Units that were restarted by anybody, as they were when they were first seen healthy. */
  readonly since: ReadonlyMap<string, UnitState>
}

export interface Steadiness {
  /** The look; the restarts that are explained by what this run did do not count. */
  readonly found: UnitsFound
  readonly since: Watch['since']
  /** The first unit that is not healthy, with the reason. */
  readonly unsteady?: readonly [unit: Unit, why: string] | undefined
  /** Seconds until each unit that is healthy has been so for long enough. */
  readonly left: number
}

/** Returns the last look. Throws a Failure if a unit is not healthy within install.timeout, or does not stay so. */
export async function waitUntilSteady(on: NodeRun, before: UnitsFound, renewed: readonly Unit[]): Promise<UnitsFound> {
  const { run, node, install, signal } = on
  const units = nodeUnits(run.cluster, node)
  const until = performance.now() + install.timeout
  for (let since: Watch['since'] = new Map(); ; ) {
    const next = watch({ units, before, renewed, since }, await lookAtUnits(run, node, install))
    const { unsteady, left } = next
    if (unsteady === undefined && left <= 0) return next.found
    if (unsteady && performance.now() > until) throw await notHealthy(on, ...unsteady)
    await delay(unsteady ? pause : left * 1000, undefined, { signal })
    since = next.since
  }
}

/** Evaluates a look, compared with those before it. */
export function watch({ units, before, renewed, since }: Watch, seen: UnitsFound): Steadiness {
  const state = ({ unit }: Unit) => seen.places.units.get(unit)
  // A run that was killed may have restarted a unit beside whose files it has left the old ones.
  const isNew = (unit: Unit) =>
    !isSame(before.places.units.get(unit.unit), state(unit)) || keptFor(unit, before.places).length > 0
  // A unit may restart because another one did, as after a lost lease: then how long it stays up decides. So it does if it ended
  // again and again with the files that this run has replaced.
  const explained = units.filter((unit) => {
    const [isRenewed, now] = [renewed.some((each) => each.unit === unit.unit), state(unit)]
    if (isRenewed && now && ageOf(now) >= settlingTimeOfClients) return true
    return isNew(unit) && (isRenewed || whyUnsteady(unit, before) === undefined)
  })
  const found = withoutRestarts(seen, explained)
  const next = new Map<string, UnitState>()
  let [unsteady, left]: [Steadiness['unsteady'], number] = [undefined, 0]
  for (const unit of units.filter((each) => isInstalled(each, seen.places))) {
    const [now, first] = [state(unit), since.get(unit.unit)]
    const hasChanged = first !== undefined && !isSame(first, now)
    const why = whyUnsteady(unit, found)
    if (why !== undefined || hasChanged) unsteady ??= [unit, why ?? 'it was healthy, and has been started again since']
    if (why !== undefined || now === undefined || !isNew(unit)) continue
    const begun = hasChanged ? now : (first ?? now)
    next.set(unit.unit, begun)
    left = Math.max(left, holdOf(now) - (ageOf(now) - ageOf(begun)))
  }
  return { found, since: next, unsteady, left }
}

function isSame(one: UnitState | undefined, other: UnitState | undefined): boolean {
  return idOf(one) === idOf(other) && one?.restarts === other?.restarts
}

function idOf(state: UnitState | undefined): number | string | undefined {
  return typeof state?.process === 'object' ? state.process.id : state?.process
}

function ageOf({ process }: UnitState): number {
  return typeof process === 'object' ? process.age : 0
}

/** Seconds. Nothing shows how long a unit without a process of its own stays up. */
function holdOf({ process, restartsAfter }: UnitState): number {
  return process === undefined ? 0 : Math.min(Math.max(hold.shortest, restartsAfter), settlingTime)
}

function withoutRestarts(found: UnitsFound, explained: readonly Unit[]): UnitsFound {
  const units = new Map(found.places.units)
  for (const { unit } of explained) {
    const state = units.get(unit)
    if (state) units.set(unit, { ...state, restarts: 0 })
  }
  return { ...found, places: { ...found.places, units } }
}
