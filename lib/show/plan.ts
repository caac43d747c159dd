/** A dry run as a plan: what would be made, what was there, what would be restarted; its entries by phase. Pure. */
import { stripVTControlCharacters, styleText } from 'node:util'
import { nameInPhase, type Outcome, type Target } from '../graph/target.ts'
import { type Change, formatReasons, ownReasons, type Reason, worksOf } from '../reason.ts'
import { count, foldAlike, formatNames, printable, wrap } from '../wording.ts'
import { formatJsonLine, type LinesOptions } from './lines.ts'
import type { Phases, Reporter, Summary } from './reporter.ts'
import {
  formatExpiry,
  formatFailure,
  formatFailures,
  formatSummary,
  formatToDo,
  warningsOf,
  yoursToRestart,
} from './words.ts'

/** Targets of one phase with which the same is done. */
interface PlanEntry {
  /** Of the phase. */
  readonly title: string
  readonly targets: readonly Target[]
  /** The files that they make; without files, the targets. */
  readonly names: readonly string[]
  /** New, changed, removed. */
  readonly mark: '+' | '~' | '-'
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

export function planEntries(phases: Phases, outcomes: ReadonlyMap<string, Outcome>, isFolded = true): PlanEntry[] {
  const targets = [...phases.values()].flat()
  const makers = new Map(targets.map((target) => [target.id, filesOf(target, outcomes.get(target.id))[0] ?? target.id]))
  const restartsFor = yoursToRestart(targets)
  return [...phases].flatMap(([title, own]) => {
    const entries = own.flatMap((target): PlanEntry[] => {
      const outcome = outcomes.get(target.id)
      if (outcome?.kind !== 'stale') return []
      const { reasons, change } = outcome
      const shown = { ...nothing, why: formatWhy(reasons, makers), ...shownOf(reasons, change) }
      const { restart: yours } = restartsFor(target, reasons)
      const files = filesOf(target, outcome)
      const names = files.length > 0 ? files : [nameInPhase(target)]
      return [{ title, targets: [target], names, ...shown, yours }]
    })
    return isFolded ? fold(entries) : entries
  })
}

/** By which it is named: a certificate without its key; in a rotation what is made beside them. */
function filesOf({ makes }: Target, outcome: Outcome | undefined): readonly string[] {
  const change = outcome?.kind === 'stale' ? outcome.change : undefined
  const files = change?.kind === 'made' ? change.files : makes
  return files.filter((file, i) => i === 0 || !makes.includes(file))
}

const nothing = { mark: '~', facts: '', copied: [], installed: [], removed: [], restarts: [] } as const

function shownOf(reasons: readonly Reason[], change: Change | undefined): Partial<PlanEntry> {
  if (change?.kind === 'made') {
    const { is, was, isNew, isRestored, files } = change
    const wasOther = (before: unknown, now: unknown) =>
      before === undefined || before === now ? '' : ` (was ${before})`
    const facts = is && [
      `${!isNew && files.length > 1 ? 'new key, ' : ''}${is.key}${wasOther(was?.key, is.key)}`,
      formatExpiry(is, was),
      ...(is.names > 0 ? [`${count(is.names, 'name')}${wasOther(was?.names, is.names)}`] : []),
    ]
    return {
      facts: facts?.join(', ') ?? '',
      ...(isNew && { mark: '+', why: '' }),
      ...(isRestored && { why: 'restored byte for byte, from the kubeconfigs' }),
    }
  }
  const { copy: copied, install: installed, remove: removed, restart: restarts } = worksOf(change)
  const done = { copied, installed, removed, restarts }
  if (Object.values(done).every(({ length }) => length === 0)) return {}
  if (change?.kind === 'deployed') {
    const isNew = without(copied, missingIn(reasons)).length === 0
    return { ...done, mark: copied.length === 0 ? '-' : isNew ? '+' : '~', why: '' }
  }
  // Why a unit is restarted for which nothing is installed; and which may be, though it reloads.
  const why = reasons.filter(
    (reason) => reason.kind === 'unit' && (reason.places.length === 0 || reason.restartsBefore !== undefined),
  )
  return { ...done, why: formatReasons(why) }
}

function formatWhy(reasons: readonly Reason[], makers: ReadonlyMap<string, string>): string {
  const own = ownReasons(reasons)
  if (own.length > 0) return formatReasons(own)
  const needs = reasons.flatMap((reason) => (reason.kind === 'need-rebuilt' ? reason.ids : []))
  return `follows ${needs.map((id) => makers.get(id) ?? id).join(', ')}`
}

function missingIn(reasons: readonly Reason[]): readonly string[] {
  return reasons.flatMap((reason) => (reason.kind === 'on-node' ? reason.missing : []))
}

function without(names: readonly string[], others: readonly string[]): string[] {
  return names.filter((name) => !others.includes(name))
}

function fold(entries: readonly PlanEntry[]): PlanEntry[] {
  const nameOf = ({ targets: [target] }: PlanEntry) => (target ? nameInPhase(target) : '')
  const textOf = ({ targets, names, ...shown }: PlanEntry) => JSON.stringify(shown)
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

export function countEntries(entries: readonly PlanEntry[]) {
  /** An entry's number counts for each of its targets. */
  const sum = (each: (entry: PlanEntry) => number) =>
    entries.reduce((all, entry) => all + each(entry) * entry.targets.length, 0)
  return {
    added: sum(({ mark }) => Number(mark === '+')),
    changed: sum(({ mark }) => Number(mark === '~')),
    removed: sum(({ removed }) => removed.length),
    restarts: sum(({ restarts }) => restarts.length),
  }
}

/** `lines` prints the rest. */
export function createPlanJson(write: (line: string) => void, phases: Phases, lines: Reporter): Reporter {
  return {
    ...lines,
    end: async (summary) => {
      const entries = planEntries(phases, summary.outcomes)
      for (const { title, targets, names, ...shown } of entries)
        write(formatJsonLine({ type: 'planned', ids: targets.map(({ id }) => id), ...shown }))
      if (summary.planHash !== undefined)
        write(formatJsonLine({ type: 'plan', hash: summary.planHash, ...countEntries(entries) }))
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
      if (!quiet) write(styleText('dim', printable(text)))
    },
    problem: (failure, id) => writeError(formatFailure(failure, id, verbose)),
    end: async (summary) => {
      const { outcomes, planHash } = summary
      const toDo = formatToDo(summary)
      const nothing = toDo.length > 0 ? [] : [isNoted ? 'Nothing else to do.' : 'Nothing to do.']
      if (!quiet) for (const line of formatPlan(phases, outcomes, { isVerbose: verbose, columns, nothing })) write(line)
      for (const text of [...formatFailures(outcomes, verbose), ...toDo]) write(text)
      if (!quiet && outcomes.size > 0) write(formatSummary(summary))
      if (!quiet && planHash !== undefined) write(`Plan hash: ${planHash}`)
    },
  }
}

/** As a comment on a pull request: in a block, where nothing in it is markup. */
export function createPlanMarkdown({ write, ...options }: Omit<LinesOptions, 'writeError'>): Reporter {
  const lines: string[] = []
  const add = (text: string) => void lines.push(stripVTControlCharacters(text))
  const plan = createPlanLines({ ...options, write: add, writeError: add })
  return {
    ...plan,
    end: async (summary) => {
      await plan.end(summary)
      const text = lines.join('\n')
      const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([{ length }]) => length))
      const fence = '`'.repeat(longest + 1)
      for (const line of [`${fence}text`, text, fence]) write(line)
    },
  }
}

function formatPlan(
  phases: Phases,
  outcomes: Summary['outcomes'],
  {
    isVerbose,
    columns,
    nothing,
  }: { readonly isVerbose: boolean; readonly columns: number | undefined; readonly nothing: readonly string[] },
): string[] {
  const list = isVerbose ? (names: readonly string[]) => names.join(', ') : formatNames
  const entries = planEntries(phases, outcomes, !isVerbose)
  const lines = [...Map.groupBy(entries, ({ title }) => title)].flatMap(([title, some]) => [
    styleText('bold', title),
    ...some.flatMap((entry) => formatEntry(entry, list)).map((line) => wrap(line, columns, 8)),
  ])
  const isFresh = outcomes.size > 0 && [...outcomes.values()].every(({ kind }) => kind === 'fresh')
  return [
    ...lines,
    ...(lines.length > 0 ? [''] : []),
    ...warningsOf(outcomes).map(printable),
    ...(lines.length > 0 ? [formatCounts(entries)] : []),
    ...(isFresh ? nothing : []),
  ]
}

function formatEntry(entry: PlanEntry, list: (names: readonly string[]) => string): string[] {
  const { mark, names, why, facts, copied, installed, removed, restarts, yours } = entry
  const [first = '', ...more] = [
    why,
    facts,
    copied.length > 0 && `copy ${list(copied)}`,
    installed.length > 0 && `install ${list(installed)}`,
    removed.length > 0 && `- remove ${list(removed)}`,
    restarts.length > 0 && `↻ restart ${restarts.join(', ')}`,
    yours.length > 0 && `↻ yours to restart: ${yours.join(', ')}`,
  ].flatMap((text) => (text ? [paint(text)] : []))
  return [`  ${paint(mark)} ${printable(list(names))}  ${first}`.trimEnd(), ...more.map((text) => `      ${text}`)]
}

/** A mark at its beginning is in colour. */
function paint(text: string): string {
  const colours = { '+': 'green', '~': 'yellow', '-': 'red', '↻': 'magenta' } as const
  return printable(text).replace(/^[+~↻-](?= |$)/, (mark) => styleText(colours[mark as keyof typeof colours], mark))
}

/** "Plan: + 22 new, ~ 3 changed, ↻ 5 restarts" */
function formatCounts(entries: readonly PlanEntry[]): string {
  const { added, changed, removed, restarts } = countEntries(entries)
  const parts = [
    added > 0 && `+ ${added} new`,
    changed > 0 && `~ ${changed} changed`,
    removed > 0 && `- ${count(removed, 'file')} removed`,
    restarts > 0 && `↻ ${count(restarts, 'restart')}`,
  ]
  return `Plan: ${parts.flatMap((text) => (text ? [paint(text)] : [])).join(', ')}`
}
