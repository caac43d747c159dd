/** What a dry run found, as a plan: what would be done and why, and what follows from it. Pure. */

import { formatReasons, isRepair, ownReasons, type Reason, type Verdict } from '../reason.ts'
import type { Outcome } from '../targets/executor.ts'
import { nameInPhase, type Target, type TargetId } from '../targets/target.ts'
import { groupAlike, withoutOwnName } from '../wording.ts'
import type { PhaseView } from './reporter.ts'

/** Targets of one phase for which there is one reason. */
export interface Step {
  readonly phase: PhaseView
  readonly targets: readonly Target[]
  readonly why: string
  /** What will be made because of it, in the graph's order. */
  readonly follows: readonly Target[]
  /** The units that read what it replaces at their start alone. */
  readonly restart: readonly string[]
}

export function planSteps(phases: readonly PhaseView[], outcomes: ReadonlyMap<TargetId, Outcome>): Step[] {
  const targets = phases.flatMap((phase) => phase.targets)
  const stale = new Map(
    targets.flatMap(({ id }): [TargetId, Verdict][] => {
      const outcome = outcomes.get(id)
      return outcome?.kind === 'stale' ? [[id, outcome]] : []
    }),
  )
  const changes = [...stale].filter(([, { reasons }]) => !isRepair(reasons)).map(([id]) => id)
  const dependents = new Map(changes.map((id): [TargetId, Target[]] => [id, []]))
  for (const target of targets)
    if (stale.has(target.id)) for (const need of target.needs) dependents.get(need)?.push(target)
  const makers = new Map(targets.flatMap((target) => target.makes.map((file): [string, Target] => [file, target])))
  // What has no reason of its own follows from something else.
  const own = ({ id }: Target) => ownReasons(stale.get(id)?.reasons ?? [])
  const sharedReason = (target: Target) => withoutOwnName(formatOwnReasons(target, own(target)), nameInPhase(target))
  const told = new Set<Target>()
  // Backwards: a consequence of several steps is listed under the last of them.
  return phases
    .toReversed()
    .flatMap((phase) => {
      const caused = phase.targets.filter((target) => own(target).length > 0)
      const groups = groupAlike(caused, sharedReason)
      return groups.toReversed().map((group): Step => {
        const why = group.length === 1 ? formatOwnReasons(group[0], own(group[0])) : sharedReason(group[0])
        const isNew = group.every((target) => isMadeFirst(target, own(target)))
        const all = followers(group, dependents, targets)
        // What is missing too has a line of its own.
        const follows = isNew ? all.filter((target) => own(target).length === 0 && !told.has(target)) : all
        for (const target of follows) told.add(target)
        return { phase, targets: group, why, follows, restart: unitsToRestart(group, all, own, makers) }
      })
    })
    .toReversed()
}

function isMadeFirst({ makes }: Target, reasons: readonly Reason[]): boolean {
  const missing = reasons.flatMap((reason) => (reason.kind === 'missing' ? [reason.path] : []))
  return makes.length > 0 && makes.every((file) => missing.includes(file))
}

function formatOwnReasons(target: Target, reasons: readonly Reason[]): string {
  return isMadeFirst(target, reasons) ? 'new' : formatReasons(reasons)
}

function followers(
  causes: readonly Target[],
  dependents: ReadonlyMap<TargetId, readonly Target[]>,
  order: readonly Target[],
): Target[] {
  const reached = new Set<Target>()
  const queue = [...causes]
  for (let cause = queue.pop(); cause; cause = queue.pop())
    for (const next of dependents.get(cause.id) ?? [])
      if (!reached.has(next)) {
        reached.add(next)
        queue.push(next)
      }
  return reached.size === 0 ? [] : order.filter((target) => reached.has(target))
}

/** A file that is new on a node is not open in any process there. */
function unitsToRestart(
  causes: readonly Target[],
  follows: readonly Target[],
  own: (target: Target) => readonly Reason[],
  makers: ReadonlyMap<string, Target>,
): string[] {
  const onNode = (target: Target) => own(target).find((reason) => reason.kind === 'on-node')
  const isThere = ({ id, makes: [file = ''] }: Target) =>
    follows.some((node) => node.where === 'node' && node.needs.includes(id) && !onNode(node)?.missing.includes(file))
  const replaced = causes.flatMap((cause) => onNode(cause)?.differ ?? []).flatMap((file) => makers.get(file) ?? [])
  const open = [...[...causes, ...follows].filter(({ makes }) => makes.length > 0).filter(isThere), ...replaced]
  return [...new Set(open.flatMap(({ restarts }) => restarts ?? []))]
}
