/** A run in plain lines, for logs, pipes, CI and --quiet; and with --json, one JSON object a line. */

import { styleText } from 'node:util'
import { type Failure, stackOf } from '../failure.ts'
import { nameInPhase, type Row, type Rows } from '../graph/target.ts'
import { formatDiffs, hasVerb, namesOf } from '../results.ts'
import { count, fit, foldAlike, formatNames, joinClauses, printable, wrap } from '../wording.ts'
import {
  countRows,
  formatClosing,
  formatFailure,
  formatIssues,
  formatRow,
  formatSummary,
  nameOf,
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
    problem: (failure, id) => writeError(fit(formatFailure(failure, id), columns)),
    end: async (summary) => {
      for (const line of (quiet ? formatIssues : formatClosing)(summary, columns)) write(line)
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
  const { target, findings, hasNothing, failure, state, warn, todo, id, ...rest } = row
  const texts = { message: textOf(row), warn: unlessEmpty(warn), todo: unlessEmpty(todo) }
  const why = failure && { refused: failure.kind === 'refused', ...plainFailure(failure) }
  return { type: state, id, ...rest, ...texts, ...why }
}

const unlessEmpty = (texts: readonly string[] = []) => (texts.length > 0 ? texts : undefined)

function plainFailure(failure: Failure): object {
  const { message, remedy, code: cause } = failure
  return { message, remedy, cause, stack: stackOf(failure) }
}

type Mark = '+' | '~' | '-'

function markOf({ diffs }: Row): Mark {
  if (diffs.length > 0 && diffs.every(({ verb }) => verb === 'remove')) return '-'
  const isNew = diffs.every(({ verb }) => verb && ['make', 'copy', 'renew'].includes(verb))
  return isNew && hasVerb(diffs, 'make', 'copy') ? '+' : '~'
}

/** Why, and what there would be. What is new in auth/ needs no reason. */
function formatStale(row: Row): string {
  const { diffs, note, target } = row
  const isOnNode = target.where === 'node'
  return joinClauses((isOnNode || markOf(row) !== '+') && formatDiffs(diffs), !isOnNode && note)
}

export function countPlan(rows: Rows) {
  const stale = [...rows.values()].filter(({ state }) => state === 'stale')
  const sum = (each: (row: Row) => number) => stale.reduce((all, row) => all + each(row), 0)
  return {
    added: sum((row) => Number(markOf(row) === '+')),
    changed: sum((row) => Number(markOf(row) === '~')),
    removed: sum(({ diffs }) => namesOf(diffs, 'remove').length),
    restarts: sum(({ diffs }) => namesOf(diffs, 'restart').length),
  }
}

/** `lines` prints the rest: each row that would be built has a line of its own. */
export function createPlanJson(write: (line: string) => void, lines: Reporter): Reporter {
  return {
    ...lines,
    end: async (summary) => {
      const { planHash: hash, rows } = summary
      if (hash !== undefined) write(formatJsonLine({ type: 'plan', hash, ...countPlan(rows) }))
      await lines.end(summary)
    },
  }
}

export function createPlanLines({ phases, verbose, quiet, columns, write, writeError }: LinesOptions): Reporter {
  const say = quiet ? () => {} : write
  let isNoted = false
  return {
    event: () => {},
    note: (text) => {
      isNoted = true
      say(styleText('dim', fit(printable(text), columns)))
    },
    problem: (failure, id) => writeError(fit(formatFailure(failure, id), columns)),
    end: async (summary) => {
      const { rows, planHash, next } = summary
      const entries = [...phases].flatMap(([title, targets]) => {
        const stale = targets.flatMap(({ id }) => rows.get(id) ?? []).filter(({ state }) => state === 'stale')
        const lines = formatEntries(stale, verbose).map((line) => wrap(line, columns, 6))
        return lines.length > 0 ? [styleText('bold', title), ...lines] : []
      })
      for (const line of entries) say(line)
      if (entries.length > 0) say('')
      for (const line of formatIssues(summary, columns)) write(line)
      if (rows.size > 0)
        say(formatHeadline(rows, `Nothing ${isNoted ? 'else ' : ''}to ${toDoOf(summary).length > 0 ? 'change' : 'do'}`))
      if (next) say(fit(next, columns))
      if (planHash !== undefined) say(`Plan hash: ${planHash}`)
    },
  }
}

function formatEntries(rows: readonly Row[], isVerbose: boolean): string[] {
  const lineOf = (row: Row, names: string, text: string) =>
    `  ${paint(markOf(row))} ${printable(names)}  ${printable(text)}`.trimEnd()
  if (isVerbose) return rows.map((row) => lineOf(row, nameOf(row), formatStale(row)))
  const textOf = (row: Row) => `${markOf(row)}${formatStale(row)}`
  return foldAlike(rows, ({ target }) => nameInPhase(target), textOf).map(({ group, shared }) =>
    lineOf(group[0], formatNames(group.map(nameOf)), shared(formatStale(group[0]))),
  )
}

function paint(mark: Mark | '↻'): string {
  return styleText(({ '+': 'green', '~': 'yellow', '-': 'red', '↻': 'magenta' } as const)[mark], mark)
}

/** "Plan: + 22 new, ~ 3 changed, ↻ 5 restarts"; `nothing` if there is nothing to do. */
function formatHeadline(rows: Rows, nothing: string): string {
  const { added, changed, removed, restarts } = countPlan(rows)
  const parts = [
    added > 0 && `${paint('+')} ${added} new`,
    changed > 0 && `${paint('~')} ${changed} changed`,
    removed > 0 && `${paint('-')} ${count(removed, 'file')} removed`,
    restarts > 0 && `${paint('↻')} ${count(restarts, 'restart')}`,
  ].filter(Boolean)
  if (parts.length > 0) return `Plan: ${parts.join(', ')}`
  return [...rows.values()].every(({ state }) => state === 'fresh') ? nothing : 'Incomplete plan'
}
