/** Words for what is being done with a target, and for its outcome. Pure. */

import type { Change } from '../change.ts'
import type { Event, Outcome } from '../graph/target.ts'
import { formatReasons, isRepair, ownReasons, type Reason } from '../reason.ts'
import { count, formatDate, formatDates, formatNames } from '../wording.ts'

type OfKind<K extends Outcome['kind']> = Extract<Outcome, { kind: K }>

/** The outcomes of one kind, with their targets. */
export function ofKind<K extends Outcome['kind']>(outcomes: ReadonlyMap<string, Outcome>, kind: K) {
  return [...outcomes].filter((entry): entry is [string, OfKind<K>] => entry[1].kind === kind)
}

/** "copying 14 files", "waiting for /readyz of kube-apiserver" */
export function formatStep(step: (Event & { type: 'step' })['step']): string {
  switch (step.doing) {
    case 'copying':
    case 'installing':
      return `${step.doing} ${count(step.files, 'file')}`
    case 'restarting':
      return `restarting ${step.unit}`
    case 'draining':
    case 'undraining':
      return `${step.doing} ${step.node}`
    case 'rewriting':
      return `rewritten ${step.done} of ${step.of}`
    case 'waiting for':
      return `waiting for ${step.path} of ${step.unit}`
    default:
      return step.doing
  }
}

/** "new, expires 2036-11-21", "renews from 2036-10-22", "kubernetes.pem deployed" */
export function formatOutcome(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'fresh':
      return outcome.note ?? formatFresh(outcome)
    case 'built':
      return workOf(outcome.reasons) === 'make' ? formatBuilt(outcome) : formatCause(outcome)
    case 'stale':
      return formatCause(outcome)
    case 'failed':
      return outcome.failure.message
    case 'cancelled':
      if (outcome.isBegun) return 'interrupted: the next run checks how far it came'
      return outcome.because.length === 0 ? 'skipped' : `skipped: it comes after ${formatNames(outcome.because)}`
    default:
      return outcome satisfies never
  }
}

/** Why it was made, or would be: "made: SAN added: 192.168.1.22"; any other outcome is as in formatOutcome. */
export function formatCause(outcome: Outcome): string {
  if (outcome.kind !== 'built' && outcome.kind !== 'stale') return formatOutcome(outcome)
  const { kind, reasons } = outcome
  return `${verbs[workOf(reasons)][kind]}: ${formatReasons(reasons)}`
}

const verbs = {
  make: { built: 'made', stale: 'to make' },
  repair: { built: 'repaired', stale: 'to repair' },
  unlock: { built: 'removed', stale: 'to remove' },
} as const

function workOf(reasons: readonly Reason[]): keyof typeof verbs {
  if (isRepair(reasons)) return 'repair'
  return reasons.every((reason) => reason.kind === 'locked' && reason.isStale) ? 'unlock' : 'make'
}

function formatFresh({ until, renewsFrom }: OfKind<'fresh'>): string {
  if (renewsFrom) return `renews from ${formatDate(renewsFrom)}`
  return until ? `expires ${formatDate(until)}` : 'fresh'
}

function formatBuilt({ reasons, change }: OfKind<'built'>): string {
  const why = formatReasons(ownReasons(reasons))
  switch (change?.kind) {
    case 'made':
      return formatMade(change, reasons, why)
    case 'deployed':
      return (
        formatParts([listFiles(change.files, 'deployed'), listFiles(change.removed, 'removed')]) || `repaired: ${why}`
      )
    case 'installed': {
      const { paths, restarts } = change
      return formatParts([paths.length > 0 && `${count(paths.length, 'file')} installed`, listUnits(restarts)]) || why
    }
    case 'proven':
      return change.units.length > 0 ? `proven by ${formatNames(change.units)}` : 'nothing to query there'
    case 'rewritten':
      return `${change.objects} rewritten`
    case undefined:
      return 'done'
    default:
      return change satisfies never
  }
}

function formatMade(made: Change & { kind: 'made' }, reasons: readonly Reason[], why: string): string {
  const { isNew, isReplaced, is, was } = made
  if (isReplaced) return `REPLACED: what was made with the old one no longer works`
  if (isNew) return is ? `new, expires ${formatDate(is.expires)}` : 'new'
  if (!is) return `updated: ${why}`
  if (isRenewal(reasons) && was) {
    const [date, before] = formatDates(is.expires, was.expires)
    return date === before ? `renewed, still expires ${date}` : `renewed: ${date}, was ${before}`
  }
  return `reissued, expires ${formatDate(is.expires)}: ${why}`
}

/** Only its time was up, or it was requested by name. */
function isRenewal(reasons: readonly Reason[]): boolean {
  return ownReasons(reasons).every(({ kind }) => kind === 'expires' || kind === 'forced')
}

function formatParts(parts: readonly (string | false)[]): string {
  return parts.filter(Boolean).join('; ')
}

function listUnits(units: readonly string[]): string | false {
  return units.length > 0 && `${units.length > 2 ? `${units.length} units` : units.join(', ')} restarted`
}

/** The names of one or two, the number of more. */
function listFiles(files: readonly string[], what: string): string | false {
  return files.length > 0 && `${files.length > 2 ? count(files.length, 'file') : files.join(', ')} ${what}`
}

/** In the order in which they are counted. */
const labels: readonly string[] = [
  ...['replaced', 'new', 'renewed', 'changed', 'repaired', 'deployed', 'restarted', 'installed'],
  ...['rewritten', 'proven', 'nothing to query', 'done', 'to make', 'failed', 'skipped', 'fresh'],
]

/** The outcome in one word, to count targets by. */
export function labelOf(outcome: Outcome): string {
  const { kind } = outcome
  if (kind === 'stale') return 'to make'
  if (kind === 'cancelled') return 'skipped'
  if (kind !== 'built') return kind
  if (isRepair(outcome.reasons)) return 'repaired'
  const { change, reasons } = outcome
  if (change?.kind === 'made' && change.isReplaced) return 'replaced'
  if (change?.kind === 'made') return change.isNew ? 'new' : change.is && isRenewal(reasons) ? 'renewed' : 'changed'
  if (change?.kind === 'deployed' && change.files.length === 0)
    return change.removed.length > 0 ? 'changed' : 'repaired'
  if (change?.kind === 'installed') return change.restarts.length > 0 ? 'restarted' : 'installed'
  if (change?.kind === 'proven' && change.units.length === 0) return 'nothing to query'
  return change?.kind ?? 'done'
}

/** "5 new, 1 failed", "6 fresh, the first renews from 2036-10-22", "12 passed"; of a single one, its outcome. */
export function summariseGroup(outcomes: readonly Outcome[], areChecks = false): string {
  const [only, ...others] = outcomes
  if (only && others.length === 0) return formatOutcome(only)
  const note = sharedNote(outcomes)
  if (note !== undefined) return `${outcomes.length} ${note}`
  const byLabel = Map.groupBy(outcomes, labelOf)
  const counts = labels.flatMap((label) => {
    const number = byLabel.get(label)?.length ?? 0
    return number > 0 ? [`${number} ${areChecks && label === 'fresh' ? 'passed' : label}`] : []
  })
  return [...counts, firstDate(outcomes)].filter(Boolean).join(', ')
}

/** The note of fresh targets, if they all have the same. */
function sharedNote([first, ...others]: readonly Outcome[]): string | undefined {
  const note = first?.kind === 'fresh' ? first.note : undefined
  return others.every((each) => each.kind === 'fresh' && each.note === note) ? note : undefined
}

function firstDate(outcomes: readonly Outcome[]): string {
  const renews = outcomes.flatMap((outcome) => ('renewsFrom' in outcome ? (outcome.renewsFrom ?? []) : []))
  const ends = outcomes.flatMap((outcome) => endOf(outcome) ?? [])
  if (renews.length > 0) return `the first renews from ${formatDate(earliest(renews))}`
  if (ends.length < outcomes.length) return ''
  const first = formatDate(earliest(ends))
  return ends.every((end) => formatDate(end) === first) ? `all expire ${first}` : `the first expires ${first}`
}

function endOf(outcome: Outcome): Date | undefined {
  if (outcome.kind === 'built') return outcome.change?.kind === 'made' ? outcome.change.is?.expires : undefined
  return outcome.kind === 'fresh' ? outcome.until : undefined
}

function earliest(dates: readonly Date[]): Date {
  return new Date(dates.reduce((least, date) => Math.min(least, date.getTime()), Number.POSITIVE_INFINITY))
}
