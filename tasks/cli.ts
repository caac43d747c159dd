/** The command line: the answers that need no cluster, what a command is given, and where its output goes. */
import { asFailure, type Failure, usageFailure } from '../lib/failure.ts'
import type { Phases, Reporter } from '../lib/show/rows.ts'
import { fit } from '../lib/wording.ts'
import { isPhase } from './bootstrap.ts'
import {
  type Command,
  commands,
  commonOptions,
  help as helpText,
  nodeOperands,
  planWord,
  questions,
  run,
} from './commands/commands.ts'
import {
  columnsOf,
  type ExitCause,
  exitStatus,
  formatCommand,
  type Host,
  ownVersion,
  watchEndings,
} from './run/host.ts'
import { type OptionName, type Options, parseOptions, refuseTakenByNpm, usage } from './run/options.ts'

export async function main(args: readonly string[], host: Host): Promise<number> {
  const { stdout } = host
  // A pseudo-terminal without a size has 0 rows of 0 columns.
  if (stdout.isTTY) Object.assign(stdout, { rows: stdout.rows || 24, columns: stdout.columns || 80 })
  const ending = watchEndings(host)
  const causes = await respond(args, host, ending)
  // A closed stdout is noticed only when something is written to it.
  await new Promise<void>((resolve) => stdout.write('', () => resolve()))
  return exitStatus(causes, ending.endedStatus())
}

async function respond(
  args: readonly string[],
  host: Host,
  { signal, endedStatus }: ReturnType<typeof watchEndings>,
): Promise<readonly ExitCause[]> {
  const printer = createPrinter(host)
  try {
    refuseTakenByNpm(host.env)
    const { command, options } = parseCommandLine(args)
    const text = await answer(command, options)
    if (text !== undefined) {
      printer.print(text)
      return []
    }
    if (command.isWithoutCluster) return await (await command.load())({ host, options, signal, ...printer })
    const { openRun } = await import('./run/command-run.ts')
    const load = (options.dryRun && command.loadPlan) || command.load
    const { close, ...run } = openRun({
      ...{ host, options, signal, endedStatus, ...printer },
      reporterFor: (views, isPlan) => createReporter(options, views, isPlan, host),
      progressFor: (views) => createProgress(options, views, true, host),
    })
    return await (await load())(run).finally(close)
  } catch (error) {
    const failure = asFailure(error)
    if (!signal.aborted) await reportFailure(failure, args, printer, columnsOf(host.stderr))
    return [failure.kind]
  }
}

/** What needs no cluster.yaml. Throws a usage Failure if the command line has neither such a question nor a name. */
async function answer(command: Command, { help, version, names }: Options): Promise<string | undefined> {
  if (help) return helpText(command, names)
  if (version) return ownVersion()
  if (names.length > 0) return undefined
  throw usageFailure(
    'no phase or target given',
    `see all:\n    ${formatCommand('--help')}\nrun all:\n    ${formatCommand('bootstrap')}`,
  )
}

async function reportFailure(
  failure: Failure,
  args: readonly string[],
  { print, printError }: Printer,
  columns: number | undefined,
): Promise<void> {
  if (args.includes('--json')) (await import('../lib/show/lines.ts')).createJsonLines(print).problem(failure)
  else {
    const { formatFailure } = await import('../lib/show/rows.ts')
    printError(fit(formatFailure(failure), columns))
  }
}

async function createReporter(options: Options, phases: Phases, isPlan: boolean, host: Host): Promise<Reporter> {
  const { print: write, printError: writeError } = createPrinter(host)
  if (options.json) {
    const lines = (await import('../lib/show/lines.ts')).createJsonLines(write)
    return isPlan ? (await import('../lib/show/lines.ts')).createPlanJson(write, lines) : lines
  }
  if (!isPlan) return createProgress(options, phases, false, host)
  const { verbose, quiet } = options
  const { createPlanLines } = await import('../lib/show/lines.ts')
  return createPlanLines({ phases, verbose, quiet, columns: columnsOf(host.stdout), write, writeError })
}

/** Progress during a run; `transient`: before a plan or a table, without outcomes. */
async function createProgress(
  { json, quiet, verbose }: Options,
  phases: Phases,
  transient: boolean,
  host: Host,
): Promise<Reporter> {
  const { print: write, printError: writeError } = createPrinter(host)
  const { stdout, env } = host
  const isQuiet = quiet || json
  if (stdout.isTTY && env.TERM !== 'dumb' && !isQuiet && !verbose) {
    const { createTree } = await import('../lib/show/tree.ts')
    return createTree({ phases, transient, stdout, writeError })
  }
  const { createLines } = await import('../lib/show/lines.ts')
  const lines = createLines({ phases, verbose, quiet: isQuiet, columns: columnsOf(stdout), write, writeError })
  return transient ? { ...lines, event: () => {}, end: async () => {} } : lines
}

type Printer = ReturnType<typeof createPrinter>

function createPrinter({ stdout, stderr }: Host) {
  return {
    print: (line: string): void => void stdout.write(`${line}\n`),
    printError: (text: string): void => void stderr.write(`${text}\n`),
  }
}

export function parseCommandLine(args: readonly string[]): { readonly command: Command; readonly options: Options } {
  const options = readWords(parseOptions(args))
  const [first = '', ...others] = options.names
  const command = commands.find(({ name }) => name !== '' && name === first) ?? run
  if (!options.help) checkCombination(command, options)
  // `status worker0` is `status --node worker0`.
  if (command.operands !== nodeOperands) return { command, options }
  return { command, options: { ...options, names: [first], nodes: [...options.nodes, ...others] } }
}

/** Words that stand for options: `plan` is `bootstrap --dry-run`, and a question works without its dashes. */
function readWords(options: Options): Options {
  const [first, ...names] = options.names
  const question = questions.find((name) => name === first)
  if (question) return { ...options, names, [question]: true }
  if (first !== planWord) return options
  const given: OptionName[] = [...options.given, 'dry-run']
  return { ...options, names: names.length > 0 ? names : ['bootstrap'], dryRun: true, given }
}

function checkCombination(command: Command, { names: [first, ...others], given }: Options): void {
  const { operands, options } = command
  const isOther = (word: string) => commands.some(({ name }) => name === word)
  const isRefused = (word: string) =>
    operands === undefined ||
    (operands === nodeOperands && (isOther(word) || isPhase(word))) ||
    (command === run && isOther(word))
  const other = others.find(isRefused)
  if (other !== undefined) throw usage(`${first} can't be combined with ${other}`, command.name)
  const option = given.find((name) => ![...options, ...commonOptions, ...questions].includes(name))
  if (option === undefined) return
  const takers = commands.filter((each) => each.options.includes(option)).map(nameOf)
  const names = new Intl.ListFormat('en').format(takers)
  throw usage(`--${option} is not an option of ${nameOf(command)}, only of ${names}`, command.name)
}

function nameOf({ name }: Command): string {
  return name || 'runs'
}
