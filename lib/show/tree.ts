/** The live tree: listr2 draws it, one task per phase; the executor does the work, and reports it by events. */
import type { Writable } from 'node:stream'
import { color, DefaultRenderer, Listr, type ListrRendererFactory, Spinner } from 'listr2'
import { fit } from '../paragraph.ts'
import { printable } from '../wording.ts'
import { layOut, type Mark } from './layout.ts'
import { type PhaseProgress, type PhaseView, trackPhases } from './phase-view.ts'
import { formatFailures, formatProblem, formatStacks, type Reporter, warningsOf } from './reporter.ts'
import { formatClosing, formatLast, formatSummary } from './summary.ts'

/** Terminal rows for what is printed below the finished tree. */
const closingRows = 12

/** Milliseconds between two redraws: without it, listr2 redraws everything at every event. */
const redrawEvery = 80

export interface TreeOptions {
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
    fit(text, stdout.columns ?? 80).map((line) => color[colour](line))
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
        const width = stdout.columns ?? 80
        if (running) trailer.push('', ...formatClosing(summary, width), formatSummary(summary))
        trailer.push(...formatLast(summary, width))
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
