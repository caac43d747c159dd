/** A run in plain lines, for logs, pipes, CI and --quiet; and with --json, one JSON object a line. */
import { type Failure, stackOf } from '../failure.ts'
import type { Row } from '../graph/target.ts'
import { fit, printable } from '../wording.ts'
import {
  countRows,
  formatClosing,
  formatFailure,
  formatIssues,
  formatRow,
  formatSummary,
  type Phases,
  type Reporter,
  summariseGroup,
  textOf,
  toDoOf,
} from './rows.ts'

export interface LinesOptions {
  readonly phases: Phases
  readonly verbose: boolean
  readonly quiet: boolean
  /** Of a terminal, which would break lines inside words. */
  readonly columns?: number | undefined
  readonly write: (line: string) => void
  readonly writeError: (text: string) => void
}

/** A line for each target that is not fresh; fresh ones are counted by phase. `quiet`: only what is wrong. */
export function createLines({ phases, verbose, quiet, columns, write, writeError }: LinesOptions): Reporter {
  const phaseOf = new Map(
    [...phases].flatMap(([title, targets]) => {
      /** `left`: targets without an outcome. */
      const phase = { title, left: targets.length, fresh: [] as Row[] }
      return targets.map(({ id }) => [id, phase] as const)
    }),
  )
  const put = (text: string) => write(fit(printable(text), columns))
  const say = quiet ? () => {} : put
  return {
    event: (event) => {
      const phase = phaseOf.get(event.id)
      if (event.type !== 'ended' || !phase) return
      const { row } = event
      if (row.state === 'fresh' && row.target.build && !verbose) phase.fresh.push(row)
      else if (row.state === 'stale') put(formatRow(row))
      else say(formatRow(row))
      phase.left--
      if (phase.left === 0 && phase.fresh.length > 0) say(`${phase.title}: ${summariseGroup(phase.fresh)}`)
    },
    note: say,
    problem: (failure, id) => writeError(fit(formatFailure(failure, id, verbose), columns)),
    end: async (summary) => {
      for (const line of (quiet ? formatIssues : formatClosing)(summary, { columns, verbose })) write(line)
      if (summary.rows.size > 0) say(formatSummary(summary))
    },
  }
}

/** Increased by a change that breaks programs that read the lines: docs/json.md. */
const format = 2

/** Escapes characters that JSON allows unescaped and that a terminal or a line reader would interpret. */
export function formatJsonLine(value: object): string {
  const escapeChar = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify({ ...value, format }, plainValue).replace(
    /[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    escapeChar,
  )
}

/** Times as jq's fromdate reads them, RFC 3339 in whole seconds. */
function plainValue(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  return this[key] instanceof Date ? String(value).replace(/\.\d+Z$/, 'Z') : value
}

export function createJsonLines(write: (line: string) => void): Reporter {
  const say = (value: object) => write(formatJsonLine(value))
  return {
    event: (event) => say(event.type === 'ended' ? plainRow(event.row) : event),
    note: (message) => say({ type: 'note', message }),
    problem: (failure, id) => {
      const type = failure.kind === 'usage' ? 'error' : failure.kind
      for (const { file, line, column, message, remedy } of failure.mistakes)
        say({ type, file, line, column, message, remedy })
      if (failure.mistakes.length === 0) say({ type, id, ...plainFailure(failure) })
    },
    end: async (summary) => {
      const { rows, seconds, exit, goOn } = summary
      const counts = { ...countRows(rows), seconds: Math.round(seconds * 1000) / 1000, exit }
      say({ type: 'summary', ...counts, todo: unlessEmpty(toDoOf(summary)), goOn })
    },
  }
}

/** A row but for its target and what its check hands on; its type is its state. */
function plainRow(row: Row): object {
  const { target, found, hasNothing, failure, state, warn, todo, id, ...rest } = row
  const texts = { message: textOf(row), warn: unlessEmpty(warn), todo: unlessEmpty(todo) }
  const why = failure && { refused: failure.kind === 'refused', ...plainFailure(failure) }
  return { type: state, id, ...rest, ...texts, ...why }
}

const unlessEmpty = (texts: readonly string[] = []) => (texts.length > 0 ? texts : undefined)

function plainFailure(failure: Failure): object {
  const { message, remedy, code: cause } = failure
  return { message, remedy, cause, stack: stackOf(failure) }
}
