/** The live tree: listr2 redraws it, the executor has the work done, and its lines are chosen to fit the rows there are. */
import type { Writable } from 'node:stream'
import { color, DefaultRenderer, Listr, type ListrRendererFactory, Spinner } from 'listr2'
import { type Event, nameInPhase, type Outcome, type Target } from '../graph/target.ts'
import { beside, printable } from '../wording.ts'
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
} from './words.ts'

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
  /** The last event of each target. */
  const events = new Map<string, Event>()
  const done = Promise.withResolvers<void>()
  const trailer: string[] = []
  let running: Promise<unknown> | undefined
  const coloured = (text: string, colour: 'red' | 'yellow' | 'dim') =>
    text.split('\n').map((line) => color[colour](line))
  return {
    event: (event) => {
      events.set(event.id, event)
      running ??= draw(events, done.promise, options)
    },
    note: (text) => {
      for (const line of coloured(printable(text), 'dim'))
        if (running) trailer.push(line)
        else stdout.write(`${line}\n`)
    },
    problem: (failure, id) => writeError(coloured(formatFailure(failure, id, verbose), 'red').join('\n')),
    end: async (summary) => {
      done.resolve()
      await running
      if (!transient) {
        trailer.push(...warningsOf(summary.outcomes).flatMap((text) => coloured(printable(text), 'yellow')))
        const failures = formatFailures(summary.outcomes, verbose).flatMap((text) => coloured(text, 'red'))
        if (failures.length > 0) trailer.push('', ...failures)
        if (running) trailer.push('')
        trailer.push(...formatClosing(summary))
        if (running) trailer.push(formatSummary(summary, [...phases.values()].every(areChecks)))
      }
      for (const line of trailer) stdout.write(`${line}\n`)
    },
  }
}

function draw(
  events: ReadonlyMap<string, Event>,
  done: Promise<void>,
  { phases, verbose, transient, stdout }: TreeOptions,
): Promise<unknown> {
  const spinner = new Spinner()
  const icons: Readonly<Record<Line['mark'], () => string>> = {
    waiting: () => color.dim('◼'),
    queued: () => color.dim('◼'),
    active: () => color.yellow(spinner.fetch()),
    made: () => color.green('✔'),
    fresh: () => color.dim('·'),
    stale: () => color.yellow('●'),
    failed: () => color.red('✖'),
    cancelled: () => color.yellow('⊘'),
  }
  let isOver = false
  class FittedRenderer extends DefaultRenderer {
    #redraw: NodeJS.Timeout | undefined

    override create(): string {
      const rows = isOver && verbose ? Number.POSITIVE_INFINITY : (stdout.rows ?? 24) - (isOver ? closingRows : 3)
      return layOut(phases, events, rows, verbose)
        .flatMap(({ level, mark, text, note }) =>
          this.format(`${oneLine(text)}  ${color.dim(oneLine(note))}`, icons[mark](), level),
        )
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
  return new Listr([{ title: '', task: () => done }], {
    registerSignalListeners: false,
    // listr2's types know its own renderers by name only.
    renderer: FittedRenderer as ListrRendererFactory as typeof DefaultRenderer,
    rendererOptions: { spinner, formatOutput: 'truncate', clearOutput: transient },
  }).run()
}

function oneLine(text: string): string {
  return printable(text).replaceAll('\n', ' ')
}

interface Line {
  readonly level: 0 | 1
  readonly mark: 'waiting' | 'queued' | 'active' | 'made' | 'fresh' | 'stale' | 'failed' | 'cancelled'
  readonly text: string
  /** Shown after the text, dimmed. */
  readonly note: string
}

/** From the first that has its line where there is not room for all. */
const ranks: readonly Line['mark'][] = ['failed', 'stale', 'active', 'queued', 'cancelled', 'made', 'fresh']

/**
 * A line for each phase, and below it one for each of its targets: for all that have begun and are not fresh if there is room,
 * else for those that failed, are stale or are not done. `events`: the last of each target.
 */
export function layOut(phases: Phases, events: ReadonlyMap<string, Event>, rows: number, isVerbose = false): Line[] {
  const mark = (target: Target) => markOf(target, events.get(target.id))
  const children = [...phases.values()].flatMap((targets) => (targets.length > 1 ? targets : []))
  const byMark = Map.groupBy(children, mark)
  const ranked = (last: Line['mark']) =>
    ranks.slice(0, ranks.indexOf(last) + 1).flatMap((each) => byMark.get(each) ?? [])
  const room = Math.max(0, rows - phases.size)
  const all = ranked(isVerbose ? 'fresh' : 'made')
  const shown = new Set(all.length <= room ? all : ranked('queued').slice(0, room))
  return [...phases].flatMap(([title, targets]) => [
    phaseLine(title, targets, events),
    ...targets.filter((target) => shown.has(target)).map((target) => childLine(target, events.get(target.id))),
  ])
}

function phaseLine(title: string, targets: readonly Target[], events: ReadonlyMap<string, Event>): Line {
  const own = targets.flatMap(({ id }) => events.get(id) ?? [])
  const ended = own.flatMap((event): Outcome[] => (event.type === 'ended' ? [event.outcome] : []))
  const marks = new Set(targets.map((target) => markOf(target, events.get(target.id))))
  const line = (mark: Line['mark'], note: string): Line => ({ level: 0, mark, text: title, note })
  if (own.length === 0) return line('waiting', '')
  if (ended.length < targets.length) {
    const [only] = targets.length === 1 ? own : []
    const mark = marks.has('failed') ? 'failed' : only?.type === 'queued' ? 'queued' : 'active'
    return line(mark, only ? formatEvent(only) : `${ended.length}/${targets.length}`)
  }
  const worst = (['failed', 'cancelled', 'stale', 'made'] as const).find((mark) => marks.has(mark)) ?? 'fresh'
  return line(worst, summariseGroup(ended, areChecks(targets)))
}

function childLine(target: Target, event: Event | undefined): Line {
  const note = event ? beside(target.id, formatEvent(event)) : ''
  return { level: 1, mark: markOf(target, event), text: nameInPhase(target), note }
}

/** A target that is only checked is done if it is fresh. */
function markOf({ build }: Target, event: Event | undefined): Line['mark'] {
  if (!event) return 'waiting'
  if (event.type !== 'ended') return event.type === 'queued' ? 'queued' : 'active'
  const { kind } = event.outcome
  return kind === 'built' || (kind === 'fresh' && !build) ? 'made' : kind
}
