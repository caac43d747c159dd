/** A dry run as a plan: what would be made, and why; what would be restarted. Pure. */
import { styleText } from 'node:util'
import { nameInPhase, type Row, type Rows } from '../graph/target.ts'
import { formatDiffs, hasVerb, namesOf } from '../results.ts'
import { count, fit, foldAlike, formatNames, joinClauses, printable, wrap } from '../wording.ts'
import { formatJsonLine, type LinesOptions } from './lines.ts'
import { formatFailure, formatIssues, nameOf, type Reporter, toDoOf } from './rows.ts'

type Mark = '+' | '~' | '-'

/** New, removed, or changed: whether or not it is forced. */
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
    problem: (failure, id) => writeError(fit(formatFailure(failure, id, verbose), columns)),
    end: async (summary) => {
      const { rows, planHash, next } = summary
      const entries = [...phases].flatMap(([title, targets]) => {
        const stale = targets.flatMap(({ id }) => rows.get(id) ?? []).filter(({ state }) => state === 'stale')
        const lines = formatEntries(stale, verbose).map((line) => wrap(line, columns, 6))
        return lines.length > 0 ? [styleText('bold', title), ...lines] : []
      })
      for (const line of entries) say(line)
      if (entries.length > 0) say('')
      for (const line of formatIssues(summary, { columns, verbose })) write(line)
      if (rows.size > 0)
        say(formatHeadline(rows, `Nothing ${isNoted ? 'else ' : ''}to ${toDoOf(summary).length > 0 ? 'change' : 'do'}`))
      if (next) say(fit(next, columns))
      if (planHash !== undefined) say(`Plan hash: ${planHash}`)
    },
  }
}

/** A line for each row, or for all that are alike but for their names. */
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
