/**
 * What a unit has loaded, as clocks show it.
 *
 * ```text
 *   file changed       unit started       API server reloads       look
 *   FileState.changed  UnitState.started  LoadedConfig.reloaded    PlacesState.now
 *   ─────┼──────────────────┼───────────────────────┼────────────────────┼─────▶
 *                           └────── process.age, by a clock that can't be set ─┘
 * ```
 *
 * The four moments are in seconds since 1970, each by the node's clock as it ran at that moment; it may have been set at
 * any time since, back or forward. The age alone is certain. It gives the start by the clock of the look (now - age), and
 * the look by the clock of the start (started + age): a `Moment` has both. If they differ, the clock was set after the
 * start, but before or after the change of a file is not known: then a comparison with that change has to be true by
 * both clocks. A moment in the future proves nothing.
 */

import { fileAt, type PlacesState } from '../../../lib/node/state.ts'
import type { LoadedConfig } from '../../inspect/component.ts'
import { apiServer, type Unit } from '../../layouts/layout.ts'
import type { Run } from '../../target.ts'

/** One moment, in seconds since 1970, by the node's clock at two times. */
interface Moment {
  /** By the clock as it ran when the unit was started. */
  readonly byStartClock: number
  /** By the clock as it runs at the look. */
  readonly byPresentClock: number
}

/** Seconds: the node's clock is read with that precision. */
const sameClock = 2

type StartedUnit = Pick<Unit, 'unit' | 'bundle'>

/** The start of the unit, which for a bundle of certificates is the last change of that file; undefined if it has none. */
function startOf({ unit, bundle }: StartedUnit, places: PlacesState): Moment | undefined {
  const { process, started } = places.units.get(unit) ?? {}
  const byStartClock = bundle === undefined ? started : fileAt(places, bundle)?.changed
  if (byStartClock === undefined) return undefined
  return { byStartClock, byPresentClock: typeof process === 'object' ? process.started : byStartClock }
}

/** The look. Without a process its age is not known, and the present clock stands for both. */
function lookOf({ unit }: StartedUnit, places: PlacesState): Moment {
  const { process, started } = places.units.get(unit) ?? {}
  const hasAge = typeof process === 'object' && started !== undefined
  return { byStartClock: hasAge ? started + process.age : places.now, byPresentClock: places.now }
}

/** Seconds by which the clock was set back between that moment and the look; negative if it was set forward. */
const setBackSince = ({ byStartClock, byPresentClock }: Moment) => byStartClock - byPresentClock

export function isInFuture(time: number, { now }: Pick<PlacesState, 'now'>): boolean {
  return time > now + 1
}

/** True if the unit was started after the last change of the file, or the file is not there. */
export function isLoaded(unit: StartedUnit, path: string, places: PlacesState): boolean {
  const changed = fileAt(places, path)?.changed
  if (changed === undefined) return true
  const start = startOf(unit, places)
  if (!start || isInFuture(start.byStartClock, places)) return false
  const wasClockSet = Math.abs(setBackSince(start)) > sameClock
  return start.byStartClock > changed && (!wasClockSet || start.byPresentClock > changed)
}

/** True if the API server has reloaded its encryption config since the last change of the file. */
export function isReloaded(path: string, places: PlacesState, config: LoadedConfig | undefined): boolean {
  const changed = fileAt(places, path)?.changed ?? Number.POSITIVE_INFINITY
  const start = startOf({ unit: apiServer }, places)
  const setBack = start ? setBackSince(start) : 0
  // If it has reloaded before the clock was set back, the moment of that reads too late, by as much.
  const latest = setBack > sameClock ? changed + setBack : changed
  const reloaded = config?.reloaded
  return reloaded !== undefined && reloaded > latest && !isInFuture(reloaded, places)
}

/**
 * When a unit that runs will use a pair that is installed and that it polls for, in seconds since 1970 by the present
 * clock; undefined if it does already, since it was started later or has polled since. The wait must be over by both
 * clocks.
 */
export function reloadsBy({ waits }: Run, unit: Unit, places: PlacesState): number | undefined {
  const polled = unit.files.filter(({ loads, path }) => loads === 'poll' && !isLoaded(unit, path, places))
  if (polled.length === 0) return undefined
  const { byStartClock, byPresentClock } = lookOf(unit, places)
  const changed = Math.max(...polled.map(({ path }) => fileAt(places, path)?.changed ?? 0))
  const left = changed + waits.polled - Math.min(byStartClock, byPresentClock)
  return left > 0 ? places.now + left : undefined
}
