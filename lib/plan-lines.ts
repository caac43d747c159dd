/** A dry run told as a plan: its steps by phase, and nothing of what stays. */
import { styleText } from 'node:util'
import type { Target } from './graph.ts'
import { breakLines } from './paragraph.ts'
import { planSteps, type Step } from './plan.ts'
import { formatNames } from './reason.ts'
import {
  formatFailures,
  formatSummary,
  nameInPhase,
  type PhaseView,
  printable,
  type Reporter,
  type Summary,
  warningsOf,
} from './reporter.ts'

export interface PlanLinesOptions {
  readonly phases: readonly PhaseView[]
  readonly quiet: boolean
  /** Columns. */
  readonly width: number
  readonly write: (text: string) => void
}

/** Progress is what is told before: by a tree that is gone when the plan comes, or by nothing but notes. */
export function createPlanLines({ phases, quiet, width, write }: PlanLinesOptions, progress: Reporter): Reporter {
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

function formatPlan(phases: readonly PhaseView[], { outcomes }: Summary, width: number): string[] {
  const byPhase = Map.groupBy(planSteps(phases, outcomes), ({ phase }) => phase)
  const lines = [...byPhase].flatMap(([{ title }, steps]) => [
    styleText('bold', title),
    ...steps.flatMap((step) => formatStep(step, width)),
  ])
  const warnings = warningsOf(outcomes).flatMap((text) => breakLines(printable(text), width, 0, 2))
  return [...lines, ...(lines.length > 0 ? [''] : []), ...warnings]
}

function formatStep({ targets, why, follows, restart }: Step, width: number): string[] {
  const names = formatNames(targets.map((target) => target.makes[0] ?? nameInPhase(target)))
  const namesItself = targets.some(({ makes }) => makes.some((file) => why.startsWith(file)))
  const chain = [
    ...Map.groupBy(follows, ({ phase }) => phase)
      .entries()
      .map(([phase, group]) => describeGroup(phase, group)),
    ...(restart.length > 0 ? [`${follows.length > 0 ? 'then ' : ''}restart ${restart.join(', ')}`] : []),
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
