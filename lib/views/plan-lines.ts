/** A dry run as a plan: its steps by phase, without what is fresh. */
import { styleText } from 'node:util'
import { nameInPhase, type Target } from '../targets/target.ts'
import { formatNames, printable } from '../wording.ts'
import { breakLines } from './paragraph.ts'
import { planSteps, type Step } from './plan.ts'
import {
  formatFailures,
  formatStacks,
  formatSummary,
  type PhaseView,
  type Reporter,
  type Summary,
  warningsOf,
} from './reporter.ts'

export interface PlanLinesOptions {
  readonly phases: readonly PhaseView[]
  readonly detail: 'verbose' | 'normal' | 'quiet'
  /** Columns. */
  readonly width: number
  readonly write: (text: string) => void
}

type ListNames = (names: readonly string[]) => string

/** `progress` reports until the plan is printed: a transient tree, or notes alone. */
export function createPlanLines(options: PlanLinesOptions, progress: Reporter): Reporter {
  const { detail, write } = options
  return {
    ...progress,
    end: async (summary) => {
      await progress.end(summary)
      if (detail !== 'quiet') for (const line of formatPlan(summary, options)) write(line)
      for (const text of formatFailures(summary.outcomes)) write(text)
      if (detail === 'verbose') for (const text of formatStacks(summary.outcomes)) write(text)
      if (detail !== 'quiet' && summary.targets > 0) write(formatSummary(summary))
    },
  }
}

function formatPlan({ outcomes }: Summary, { phases, width, detail }: PlanLinesOptions): string[] {
  const list = (names: readonly string[]) => (detail === 'verbose' ? names.join(', ') : formatNames(names))
  const byPhase = Map.groupBy(planSteps(phases, outcomes), ({ phase }) => phase)
  const lines = [...byPhase].flatMap(([{ title }, steps]) => [
    styleText('bold', title),
    ...steps.flatMap((step) => formatStep(step, width, list)),
  ])
  const warnings = warningsOf(outcomes).flatMap((text) => breakLines(printable(text), width, 0, 2))
  return [...lines, ...(lines.length > 0 ? [''] : []), ...warnings]
}

function formatStep({ targets, why, follows, restart }: Step, width: number, list: ListNames): string[] {
  const names = list(targets.map((target) => target.makes[0] ?? nameInPhase(target)))
  const namesItself = targets.some(({ makes }) => makes.some((file) => why.startsWith(file)))
  const chain = [
    ...Map.groupBy(follows, ({ phase }) => phase)
      .entries()
      .map(([phase, group]) => formatGroup(phase, group, list)),
    ...(restart.length > 0 ? [`${follows.length > 0 ? 'then ' : ''}restart ${restart.join(', ')}`] : []),
  ]
  return [
    ...breakLines(printable(namesItself ? why : `${names}: ${why}`), width, 2, 4),
    ...(chain.length > 0 ? breakLines(chain.map((link) => `→ ${link}`).join(' '), width, 4, 6) : []),
  ]
}

/** "deploy control0, control1"; "local-kubeconfig", where a phase has one target. */
function formatGroup(phase: string, targets: readonly Target[], list: ListNames): string {
  const names = targets.map(nameInPhase)
  return names.length === 1 && names[0] === phase ? phase : `${phase} ${list(names)}`
}
