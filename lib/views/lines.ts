/** A run told in plain lines: for logs, pipes and --quiet. */
import type { Outcome } from '../targets/executor.ts'
import type { TargetId } from '../targets/target.ts'
import { printable } from '../wording.ts'
import {
  formatClosing,
  formatFailures,
  formatOutcome,
  formatProblem,
  formatStacks,
  formatSummary,
  type PhaseView,
  type Reporter,
} from './reporter.ts'

/** With more targets than this, fresh and made ones are summarised by phase. */
const mostLines = 60

export interface LinesOptions {
  readonly phases: readonly PhaseView[]
  readonly detail: 'verbose' | 'normal' | 'quiet'
  readonly write: (line: string) => void
  readonly writeError: (text: string) => void
}

export function createLines({ phases, detail, write, writeError }: LinesOptions): Reporter {
  const total = phases.reduce((sum, { targets }) => sum + targets.length, 0)
  const each = detail === 'verbose' || (detail === 'normal' && total <= mostLines)
  const left = new Map(phases.map((phase) => [phase.name, phase.targets.length]))
  const phaseOf = new Map(phases.flatMap((phase) => phase.targets.map(({ id }): [TargetId, PhaseView] => [id, phase])))
  const say = (text: string) => {
    if (detail !== 'quiet') write(printable(text))
  }
  const ended = (id: TargetId, outcome: Outcome) => {
    if (outcome.kind === 'failed') say(`${id}: failed: ${outcome.failure.message}`)
    else if (each) say(`${id}: ${formatOutcome(outcome)}`)
    if ('warning' in outcome && outcome.warning) say(`warning ${id}: ${outcome.warning}`)
    const phase = phaseOf.get(id)
    if (!phase || each) return
    const rest = (left.get(phase.name) ?? 0) - 1
    left.set(phase.name, rest)
    if (rest === 0) say(`${phase.title}: ${phase.targets.length} done`)
  }
  return {
    event: (event) => {
      if (event.type === 'ended') ended(event.id, event.outcome)
    },
    note: say,
    problem: (failure, id) => writeError(formatProblem(failure, detail === 'verbose', id)),
    end: async (summary) => {
      for (const text of formatFailures(summary.outcomes)) write(text)
      if (detail === 'verbose') for (const text of formatStacks(summary.outcomes)) write(text)
      for (const line of formatClosing(summary)) say(line)
      if (summary.targets > 0) say(formatSummary(summary))
    },
  }
}
