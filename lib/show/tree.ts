/**
 * The live tree: listr2 draws it, a task a phase; the executor has the work done, and reports it by events.
 * Its lines are chosen to fit the rows there are.
 */
import type { Writable } from 'node:stream'
import { color, DefaultRenderer, Listr, type ListrRendererFactory, Spinner } from 'listr2'
import { nameInPhase, type Outcome, type Target } from '../graph/target.ts'
import { printable } from '../wording.ts'
import { formatOutcome, formatStep, summariseGroup } from './outcome.ts'
import {
  areChecks,
  type PhaseProgress,
  type PhaseState,
  type PhaseView,
  type TargetState,
  trackPhases,
} from './phase-view.ts'
import { formatFailures, formatProblem, formatStacks, type Reporter, warningsOf } from './reporter.ts'
import { formatClosing, formatLast, formatSummary } from './summary.ts'

/** Terminal rows for what is printed below the finished tree. */
const closingRows = 12

/** Milliseconds between two redraws: without it, listr2 redraws everything at every event. */
const redrawEvery = 80

interface TreeOptions {
  readonly phases: readonly PhaseView[]
  readonly verbose: boolean
  /** Progress only: erased at the end, and no outcome is printed. */
  readonly transient: boolean
  readonly stdout: Writable & { readonly rows?: number; readonly columns?: number }
  readonly writeError: (text: string) => void
}

export function createTree(options: TreeOptions): Reporter {
  const { verbose, transient, stdout, writeError } = options
  const { phases, apply } = trackPhases(options.phases)
  const trailer: string[] = []
  let running: Promise<unknown> | undefined
  const say = (text: string) => {
    if (running) trailer.push(text)
    else stdout.write(`${text}\n`)
  }
  const coloured = (text: string, colour: 'red' | 'yellow' | 'dim') =>
    text.split('\n').map((line) => color[colour](line))
  return {
    event: (event) => {
      if (apply(event)) running ??= draw(phases, options)
    },
    note: (text) => {
      for (const line of coloured(printable(text), 'dim')) say(line)
    },
    problem: (failure, id) => writeError(coloured(formatProblem(failure, verbose, id), 'red').join('\n')),
    end: async (summary) => {
      for (const { done } of phases) done.resolve()
      await running
      if (!transient) {
        trailer.push(...warningsOf(summary.outcomes).flatMap((text) => coloured(printable(text), 'yellow')))
        const failures = formatFailures(summary.outcomes).flatMap((text) => coloured(text, 'red'))
        if (failures.length > 0) trailer.push('', ...failures)
        if (verbose) trailer.push(...formatStacks(summary.outcomes))
        if (running) trailer.push('', ...formatClosing(summary), formatSummary(summary))
        trailer.push(...formatLast(summary))
      }
      for (const line of trailer) stdout.write(`${line}\n`)
    },
  }
}

/** Until every phase is done. */
function draw(progress: readonly PhaseProgress[], { verbose, transient, stdout }: TreeOptions): Promise<unknown> {
  const spinner = new Spinner()
  const icons: Readonly<Record<Mark, () => string>> = {
    waiting: () => color.dim('◼'),
    active: () => color.yellow(spinner.fetch()),
    made: () => color.green('✔'),
    fresh: () => color.dim('·'),
    stale: () => color.yellow('●'),
    failed: () => color.red('✖'),
    cancelled: () => color.yellow('⊘'),
  }
  class FittedRenderer extends DefaultRenderer {
    #redraw: NodeJS.Timeout | undefined

    override create(): string {
      const isOver = progress.every(({ left }) => left === 0)
      const rows = isOver && verbose ? Number.POSITIVE_INFINITY : (stdout.rows ?? 24) - (isOver ? closingRows : 3)
      const lines = layOut(progress, rows, verbose)
      return lines
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
      clearTimeout(this.#redraw)
      super.end()
    }
  }
  const tasks = progress.map(({ view, done }) => ({ title: view.title, task: () => done.promise }))
  return new Listr(tasks, {
    concurrent: true,
    registerSignalListeners: false,
    // listr2's types know its own renderers by name only.
    renderer: FittedRenderer as ListrRendererFactory as typeof DefaultRenderer,
    rendererOptions: { spinner, formatOutput: 'truncate', clearOutput: transient },
  }).run()
}

function oneLine(text: string): string {
  return printable(text).replaceAll('\n', ' ')
}

type Mark = 'waiting' | 'active' | 'made' | 'fresh' | 'stale' | 'failed' | 'cancelled'

export interface Line {
  readonly level: 0 | 1
  readonly mark: Mark
  readonly text: string
  /** Shown after the text, dimmed. */
  readonly note: string
}

export function layOut(phases: readonly PhaseState[], rows: number, isVerbose = false): Line[] {
  const children = chooseChildren(phases, rows - phases.length, isVerbose)
  return phases.flatMap((phase) => [
    phaseLine(phase),
    ...(children.get(phase) ?? []).map((target) => childLine(phase, target)),
  ])
}

/**
 * Failed targets, then stale ones, then those that are being built or checked, are shown as long as there is
 * room; then whole groups, the active phases' first and the latest before the previous, if all that is left of the group
 * fits. Fresh targets are in their phase's line.
 */
function chooseChildren(phases: readonly PhaseState[], rows: number, isVerbose: boolean): Map<PhaseState, Target[]> {
  const groups = phases.filter(({ view }) => view.targets.length > 1)
  const chosen = new Map(groups.map((phase) => [phase, new Set<Target>()]))
  let left = rows
  for (const wanted of [endedAs('failed'), endedAs('stale'), isBuilding, isActive]) {
    for (const phase of groups) {
      const targets = phase.view.targets.filter(({ id }) => wanted(phase.states.get(id))).slice(0, Math.max(0, left))
      for (const target of targets) chosen.get(phase)?.add(target)
      left -= targets.length
    }
  }
  const byInterest = [...groups].reverse().sort((a, b) => Number(isDone(a)) - Number(isDone(b)))
  for (const phase of byInterest) {
    const isWorth = (target: Target) => isVerbose || markOf(phase.states.get(target.id), target) !== 'fresh'
    const rest = phase.view.targets.filter(
      (target) => phase.states.has(target.id) && !chosen.get(phase)?.has(target) && isWorth(target),
    )
    if (rest.length > left) continue
    for (const target of rest) chosen.get(phase)?.add(target)
    left -= rest.length
  }
  return new Map(groups.map((phase) => [phase, phase.view.targets.filter((target) => chosen.get(phase)?.has(target))]))
}

function phaseLine({ view, states, seconds }: PhaseState): Line {
  const { title, targets } = view
  const ended = targets.map(({ id }) => states.get(id)).filter(isOutcome)
  // verify shows finished results: they have no duration.
  const time = seconds === undefined || seconds < 0.05 ? '' : `${seconds.toFixed(1)} s`
  const marks = targets.map((target) => markOf(states.get(target.id), target))
  const line = (mark: Mark, ...notes: string[]): Line => ({
    level: 0,
    mark,
    text: title,
    note: notes.filter(Boolean).join('  '),
  })
  if (seconds === undefined && ended.length === 0) return line('waiting')
  if (ended.length < targets.length) {
    const [only] = targets.length === 1 ? states.values() : []
    const notes = only ? [formatState(only), time] : [progress(ended.length, targets.length, seconds)]
    return line(marks.includes('failed') ? 'failed' : 'active', ...notes)
  }
  const worst = (['failed', 'cancelled', 'stale', 'made'] as const).find((mark) => marks.includes(mark)) ?? 'fresh'
  return line(worst, summariseGroup(ended, areChecks(view)), worst === 'fresh' && (seconds ?? 0) < 1 ? '' : time)
}

function childLine({ states }: PhaseState, target: Target): Line {
  const state = states.get(target.id)
  return { level: 1, mark: markOf(state, target), text: nameInPhase(target), note: formatState(state) }
}

/** "▕███████   ▏ 34/50  1.3 s" */
function progress(done: number, total: number, seconds = 0): string {
  const width = 10
  const bar = '█'.repeat(Math.floor((done / total) * width)).padEnd(width)
  return `▕${bar}▏ ${done}/${total}  ${seconds.toFixed(1)} s`
}

function formatState(state: TargetState | undefined): string {
  if (isOutcome(state)) return formatOutcome(state)
  return typeof state === 'object' ? formatStep(state) : (state ?? '')
}

/** A target that is only checked is done if it is fresh. */
function markOf(state: TargetState | undefined, { build }: Target): Mark {
  if (state === undefined) return 'waiting'
  if (!isOutcome(state)) return 'active'
  return state.kind === 'built' || (state.kind === 'fresh' && !build) ? 'made' : state.kind
}

function isOutcome(state: TargetState | undefined): state is Outcome {
  return typeof state === 'object' && 'kind' in state
}

function endedAs(kind: Outcome['kind']) {
  return (state: TargetState | undefined) => isOutcome(state) && state.kind === kind
}

function isBuilding(state: TargetState | undefined): boolean {
  return isActive(state) && state !== 'checking'
}

function isActive(state: TargetState | undefined): boolean {
  return state !== undefined && !isOutcome(state)
}

function isDone({ view, states }: PhaseState): boolean {
  return view.targets.every(({ id }) => isOutcome(states.get(id)))
}
