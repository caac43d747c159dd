/** The end of a run: what changed, what is left to do, what expires next, and how many targets there were. */
import { styleText } from 'node:util'
import type { Change } from '../change.ts'
import type { Outcome } from '../graph/target.ts'
import { isRepair } from '../reason.ts'
import { capital, count, formatDate, formatNames, groupAlike, printable } from '../wording.ts'
import { type Advice, type CaAdvice, formatAdvice, formatCaAdvice } from './advice.ts'
import { labelOf, ofKind } from './outcome.ts'

export type Summary = Readonly<ReturnType<typeof summarise>>

interface NextToExpire {
  readonly name: string
  readonly expires: Date
  /** When a run begins to renew it; undefined where none does. */
  readonly renewsFrom?: Date | undefined
}

/** What a run reports at its end besides its outcomes. */
export interface Closing {
  readonly advice: readonly Advice[]
  /** What else is left to the user: a sentence each. */
  readonly toDo?: readonly string[]
  /** The certificate of auth/ that expires first. */
  readonly nextToExpire: NextToExpire | undefined
  /** Shown last. */
  readonly caEnds?: CaAdvice | undefined
  /** Dates near it are shown with their time. */
  readonly now?: Date
  /** The command that continues an interrupted run. */
  readonly goOn?: string | undefined
  /** Of a plan whose targets could all be looked at. */
  readonly planHash?: string | undefined
  /** The targets were only checked. */
  readonly areChecks?: boolean
}

export function summarise(
  outcomes: ReadonlyMap<string, Outcome>,
  seconds: number,
  exit: number,
  closing: Closing = { advice: [], nextToExpire: undefined },
) {
  const number = (kind: Outcome['kind']) => ofKind(outcomes, kind).length
  return {
    targets: outcomes.size,
    made: number('built'),
    fresh: number('fresh'),
    /** In a dry run: targets that would be built. */
    stale: number('stale'),
    failed: number('failed'),
    cancelled: number('cancelled'),
    seconds,
    exit,
    ...closing,
    outcomes,
  }
}

/** "36 targets: 30 made, 6 fresh, 0 failed in 1.9 s", "32 checks: 32 passed, 0 failed in 1.3 s" */
export function formatSummary(summary: Summary): string {
  const { targets, made, fresh, stale, failed, cancelled, seconds, areChecks = false } = summary
  const toMake = stale > 0 ? [`${stale} to make`] : []
  const counts = [
    ...(areChecks ? [`${fresh} passed`, ...toMake] : [toMake[0] ?? `${made} made`, `${fresh} fresh`]),
    `${failed} failed`,
    ...(cancelled > 0 ? [`${cancelled} skipped`] : []),
  ]
  return `${count(targets, areChecks ? 'check' : 'target')}: ${counts.join(', ')} in ${seconds.toFixed(1)} s`
}

/** A row of the table at the end. */
interface ClosingRow {
  readonly label: string
  readonly text: string
}

function closingRows(summary: Summary): ClosingRow[] {
  const { targets, outcomes, nextToExpire, now, goOn } = summary
  // The run could not begin.
  if (targets === 0) return []
  const row = (label: string, text: string | undefined) => (text ? [{ label, text }] : [])
  return [
    ...changedRows(outcomes),
    ...row('Changed', isIdle(summary) ? 'nothing: everything matches cluster.yaml' : undefined),
    ...toDoRows(summary),
    ...row('Next', nextToExpire && formatNext(nextToExpire, now)),
    ...row('Stopped', goOn && formatEnded(outcomes, goOn)),
  ]
}

function formatEnded(outcomes: ReadonlyMap<string, Outcome>, goOn: string): string {
  const begun = ofKind(outcomes, 'cancelled').flatMap(([id, { isBegun }]) => (isBegun ? [id] : []))
  const where = begun.length > 0 ? `, in the middle of ${formatNames(begun)}` : ''
  return `early${where}: no file is left half written; continue with: ${goOn}`
}

function formatNext({ name, expires, renewsFrom }: NextToExpire, now: Date | undefined): string {
  const renewed = renewsFrom ? `; a run from ${formatDate(renewsFrom, now)} on renews it` : ''
  return `${name} expires on ${formatDate(expires, now)}${renewed}`
}

/** True for a run that changed nothing; a command that only checks has nothing that expires next. */
function isIdle({ targets, fresh, nextToExpire }: Summary): boolean {
  return fresh === targets && nextToExpire !== undefined
}

/** In bold too, below everything else. */
export function formatLast({ caEnds, now }: Summary): string[] {
  return caEnds && now ? [styleText('bold', formatCaAdvice(caEnds, now))] : []
}

/** One row per fact, its label in a column of its own; further lines are commands to type. */
export function formatClosing(summary: Summary): string[] {
  return formatRows(closingRows(summary))
}

/** The rows of these that are left to the user. */
export function formatToDo(summary: Summary): string[] {
  return formatRows(toDoRows(summary))
}

/** What must not be missed is in bold. */
const toDoLabel = 'To do'

function formatRows(rows: readonly ClosingRow[]): string[] {
  return rows.flatMap(({ label, text }) => {
    const lines = `${label.padEnd(11)}${printable(text)}`.split('\n')
    return label === toDoLabel ? lines.map((line) => styleText('bold', line)) : lines
  })
}

function toDoRows({ advice, toDo = [] }: Summary): ClosingRow[] {
  return [...advice.map(formatAdvice), ...toDo].map((text) => ({ label: toDoLabel, text }))
}

const changes = ['replaced', 'new', 'renewed', 'changed', 'repaired', 'deployed', 'installed', 'restarted'] as const

function changedRows(outcomes: ReadonlyMap<string, Outcome>): ClosingRow[] {
  const byLabel = Map.groupBy(ofKind(outcomes, 'built'), ([, outcome]) => labelOf(outcome))
  return changes.flatMap((label) =>
    groupAlike(byLabel.get(label) ?? [], ([, { change }]) => restartsOf(change)).map((group) => {
      const names = formatNames(group.flatMap(namesOf))
      const units = restartsOf(group[0][1].change)
      return { label: capital(label), text: units ? `${units} on ${names}` : names }
    }),
  )
}

function restartsOf(change: Change | undefined): string {
  return change?.kind === 'installed' ? change.restarts.join(', ') : ''
}

type Built = ReturnType<typeof ofKind<'built'>>[number]

/** The files that were made or repaired in auth/; the nodes that others were copied to. */
function namesOf([id, { change, reasons }]: Built): string[] {
  if (change?.kind === 'made') return [change.files[0] ?? id]
  if (change?.kind === 'installed' || (change?.kind === 'deployed' && change.files.length > 0))
    return [id.slice(id.indexOf('/') + 1)]
  return !change && isRepair(reasons) ? reasons.map(({ path }) => path) : [id]
}
