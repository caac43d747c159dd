/** A run in plain lines, for logs, pipes, CI and --quiet; and with --json, one JSON object a line. */
import { type Failure, stackOf } from '../failure.ts'
import type { Row, Target } from '../graph/target.ts'
import { beside, fit, printable } from '../wording.ts'
import type { Phases, Reporter } from './reporter.ts'
import {
  areChecks,
  countRows,
  formatClosing,
  formatFailure,
  formatFailures,
  formatSummary,
  formatToDo,
  summariseGroup,
  textOf,
  toDoOf,
  warningsOf,
} from './rows.ts'

/** After so many lines, targets that succeeded are counted by phase. */
const mostLines = 60

/** What the views in lines are made with. */
export interface LinesOptions {
  readonly phases: Phases
  readonly verbose: boolean
  readonly quiet: boolean
  /** Of a terminal, which would break lines inside words. */
  readonly columns?: number | undefined
  readonly write: (line: string) => void
  readonly writeError: (text: string) => void
}

/** A line for each target that changed or failed; fresh targets are counted by phase. Equal failures have one line. */
export function createLines({ phases, verbose, quiet, columns, write, writeError }: LinesOptions): Reporter {
  const places = new Map(
    [...phases].flatMap(([title, targets]) => {
      /** `left`: targets without an outcome. */
      const phase = { title, targets, left: targets.length, counted: [] as Row[] }
      return targets.map((target) => [target.id, { target, phase }] as const)
    }),
  )
  const say = (text: string) => {
    if (!quiet) write(fit(printable(text), columns))
  }
  let room = mostLines
  const failures = new Set<string>()
  const hasLine = ({ build }: Target, { state }: Row) =>
    verbose || state === 'failed' || ((state !== 'fresh' || !build) && room-- > 0)
  return {
    event: (event) => {
      const { target, phase } = places.get(event.id) ?? {}
      if (event.type !== 'ended' || !target || !phase) return
      const { id, row } = event
      const isRepeat = !verbose && row.failure !== undefined && failures.has(row.failure.message)
      if (!isRepeat && hasLine(target, row)) say(formatEnd(row))
      else if (!isRepeat) phase.counted.push(row)
      if (row.failure) failures.add(row.failure.message)
      for (const text of row.warn ?? []) say(`warning ${id}: ${text}`)
      phase.left--
      if (phase.left === 0 && phase.counted.length > 0)
        say(`${phase.title}: ${summariseGroup(phase.counted, areChecks(phase.targets))}`)
    },
    note: say,
    problem: (failure, id) => writeError(fit(formatFailure(failure, id, verbose), columns)),
    end: async (summary) => {
      const { rows } = summary
      if (quiet) {
        // Targets that were checked and are stale.
        for (const row of rows.values()) if (row.state === 'stale') write(printable(formatEnd(row)))
        for (const each of warningsOf(rows)) write(fit(printable(`warning ${each}`), columns))
      }
      for (const text of formatFailures(rows, verbose)) write(fit(text, columns))
      for (const line of quiet ? formatToDo(summary, columns) : formatClosing(summary, columns)) write(line)
      if (rows.size > 0) say(formatSummary(summary, [...phases.values()].every(areChecks)))
    },
  }
}

function formatEnd(row: Row): string {
  const { id, failure } = row
  const how = failure ? `${failure.kind === 'refused' ? 'refused' : 'failed'}; ` : ''
  return `${id}: ${how}${beside(id, textOf(row))}`
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
      const { rows, seconds, exit, nextToExpire, goOn } = summary
      const counts = { ...countRows(rows), seconds: Math.round(seconds * 1000) / 1000, exit }
      say({ type: 'summary', ...counts, todo: unlessEmpty(toDoOf(summary)), nextToExpire, goOn })
    },
  }
}

/** A row but for its target and what its check hands on; its type is its state. */
function plainRow(row: Row): object {
  const { id, state, diffs, until, note, because, isBegun, failure } = row
  const told = { diffs, until, note, warn: unlessEmpty(row.warn), todo: unlessEmpty(row.todo), because, isBegun }
  if (failure) return { type: state, id, refused: failure.kind === 'refused', isBegun, ...plainFailure(failure) }
  return { type: state, id, ...told, message: textOf(row) }
}

/** A field that has nothing to say is absent. */
export const unlessEmpty = (texts: readonly string[] = []) => (texts.length > 0 ? texts : undefined)

function plainFailure(failure: Failure): object {
  const { message, remedy, code: cause } = failure
  return { message, remedy, cause, stack: stackOf(failure) }
}
