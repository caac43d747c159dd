/** Events, rows, failures and the end of a run in words, for the tree, lines, --json, the plan and `status`. Pure. */

import { styleText } from 'node:util'
import { type Failure, stackOf } from '../failure.ts'
import type { Event, Row, Rows, Target } from '../graph/target.ts'
import {
  type CertificateFacts,
  type Finding,
  foldFindings,
  formatFinding,
  formatReasons,
  isRepair,
  type Step,
  worksOf,
} from '../results.ts'
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
export const labelOf = (row: Row): string => wordsOf(row)[0]

function wordsOf(row: Row): readonly [label: string, text: string] {
  switch (row.kind) {
    case 'fresh': {
      const { note, until, renewsFrom, hasNothing } = row
      const withCa = until && `expires ${formatDate(until)} (with the CA)`
      const text = note ?? (renewsFrom ? `renews from ${formatDate(renewsFrom)}` : withCa) ?? 'up to date'
      return [hasNothing ? text : 'up to date', text]
    }
    case 'built':
      return wordsOfBuilt(row)
    case 'stale': {
      const label = row.target.build ? 'to change' : 'not checked'
      return [label, joinClauses(label, formatReasons(row.reasons))]
    }
    case 'failed':
      return [row.failure.kind === 'refused' ? 'refused' : 'failed', row.failure.message]
    case 'cancelled': {
      const why = row.because.length > 0 ? `; ${formatNames(row.because)} must succeed first` : ''
      return row.isBegun ? ['interrupted', 'interrupted; the next run checks it again'] : ['skipped', `skipped${why}`]
    }
    default:
      return row satisfies never
  }
}

function wordsOfBuilt({ reasons, change }: Pick<Row, 'reasons' | 'change'>): readonly [label: string, text: string] {
  const why = formatReasons(reasons)
  const as = (label: string, text = joinClauses(label, why)) => [label, text] as const
  switch (change?.kind) {
    case 'made': {
      const { isReplaced, isNew, is, was } = change
      const now = is ? `, ${formatExpiry(is, was)}` : ''
      // Only its time was up, or it was requested by name.
      const isRenewal = is && reasons.every(({ kind }) => kind === 'expires' || kind === 'forced')
      if (!isReplaced && !isNew && !isRenewal) return as('changed', joinClauses(`changed${now}`, why))
      const label = isReplaced ? 'replaced' : isNew ? 'new' : 'renewed'
      return as(label, label + now)
    }
    case 'deployed':
    case 'installed': {
      const { copy, install, remove, restart } = worksOf({ reasons, change })
      const installed = install.length > 0 ? [count(install.length, 'file')] : []
      const all = Object.entries({ deployed: copy, installed, removed: remove, restarted: restart })
      const done = all.filter(([, names]) => names.length > 0)
      const [[label] = []] = done
      if (label === undefined) return change.kind === 'deployed' ? as('repaired') : as('installed', why || 'installed')
      const text = done.map(([what, names]) => `${formatNames(names)} ${what}`).join('; ')
      return as(restart.length > 0 ? 'restarted' : label, text)
    }
    case 'proven':
      return change.units.length > 0
        ? as('verified', `verified by ${formatNames(change.units)}`)
        : as('nothing to check')
    case 'rewritten':
      return as('rewritten', `${change.objects} rewritten`)
    case undefined:
      return as(isRepair(reasons) ? 'repaired' : 'done')
    default:
      return change satisfies never
  }
}

/** "expires 2028-10-30 (was 2027-11-25)" */
export function formatExpiry({ expires }: CertificateFacts, was: CertificateFacts | undefined): string {
  const [date, before] = [formatDate(expires, was?.expires), was && formatDate(was.expires, expires)]
  if (before === undefined || before === date) return `expires ${formatDate(expires)}`
  return `expires ${date} (was ${before})`
}

/** "5 new, 1 failed", "12 passed", "3 not installed yet"; of a single one, its text. */
export function summariseGroup(rows: readonly Row[], areChecks = false): string {
  const [only, ...others] = rows
  if (only && others.length === 0) return textOf(only)
  const [note, ...more] = new Set(rows.map((row) => (row.kind === 'fresh' ? row.note : undefined)))
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
  const lines = remedy?.split('\n').map((line) => `    ${line}`) ?? []
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

/** What nobody has to act on: the rest is left to do. */
export function warningOf(row: Row | undefined): string {
  return joinClauses(
    ...(row?.findings ?? []).map((each) => each.owner === 'run' && !each.isSilent && formatFinding(each)),
  )
}

/** The warnings of all targets, each with its target's id. */
export function warningsOf(rows: Rows): string[] {
  return [...rows].flatMap(([id, row]) => (warningOf(row) ? `${id}: ${warningOf(row)}` : []))
}

/**
 * "inspected auth/, 7 nodes and your kubeconfig; not inspected: worker1". A node that is refused has been looked at,
 * and so has one that has newer files.
 * `skipped`: the places that no target stands for.
 */
export function formatScope(rows: Rows, skipped: readonly string[] = []): string {
  const all = [...rows.values()]
  // The id of a node's target ends with the node's name.
  const placeIn = (id: string) => id.slice(id.indexOf('/') + 1)
  const placeOf = ({ id }: Target) => placeIn(id)
  const nodes = [...new Set(all.flatMap(({ target }) => (target.where === 'node' ? placeOf(target) : [])))]
  const isStopped = (row: Row | undefined) => row?.failure?.kind === 'refused' || row?.failure?.code === 'newer-on-node'
  const unseen = (row: Row) =>
    row.kind === 'cancelled'
      ? !row.because.some((id) => placeIn(id) === placeOf(row.target) && isStopped(rows.get(id)))
      : row.kind === 'failed' && !isStopped(row)
  const missed = nodes.filter((name) =>
    all.some((row) => row.target.where === 'node' && placeOf(row.target) === name && unseen(row)),
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
  const { targets, made, fresh, stale, failed, cancelled } = countRows(rows)
  const toChange = stale > 0 ? [`${stale} ${areChecks ? 'not checked' : 'to change'}`] : []
  const refused = [...rows.values()].filter(({ failure }) => failure?.kind === 'refused').length
  const counts = [
    ...(areChecks ? [`${fresh} passed`, ...toChange] : [toChange[0] ?? `${made} changed`, `${fresh} up to date`]),
    `${failed - refused} failed`,
    ...(refused > 0 ? [`${refused} refused`] : []),
    ...(cancelled > 0 ? [`${cancelled} skipped`] : []),
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
  const isIdle = nextToExpire && all.every(({ kind }) => kind === 'fresh')
  const renewed = nextToExpire?.renewsFrom ? `; runs renew it from ${formatDate(nextToExpire.renewsFrom, now)}` : ''
  const last = [
    nextToExpire && `Next       ${nextToExpire.name} expires on ${formatDate(nextToExpire.expires, now)}${renewed}`,
    goOn &&
      all.some(({ kind }) => kind === 'cancelled') &&
      `Stopped    early; every file is whole; continue with: ${goOn}`,
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
  const built = [...rows.values()].filter(({ kind }) => kind === 'built')
  const changed = built.map((row) => {
    const { make, replace, remove, restart } = worksOf(row)
    const [name = row.id.slice(row.id.indexOf('/') + 1)] = [...make, ...replace]
    const label = labelOf(row)
    const what = label === 'removed' ? [count(remove.length, 'file')] : restart
    const of = what.length > 0 ? `${what.join(', ')} on ` : ''
    return { name, start: `${capital(label).padEnd(10)} ${of}` }
  })
  return groupAlike(changed, ({ start }) => start).map((group) =>
    printable(group[0].start + formatNames([...new Set(group.map(({ name }) => name))])),
  )
}

/** What is left to its user by the targets, and beside them. */
export function toDoOf({ rows, findings = [] }: Pick<Summary, 'rows' | 'findings'>): Finding[] {
  const all = [...findings, ...[...rows.values()].flatMap((row) => row.findings.filter(({ isSilent }) => !isSilent))]
  return foldFindings(all.filter(({ owner }) => owner !== 'run'))
}

/** In bold: it must not be missed. */
export function formatToDo(summary: Pick<Summary, 'rows' | 'findings'>, columns?: number): string[] {
  const texts = toDoOf(summary).map((each) => fit(`To do      ${printable(formatFinding(each))}`, columns))
  return texts.flatMap((text) => text.split('\n').map((line) => styleText('bold', line)))
}

/** True if they are only checked. */
export function areChecks(targets: readonly Target[]): boolean {
  return targets.every(({ build }) => !build)
}

export function countRows(rows: Rows) {
  const number = (kind: Row['kind']) => [...rows.values()].filter((row) => row.kind === kind).length
  return {
    targets: rows.size,
    made: number('built'),
    fresh: number('fresh'),
    /** In a dry run: targets that would be built. */
    stale: number('stale'),
    failed: number('failed'),
    cancelled: number('cancelled'),
  }
}
