/** A dry run as a plan: what would be made, what was there, what would be restarted; its entries by phase. Pure. */
import { styleText } from 'node:util'
import type { CertificateFacts, Change } from '../change.ts'
import { nameInPhase, type Outcome, type Target } from '../graph/target.ts'
import { formatReasons, isRepair, ownReasons, type Reason } from '../reason.ts'
import { count, foldAlike, formatDates, formatNames, octal, printable } from '../wording.ts'
import { unitsToRestart } from './advice.ts'
import { formatJsonLine } from './lines.ts'
import type { PhaseView } from './phase-view.ts'
import { formatFailures, formatStacks, type Reporter, warningsOf } from './reporter.ts'
import { formatLast, formatSummary, type Summary } from './summary.ts'

/** New, changed, removed. */
type Mark = '+' | '~' | '-'

/** Targets of one phase with which the same is done. */
interface Entry {
  readonly phase: PhaseView
  readonly targets: readonly Target[]
  /** The files that they make; without files, the targets. */
  readonly names: readonly string[]
  readonly mark: Mark
  /** Why; empty where nothing was there. */
  readonly why: string
  /** Facts about what there would be, and what there was. */
  readonly facts: string
  /** Copied to a node. */
  readonly copied: readonly string[]
  /** Installed where its units read them. */
  readonly installed: readonly string[]
  readonly removed: readonly string[]
  /** Restarted, in this order or at once. */
  readonly restarts: readonly string[]
  /** Units that read the replaced files only at their start, on nodes where we restart nothing. */
  readonly yours: readonly string[]
}

type Stale = Extract<Outcome, { kind: 'stale' }>

export function planEntries(
  phases: readonly PhaseView[],
  outcomes: ReadonlyMap<string, Outcome>,
  isFolded = true,
): Entry[] {
  const targets = phases.flatMap((phase) => phase.targets)
  const byId = new Map(targets.map((target) => [target.id, target]))
  const restartsFor = unitsToRestart(targets)
  return phases.flatMap((phase) => {
    const entries = phase.targets.flatMap((target) => {
      const outcome = outcomes.get(target.id)
      if (outcome?.kind !== 'stale') return []
      const entry = entryOf(phase, target, outcome, formatWhy(outcome.reasons, byId))
      return { ...entry, yours: restartsFor(target, without(entry.copied, missingIn(outcome))) ?? [] }
    })
    return isFolded ? fold(entries) : entries
  })
}

export function countEntries(entries: readonly Entry[]) {
  /** An entry's number counts for each of its targets. */
  const sum = (each: (entry: Entry) => number) =>
    entries.reduce((all, entry) => all + each(entry) * entry.targets.length, 0)
  return {
    added: sum(({ mark }) => Number(mark === '+')),
    changed: sum(({ mark }) => Number(mark === '~')),
    removed: sum(({ removed }) => removed.length),
    restarts: sum(({ restarts }) => restarts.length),
  }
}

function entryOf(phase: PhaseView, target: Target, { reasons, change }: Stale, why: string): Entry {
  const none = { copied: [], installed: [], removed: [], restarts: [], yours: [], facts: '' }
  const names = namesOf(target, reasons, change)
  const entry: Entry = { ...none, phase, targets: [target], names, mark: '~', why }
  switch (change?.kind) {
    case 'made': {
      const { is, was, isNew, files } = change
      const facts = is ? formatFacts(is, was, !isNew && files.length > 1) : ''
      return { ...entry, facts, ...(isNew && { mark: '+', why: '' }) }
    }
    case 'deployed': {
      const { files: copied, removed } = change
      if (copied.length + removed.length === 0) return entry
      const isNew = without(copied, missingIn({ reasons })).length === 0
      return { ...entry, mark: copied.length === 0 ? '-' : isNew ? '+' : '~', why: '', copied, removed }
    }
    case 'installed': {
      const { paths: installed, restarts } = change
      if (installed.length + restarts.length === 0) return entry
      return { ...entry, why: whyRestarted(reasons), installed, restarts }
    }
    default:
      return entry
  }
}

/** The files that are written, or whose mode is set. */
function namesOf(target: Target, reasons: readonly Reason[], change: Change | undefined): string[] {
  if (target.where === 'auth' && isRepair(reasons)) return reasons.map(({ path }) => path)
  return [(change?.kind === 'made' ? change.files[0] : target.makes[0]) ?? nameInPhase(target)]
}

function formatWhy(reasons: readonly Reason[], byId: ReadonlyMap<string, Target>): string {
  const own: readonly Reason[] = ownReasons(reasons)
  if (own.length > 0 && isRepair(own))
    return [...new Set(own.map(({ was, wanted }) => `mode ${octal(wanted)} (was ${octal(was)})`))].join('; ')
  if (own.length > 0) return formatReasons(own)
  const needs = reasons.flatMap((reason) => (reason.kind === 'need-rebuilt' ? reason.ids : []))
  return `follows ${needs.map((id) => byId.get(id)?.makes[0] ?? id).join(', ')}`
}

/** Why a unit is restarted for which nothing is installed; and which may be, though it reloads. */
function whyRestarted(reasons: readonly Reason[]): string {
  const units = reasons.filter((reason) => reason.kind === 'unit')
  const unloaded = formatReasons(units.filter(({ places }) => places.length === 0))
  const others = units.flatMap(({ unit, places, restartsBefore }) =>
    restartsBefore && places.length > 0 ? [`${unit} restarted before Kubernetes ${restartsBefore}`] : [],
  )
  return [unloaded, ...others].filter(Boolean).join('; ')
}

/** "new key, rsa-2048, expires 2037-02-25 (was 2027-03-20), 20 names" */
function formatFacts(
  { key, expires, names }: CertificateFacts,
  was: CertificateFacts | undefined,
  isNewKey: boolean,
): string {
  const changed = (before: string | undefined, now: string) =>
    before === undefined || before === now ? '' : ` (was ${before})`
  const [date, before] = formatDates(expires, was?.expires)
  return [
    `${isNewKey ? 'new key, ' : ''}${key}${changed(was?.key, key)}`,
    `expires ${date}${changed(before, date)}`,
    ...(names > 0 ? [`${count(names, 'name')}${changed(was && String(was.names), String(names))}`] : []),
  ].join(', ')
}

function missingIn({ reasons }: Pick<Stale, 'reasons'>): readonly string[] {
  return reasons.flatMap((reason) => (reason.kind === 'on-node' ? reason.missing : []))
}

function without(names: readonly string[], others: readonly string[]): string[] {
  return names.filter((name) => !others.includes(name))
}

function fold(entries: readonly Entry[]): Entry[] {
  const nameOf = ({ targets: [target] }: Entry) => (target ? nameInPhase(target) : '')
  const textOf = ({ phase, targets, names, ...shown }: Entry) => JSON.stringify(shown)
  return foldAlike(entries, nameOf, textOf).map(({ group, shared }) => ({
    ...group[0],
    targets: group.flatMap(({ targets }) => targets),
    names: group.flatMap(({ names }) => names),
    why: shared(group[0].why),
    copied: group[0].copied.map(shared),
    installed: group[0].installed.map(shared),
    removed: group[0].removed.map(shared),
  }))
}

export function createPlanJson(
  write: (line: string) => void,
  phases: readonly PhaseView[],
  progress: Reporter,
): Reporter {
  return {
    ...progress,
    end: async (summary) => {
      const entries = planEntries(phases, summary.outcomes)
      for (const { phase, targets, names, ...shown } of entries)
        write(formatJsonLine({ type: 'planned', ids: targets.map(({ id }) => id), ...shown }))
      if (summary.planHash !== undefined)
        write(formatJsonLine({ type: 'plan', hash: summary.planHash, ...countEntries(entries) }))
      await progress.end(summary)
    },
  }
}

export interface PlanLinesOptions {
  readonly phases: readonly PhaseView[]
  readonly detail: 'verbose' | 'normal' | 'quiet'
  readonly write: (text: string) => void
}

const colours = { '+': 'green', '~': 'yellow', '-': 'red', '↻': 'magenta' } as const

/** `progress` reports until the plan is printed: a transient tree, or notes alone. */
export function createPlanLines(options: PlanLinesOptions, progress: Reporter): Reporter {
  const { detail, write } = options
  let isNoted = false
  return {
    ...progress,
    note: (text) => {
      isNoted = true
      progress.note(text)
    },
    end: async (summary) => {
      await progress.end(summary)
      if (detail !== 'quiet') for (const line of formatPlan(summary, options, isNoted)) write(line)
      for (const text of formatFailures(summary.outcomes)) write(text)
      if (detail === 'verbose') for (const text of formatStacks(summary.outcomes)) write(text)
      if (detail !== 'quiet' && summary.targets > 0) write(formatSummary(summary))
      for (const line of formatLast(summary)) write(line)
      if (detail !== 'quiet' && summary.planHash !== undefined) write(`Plan hash: ${summary.planHash}`)
    },
  }
}

type ListNames = (names: readonly string[]) => string

function formatPlan({ outcomes }: Summary, { phases, detail }: PlanLinesOptions, isNoted: boolean): string[] {
  const list: ListNames = detail === 'verbose' ? (names) => names.join(', ') : formatNames
  const entries = planEntries(phases, outcomes, detail !== 'verbose')
  const lines = [...Map.groupBy(entries, ({ phase }) => phase)].flatMap(([{ title }, some]) => [
    styleText('bold', title),
    ...some.flatMap((entry) => formatEntry(entry, list)),
  ])
  const nothing = isNoted ? 'Nothing else to do.' : 'Nothing to do.'
  return [
    ...lines,
    ...(lines.length > 0 ? [''] : []),
    ...warningsOf(outcomes).map(printable),
    ...(entries.length > 0 ? [formatCounts(entries)] : isAllFresh(outcomes) ? [nothing] : []),
  ]
}

function isAllFresh(outcomes: Summary['outcomes']): boolean {
  return outcomes.size > 0 && [...outcomes.values()].every(({ kind }) => kind === 'fresh')
}

function formatEntry(entry: Entry, list: ListNames): string[] {
  const { mark, names, why, facts, copied, installed, removed, restarts, yours } = entry
  const [first = '', ...more] = [
    printable(why),
    printable(facts),
    copied.length > 0 && `copy ${printable(list(copied))}`,
    installed.length > 0 && `install ${printable(list(installed))}`,
    removed.length > 0 && `${paint('-')} remove ${printable(list(removed))}`,
    restarts.length > 0 && `${paint('↻')} restart ${restarts.join(', ')}`,
    yours.length > 0 && `${paint('↻')} yours to restart: ${yours.join(', ')}`,
  ].flatMap((text) => (text ? [text] : []))
  return [`  ${paint(mark)} ${printable(list(names))}  ${first}`.trimEnd(), ...more.map((text) => `      ${text}`)]
}

function paint(mark: keyof typeof colours, text: string = mark): string {
  return styleText(colours[mark], text)
}

/** "Plan: + 22 new, ~ 3 changed, ↻ 5 restarts" */
function formatCounts(entries: readonly Entry[]): string {
  const { added, changed, removed, restarts } = countEntries(entries)
  const part = (mark: keyof typeof colours, number: number, text: string) =>
    number > 0 ? [paint(mark, `${mark} ${text}`)] : []
  const parts = [
    ...part('+', added, `${added} new`),
    ...part('~', changed, `${changed} changed`),
    ...part('-', removed, `${count(removed, 'file')} removed`),
    ...part('↻', restarts, count(restarts, 'restart')),
  ]
  return `Plan: ${parts.join(', ')}`
}
