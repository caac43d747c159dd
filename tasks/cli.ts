/** The command line: the answers that need no cluster, what a command is given, and where its output goes. */
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { homedir } from 'node:os'
import { delimiter, dirname, isAbsolute, join, relative, resolve } from 'node:path'
import type { Cluster } from '../lib/cluster/cluster.ts'
import { asFailure, doing, type Failure, tryTo, usageFailure } from '../lib/failure.ts'
import type { PhaseView } from '../lib/show/phase-view.ts'
import type { Reporter } from '../lib/show/reporter.ts'
import { formatAnnotation, type Mistake, quote, withoutCommands } from '../lib/wording.ts'
import { type CommandLine, parseCommandLine } from './commands/command-line.ts'
import { commands } from './commands/table.ts'
import { type Ending, formatCommand, type Host, watchEndings } from './request/host.ts'
import { exitStatus, type Finding } from './request/job.ts'
import { findLostOptions, type Options } from './request/options.ts'
import type { Call, Request } from './request/session.ts'
import { groups, phases } from './tables/phases.ts'

/** Returns the exit status. */
export async function main(args: readonly string[], host: Host): Promise<number> {
  const { stdout } = host
  // A pseudo-terminal without a size has 0 rows of 0 columns, in which nothing can be shown.
  if (stdout.isTTY) Object.assign(stdout, { rows: stdout.rows || 24, columns: stdout.columns || 80 })
  const ending = watchEndings(host)
  const findings = await respond(args, host, ending)
  // A closed stdout is noticed only when something is written to it.
  await new Promise<void>((resolve) => stdout.write('', () => resolve()))
  const failure = ending.failure()
  if (failure) createPrinter(host).printError((await import('../lib/show/reporter.ts')).formatFailure(failure))
  return exitStatus([...findings, ...(failure ? ['failed' as const] : [])], ending.status())
}

async function respond(args: readonly string[], host: Host, ending: Ending): Promise<readonly Finding[]> {
  const printer = createPrinter(host)
  try {
    refuseLostOptions(args, host.env)
    const line = parseCommandLine(args)
    const text = await answer(line)
    if (text !== undefined) {
      printer.print(text)
      return []
    }
    const call = createCall(line.options, host, printer, ending)
    const { command } = line
    if (command.auth === 'has none yet') return await (await command.load())(call)
    const request = await createRequest(call)
    return await (await import('./commands/perform.ts')).perform(command, request)
  } catch (error) {
    const failure = asFailure(error)
    if (!ending.signal.aborted) await reportFailure(failure, args, printer)
    return [failure.kind]
  }
}

/** The answer that needs no cluster.yaml. Throws a usage Failure if the command line has neither such a question nor a name. */
async function answer({ command, options }: CommandLine): Promise<string | undefined> {
  if (options.help) {
    const { helpOf, helpText } = await import('./commands/help.ts')
    return options.names.length > 0 ? helpOf(command) : helpText()
  }
  if (options.version) return await version(options.json)
  if (options.list) return await list(options.json)
  if (options.names.length > 0) return undefined
  throw usageFailure(
    'no phase or target given',
    `${formatCommand('--list', {})} shows them; ${formatCommand('bootstrap', {})} is all of them`,
  )
}

function createCall(options: Options, host: Host, printer: Printer, ending: Ending): Call {
  const { env, cwd, now } = host
  return {
    options,
    env,
    cwd,
    now,
    clone: cloneElsewhere(env),
    // npm runs scripts in the package's folder; INIT_CWD is the user's current folder.
    pathOf: (path) => resolve(env.INIT_CWD ?? cwd(), path),
    signal: ending.signal,
    endedStatus: ending.status,
    reporterFor: (views, isPlan) => createReporter(options, views, isPlan, printer),
    progressFor: (views) => {
      const quiet = options.quiet || options.json || options.format === 'markdown'
      return createProgress({ ...options, quiet }, views, true, printer)
    },
    print: printer.printSafe,
    printError: printer.printError,
  }
}

async function createRequest(call: Call): Promise<Request> {
  const { clusterPath, readCluster } = await import('./request/cluster-file.ts')
  const { options } = call
  const file = clusterPath(call, options.config)
  const { cluster: read, mistake } = readCluster(file)
  const cluster = { ...read, ssh: { ...read.ssh, concurrency: options.concurrency ?? read.ssh.concurrency } }
  return {
    ...call,
    cluster,
    mistake,
    file,
    commandNames: commands.map(({ name }) => name).filter(Boolean),
    kubeconfigs: () => kubeconfigPaths(cluster, dirname(file), call),
  }
}

async function reportFailure(failure: Failure, args: readonly string[], printer: Printer): Promise<void> {
  const { print, printError, annotate } = printer
  for (const mistake of failure.mistakes) annotate(mistake)
  if (args.includes('--json')) (await import('../lib/show/lines.ts')).createJsonLines(print).problem(failure)
  else printError((await import('../lib/show/reporter.ts')).formatProblem(failure, args.includes('--verbose')))
}

function refuseLostOptions(args: readonly string[], env: NodeJS.ProcessEnv): void {
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

async function createReporter(
  options: Options,
  views: readonly PhaseView[],
  isPlan: boolean,
  printer: Printer,
): Promise<Reporter> {
  const { print, printSafe } = printer
  if (options.json) {
    const { createJsonLines } = await import('../lib/show/lines.ts')
    const lines = createJsonLines(print)
    return isPlan ? (await import('../lib/show/plan.ts')).createPlanJson(print, views, lines) : lines
  }
  const detail = detailOf(options)
  if (options.format === 'markdown') {
    const { createPlanMarkdown } = await import('../lib/show/plan-markdown.ts')
    return createPlanMarkdown({ phases: views, detail, write: printSafe })
  }
  const progress = await createProgress(options, views, isPlan, printer)
  if (!isPlan) return progress
  const { createPlanLines } = await import('../lib/show/plan.ts')
  return createPlanLines({ phases: views, detail, write: printSafe }, progress)
}

/** Progress during a run; before a plan, without outcomes. */
async function createProgress(
  options: Options,
  views: readonly PhaseView[],
  isPlan: boolean,
  { stdout, isLive, printSafe, printError }: Printer,
): Promise<Reporter> {
  if (isLive() && !options.quiet) {
    const { createTree } = await import('../lib/show/tree.ts')
    const { verbose } = options
    return createTree({ phases: views, verbose, transient: isPlan, stdout, writeError: printError })
  }
  const { createLines } = await import('../lib/show/lines.ts')
  const lines = createLines({
    phases: views,
    detail: detailOf(options),
    write: printSafe,
    writeError: printError,
  })
  return isPlan ? { ...lines, event: () => {}, end: async () => {} } : lines
}

function detailOf({ verbose, quiet }: Options): 'verbose' | 'normal' | 'quiet' {
  return verbose ? 'verbose' : quiet ? 'quiet' : 'normal'
}

function cloneElsewhere({ INIT_CWD }: NodeJS.ProcessEnv): string | undefined {
  const clone = dirname(String(findPackageJSON(import.meta.url)))
  return INIT_CWD !== undefined && relative(clone, INIT_CWD).startsWith('..') ? clone : undefined
}

/** localKubeconfig.path, else kubectl's rule: $KUBECONFIG, a list, else ~/.kube/config. */
function kubeconfigPaths({ localKubeconfig }: Cluster, folder: string, { env, pathOf }: Call): string[] {
  const path = localKubeconfig ? localKubeconfig.path : undefined
  if (path !== undefined)
    return [
      resolve(
        folder,
        path.replace(/^~(?=\/)/, () => home(env)),
      ),
    ]
  const list = (env.KUBECONFIG ?? '').split(delimiter).filter(Boolean)
  return list.length > 0 ? [...new Set(list.map(pathOf))] : [join(home(env), '.kube', 'config')]
}

/** Throws a usage Failure if it is not absolute: the admin's key would be written to the current folder. */
function home({ HOME: folder = homedir() }: NodeJS.ProcessEnv): string {
  if (isAbsolute(folder)) return folder
  throw usageFailure(
    `HOME is ${JSON.stringify(folder)}, which is not an absolute path to find a kubeconfig in`,
    'set HOME, or localKubeconfig.path in cluster.yaml',
  )
}

async function list(json: boolean): Promise<string> {
  if (!json) return (await import('./commands/help.ts')).listText()
  const { formatJsonLine } = await import('../lib/show/lines.ts')
  return [
    ...phases.map(({ name, title, makes }) => formatJsonLine({ type: 'phase', name, title, makes })),
    ...commands.flatMap(({ name, does }) => (name === '' ? [] : formatJsonLine({ type: 'command', name, does }))),
  ].join('\n')
}

async function version(json: boolean): Promise<string> {
  const { version } = JSON.parse(readFileSync(String(findPackageJSON(import.meta.url)), 'utf8'))
  return json ? (await import('../lib/show/lines.ts')).formatJsonLine({ type: 'version', version }) : version
}

type Printer = ReturnType<typeof createPrinter>

function createPrinter({ env, stdout, stderr }: Host) {
  /** For text from a file or a node. */
  const withoutRunnerCommands = (text: string) => (env.GITHUB_ACTIONS === 'true' ? withoutCommands(text) : text)
  const print = (line: string): void => {
    stdout.write(`${line}\n`)
  }
  const printError = (text: string): void => {
    stderr.write(`${withoutRunnerCommands(text)}\n`)
  }
  return {
    stdout,
    print,
    printSafe: (line: string) => print(withoutRunnerCommands(line)),
    printError,
    /** For GitHub only, which reads it from either output. */
    annotate: (mistake: Mistake) => {
      if (env.GITHUB_ACTIONS === 'true') stderr.write(`${formatAnnotation(mistake)}\n`)
    },
    /** Whether lines can be redrawn. */
    isLive: () => Boolean(stdout.isTTY) && env.TERM !== 'dumb',
  }
}
