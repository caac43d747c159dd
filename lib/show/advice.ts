/** On which nodes a run replaced files, and which units read them only at their start. Pure. */
import type { Outcome, Target } from '../graph/target.ts'
import { foldAlike } from '../wording.ts'
import type { Summary } from './reporter.ts'

/** Only for files that were replaced, and only if no later target (install) takes them further. */
export function adviseAfter(
  targets: readonly Target[],
  outcomes: ReadonlyMap<string, Outcome>,
): NonNullable<Summary['advice']> {
  const restartsFor = yoursToRestart(targets)
  const replaced = targets.flatMap((target) => {
    const outcome = outcomes.get(target.id)
    if (outcome?.kind !== 'built') return []
    const files = outcome.reasons.flatMap((reason) => (reason.kind === 'on-node' ? reason.differ : []))
    const restart = restartsFor(target, files)
    return restart && files.length > 0 ? [{ node: target.node ?? '', files, restart }] : []
  })
  const textOf = ({ files, restart }: (typeof replaced)[number]) => [...files, ...restart].join(' ')
  return foldAlike(replaced, ({ node }) => node, textOf).map(({ group, shared }) => ({
    nodes: group.map(({ node }) => node),
    files: group[0].files.map(shared),
    restart: group[0].restart,
  }))
}

/** Which units of a node read files only at their start; undefined if a later target (install) restarts them. */
export function yoursToRestart(targets: readonly Target[]) {
  const restarts = new Map(
    targets.flatMap(({ makes, restarts = [] }) => makes.map((file): [string, readonly string[]] => [file, restarts])),
  )
  const takenOn = new Set(targets.flatMap(({ needs }) => needs))
  return ({ id, where, units }: Target, files: readonly string[]): string[] | undefined => {
    if (where !== 'node' || takenOn.has(id)) return undefined
    const all = new Set(files.flatMap((file) => restarts.get(file) ?? []))
    return [...all].filter((unit) => units?.includes(unit) ?? true)
  }
}
