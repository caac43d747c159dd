/** A dry run as a plan: what would be made, what was there, what would be restarted. Pure. */
import { styleText } from 'node:util'
import { nameInPhase, type Row, type Rows } from '../graph/target.ts'
import { type Diff, formatDiffs, hasVerb, namesOf, texts } from '../results.ts'
import { count, fit, foldAlike, formatNames, joinClauses, printable, wrap } from '../wording.ts'
import { formatJsonLine, type LinesOptions } from './lines.ts'
import type { Phases, Reporter } from './reporter.ts'
import { filesOf, formatFailure, formatFailures, formatScope, formatToDo, warningsOf } from './rows.ts'

/** Rows of one phase with which the same is done. */
interface Planned {
  /** Of the phase. */
  readonly title: string
  readonly rows: readonly Row[]
  /** The files that they make; without files, the targets. */
  readonly names: readonly string[]
  /** New, changed, removed. */
  readonly mark: '+' | '~' | '-'
  /** Why, and what there would be: a line each. */
  readonly lines: readonly string[]
  /** Copied to a node. */
  readonly copied: readonly string[]
  /** Installed where its units read them. */
  readonly installed: readonly string[]
  readonly removed: readonly string[]
  /** Restarted, in this order or at once. */
  readonly restarts: readonly string[]
}

/** What would be done, by phase. */
export function foldPlan(phases: Phases, rows: Rows, isFolded = true): Planned[] {
  return [...phases].flatMap(([title, own]) => {
    const stale = own.flatMap(({ id }) => rows.get(id) ?? []).filter(({ state }) => state === 'stale')
    const planned = stale.map((row) => plannedOf(title, row))
    return isFolded ? foldRows(planned) : planned
  })
}

function plannedOf(title: string, row: Row): Planned {
  const { diffs, note, target } = row
  const files = filesOf(row)
  const copied = namesOf(diffs, 'copy', 'update')
  const removed = namesOf(diffs, 'remove')
  // Forced or not.
  const isNew =
    hasVerb(diffs, 'make', 'copy') && diffs.every(({ verb }) => verb && ['make', 'copy', 'renew'].includes(verb))
  const isRemoval = removed.length > 0 && diffs.every(({ verb }) => verb === 'remove')
  // What is listed, or was not there, needs no reason.
  const isListed = ({ verb = 'chmod' }: Diff) =>
    target.where === 'node' && ['copy', 'update', 'install', 'remove', 'restart', 'reload'].includes(verb)
  const why = isNew ? '' : formatDiffs(diffs.filter((diff) => !isListed(diff)))
  return {
    title,
    rows: [row],
    names: files.length > 0 ? files : [nameInPhase(target)],
    mark: isNew ? '+' : isRemoval ? '-' : '~',
    lines: texts(why, target.where === 'auth' && note),
    ...{ copied, removed, installed: namesOf(diffs, 'install'), restarts: namesOf(diffs, 'restart') },
  }
}

function foldRows(all: readonly Planned[]): Planned[] {
  const nameOf = ({ rows: [row] }: Planned) => (row ? nameInPhase(row.target) : '')
  const shownAs = ({ rows, names, ...shown }: Planned) => JSON.stringify(shown)
  return foldAlike(all, nameOf, shownAs).map(({ group, shared }) => ({
    ...group[0],
    rows: group.flatMap(({ rows }) => rows),
    names: group.flatMap(({ names }) => names),
    lines: group[0].lines.map(shared),
    copied: group[0].copied.map(shared),
    installed: group[0].installed.map(shared),
    removed: group[0].removed.map(shared),
  }))
}

export function countPlan(planned: readonly Planned[]) {
  /** A number counts for each of the rows. */
  const sum = (each: (of: Planned) => number) => planned.reduce((all, of) => all + each(of) * of.rows.length, 0)
  return {
    added: sum(({ mark }) => Number(mark === '+')),
    changed: sum(({ mark }) => Number(mark === '~')),
    removed: sum(({ removed }) => removed.length),
    restarts: sum(({ restarts }) => restarts.length),
  }
}

/** `lines` prints the rest: each row that would be built has a line of its own. */
export function createPlanJson(write: (line: string) => void, phases: Phases, lines: Reporter): Reporter {
  return {
    ...lines,
    end: async (summary) => {
      const { skipped = [], planHash: hash } = summary
      if (skipped.length > 0)
        write(formatJsonLine({ type: 'note', message: `--offline skips ${skipped.join(' and ')}` }))
      if (hash !== undefined)
        write(formatJsonLine({ type: 'plan', hash, ...countPlan(foldPlan(phases, summary.rows)) }))
      await lines.end(summary)
    },
  }
}

export function createPlanLines({ phases, verbose, quiet, columns, write, writeError }: LinesOptions): Reporter {
  let isNoted = false
  return {
    event: () => {},
    note: (text) => {
      isNoted = true
      if (!quiet) write(styleText('dim', fit(printable(text), columns)))
    },
    problem: (failure, id) => writeError(fit(formatFailure(failure, id, verbose), columns)),
    end: async (summary) => {
      const { rows, planHash, skipped, next } = summary
      const toDo = formatToDo(summary, columns)
      const planned = foldPlan(phases, rows, !verbose)
      if (!quiet) for (const line of formatPlan(planned, rows, { isVerbose: verbose, columns })) write(line)
      for (const text of [...formatFailures(rows, verbose).map((each) => fit(each, columns)), ...toDo]) write(text)
      const nothing = toDo.length > 0 ? 'change' : 'do'
      const found = planned.length > 0 ? formatCounts(planned) : `Nothing ${isNoted ? 'else ' : ''}to ${nothing}`
      const isKnown = planned.length > 0 || [...rows.values()].every(({ state }) => state === 'fresh')
      const headline = joinClauses(isKnown ? found : 'Incomplete plan', formatScope(rows, skipped))
      for (const line of [rows.size > 0 ? headline : [], next ?? []].flat()) if (!quiet) write(fit(line, columns))
      if (!quiet && planHash !== undefined) write(`Plan hash: ${planHash}`)
    },
  }
}

function formatPlan(
  planned: readonly Planned[],
  rows: Rows,
  { isVerbose, columns }: { readonly isVerbose: boolean; readonly columns: number | undefined },
): string[] {
  const list = isVerbose ? (names: readonly string[]) => names.join(', ') : formatNames
  const lines = [...Map.groupBy(planned, ({ title }) => title)].flatMap(([title, some]) => [
    styleText('bold', title),
    ...some.flatMap((each) => formatPlanned(each, list)).map((line) => wrap(line, columns, 8)),
  ])
  return [...lines, ...(lines.length > 0 ? [''] : []), ...warningsOf(rows).map((each) => fit(printable(each), columns))]
}

function formatPlanned(planned: Planned, list: (names: readonly string[]) => string): string[] {
  const { mark, names, copied, installed, removed, restarts } = planned
  const [first = '', ...more] = [
    ...planned.lines,
    copied.length > 0 && `copy ${list(copied)}`,
    installed.length > 0 && `install ${list(installed)}`,
    removed.length > 0 && `${mark === '-' ? '' : '- '}remove ${list(removed)}`,
    restarts.length > 0 && `↻ restart ${restarts.join(', ')}`,
  ].flatMap((text) => (text ? [paint(text)] : []))
  return [`  ${paint(mark)} ${printable(list(names))}  ${first}`.trimEnd(), ...more.map((text) => `      ${text}`)]
}

/** A mark at its beginning is in colour. */
function paint(text: string): string {
  const colours = { '+': 'green', '~': 'yellow', '-': 'red', '↻': 'magenta' } as const
  return printable(text).replace(/^[+~↻-](?= |$)/, (mark) => styleText(colours[mark as keyof typeof colours], mark))
}

/** "Plan: + 22 new, ~ 3 changed, ↻ 5 restarts" */
function formatCounts(planned: readonly Planned[]): string {
  const { added, changed, removed, restarts } = countPlan(planned)
  const parts = [
    added > 0 && `+ ${added} new`,
    changed > 0 && `~ ${changed} changed`,
    removed > 0 && `- ${count(removed, 'file')} removed`,
    restarts > 0 && `↻ ${count(restarts, 'restart')}`,
  ]
  return `Plan: ${parts.flatMap((text) => (text ? [paint(text)] : [])).join(', ')}`
}
