/** Events, rows, failures and the end of a run in words, for the tree, lines, --json, the plan and `status`. Pure. */

import { styleText } from 'node:util'
import { type Failure, stackOf } from '../failure.ts'
import type { Event, Row, Rows, Target } from '../graph/target.ts'
import { formatDiffs, namesOf, pastOf, type Step } from '../results.ts'
import { beside, capital, count, fit, formatDate, formatNames, groupAlike, joinClauses, printable } from '../wording.ts'
import type { Summary } from './reporter.ts'

/** What is being done with a target: "copying 14 files"; at its end, its outcome. */
export function formatEvent(event: Event): string {
  if (event.type === 'step') return formatStep(event.step)
  return event.type === 'ended'
    ? textOf(event.row)
    : { started: 'checking', queued: 'waiting', building: 'changing' }[event.type]
}

function formatStep(step: Step): string {
  if ('files' in step) return `${step.doing} ${count(step.files, 'file')}`
  if (step.doing === 'watching') return `checking that it stays healthy for ${step.seconds} s`
  if ('seconds' in step)
    return `waiting up to ${Math.floor(step.seconds / 60)} min ${step.seconds % 60} s for ${step.unit} to reload`
  if ('path' in step) return `waiting for ${step.path} of ${step.unit}`
  if (step.doing === 'swapping') return 'replacing files'
  if ('of' in step) return `${step.doing} ${step.done} of ${step.of}`
  const { doing, ...what } = step
  return [doing, ...Object.values(what)].join(' ')
}

/** What there is now, or why it is not so: "new, expires 2036-11-21". */
export const textOf = (row: Row): string => wordsOf(row)[1]

/** In one word, to count rows by. */
const labelOf = (row: Row): string => wordsOf(row)[0]

function wordsOf(row: Row): readonly [label: string, text: string] {
  const { state, diffs, note, failure, because = [] } = row
  switch (state) {
    case 'fresh': {
      const text = note ?? 'up to date'
      return [row.hasNothing ? text : 'up to date', text]
    }
    case 'built':
      return [pastOf(diffs), textOfBuilt(row)]
    case 'stale': {
      const label = row.target.build ? 'to change' : 'not checked'
      return [label, joinClauses(label, formatDiffs(diffs))]
    }
    case 'failed':
      return [failure?.kind === 'refused' ? 'refused' : 'failed', failure?.message ?? '']
    case 'skipped': {
      const why = because.length > 0 ? `; ${formatNames(because)} must succeed first` : ''
      return row.isBegun ? ['interrupted', 'interrupted; the next run checks it again'] : ['skipped', `skipped${why}`]
    }
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

/** "5 new, 1 failed", "12 passed", "3 not installed yet"; of a single one, its text. */
export function summariseGroup(rows: readonly Row[], areChecks = false): string {
  const [only, ...others] = rows
  if (only && others.length === 0) return textOf(only)
  const isShared = ({ state, hasNothing, target }: Row) => state === 'fresh' && (hasNothing || !target.build)
  const [note, ...more] = new Set(rows.map((row) => (isShared(row) ? row.note : undefined)))
  if (note !== undefined && more.length === 0) return `${rows.length} ${note}`
  const labels = rows.map(labelOf).map((label) => (areChecks && label === 'up to date' ? 'passed' : label))
  return groupAlike(labels, (label) => label)
    .map((group) => `${group.length} ${group[0]}`)
    .join(', ')
}

/**
 * The message, prefixed with the target's id if there is one, and the remedy below it. With --verbose, a bug's stack
 * trace.
 */
export function formatFailure(failure: Failure, id?: string, isVerbose = false): string {
  const { message, remedy } = failure
  const lines = remedy?.split('\n').map((line) => `  ${line}`) ?? []
  const stack = isVerbose ? (stackOf(failure) ?? []) : []
  const found = id === undefined ? message : `${id}: ${beside(id, message)}`
  return printable([found, ...lines, ...[stack].flat()].join('\n'))
}

/** All failures at the end of a run, each with its target's id, unless several are alike. */
export function formatFailures(rows: Rows, isVerbose = false): string[] {
  const failures = [...rows].flatMap(([id, { failure }]): [string, Failure][] => (failure ? [[id, failure]] : []))
  return joinFailures(failures).map(([id, failure]) => formatFailure(failure, id, isVerbose))
}

/** Failures of equal text and remedy become one: of their nodes, or of their targets where none is a node's. */
export function joinFailures(failures: readonly [string, Failure][]): [string | undefined, Failure][] {
  const textOf = ({ node, what, remedy }: Failure) => [node === undefined, what, remedy].join('\n')
  return groupAlike(failures, ([, failure]) => textOf(failure)).map((group) => {
    const [first] = group
    const [, failure] = first
    if (group.length === 1) return first
    const nodes = [...new Set(group.flatMap(([, { node }]) => node ?? []))]
    if (nodes.length === 0) return [formatNames(group.map(([id]) => id)), failure]
    if (nodes.length === 1) return [undefined, failure]
    const what = `${failure.what} on ${nodes.length} nodes: ${nodes.join(', ')}`
    return [undefined, failure.with({ what, node: undefined })]
  })
}

/** The warnings of all targets, each with its target's id. */
export function warningsOf(rows: Rows): string[] {
  return [...rows].flatMap(([id, { warn = [] }]) => warn.map((text) => `${id}: ${text}`))
}

/**
 * "inspected auth/, 7 nodes and your kubeconfig; not inspected: worker1". A node that is refused has been looked at,
 * and so has one that has newer files.
 * `skipped`: the places that no target stands for.
 */
export function formatScope(rows: Rows, skipped: readonly string[] = []): string {
  const all = [...rows.values()]
  const nodes = [...new Set(all.flatMap(({ target }) => (target.where === 'node' ? (target.node ?? []) : [])))]
  const isStopped = (row: Row | undefined) => row?.failure?.kind === 'refused' || row?.failure?.code === 'newer-on-node'
  const unseen = (row: Row) =>
    row.state === 'skipped'
      ? !row.because?.some((id) => rows.get(id)?.target.node === row.target.node && isStopped(rows.get(id)))
      : row.state === 'failed' && !isStopped(row)
  const missed = nodes.filter((name) =>
    all.some((row) => row.target.where === 'node' && row.target.node === name && unseen(row)),
  )
  const isOf = (where: Target['where']) => all.some(({ target }) => target.where === where)
  const [known, left] = [
    nodes.length - missed.length,
    [...(missed.length > 0 ? [formatNames(missed)] : []), ...skipped],
  ]
  const inspected = [
    ...(isOf('auth') ? ['auth/'] : []),
    ...(known > 0 ? [count(known, 'node')] : []),
    ...(isOf('kubeconfig') ? ['your kubeconfig'] : []),
  ]
  return joinClauses(
    inspected.length > 0 && `inspected ${new Intl.ListFormat('en-GB').format(inspected)}`,
    left.length > 0 && `not inspected: ${left.join(', ')}`,
  )
}

/** "36 targets: 30 changed, 6 up to date, 0 failed in 1.9 s", "32 checks: 32 passed, 0 failed in 1.3 s" */
export function formatSummary({ rows, seconds, scope }: Summary, areChecks = false): string {
  const { targets, made, fresh, stale, failed, skipped } = countRows(rows)
  const toChange = stale > 0 ? [`${stale} ${areChecks ? 'not checked' : 'to change'}`] : []
  const refused = [...rows.values()].filter(({ failure }) => failure?.kind === 'refused').length
  const counts = [
    ...(areChecks ? [`${fresh} passed`, ...toChange] : [toChange[0] ?? `${made} changed`, `${fresh} up to date`]),
    `${failed - refused} failed`,
    ...(refused > 0 ? [`${refused} refused`] : []),
    ...(skipped > 0 ? [`${skipped} skipped`] : []),
  ]
  return joinClauses(
    `${count(targets, areChecks ? 'check' : 'target')}: ${counts.join(', ')} in ${seconds.toFixed(1)} s`,
    scope,
  )
}

/** What changed, what is left to do, what expires next: a row each, its label in a column of its own. */
export function formatClosing(summary: Summary, columns?: number): string[] {
  const { rows, nextToExpire, now, goOn } = summary
  if (rows.size === 0) return formatToDo(summary, columns)
  const all = [...rows.values()]
  // A command that only checks has nothing that expires next.
  const isIdle = nextToExpire && all.every(({ state }) => state === 'fresh')
  const renewed = nextToExpire?.renewsFrom ? `; runs renew it from ${formatDate(nextToExpire.renewsFrom, now)}` : ''
  const last = [
    nextToExpire && `Next       ${nextToExpire.name} expires on ${formatDate(nextToExpire.expires, now)}${renewed}`,
    goOn &&
      all.some(({ state }) => state === 'skipped') &&
      `Stopped    early; every file is whole; continue with:\n    ${goOn}`,
  ]
  return [
    ...formatChanged(rows).map((text) => fit(text, columns)),
    ...(isIdle ? [fit(`Changed    nothing; ${formatScope(rows)}`, columns)] : []),
    ...formatToDo(summary, columns),
    ...last.flatMap((text) => (text ? [fit(printable(text), columns)] : [])),
  ]
}

/** "New        ca.pem", "Restarted  etcd, kubelet on control0, control1", "Removed    3 files on worker2" */
function formatChanged(rows: Rows): string[] {
  const built = [...rows.values()].filter(({ state }) => state === 'built')
  const changed = built.map((row) => {
    const { diffs } = row
    const label = labelOf(row)
    const [name = row.id.slice(row.id.indexOf('/') + 1)] = label === 'repaired' ? namesOf(diffs, 'chmod') : filesOf(row)
    const what = label === 'removed' ? [count(namesOf(diffs, 'remove').length, 'file')] : namesOf(diffs, 'restart')
    const of = what.length > 0 ? `${what.join(', ')} on ` : ''
    return { name, start: `${capital(label).padEnd(10)} ${of}` }
  })
  return groupAlike(changed, ({ start }) => start).map((group) =>
    printable(group[0].start + formatNames([...new Set(group.map(({ name }) => name))])),
  )
}

/** By which a row is named: a certificate without its key; in a rotation what is made beside them; none on a node. */
export function filesOf({ diffs, target: { makes, where } }: Row): readonly string[] {
  if (where === 'node') return []
  const others = namesOf(diffs, 'make', 'change').filter((file) => !makes.includes(file))
  return others.length > 0 ? others : makes.slice(0, 1)
}

/** What is left to do by the targets, where several nodes have the same to do, and beside targets. */
export function toDoOf({ rows, notices = [] }: Pick<Summary, 'rows' | 'notices'>): string[] {
  const ofRows = [...rows.values()].flatMap(({ target, todo = [] }) =>
    todo.map((text) => ({ node: target.where === 'node' ? target.node : undefined, text })),
  )
  const folded = groupAlike(ofRows, ({ text }) => text).map(([first, ...more]) => {
    const nodes = new Set([first, ...more].flatMap(({ node }) => node ?? []))
    return nodes.size > 0 ? `on ${formatNames([...nodes])}, ${first.text}` : first.text
  })
  return [...notices.flatMap(({ kind, text }) => (kind === 'note' ? [] : text)), ...folded]
}

/** In bold: it must not be missed. */
export function formatToDo(summary: Pick<Summary, 'rows' | 'notices'>, columns?: number): string[] {
  const lines = toDoOf(summary).flatMap((text) => {
    const [first = '', ...more] = printable(text).split('\n')
    return [`To do      ${first}`, ...more.map((line) => (line.startsWith('    ') ? line : `  ${line}`))]
  })
  return lines.flatMap((line) => fit(line, columns).split('\n')).map((line) => styleText('bold', line))
}

/** True if they are only checked. */
export function areChecks(targets: readonly Target[]): boolean {
  return targets.every(({ build }) => !build)
}

export function countRows(rows: Rows) {
  const number = (state: Row['state']) => [...rows.values()].filter((row) => row.state === state).length
  return {
    targets: rows.size,
    made: number('built'),
    fresh: number('fresh'),
    /** In a dry run: targets that would be built. */
    stale: number('stale'),
    failed: number('failed'),
    skipped: number('skipped'),
  }
}
