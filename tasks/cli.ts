/** The command layer: it alone reads the environment, prints, and decides the exit status. */
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { homedir } from 'node:os'
import { delimiter, dirname, isAbsolute, join, relative, resolve } from 'node:path'
import type { Cluster } from '../lib/cluster/cluster.ts'
import { asFailure, doing, type Failure, tryTo, usageFailure } from '../lib/failure.ts'
import { fit } from '../lib/paragraph.ts'
import type { PhaseView } from '../lib/views/phase-view.ts'
import type { Reporter } from '../lib/views/reporter.ts'
import { quote, withoutCommands } from '../lib/wording.ts'
import { type CommandLine, parseCommandLine } from './commands/command-line.ts'
import { commands } from './commands/table.ts'
import { exitStatus, type Finding } from './looks/exit-status.ts'
import { formatCommand } from './request/command.ts'
import { type Ending, watchEndings } from './request/ending.ts'
import { findLostOptions } from './request/npm-options.ts'
import type { Options } from './request/options.ts'
import type { Call, Request } from './request/session.ts'
import { groups, phases } from './tables/phases.ts'

const isOnGitHub = process.env.GITHUB_ACTIONS === 'true'

/** The exit status. */
export async function main(args: readonly string[]): Promise<number> {
  if (process.stdout.isTTY) sizeTerminal(process.stdout)
  const ending = watchEndings()
  const findings = await perform(args, ending)
  // A closed stdout is noticed only when something is written to it.
  await new Promise<void>((resolve) => process.stdout.write('', () => resolve()))
  const failure = ending.failure()
  if (failure) printFitted((await import('../lib/views/reporter.ts')).formatFailure(failure))
  return exitStatus([...findings, ...(failure ? ['failed' as const] : [])], ending.status())
}

async function perform(args: readonly string[], ending: Ending): Promise<readonly Finding[]> {
  try {
    refuseLostOptions(args)
    const line = parseCommandLine(args)
    const text = await answer(line)
    if (text !== undefined) {
      print(text)
      return []
    }
    const call = createCall(line.options, ending)
    const { command } = line
    if (command.writesCluster) return await (await command.load())(call)
    const work = await command.load()
    return await work(await createRequest(call))
  } catch (error) {
    const failure = asFailure(error)
    if (!ending.signal.aborted) await tellFailure(failure, args)
    return [failure.kind]
  }
}

/** What is answered without a cluster.yaml. Throws a usage Failure where nothing is asked. */
async function answer({ command, options }: CommandLine): Promise<string | undefined> {
  if (options.help) {
    const { helpOf, helpText } = await import('./commands/help.ts')
    return options.names.length > 0 ? helpOf(command, options.names) : helpText()
  }
  if (options.version) return readVersion()
  if (options.list) return await listPhases(options.json)
  if (options.names.length > 0) return undefined
  throw usageFailure(
    'no phase or target given',
    `${formatCommand('--list', {})} shows them; ${formatCommand('bootstrap', {})} is all of them`,
  )
}

function createCall(options: Options, ending: Ending): Call {
  return {
    options,
    clone: cloneElsewhere(),
    pathOf,
    signal: ending.signal,
    endedStatus: ending.status,
    reporterFor: (views, isPlan) => createReporter(options, views, isPlan),
    progressFor: (views) => createProgress({ ...options, quiet: options.quiet || options.json }, views, true),
    print: (line) => print(withoutRunnerCommands(line)),
    printError: printFitted,
    width: width(),
    isInteractive: process.stdin.isTTY && isLive() && !options.json,
  }
}

async function createRequest(call: Call): Promise<Request> {
  const { readCluster } = await import('./request/cluster-file.ts')
  const { options } = call
  const file = options.config === undefined ? resolve('cluster.yaml') : pathOf(options.config)
  const { cluster, mistake } = readCluster(file, { width: width(), isPlain: options.json })
  return {
    ...call,
    cluster,
    mistake,
    file,
    commandNames: commands.map(({ name }) => name).filter(Boolean),
    kubeconfigs: () => kubeconfigPaths(cluster, dirname(file)),
  }
}

async function tellFailure(failure: Failure, args: readonly string[]): Promise<void> {
  if (args.includes('--json')) (await import('../lib/views/json-lines.ts')).createJsonLines(print).problem(failure)
  else printFitted((await import('../lib/views/reporter.ts')).formatProblem(failure, args.includes('--verbose')))
}

function refuseLostOptions(args: readonly string[]): void {
  const { env } = process
  const { npm_config_userconfig, npm_config_globalconfig, npm_config_local_prefix } = env
  const files = [npm_config_userconfig, npm_config_globalconfig, `${npm_config_local_prefix}/.npmrc`]
  const npmrc = files.map((file) => tryTo(() => doing('read', `${file}`, () => readFileSync(`${file}`, 'utf8'))) ?? '')
  const names = [...commands.map(({ name }) => name), ...Object.keys(groups), ...phases.map(({ name }) => name)]
  const isName = (word: string) => names.some((name) => name !== '' && name === word.split('/')[0])
  const lost = findLostOptions({ args, env, npmrc, isName })
  if (!lost) return
  throw usageFailure(
    `npm took ${lost.options.join(' ')} as its own option: options of harderway come after --`,
    formatCommand(lost.meant.map(quote).join(' '), {}),
  )
}

async function createReporter(options: Options, views: readonly PhaseView[], isPlan: boolean): Promise<Reporter> {
  if (options.json) {
    const { createJsonLines } = await import('../lib/views/json-lines.ts')
    const lines = createJsonLines(print)
    return isPlan ? (await import('../lib/plan/plan-json.ts')).createPlanJson(print, views, lines) : lines
  }
  const progress = await createProgress(options, views, isPlan)
  if (!isPlan) return progress
  const { createPlanLines } = await import('../lib/plan/plan-lines.ts')
  return createPlanLines(
    {
      phases: views,
      detail: detailOf(options),
      width: width(),
      isTerminal: process.stdout.isTTY,
      write: (line) => print(withoutRunnerCommands(line)),
    },
    progress,
  )
}

/** Progress during a run; before a plan, without outcomes. */
async function createProgress(options: Options, views: readonly PhaseView[], isPlan: boolean): Promise<Reporter> {
  if (isLive() && !options.quiet) {
    const { createTree } = await import('../lib/tree/tree.ts')
    const { verbose } = options
    return createTree({ phases: views, verbose, transient: isPlan, stdout: process.stdout, writeError: printError })
  }
  const { createLines } = await import('../lib/views/lines.ts')
  const lines = createLines({
    phases: views,
    detail: detailOf(options),
    isGrouped: isOnGitHub,
    write: print,
    writeError: printError,
  })
  return isPlan ? { ...lines, event: () => {}, end: async () => {} } : lines
}

/** Whether what is shown can be drawn anew. */
function isLive(): boolean {
  return process.stdout.isTTY && process.env.TERM !== 'dumb'
}

/** Columns. */
function width(): number {
  return process.stdout.columns ?? 80
}

/** A pseudo-terminal without a size has 0 rows of 0 columns, in which nothing can be shown. */
function sizeTerminal(terminal: NodeJS.WriteStream): void {
  terminal.rows ||= 24
  terminal.columns ||= 80
}

function detailOf({ verbose, quiet }: Options): 'verbose' | 'normal' | 'quiet' {
  return verbose ? 'verbose' : quiet ? 'quiet' : 'normal'
}

function cloneElsewhere(): string | undefined {
  const { INIT_CWD } = process.env
  const clone = dirname(String(findPackageJSON(import.meta.url)))
  return INIT_CWD !== undefined && relative(clone, INIT_CWD).startsWith('..') ? clone : undefined
}

/** npm runs scripts in the package's folder; INIT_CWD is the user's current folder. */
function pathOf(path: string): string {
  return resolve(process.env.INIT_CWD ?? '.', path)
}

/** localKubeconfig.path, else kubectl's rule: $KUBECONFIG, a list, else ~/.kube/config. */
function kubeconfigPaths({ localKubeconfig }: Cluster, folder: string): string[] {
  const path = localKubeconfig ? localKubeconfig.path : undefined
  if (path !== undefined) return [resolve(folder, path.replace(/^~(?=\/)/, home))]
  const list = (process.env.KUBECONFIG ?? '').split(delimiter).filter(Boolean)
  return list.length > 0 ? [...new Set(list.map(pathOf))] : [join(home(), '.kube', 'config')]
}

/** Throws a usage Failure where it is none: the admin's key would land in whatever folder this is. */
function home(): string {
  const folder = homedir()
  if (isAbsolute(folder)) return folder
  throw usageFailure(
    `HOME is ${JSON.stringify(folder)}, which is no folder to find a kubeconfig in`,
    'set HOME, or localKubeconfig.path in cluster.yaml',
  )
}

async function listPhases(json: boolean): Promise<string> {
  const { formatJsonLine } = await import('../lib/views/json-lines.ts')
  const lines = phases.map(({ name, title, makes }) =>
    json ? formatJsonLine({ type: 'phase', name, title, makes }) : `${name.padEnd(17)}${makes}`,
  )
  return lines.join('\n')
}

function readVersion(): string {
  return JSON.parse(readFileSync(String(findPackageJSON(import.meta.url)), 'utf8')).version
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

function printFitted(text: string): void {
  printError(fit(text, process.stderr.columns || Number.POSITIVE_INFINITY).join('\n'))
}

function printError(text: string): void {
  process.stderr.write(`${withoutRunnerCommands(text)}\n`)
}

/** Of what comes from a file or a node; groups of ours are written as they are. */
function withoutRunnerCommands(text: string): string {
  return isOnGitHub ? withoutCommands(text) : text
}
