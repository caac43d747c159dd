/** Waits until the units of a node are healthy, and those that were restarted still have the same main process. */
import { setTimeout as delay } from 'node:timers/promises'
import type { NodeRun } from '../../inspect/component.ts'
import { installOf } from '../../inspect/look.ts'
import type { Unit } from '../../layouts/layout.ts'
import { isUnfinished, whyUnhealthy } from './check-units.ts'
import { isInstalled, lookAtUnits, type UnitsFound } from './look-at-units.ts'
import { notHealthy } from './restart.ts'

/** Milliseconds from one look to the next while a unit is not healthy. */
const pause = 500

/**
 * Returns the last look. Throws a Failure if a unit is not healthy within install.timeout, or has another main process
 * some seconds later.
 */
export async function waitUntilSteady(on: NodeRun, before: UnitsFound): Promise<UnitsFound> {
  const { run, node, signal } = on
  const until = performance.now() + installOf(run).timeout
  const seconds = run.waits.healthy
  let first: UnitsFound | undefined
  for (;;) {
    const seen = await lookAtUnits(run, node)
    const unsteady = findUnsteady(seen, first)
    if (unsteady === undefined && (first !== undefined || !hasStarted(before, seen))) return seen
    if (unsteady === undefined) {
      first = seen
      on.tell(`checking that it stays healthy for ${seconds} s`)
      await delay(seconds * 1000, undefined, { signal })
    } else {
      if (performance.now() > until) throw await notHealthy(on, ...unsteady)
      first = undefined
      await delay(pause, undefined, { signal })
    }
  }
}

/** The first unit that is not healthy, or has another main process than in the first look that found all healthy. */
export function findUnsteady(seen: UnitsFound, first: UnitsFound | undefined): readonly [Unit, string] | undefined {
  for (const unit of seen.units) {
    if (!isInstalled(unit, seen.places)) continue
    const hasRestarted = first !== undefined && mainProcess(unit, first) !== mainProcess(unit, seen)
    const why = whyUnhealthy(unit, seen) ?? (hasRestarted ? 'it was healthy, then restarted' : undefined)
    if (why !== undefined) return [unit, why]
  }
  return undefined
}

/** True if a unit has another main process than before, or a killed run may have restarted it. */
export function hasStarted(before: UnitsFound, seen: UnitsFound): boolean {
  return seen.units.some(
    (unit) =>
      isInstalled(unit, seen.places) &&
      mainProcess(unit, seen) !== undefined &&
      (mainProcess(unit, before) !== mainProcess(unit, seen) || isUnfinished(unit, before.places)),
  )
}

/** Its id; undefined for a unit without a process of its own. */
function mainProcess({ unit }: Unit, { places }: UnitsFound): number | undefined {
  return places.units.get(unit)?.process
}
