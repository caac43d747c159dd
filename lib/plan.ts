/** What a dry run found, told as a plan: what would be done and why, what follows from it, and nothing of what stays. */
import { styleText } from 'node:util'
import type { Outcome } from './executor.ts'
import type { Target, TargetId, Verdict } from './graph.ts'
import { breakLines } from './paragraph.ts'
import { formatNames, formatReasons, type Reason } from './reason.ts'
import {
  formatFailures,
  formatSummary,
  nameInPhase,
  type PhaseView,
  printable,
  type Reporter,
  type Summary,
  withoutOwnName,
} from './reporter.ts'

/** Targets of one phase for which there is one reason. */
export interface Step {
  readonly phase: PhaseView
  readonly targets: readonly Target[]
  readonly why: string
  /** What will be made because of it, in the graph's order. */
  readonly follows: readonly Target[]
  /** The components that have what it replaces open. */
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
  const dependents = new Map<TargetId, Target[]>()
  for (const target of targets)
    for (const need of neededBy(stale.get(target.id))) dependents.set(need, [...(dependents.get(need) ?? []), target])
  const makers = new Map(targets.flatMap((target) => target.makes.map((file): [string, Target] => [file, target])))
  const own = ({ id }: Target) => ownReasons(stale.get(id))
  const told = new Set<Target>()
  // Backwards: what follows from several new things is told with the last of them.
  return phases
    .toReversed()
    .flatMap((phase) => {
      const caused = phase.targets.filter((target) => own(target).length > 0)
      const groups = Map.groupBy(caused, (target) => withoutOwnName(describe(target, own(target)), nameInPhase(target)))
      return [...groups].toReversed().map(([shared, group]): Step => {
        const [only] = group
        const why = only && group.length === 1 ? describe(only, own(only)) : shared
        const isNew = group.every((target) => isMadeFirst(target, own(target)))
        const all = followers(group, dependents, targets)
        // What is missing too has a line of its own.
        const follows = isNew ? all.filter((target) => own(target).length === 0 && !told.has(target)) : all
        for (const target of follows) told.add(target)
        return { phase, targets: group, why, follows, restart: componentsToRestart(group, all, own, makers) }
      })
    })
    .toReversed()
}

/** Those that are no need's: what has none of its own follows from something else. */
function ownReasons(outcome: Verdict | undefined): readonly Reason[] {
  return outcome?.reasons.filter(({ kind }) => kind !== 'need-rebuilt') ?? []
}

function neededBy(outcome: Verdict | undefined): readonly TargetId[] {
  return outcome?.reasons.flatMap((reason) => (reason.kind === 'need-rebuilt' ? reason.ids : [])) ?? []
}

function isMadeFirst({ makes }: Target, reasons: readonly Reason[]): boolean {
  const missing = reasons.flatMap((reason) => (reason.kind === 'missing' ? [reason.path] : []))
  return makes.length > 0 && makes.every((file) => missing.includes(file))
}

function describe(target: Target, reasons: readonly Reason[]): string {
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

/** Nobody has open what no node has yet. */
function componentsToRestart(
  causes: readonly Target[],
  follows: readonly Target[],
  own: (target: Target) => readonly Reason[],
  makers: ReadonlyMap<string, Target>,
): string[] {
  const onNode = (target: Target) => own(target).find((reason) => reason.kind === 'on-node')
  const isThere = ({ makes: [file = ''] }: Target) =>
    follows.some((target) => target.lane === 'ssh' && !onNode(target)?.missing.includes(file))
  const replaced = causes.flatMap((cause) => onNode(cause)?.differ ?? []).flatMap((file) => makers.get(file) ?? [])
  const open = [...[...causes, ...follows].filter(({ makes }) => makes.length > 0).filter(isThere), ...replaced]
  const components = [...new Set(open.flatMap(({ usedBy }) => usedBy ?? []))]
  return components.includes('every component') ? ['every component'] : components
}

export interface PlanOptions {
  readonly phases: readonly PhaseView[]
  readonly quiet: boolean
  /** Columns. */
  readonly width: number
  readonly write: (text: string) => void
}

/** Progress is what is told before: by a tree that is gone when the plan comes, or by nothing but notes. */
export function createPlan({ phases, quiet, width, write }: PlanOptions, progress: Reporter): Reporter {
  return {
    ...progress,
    end: async (summary) => {
      await progress.end(summary)
      if (!quiet) for (const line of formatPlan(phases, summary, width)) write(line)
      for (const text of formatFailures(summary.outcomes)) write(text)
      if (!quiet && summary.targets > 0) write(formatSummary(summary))
    },
  }
}

export function formatPlan(phases: readonly PhaseView[], { outcomes }: Summary, width: number): string[] {
  const byPhase = Map.groupBy(planSteps(phases, outcomes), ({ phase }) => phase)
  const lines = [...byPhase].flatMap(([{ title }, steps]) => [
    styleText('bold', title),
    ...steps.flatMap((step) => formatStep(step, width)),
  ])
  const warnings = [...outcomes].flatMap(([id, outcome]) =>
    'warning' in outcome && outcome.warning ? breakLines(printable(`${id}: ${outcome.warning}`), width, 0, 2) : [],
  )
  return [...lines, ...(lines.length > 0 ? [''] : []), ...warnings]
}

function formatStep({ targets, why, follows, restart }: Step, width: number): string[] {
  const names = formatNames(targets.map((target) => target.makes[0] ?? nameInPhase(target)))
  const namesItself = targets.some(({ makes }) => makes.some((file) => why.startsWith(file)))
  const chain = [
    ...Map.groupBy(follows, ({ phase }) => phase)
      .entries()
      .map(([phase, group]) => describeGroup(phase, group)),
    ...(restart.length > 0 ? [`then restart ${restart.join(', ')}`] : []),
  ]
  return [
    ...breakLines(printable(namesItself ? why : `${names}: ${why}`), width, 2, 4),
    ...(chain.length > 0 ? breakLines(chain.map((link) => `→ ${link}`).join(' '), width, 4, 6) : []),
  ]
}

/** "deploy control0, control1"; "local-kubeconfig", where a phase has one target. */
function describeGroup(phase: string, targets: readonly Target[]): string {
  const names = targets.map(nameInPhase)
  return names.length === 1 && names[0] === phase ? phase : `${phase} ${formatNames(names)}`
}
