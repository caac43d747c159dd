/**
 * The live tree: how listr2 draws a task for each phase, and below it one for each of its targets. It redraws them, each
 * by its target's last event, and as many as there are rows for. Who runs them: tasks/bootstrap.ts.
 */
import type { Writable } from 'node:stream'
import { color, DefaultRenderer, type ListrRendererFactory, Spinner } from 'listr2'
import { type Event, nameInPhase, type Target } from '../graph/target.ts'
import { beside, fit, printable } from '../wording.ts'
import type { Phases, Reporter } from './reporter.ts'
import {
  areChecks,
  formatClosing,
  formatEvent,
  formatFailure,
  formatFailures,
  formatSummary,
  summariseGroup,
  warningsOf,
} from './rows.ts'

/** Terminal rows for what is printed below the finished tree. */
const closingRows = 12

/** Milliseconds between two redraws: without it, listr2 redraws everything at every event. */
const redrawEvery = 80

interface TreeOptions {
  readonly phases: Phases
  readonly verbose: boolean
  /** Progress only: erased at the end, and no outcome is printed. */
  readonly transient: boolean
  readonly stdout: Writable & { readonly rows?: number; readonly columns?: number }
  readonly writeError: (text: string) => void
}

export function createTree(options: TreeOptions): Reporter {
  const { phases, verbose, transient, stdout, writeError } = options
  const targets = [...phases.values()].flat()
  const rows = new Map(targets.map((target): [string, TreeRow] => [target.id, { target, event: undefined }]))
  const trailer: string[] = []
  let isDrawn = false
  const { columns } = stdout
  const coloured = (text: string, colour: 'red' | 'yellow' | 'dim') =>
    fit(text, columns)
      .split('\n')
      .map((line) => color[colour](line))
  return {
    renderer: rendererOf(rows, options),
    event: (event) => {
      const row = rows.get(event.id)
      if (!row) return
      row.event = event
      isDrawn = true
    },
    note: (text) => {
      for (const line of coloured(printable(text), 'dim'))
        if (isDrawn) trailer.push(line)
        else stdout.write(`${line}\n`)
    },
    problem: (failure, id) => writeError(coloured(formatFailure(failure, id, verbose), 'red').join('\n')),
    end: async (summary) => {
      if (!transient) {
        trailer.push(...warningsOf(summary.rows).flatMap((text) => coloured(printable(text), 'yellow')))
        const failures = formatFailures(summary.rows, verbose).flatMap((text) => coloured(text, 'red'))
        if (failures.length > 0) trailer.push('', ...failures)
        if (isDrawn) trailer.push('')
        trailer.push(...formatClosing(summary, columns))
        if (isDrawn) trailer.push(fit(formatSummary(summary, [...phases.values()].every(areChecks)), columns))
      }
      for (const line of trailer) stdout.write(`${line}\n`)
    },
  }
}

function rendererOf(
  rows: ReadonlyMap<string, TreeRow>,
  { verbose, transient, stdout }: TreeOptions,
): ListrRendererFactory {
  const spinner = new Spinner()
  const icons: Readonly<Record<Line['mark'], () => string>> = {
    more: () => ' ',
    waiting: () => color.dim('◼'),
    queued: () => color.dim('◼'),
    active: () => color.yellow(spinner.fetch()),
    made: () => color.green('✔'),
    fresh: () => color.dim('·'),
    stale: () => color.yellow('●'),
    failed: () => color.red('✖'),
    skipped: () => color.yellow('⊘'),
  }
  let isOver = false
  class FittedRenderer extends DefaultRenderer {
    readonly #phases: ConstructorParameters<typeof DefaultRenderer>[0]
    #redraw: NodeJS.Timeout | undefined

    constructor(...[tasks, , events]: ConstructorParameters<typeof DefaultRenderer>) {
      super(tasks, { spinner, formatOutput: 'truncate', clearOutput: transient }, events)
      this.#phases = tasks
    }

    override create(): string {
      // A phase has its subtasks once it was started.
      const phases = this.#phases.map(({ title = '', subtasks = [] }) => ({
        title,
        rows: subtasks.flatMap(({ title: id = '' }) => rows.get(id) ?? []),
      }))
      const room = isOver && verbose ? Number.POSITIVE_INFINITY : (stdout.rows ?? 24) - (isOver ? closingRows : 3)
      return inColumns(layOut(phases, room, verbose))
        .flatMap(({ level, mark, text }) => this.format(text, icons[mark](), level))
        .join('\n')
    }

    override update(): void {
      this.#redraw ??= setTimeout(() => {
        this.#redraw = undefined
        super.update()
      }, redrawEvery)
    }

    override end(): void {
      isOver = true
      clearTimeout(this.#redraw)
      super.end()
    }
  }
  return FittedRenderer as ListrRendererFactory
}

/** Each line with its note, which begins in one column on each level. */
function inColumns(lines: readonly Line[]): (Pick<Line, 'level' | 'mark'> & { readonly text: string })[] {
  const printed = lines.map(({ text, note, ...line }) => ({ ...line, text: oneLine(text), note: oneLine(note) }))
  const width = (level: Line['level']) =>
    Math.max(0, ...printed.flatMap((line) => (line.level === level ? line.text.length : [])))
  const widths = [width(0), width(1)] as const
  return printed.map(({ level, mark, text, note }) => ({
    ...{ level, mark },
    text: note ? `${text.padEnd(widths[level])}  ${color.dim(note)}` : text,
  }))
}

function oneLine(text: string): string {
  return printable(text).replaceAll('\n', ' ')
}

/** A target, and the last that happened to it. */
interface TreeRow {
  readonly target: Target
  event: Event | undefined
}

/** A phase, with its targets. */
interface PhaseRows {
  readonly title: string
  readonly rows: readonly TreeRow[]
}

interface Line {
  readonly level: 0 | 1
  readonly mark: 'more' | 'waiting' | 'queued' | 'active' | 'made' | 'fresh' | 'stale' | 'failed' | 'skipped'
  readonly text: string
  /** Shown after the text, dimmed. */
  readonly note: string
}

/** From the first that has its line where there is not room for all. */
const ranks: readonly Line['mark'][] = ['failed', 'stale', 'active', 'queued', 'skipped', 'made', 'fresh']

/**
 * A line for each phase, and below it one for each of its targets: for all that have begun and are not fresh if there
 * is room, else for those that failed, are stale or are not done.
 */
export function layOut(phases: readonly PhaseRows[], most: number, isVerbose = false): Line[] {
  const byMark = Map.groupBy(
    phases.flatMap(({ rows }) => (rows.length > 1 ? rows : [])),
    markOf,
  )
  const ranked = (last: Line['mark']) =>
    ranks.slice(0, ranks.indexOf(last) + 1).flatMap((each) => byMark.get(each) ?? [])
  const room = Math.max(0, most - phases.length)
  const all = ranked(isVerbose ? 'fresh' : 'made')
  const wrong = ranked('stale').length
  // One line of the room counts the rest.
  const shown = new Set(
    all.length <= room ? all : ranked('queued').slice(0, wrong > room ? Math.max(0, room - 1) : room),
  )
  const left = wrong - ranked('stale').filter((row) => shown.has(row)).length
  return [
    ...phases.flatMap(({ title, rows }) => [
      phaseLine(title, rows),
      ...rows.filter((row) => shown.has(row)).map(childLine),
    ]),
    ...(left > 0 && room > 0
      ? [{ level: 0, mark: 'more', text: `… and ${left} more (--verbose)`, note: '' } as const]
      : []),
  ]
}

function phaseLine(title: string, rows: readonly TreeRow[]): Line {
  const own = rows.flatMap(({ event }) => event ?? [])
  const ended = own.flatMap((event) => (event.type === 'ended' ? event.row : []))
  const marks = new Set(rows.map(markOf))
  const line = (mark: Line['mark'], note: string): Line => ({ level: 0, mark, text: title, note })
  if (own.length === 0) return line('waiting', '')
  if (ended.length < rows.length) {
    const [only] = rows.length === 1 ? own : []
    const mark = marks.has('failed') ? 'failed' : only?.type === 'queued' ? 'queued' : 'active'
    return line(mark, only ? formatEvent(only) : `${ended.length}/${rows.length}`)
  }
  const worst = (['failed', 'skipped', 'stale', 'made'] as const).find((mark) => marks.has(mark)) ?? 'fresh'
  return line(worst, summariseGroup(ended, areChecks(rows.map(({ target }) => target))))
}

function childLine({ target, event }: TreeRow): Line {
  const note = event ? beside(target.id, formatEvent(event)) : ''
  return { level: 1, mark: markOf({ target, event }), text: nameInPhase(target), note }
}

/** A target that is only checked is done if it is fresh. */
function markOf({ target: { build }, event }: TreeRow): Line['mark'] {
  if (!event) return 'waiting'
  if (event.type !== 'ended') return event.type === 'queued' ? 'queued' : 'active'
  const { state } = event.row
  return state === 'built' || (state === 'fresh' && !build) ? 'made' : state
}
