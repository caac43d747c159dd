/** A run in plain lines, for logs, pipes, CI and --quiet; and with --json, one JSON object a line. */
import { type Failure, stackOf } from '../failure.ts'
import type { Event, Outcome, Target } from '../graph/target.ts'
import type { Reason } from '../reason.ts'
import { type Mistake, octal, printable } from '../wording.ts'
import { formatCause, formatOutcome, ofKind, summariseGroup } from './outcome.ts'
import { areChecks, type PhaseState, type PhaseView, trackPhases } from './phase-view.ts'
import { formatFailures, formatProblem, formatStacks, type Reporter, warningsOf } from './reporter.ts'
import { formatClosing, formatLast, formatSummary, formatToDo } from './summary.ts'

/** After so many lines, targets that succeeded are counted by phase. */
const mostLines = 60

export interface LinesOptions {
  readonly phases: readonly PhaseView[]
  readonly detail: 'verbose' | 'normal' | 'quiet'
  readonly write: (line: string) => void
  readonly writeError: (text: string) => void
}

/** A line for each target that changed or failed; fresh targets are counted by phase. */
export function createLines({ phases, detail, write, writeError }: LinesOptions): Reporter {
  const progress = trackPhases(phases)
  /** Without a line of their own, by phase. */
  const counted = new Map(progress.phases.map((phase): [PhaseState, Outcome[]] => [phase, []]))
  const say = (text: string) => {
    if (detail !== 'quiet') write(printable(text))
  }
  let room = mostLines
  const isTold = ({ build }: Target, { kind }: Outcome) => {
    if (detail === 'verbose' || kind === 'failed') return true
    return (kind !== 'fresh' || !build) && room-- > 0
  }
  const tell = (target: Target, outcome: Outcome, others: Outcome[]) => {
    if (isTold(target, outcome)) say(formatEnd(target.id, outcome))
    else others.push(outcome)
    if ('warning' in outcome && outcome.warning) say(`warning ${target.id}: ${outcome.warning}`)
  }
  return {
    event: (event) => {
      const { target, phase } = progress.apply(event) ?? {}
      if (event.type !== 'ended' || !target || !phase) return
      const others = counted.get(phase) ?? []
      tell(target, event.outcome, others)
      if (phase.left === 0 && others.length > 0)
        say(`${phase.view.title}: ${summariseGroup(others, areChecks(phase.view))}`)
    },
    note: say,
    problem: (failure, id) => writeError(formatProblem(failure, detail === 'verbose', id)),
    end: async (summary) => {
      if (detail === 'quiet') {
        for (const text of [
          // Targets that were checked and are stale.
          ...ofKind(summary.outcomes, 'stale').map((entry) => formatEnd(...entry)),
          ...warningsOf(summary.outcomes).map((each) => `warning ${each}`),
        ])
          write(printable(text))
        for (const line of formatToDo(summary)) write(line)
      }
      for (const text of formatFailures(summary.outcomes)) write(text)
      if (detail === 'verbose') for (const text of formatStacks(summary.outcomes)) write(text)
      if (detail !== 'quiet') for (const line of formatClosing(summary)) write(line)
      if (summary.targets > 0) say(formatSummary(summary))
      for (const line of formatLast(summary)) write(line)
    },
  }
}

function formatEnd(id: string, outcome: Outcome): string {
  return `${id}: ${outcome.kind === 'failed' ? 'failed: ' : ''}${formatOutcome(outcome)}`
}

/** Increased by a change that breaks programs that read the lines: docs/json.md. */
const format = 1

/** Escapes characters that JSON allows unescaped and that a terminal or a line reader would interpret. */
export function formatJsonLine(value: object): string {
  const escapeChar = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify({ ...value, format }, withoutFractions).replace(
    /[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    escapeChar,
  )
}

/** Times as jq's fromdate reads them: RFC 3339 in whole seconds. */
function withoutFractions(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  return this[key] instanceof Date ? String(value).replace(/\.\d+Z$/, 'Z') : value
}

export function createJsonLines(write: (line: string) => void): Reporter {
  const say = (value: object) => write(formatJsonLine(value))
  return {
    event: (event) => say(plainEvent(event)),
    note: (message) => say({ type: 'note', message }),
    problem: (failure, id) => {
      const type = failure.kind === 'usage' ? 'error' : failure.kind
      for (const mistake of failure.mistakes) say({ type, ...plainMistake(mistake) })
      if (failure.mistakes.length === 0) say({ type, id, ...plainFailure(failure) })
    },
    end: async ({ outcomes, areChecks, planHash, advice, caEnds, now, ...counts }) => {
      const seconds = Math.round(counts.seconds * 1000) / 1000
      const all = [...advice, ...(caEnds ? [caEnds] : [])]
      say({ type: 'summary', ...counts, seconds, advice: all })
    },
  }
}

/** The outcome's kind is the type of the event: fresh, built, stale, failed, cancelled. */
function plainEvent(event: Event): object {
  if (event.type === 'building') return { ...event, reasons: event.reasons.map(plainReason) }
  if (event.type !== 'ended') return event
  const { id, outcome } = event
  return { type: outcome.kind, id, ...plainOutcome(outcome), message: formatCause(outcome) }
}

function plainOutcome(outcome: Outcome): object {
  const { kind, ...rest } = outcome
  if ('failure' in rest) return { refused: rest.failure.kind === 'refused', ...plainFailure(rest.failure) }
  return 'reasons' in rest ? { ...rest, reasons: rest.reasons.map(plainReason) } : rest
}

/** With modes as they are typed: "0600". */
function plainReason(reason: Reason): object {
  return reason.kind === 'wrong-mode' ? { ...reason, was: octal(reason.was), wanted: octal(reason.wanted) } : reason
}

/** The order of a compiler's message. */
function plainMistake({ file, line, column, message, remedy }: Mistake): object {
  return { file, line, column, message, remedy }
}

function plainFailure(failure: Failure): object {
  const { message, remedy, code: cause } = failure
  return { message, remedy, cause, stack: stackOf(failure) }
}
