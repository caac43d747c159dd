/** Flags that a component has to be started with: where they are set already, and how they are named. Pure. */
import { formatNames, quote } from '../../lib/wording.ts'
import type { Unit } from '../layouts/layout.ts'
import type { CommandLine } from './command-line.ts'

export interface WantedFlag {
  /** With its hyphens. */
  readonly flag: string
  readonly value: string
  /** Flags in whose place it stands: the component takes only one of them. */
  readonly replaces?: readonly string[]
}

/** Where a unit lacks what it has to be started with. `next`: of its unit file; undefined if that does not say all. */
export function compareFlags<Wanted extends WantedFlag>(
  wanted: readonly Wanted[],
  { running, next }: { readonly running: readonly CommandLine[]; readonly next: CommandLine | undefined },
) {
  const lacks =
    ({ named }: CommandLine) =>
    ({ flag, value, replaces = [] }: Wanted) =>
      named([flag])[1].at(-1) !== value || replaces.some((other) => named([other])[1].length > 0)
  const notRunning = wanted.filter((each) => running.some((command) => lacks(command)(each)))
  /** In its unit file, or where that can't be read in its process: its owner has to set them. */
  const unset = next ? wanted.filter(lacks(next)) : notRunning
  /** In its process alone: a restart sets them. */
  return { unset, notStartedWith: notRunning.filter((each) => !unset.includes(each)) }
}

/** A sentence for its owner. Where the unit file has variables, a run does not see that the flags are there. */
export function formatUnset({ unit, service }: Pick<Unit, 'unit' | 'service'>, unset: readonly WantedFlag[]): string {
  const instead = (replaces: readonly string[] = []) =>
    replaces.length > 0 ? ` (instead of ${formatNames(replaces)})` : ''
  const flags = unset.map(({ flag, value, replaces }) => `${flag}=${value}${instead(replaces)}`)
  return `${unit} needs ${flags.join(', ')}; set that where the command line of the unit comes from (systemctl cat ${quote(service)}), then run:\n    systemctl daemon-reload\nthe next run restarts ${unit}; if a run prints this again, restart ${unit} yourself, one node at a time`
}
