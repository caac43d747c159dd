/** The live tree: listr2 draws a task for each phase and target that tasks/bootstrap.ts runs, as many as there are rows for. */
import type { Writable } from 'node:stream'
import { color, DefaultRenderer, type ListrRendererFactory, Spinner } from 'listr2'
import { type Event, nameInPhase, type Target } from '../graph/target.ts'
import { beside, fit, printable } from '../wording.ts'
import {
  formatClosing,
  formatFailure,
  formatSummary,
  type Phases,
  type Reporter,
  summariseGroup,
  textOf,
} from './rows.ts'

const closingRows = 12

/** Milliseconds between two redraws: without it, listr2 redraws everything at every event. */
const redrawEvery = 80

interface TreeOptions {
  readonly phases: Phases
  readonly transient: boolean
  readonly stdout: Writable & { readonly rows?: number; readonly columns?: number }
  readonly writeError: (text: string) => void
}

interface TreeRow {
  readonly target: Target
  event: Event | undefined
}

export function createTree(options: TreeOptions): Reporter {
  const { phases, transient, stdout, writeError } = options
  const targets = [...phases.values()].flat()
  const rows = new Map(targets.map((target): [string, TreeRow] => [target.id, { target, event: undefined }]))
  const trailer: string[] = []
  let isDrawn = false
  const { columns } = stdout
  const coloured = (text: string, colour: 'red' | 'dim') =>
    fit(printable(text), columns)
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
      for (const line of coloured(text, 'dim'))
        if (isDrawn) trailer.push(line)
        else stdout.write(`${line}\n`)
    },
    problem: (failure, id) => writeError(coloured(formatFailure(failure, id), 'red').join('\n')),
    end: async (summary) => {
      if (!transient) {
        if (isDrawn) trailer.push('')
        trailer.push(...formatClosing(summary, columns))
        if (isDrawn) trailer.push(fit(formatSummary(summary), columns))
      }
      for (const line of trailer) stdout.write(`${line}\n`)
    },
  }
}

type Mark = 'more' | 'waiting' | 'active' | 'made' | 'fresh' | 'stale' | 'failed' | 'skipped'

function rendererOf(rows: ReadonlyMap<string, TreeRow>, { transient, stdout }: TreeOptions): ListrRendererFactory {
  const spinner = new Spinner()
  const icons: Readonly<Record<Mark, () => string>> = {
    more: () => ' ',
    waiting: () => color.dim('◼'),
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
      const room = (stdout.rows ?? 24) - (isOver ? closingRows : 3)
      return withNotes(layOut(phases, room))
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

interface Line {
  readonly level: 0 | 1
  readonly mark: Mark
  readonly text: string
  readonly note: string
}

function withNotes(lines: readonly Line[]): Line[] {
  const oneLine = (text: string) => printable(text).replaceAll('\n', ' ')
  const width = (level: Line['level']) =>
    Math.max(0, ...lines.flatMap((line) => (line.level === level ? oneLine(line.text).length : [])))
  const widths = [width(0), width(1)] as const
  return lines.map((line) => {
    const [text, note] = [oneLine(line.text), oneLine(line.note)]
    return { ...line, text: note ? `${text.padEnd(widths[line.level])}  ${color.dim(note)}` : text }
  })
}

interface PhaseRows {
  readonly title: string
  readonly rows: readonly TreeRow[]
}

/** A line for each phase, and for its targets that are not fresh; without room, only for what needs eyes. */
export function layOut(phases: readonly PhaseRows[], most: number): Line[] {
  const children = phases.flatMap(({ rows }) => (rows.length > 1 ? rows : []))
  const byMark = Map.groupBy(children, markOf)
  const of = (...marks: readonly Mark[]) => marks.flatMap((mark) => byMark.get(mark) ?? [])
  const room = Math.max(0, most - phases.length)
  const begun = of('failed', 'stale', 'active', 'skipped', 'made')
  const wrong = of('failed', 'stale')
  // One line of the room counts the rest.
  const some = of('failed', 'stale', 'active').slice(0, wrong.length > room ? Math.max(0, room - 1) : room)
  const shown = new Set(begun.length <= room ? begun : some)
  const left = wrong.filter((row) => !shown.has(row)).length
  const lines = phases.flatMap(({ title, rows }) => [
    phaseLine(title, rows),
    ...rows.filter((row) => shown.has(row)).map(childLine),
  ])
  if (left > 0 && room > 0) lines.push({ level: 0, mark: 'more', text: `… and ${left} more (--verbose)`, note: '' })
  return lines
}

function phaseLine(title: string, rows: readonly TreeRow[]): Line {
  const marks = new Set(rows.map(markOf))
  const line = (mark: Mark, note: string): Line => ({ level: 0, mark, text: title, note })
  const events = rows.flatMap(({ event }) => event ?? [])
  const ended = events.flatMap((event) => (event.type === 'ended' ? event.row : []))
  const [first, ...others] = events
  if (!first) return line('waiting', '')
  const worst = (['failed', 'skipped', 'stale', 'made'] as const).find((mark) => marks.has(mark)) ?? 'fresh'
  if (ended.length === rows.length) return line(worst, summariseGroup(ended))
  const isOnly = others.length === 0 && rows.length === 1
  return line(worst === 'failed' ? worst : 'active', isOnly ? formatEvent(first) : `${ended.length}/${rows.length}`)
}

function childLine(row: TreeRow): Line {
  const { target, event } = row
  return {
    level: 1,
    mark: markOf(row),
    text: nameInPhase(target),
    note: event ? beside(target.id, formatEvent(event)) : '',
  }
}

function markOf({ target: { build }, event }: TreeRow): Mark {
  if (!event) return 'waiting'
  if (event.type !== 'ended') return 'active'
  const { state } = event.row
  return state === 'built' || (state === 'fresh' && !build) ? 'made' : state
}

function formatEvent(event: Event): string {
  if (event.type === 'step') return event.step
  return event.type === 'ended'
    ? textOf(event.row)
    : { started: 'checking', queued: 'waiting', building: 'changing' }[event.type]
}
