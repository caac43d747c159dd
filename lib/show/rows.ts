/** What every view of a run has in common: its words for rows, failures and the end of a run. Pure. */
import { styleText } from 'node:util'
import type { ListrRendererFactory } from 'listr2'
import { type Failure, stackOf } from '../failure.ts'
import { type Event, nameInPhase, type Row, type Rows, type Target } from '../graph/target.ts'
import { formatDiffs, namesOf, pastOf, texts } from '../results.ts'
import { beside, count, fit, formatNames, groupAlike, joinClauses, printable } from '../wording.ts'

/** What there is now, or why it is not so: "new, expires 2036-11-21", "to change; adds SAN 192.168.1.22". */
export function textOf(row: Row): string {
  const { state, diffs, note, failure, because = [] } = row
  if (failure) return failure.message
  switch (state) {
    case 'fresh':
      return note ?? labelOf(row)
    case 'built':
      return textOfBuilt(row)
    case 'skipped':
      if (row.isBegun) return 'interrupted; the next run checks it again'
      return joinClauses(labelOf(row), because.length > 0 && `${formatNames(because)} must succeed first`)
    default:
      return joinClauses(labelOf(row), formatDiffs(diffs))
  }
}

function labelOf({ state, diffs, note, failure, hasNothing, isBegun, target }: Row): string {
  switch (state) {
    case 'fresh':
      return (hasNothing && note) || (target.build ? 'up to date' : 'passed')
    case 'built':
      return pastOf(diffs)
    case 'stale':
      return target.build ? 'to change' : 'not checked'
    case 'failed':
      return failure?.kind === 'refused' ? 'refused' : 'failed'
    case 'skipped':
      return isBegun ? 'interrupted' : 'skipped'
    default:
      return state satisfies never
  }
}

/** On nodes the files and units; of a file what there is now, and why it was changed. */
function textOfBuilt({ diffs, note }: Row): string {
  const installed = namesOf(diffs, 'install')
  const onNode = joinClauses(
    ...[
      [formatNames(namesOf(diffs, 'copy', 'update')), 'deployed'],
      [installed.length > 0 ? count(installed.length, 'file') : '', 'installed'],
      [formatNames(namesOf(diffs, 'remove')), 'removed'],
      [formatNames(namesOf(diffs, 'restart')), 'restarted'],
    ].map(([names, done]) => names && `${names} ${done}`),
  )
  const label = pastOf(diffs)
  const why = ['new', 'renewed', 'verified', 'rewritten'].includes(label) ? '' : formatDiffs(diffs)
  return onNode || joinClauses(note ? `${label}, ${note}` : label, why)
}

export function formatRow(row: Row): string {
  return `${row.id}: ${joinClauses(row.failure && labelOf(row), beside(row.id, textOf(row)))}`
}

/** "5 new, 1 failed", "3 not installed yet"; of a single one, its text. */
export function summariseGroup(rows: readonly Row[]): string {
  const [only, ...others] = rows
  if (only && others.length === 0) return textOf(only)
  return groupAlike(rows.map(labelOf), (label) => label)
    .map((group) => `${group.length} ${group[0]}`)
    .join(', ')
}

/** The message after the target's id, and the remedy below it; of a bug, the stack trace. */
export function formatFailure(failure: Failure, id?: string): string {
  const { message, remedy } = failure
  const lines = remedy?.split('\n').map((line) => `  ${line}`) ?? []
  const found = id === undefined ? message : `${id}: ${beside(id, message)}`
  return printable([found, ...lines, stackOf(failure) ?? []].flat().join('\n'))
}

/** All failures at the end of a run, each with its target's id, unless several are alike. */
export function formatFailures(rows: Rows): string[] {
  const failures = [...rows].flatMap(([id, { failure }]): [string, Failure][] => (failure ? [[id, failure]] : []))
  return joinFailures(failures).map(([id, failure]) => formatFailure(failure, id))
}

/** Failures of equal text and remedy become one, of all their nodes or targets. */
export function joinFailures(failures: readonly [string, Failure][]): [string | undefined, Failure][] {
  return groupAlike(failures, ([, { what, remedy }]) => `${what}\n${remedy}`).map((group) => {
    const [first, ...more] = group
    if (more.length === 0) return first
    const [, failure] = first
    const places = new Set(group.map(([id, { node }]) => node ?? id))
    return [undefined, failure.with({ what: `${[...places].join(', ')}: ${failure.what}`, node: undefined })]
  })
}

export function warningsOf(rows: Rows): string[] {
  return [...rows].flatMap(([id, { warn = [] }]) => warn.map((text) => `${id}: ${text}`))
}

/** "36 targets: 30 changed, 6 up to date, 0 failed in 1.9 s", "32 checks: 32 passed, 0 failed in 1.3 s" */
export function formatSummary({ rows, seconds }: Summary): string {
  return `${formatCounts(rows)} in ${seconds.toFixed(1)} s`
}

/** `isLook`: nothing was to run. */
export function formatCounts(rows: Rows, { isLook = false } = {}): string {
  const { targets, made, fresh, stale, failed, skipped } = countRows(rows)
  const areChecks = [...rows.values()].every(({ target }) => !target.build)
  const counts = [
    !areChecks && !isLook && stale === 0 && `${made} changed`,
    stale > 0 && `${stale} ${areChecks ? 'not checked' : 'to change'}`,
    `${fresh} ${areChecks ? 'passed' : 'up to date'}`,
    `${failed} failed`,
    skipped > 0 && `${skipped} skipped`,
  ]
  return `${count(targets, areChecks ? 'check' : 'target')}: ${counts.filter(Boolean).join(', ')}`
}

export function countRows(rows: Rows) {
  const number = (state: Row['state']) => [...rows.values()].filter((row) => row.state === state).length
  return {
    targets: rows.size,
    made: number('built'),
    fresh: number('fresh'),
    stale: number('stale'),
    failed: number('failed'),
    skipped: number('skipped'),
  }
}

export function formatClosing(summary: Summary, columns?: number): string[] {
  const isEarlyEnd = [...summary.rows.values()].some(({ state }) => state === 'skipped')
  const goOn =
    isEarlyEnd && summary.goOn && `Stopped    early; every file is whole; continue with:\n    ${summary.goOn}`
  return [...formatIssues(summary, columns), ...(goOn ? [fit(printable(goOn), columns)] : [])]
}

/** Warnings, failures with their remedies, and what is left to do: every view ends with these. */
export function formatIssues(summary: Pick<Summary, 'rows' | 'notices'>, columns?: number): string[] {
  const paint = (style: 'yellow' | 'red' | 'bold') => (text: string) =>
    fit(printable(text), columns)
      .split('\n')
      .map((line) => styleText(style, line))
  return [
    ...warningsOf(summary.rows)
      .map((text) => `warning ${text}`)
      .flatMap(paint('yellow')),
    ...formatFailures(summary.rows).flatMap(paint('red')),
    ...toDoOf(summary)
      .map((text) => `To do      ${text.replaceAll(/\n(?! {4})/g, '\n  ')}`)
      .flatMap(paint('bold')),
  ]
}

/** By which a row is named: the first file that was made in auth/, a certificate without its key; else the target. */
export function nameOf({ diffs, target }: Row): string {
  const [file] = target.where === 'node' ? [] : [...namesOf(diffs, 'make', 'change'), ...target.makes]
  return file ?? nameInPhase(target)
}

/** What is left to do by the targets, where several nodes have the same to do, and beside targets. */
export function toDoOf({ rows, notices = [] }: Pick<Summary, 'rows' | 'notices'>): string[] {
  const ofRows = [...rows.values()].flatMap(({ target: { node }, todo = [] }) => todo.map((text) => ({ node, text })))
  const folded = groupAlike(ofRows, ({ text }) => text).map((group) => {
    const nodes = [...new Set(group.flatMap(({ node }) => node ?? []))]
    return nodes.length > 0 ? `on ${formatNames(nodes)}, ${group[0].text}` : group[0].text
  })
  return [...notices.flatMap(({ kind, text }) => (kind === 'note' ? [] : text)), ...folded]
}

export interface Reporter {
  readonly renderer?: ListrRendererFactory
  event(event: Event): void
  /** Information that belongs to no target: a wait for a lock, a mode that was tightened. */
  note(text: string): void
  /** Before anything can run: bad usage, a bad cluster.yaml, a refusal. */
  problem(failure: Failure, id?: string): void
  end(summary: Summary): Promise<void>
}

export interface Notice {
  /** `todo`: left to the user, and the command ends with 4. `after`: what comes next, once the command has done all its own. */
  readonly kind: 'note' | 'todo' | 'after'
  readonly text: string
}

export function notices(kind: Notice['kind'], ...all: readonly (string | false | undefined)[]): Notice[] {
  return texts(...all).map((text) => ({ kind, text }))
}

export interface Summary {
  readonly rows: Rows
  readonly seconds: number
  readonly exit: number
  readonly notices?: readonly Notice[]
  readonly goOn?: string | undefined
  readonly next?: string | undefined
  /** Of a plan whose targets could all be looked at. */
  readonly planHash?: string | undefined
}

export type Phases = ReadonlyMap<string, readonly Target[]>
