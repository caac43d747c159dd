/** Waits until the units of a node are healthy, and stay so. */
import { setTimeout as delay } from 'node:timers/promises'
import type { PlacesState } from '../../../lib/node/state.ts'
import type { NodeRun } from '../../inspect/component.ts'
import { installOf } from '../../inspect/look.ts'
import type { Unit } from '../../layouts/layout.ts'
import type { Run } from '../../target.ts'
import { unfinishedPaths, whyUnsteady } from './check-units.ts'
import { isInstalled, lookAtUnits, type UnitsFound } from './look-at-units.ts'
import { notHealthy } from './restart.ts'

/** Milliseconds from one look to the next while a unit is not healthy. */
const pause = 500

interface Watch {
  readonly run: Pick<Run, 'waits'>
  /** The look before anything was changed. */
  readonly before: UnitsFound
  /** Those that this run has restarted since, or given other files. */
  readonly renewed: readonly Unit[]
  /** The look that found all healthy: from then on each keeps its process. */
  readonly first: UnitsFound | undefined
}

/** Returns the last look. Throws a Failure if a unit is not healthy within install.timeout, or does not stay so. */
export async function waitUntilSteady(on: NodeRun, before: UnitsFound, renewed: readonly Unit[]): Promise<UnitsFound> {
  const { run, node, signal } = on
  const until = performance.now() + installOf(run).timeout
  for (let first: UnitsFound | undefined; ; ) {
    const seen = await lookAtUnits(run, node)
    const { found, unsteady, seconds } = checkSteady({ run, before, renewed, first }, seen)
    if (unsteady === undefined && (first !== undefined || seconds === 0)) return found
    if (unsteady && performance.now() > until) throw await notHealthy(on, ...unsteady)
    if (!unsteady) on.tell({ doing: 'watching', seconds })
    await delay(unsteady ? pause : seconds * 1000, undefined, { signal })
    first = unsteady ? undefined : seen
  }
}

/** The first unit that is not healthy, with the reason; or the seconds that all have to stay as they are. */
export function checkSteady(
  { run, before, renewed, first }: Watch,
  seen: UnitsFound,
): { found: UnitsFound; unsteady: readonly [Unit, string] | undefined; seconds: number } {
  const installed = seen.units.filter((unit) => isInstalled(unit, seen.places))
  // A run that was killed may have restarted a unit beside whose files it has left the old ones.
  const started = installed.filter(
    (unit) => !isSame(unit, before.places, seen.places) || unfinishedPaths(unit, before.places).length > 0,
  )
  // How long it stays up decides then: it may restart because another one did, as after a lost lease, or for want of
  // these files.
  const explained = started.filter(
    (unit) => renewed.some((each) => each.unit === unit.unit) || whyUnsteady(unit, before) === undefined,
  )
  const found = withoutRestarts(seen, explained)
  const why = (unit: Unit) =>
    whyUnsteady(unit, found) ??
    (first && !isSame(unit, first.places, seen.places) ? 'it was healthy, then restarted' : undefined)
  const unsteady = installed.flatMap((unit): [Unit, string][] => {
    const reason = why(unit)
    return reason === undefined ? [] : [[unit, reason]]
  })[0]
  // Nothing shows how long a unit without a process of its own stays up.
  const isWatched = started.some(({ unit }) => seen.places.units.get(unit)?.process !== undefined)
  return { found, unsteady, seconds: isWatched ? run.waits.healthy : 0 }
}

/** With the same main process, and restarted by systemd as often. */
function isSame({ unit }: Unit, ...looks: readonly [PlacesState, PlacesState]): boolean {
  const [one, other] = looks.map(({ units }) => {
    const { process, restarts } = units.get(unit) ?? {}
    return `${typeof process === 'object' ? process.id : process} ${restarts}`
  })
  return one === other
}

function withoutRestarts(found: UnitsFound, explained: readonly Unit[]): UnitsFound {
  const units = new Map(found.places.units)
  for (const { unit } of explained) {
    const state = units.get(unit)
    if (state) units.set(unit, { ...state, restarts: 0 })
  }
  return { ...found, places: { ...found.places, units } }
}
