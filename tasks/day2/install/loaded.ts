/**
 * What shows on the node that a unit has loaded a file: its start after the last change of that file, by the node's
 * clock.
 */
import { fileAt, type PlacesState } from '../../../lib/node/state.ts'
import type { Unit } from '../../layouts/layout.ts'
import type { Run } from '../../target.ts'

/**
 * True if the unit was started after the last change of the file, or the file is not there. For a bundle of certificates
 * its last change is the start.
 */
export function isLoaded({ unit, bundle }: Pick<Unit, 'unit' | 'bundle'>, path: string, places: PlacesState): boolean {
  const changed = fileAt(places, path)?.changed
  if (changed === undefined) return true
  const started = bundle === undefined ? places.units.get(unit)?.started : fileAt(places, bundle)?.changed
  return started !== undefined && started > changed
}

/**
 * When a unit that runs will use a pair that is installed and that it polls for, in seconds since 1970 by the node's
 * clock; undefined if it does already, since it was started later or has polled since.
 */
export function reloadsBy({ waits }: Run, unit: Unit, places: PlacesState): number | undefined {
  const polled = unit.files.filter(({ loads, path }) => loads === 'poll' && !isLoaded(unit, path, places))
  if (polled.length === 0) return undefined
  const by = waits.polled + Math.max(...polled.map(({ path }) => fileAt(places, path)?.changed ?? 0))
  return by > places.now ? by : undefined
}
