/** The command layer: it alone reads the environment, prints, and decides the exit status. */
import { readFileSync } from 'node:fs'
import { constants, homedir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { type Cluster, type PlacedProblem, parseCluster } from '../lib/cluster/cluster.ts'
import { asFailure, doing, Failure, usageFailure } from '../lib/failure.ts'
import { createJsonLines, formatJsonLine } from '../lib/views/json-lines.ts'
import { createLines } from '../lib/views/lines.ts'
import { formatFailure, type PhaseView, type Reporter } from '../lib/views/reporter.ts'
import { run } from './commands/run.ts'
import { phases } from './phases.ts'
import { helpText, type Options, parseOptions } from './request/options.ts'
import type { Request } from './request/session.ts'
import { known } from './tables/files.ts'

const commands = new Map<string, (request: Request) => Promise<number>>([
  ['status', async (request) => (await import('./commands/status.ts')).status(request)],
  ['graph', async (request) => (await import('./commands/graph.ts')).graph(request)],
  ['report', async (request) => (await import('./commands/report/report.ts')).report(request)],
])

/** The exit status. */
export async function main(args: readonly string[]): Promise<number> {
  const ended = new AbortController()
  const endedStatus = watchSignals(ended)
  const status = await command(args, ended.signal, endedStatus)
  // A closed stdout tells of it only once something has been written to it.
  await new Promise<void>((resolve) => process.stdout.write('', () => resolve()))
  return status === 2 ? status : (endedStatus() ?? status)
}

async function command(
  args: readonly string[],
  signal: AbortSignal,
  endedStatus: () => number | undefined,
): Promise<number> {
  try {
    const options = parseOptions(args)
    if (options.help) return show(helpText(phases.map(({ name }) => name)))
    if (options.list) return showPhases(options.json)
    if (options.names.length === 0)
      throw usageFailure(
        'which phase or target?',
        'npm run task -- --list shows them; npm run bootstrap is all of them',
      )
    const file = configPath(options.config)
    const { cluster, mistake } = readCluster(file)
    const kubeconfigs = () => kubeconfigPaths(cluster, dirname(file))
    const perform = commands.get(options.names[0] ?? '') ?? run
    return await perform({
      cluster,
      mistake,
      file,
      options,
      kubeconfigs,
      signal,
      endedStatus,
      reporterFor: (views, isPlan) => createReporter(options, views, isPlan),
      progressFor: (views) => createProgress({ ...options, quiet: options.quiet || options.json }, views, true),
      print,
      printError,
      width: width(),
    })
  } catch (error) {
    if (signal.aborted) return 1
    const failure = asFailure(error)
    if (args.includes('--json')) createJsonLines(print).problem(failure)
    else printError(formatFailure(failure))
    return { usage: 2, refused: 3, failed: 1 }[failure.kind]
  }
}

async function createReporter(options: Options, views: readonly PhaseView[], isPlan: boolean): Promise<Reporter> {
  if (options.json) return createJsonLines(print, isPlan ? views : [])
  const progress = await createProgress(options, views, isPlan)
  if (!isPlan) return progress
  const { createPlanLines } = await import('../lib/views/plan-lines.ts')
  return createPlanLines({ phases: views, detail: detailOf(options), width: width(), write: print }, progress)
}

/** Told while it runs; before a plan, no word of what came of it. */
async function createProgress(options: Options, views: readonly PhaseView[], isPlan: boolean): Promise<Reporter> {
  if (process.stdout.isTTY && !options.quiet && process.env.TERM !== 'dumb') {
    const { createTree } = await import('../lib/views/tree.ts')
    const { verbose } = options
    return createTree({ phases: views, verbose, transient: isPlan, stdout: process.stdout, writeError: printError })
  }
  const lines = createLines({ phases: views, detail: detailOf(options), write: print, writeError: printError })
  return isPlan ? { ...lines, event: () => {}, end: async () => {} } : lines
}

/** Columns; a pseudo-terminal may have none. */
function width(): number {
  return process.stdout.columns || 80
}

function detailOf({ verbose, quiet }: Options): 'verbose' | 'normal' | 'quiet' {
  return verbose ? 'verbose' : quiet ? 'quiet' : 'normal'
}

/** npm runs scripts in the package's folder; INIT_CWD is where the user stands. */
function configPath(config: string | undefined): string {
  return config === undefined ? resolve('cluster.yaml') : resolve(process.env.INIT_CWD ?? '.', config)
}

/** localKubeconfig.path, else kubectl's rule: $KUBECONFIG, a list, else ~/.kube/config. */
function kubeconfigPaths({ localKubeconfig }: Cluster, folder: string): string[] {
  const path = localKubeconfig ? localKubeconfig.path : undefined
  if (path !== undefined) return [resolve(folder, path.replace(/^~(?=\/)/, homedir()))]
  const list = (process.env.KUBECONFIG ?? '').split(delimiter).filter(Boolean)
  return list.length > 0
    ? [...new Set(list.map((each) => resolve(process.env.INIT_CWD ?? '.', each)))]
    : [join(homedir(), '.kube', 'config')]
}

function readCluster(file: string): Pick<Request, 'cluster' | 'mistake'> {
  const parsed = parseCluster(
    doing('read', file, () => readFileSync(file), 'usage'),
    known,
  )
  const format = ({ line, column, message }: PlacedProblem) => `${file}:${line}:${column}: ${message}`
  if ('problems' in parsed) throw usageFailure(parsed.problems.map(format).join('\n'))
  const { cluster, problemAt } = parsed
  return { cluster, mistake: (path, message) => usageFailure(format(problemAt(path, message))) }
}

function showPhases(json: boolean): number {
  for (const { name, title, makes } of phases)
    print(json ? formatJsonLine({ type: 'phase', name, title, makes }) : `${name.padEnd(17)}${makes}`)
  return 0
}

function show(text: string): number {
  print(text)
  return 0
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

function printError(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** The first signal ends the run in an orderly way; a closed stdout counts as SIGPIPE. Gives 128 + signal, once there was one. */
function watchSignals(controller: AbortController): () => number | undefined {
  let first: NodeJS.Signals | undefined
  const end = (signal: NodeJS.Signals) => {
    first ??= signal
    controller.abort(new Failure(`ended by ${signal}`))
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)
  process.stdout.on('error', () => end('SIGPIPE'))
  process.stderr.on('error', () => end('SIGPIPE'))
  return () => first && 128 + constants.signals[first]
}
