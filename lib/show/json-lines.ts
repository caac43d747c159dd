/** A run as one JSON object a line: `--json`. */
import { type Failure, stackOf } from '../failure.ts'
import type { Outcome, RunEvent } from '../graph/executor.ts'
import { formatCause } from './outcome.ts'
import type { Reporter } from './reporter.ts'

/** Escapes characters that JSON allows unescaped and that a terminal or a line reader would interpret. */
export function formatJsonLine(value: object): string {
  const escapeChar = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify(value).replace(/[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, escapeChar)
}

export function createJsonLines(write: (line: string) => void): Reporter {
  const say = (value: object) => write(formatJsonLine(value))
  return {
    event: (event) => say(plainEvent(event)),
    note: (message) => say({ type: 'note', message }),
    problem: (failure, id) =>
      say({ type: failure.kind === 'usage' ? 'error' : failure.kind, id, ...plainFailure(failure) }),
    end: async ({ outcomes, follows, areChecks, advice, caEnds, now, ...counts }) => {
      const ids = follows?.phases.flatMap(({ targets }) => targets.map(({ id }) => id))
      const all = [...advice, ...(caEnds ? [caEnds] : [])]
      say({ type: 'summary', ...counts, advice: all, follows: follows && { ...follows, phases: undefined, ids } })
    },
  }
}

/** The outcome's kind is the type of the event: fresh, built, stale, failed, cancelled. */
function plainEvent(event: RunEvent): object {
  if (event.type !== 'ended') return event
  const { id, outcome } = event
  return { type: outcome.kind, id, ...plainOutcome(outcome), message: formatCause(outcome) }
}

function plainOutcome(outcome: Outcome): object {
  const { kind, ...rest } = outcome
  return 'failure' in rest ? { refused: rest.failure.kind === 'refused', ...plainFailure(rest.failure) } : rest
}

function plainFailure(failure: Failure): object {
  const { message, remedy, code: cause } = failure
  return { message, remedy, cause, stack: stackOf(failure) }
}
