/** A dry run as a plan: its entries by phase, without what is fresh. */
import { styleText } from 'node:util'
import { breakLines, fit } from '../paragraph.ts'
import { count, formatNames, printable } from '../wording.ts'
import { countEntries, type Entry, planEntries } from './plan.ts'
import { formatFailures, formatStacks, type PhaseView, type Reporter, warningsOf } from './reporter.ts'
import { type Follows, formatLast, formatSummary, type Summary } from './summary.ts'

export interface PlanLinesOptions {
  readonly phases: readonly PhaseView[]
  readonly detail: 'verbose' | 'normal' | 'quiet'
  /** Columns. */
  readonly width: number
  readonly isTerminal: boolean
  readonly write: (text: string) => void
}

const colours = { '+': 'green', '~': 'yellow', '-': 'red', '↻': 'magenta' } as const

/** `progress` reports until the plan is printed: a transient tree, or notes alone. */
export function createPlanLines(options: PlanLinesOptions, progress: Reporter): Reporter {
  const { detail, write, isTerminal } = options
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
      for (const text of formatFailures(summary.outcomes))
        for (const line of isTerminal ? fit(text, options.width) : [text]) write(line)
      if (detail === 'verbose') for (const text of formatStacks(summary.outcomes)) write(text)
      if (detail !== 'quiet' && summary.targets > 0) write(formatSummary(summary))
      for (const line of formatLast(summary, options.width)) write(line)
    },
  }
}

type ListNames = (names: readonly string[]) => string

function formatPlan(
  { outcomes, follows }: Summary,
  { phases, width, detail }: PlanLinesOptions,
  isNoted: boolean,
): string[] {
  const list: ListNames = detail === 'verbose' ? (names) => names.join(', ') : formatNames
  const entries = planEntries(phases, outcomes, detail !== 'verbose')
  const lines = [...Map.groupBy(entries, ({ phase }) => phase)].flatMap(([{ title }, some]) => [
    styleText('bold', title),
    ...some.flatMap((entry) => formatEntry(entry, width, list)),
  ])
  const more = follows ? formatFollows(follows, width, list) : []
  const warnings = warningsOf(outcomes).flatMap((text) => breakLines(printable(text), width, 0, 2))
  const nothing = isNoted ? 'Nothing else to do.' : 'Nothing to do.'
  return [
    ...lines,
    ...(more.length > 0 ? ['', ...more] : []),
    ...(lines.length > 0 ? [''] : []),
    ...warnings,
    ...(entries.length > 0 ? [formatCounts(entries)] : isAllFresh(outcomes) ? [nothing] : []),
  ]
}

function isAllFresh(outcomes: Summary['outcomes']): boolean {
  return outcomes.size > 0 && [...outcomes.values()].every(({ kind }) => kind === 'fresh')
}

function formatEntry(entry: Entry, width: number, list: ListNames): string[] {
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
  return [
    ...breakLines(`${paint(mark)} ${printable(list(names))}  ${first}`.trimEnd(), width, 2, 6),
    ...more.flatMap((text) => breakLines(text, width, 6, 8)),
  ]
}

function paint(mark: keyof typeof colours, text: string = mark): string {
  return styleText(colours[mark], text)
}

/** Of what another run will have to make, only the targets are known. */
function formatFollows({ command, phases, restarts, areYours }: Follows, width: number, list: ListNames): string[] {
  const entry = (mark: '~' | '↻', text: string) => breakLines(`${paint(mark)} ${text}`, width, 2, 6)
  return [
    ...breakLines(`This run ends there. What follows, by ${command}:`, width, 0, 2),
    ...phases.flatMap(({ title, targets }) =>
      entry('~', `${title}: ${list(targets.map(({ makes, node, id }) => makes[0] ?? node ?? id))}`),
    ),
    ...(restarts.length > 0 ? entry('↻', `${areYours ? 'yours to restart:' : 'restart'} ${restarts.join(', ')}`) : []),
  ]
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
