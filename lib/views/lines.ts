/** A run told in plain lines: for logs, pipes, CI and --quiet. */
import type { Outcome } from '../targets/executor.ts'
import type { Target, TargetId } from '../targets/target.ts'
import { printable, withoutCommands } from '../wording.ts'
import { formatOutcome, summariseGroup } from './outcome.ts'
import { areChecks, type PhaseView } from './phase-view.ts'
import { formatFailures, formatProblem, formatStacks, type Reporter, warningsOf } from './reporter.ts'
import { formatClosing, formatSummary, formatToDo } from './summary.ts'

/** After so many lines, what went well is counted by phase. */
const mostLines = 60

export interface LinesOptions {
  readonly phases: readonly PhaseView[]
  readonly detail: 'verbose' | 'normal' | 'quiet'
  /** A phase at a time, as a group that GitHub Actions folds. */
  readonly isGrouped?: boolean
  readonly write: (line: string) => void
  readonly writeError: (text: string) => void
}

interface PhaseEnd {
  readonly phase: PhaseView
  readonly ended: Outcome[]
  /** Without a line of their own. */
  readonly counted: Outcome[]
  /** Lines of a group, which is written as a whole. */
  readonly lines: string[]
}

/** A line for each target that changed or failed; what is fresh is counted by the phase. */
export function createLines({ phases, detail, isGrouped = false, write, writeError }: LinesOptions): Reporter {
  const byTarget = new Map(
    phases.flatMap((phase) => {
      const end: PhaseEnd = { phase, ended: [], counted: [], lines: [] }
      return phase.targets.map((target): [TargetId, [Target, PhaseEnd]] => [target.id, [target, end]])
    }),
  )
  const put = isGrouped ? (text: string) => write(withoutCommands(text)) : write
  const say = (text: string) => {
    if (detail !== 'quiet') put(printable(text))
  }
  let room = mostLines
  const isTold = ({ build }: Target, { kind }: Outcome) => {
    if (detail === 'verbose' || kind === 'failed') return true
    return (kind !== 'fresh' || !build) && room-- > 0
  }
  const tell = (target: Target, outcome: Outcome, { ended, counted, lines }: PhaseEnd) => {
    ended.push(outcome)
    const warning = 'warning' in outcome ? outcome.warning : undefined
    const line = isTold(target, outcome) ? [formatEnd(target.id, outcome)] : []
    if (line.length === 0) counted.push(outcome)
    const told = [...line, ...(warning ? [`warning ${target.id}: ${warning}`] : [])]
    if (isGrouped) lines.push(...told)
    else told.forEach(say)
  }
  const endPhase = ({ phase, ended, counted, lines }: PhaseEnd) => {
    const { title } = phase
    if (!isGrouped && counted.length > 0) say(`${title}: ${summariseGroup(counted, areChecks(phase))}`)
    if (!isGrouped || detail === 'quiet') return
    const heading = printable(`${title}: ${summariseGroup(ended, areChecks(phase))}`).replaceAll('\n', ' ')
    if (lines.length === 0) return put(heading)
    write(`::group::${heading}`)
    lines.forEach(say)
    write('::endgroup::')
  }
  return {
    event: (event) => {
      const [target, end] = byTarget.get(event.id) ?? []
      if (event.type !== 'ended' || !target || !end) return
      tell(target, event.outcome, end)
      if (end.ended.length === end.phase.targets.length) endPhase(end)
    },
    note: say,
    problem: (failure, id) => writeError(formatProblem(failure, detail === 'verbose', id)),
    end: async (summary) => {
      if (detail === 'quiet')
        for (const text of [
          // What was looked at, and is not there.
          ...[...summary.outcomes].flatMap(([id, outcome]) =>
            outcome.kind === 'stale' ? [formatEnd(id, outcome)] : [],
          ),
          ...warningsOf(summary.outcomes).map((each) => `warning ${each}`),
          ...formatToDo(summary, Number.POSITIVE_INFINITY),
        ])
          put(printable(text))
      for (const text of formatFailures(summary.outcomes)) put(text)
      if (detail === 'verbose') for (const text of formatStacks(summary.outcomes)) put(text)
      for (const line of formatClosing(summary, Number.POSITIVE_INFINITY)) say(line)
      if (summary.targets > 0) say(formatSummary(summary))
    },
  }
}

function formatEnd(id: TargetId, outcome: Outcome): string {
  return `${id}: ${outcome.kind === 'failed' ? 'failed: ' : ''}${formatOutcome(outcome)}`
}
