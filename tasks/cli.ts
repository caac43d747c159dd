/** The command line: the answers that need no cluster, what a command is given, and where its output goes. */
import { asFailure, type Failure, usageFailure } from '../lib/failure.ts'
import type { Phases, Reporter } from '../lib/show/reporter.ts'
import { fit } from '../lib/wording.ts'
import { isPhase, phases } from './bootstrap.ts'
import { type Command, commands, commonOptions, nodeOperands, planWord, questions, run } from './commands/commands.ts'
import { type ExitCause, exitStatus } from './run/exit-status.ts'
import { columnsOf, formatCommand, type Host, ownVersion, watchEndings } from './run/host.ts'
import { type OptionName, type Options, parseOptions, refuseRemoved, refuseTakenByNpm, usage } from './run/options.ts'

/** Returns the exit status. */
export async function main(args: readonly string[], host: Host): Promise<number> {
  const { stdout } = host
  // A pseudo-terminal without a size has 0 rows of 0 columns, in which nothing can be shown.
  if (stdout.isTTY) Object.assign(stdout, { rows: stdout.rows || 24, columns: stdout.columns || 80 })
  const ending = watchEndings(host)
  const causes = await respond(args, host, ending)
  // A closed stdout is noticed only when something is written to it.
  await new Promise<void>((resolve) => stdout.write('', () => resolve()))
  const failure = ending.failure()
  if (failure) createPrinter(host).printError((await import('../lib/show/rows.ts')).formatFailure(failure))
  return exitStatus([...causes, ...(failure ? ['failed' as const] : [])], ending.endedStatus())
}

async function respond(
  args: readonly string[],
  host: Host,
  { signal, endedStatus }: ReturnType<typeof watchEndings>,
): Promise<readonly ExitCause[]> {
  const printer = createPrinter(host)
  try {
    refuseTakenByNpm(host.env)
    const line = parseCommandLine(args)
    const { command, options } = line
    const text = await answer(line)
    if (text !== undefined) {
      printer.print(text)
      return []
    }
    if (command.isWithoutCluster) return await (await command.load())({ host, options, signal, ...printer })
    const { openRun } = await import('./run/command-run.ts')
    const load = (options.dryRun && command.loadPlan) || command.load
    const { close, ...run } = openRun({
      ...{ host, options, signal, endedStatus, ...printer },
      commandNames: commands.map(({ name }) => name).filter(Boolean),
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

/**
 * The answer that needs no cluster.yaml. Throws a usage Failure if the command line has neither such a question nor a
 * name.
 */
async function answer({ command, options }: ReturnType<typeof parseCommandLine>): Promise<string | undefined> {
  if (options.help) return (await import('./commands/help.ts')).help(command, options.names)
  if (options.version) return await version(options.json)
  if (options.list) return await list(options.json)
  if (options.names.length > 0) return undefined
  throw usageFailure(
    'no phase or target given',
    `list them:\n    ${formatCommand('--list')}\nrun all:\n    ${formatCommand('bootstrap')}`,
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
    printError(fit(formatFailure(failure, undefined, args.includes('--verbose')), columns))
  }
}

async function createReporter(options: Options, phases: Phases, isPlan: boolean, host: Host): Promise<Reporter> {
  const { print: write, printError: writeError } = createPrinter(host)
  if (options.json) {
    const lines = (await import('../lib/show/lines.ts')).createJsonLines(write)
    return isPlan ? (await import('../lib/show/plan.ts')).createPlanJson(write, phases, lines) : lines
  }
  if (!isPlan) return createProgress(options, phases, false, host)
  const { verbose, quiet } = options
  const { createPlanLines } = await import('../lib/show/plan.ts')
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
  if (stdout.isTTY && env.TERM !== 'dumb' && !isQuiet) {
    const { createTree } = await import('../lib/show/tree.ts')
    return createTree({ phases, verbose, transient, stdout, writeError })
  }
  const { createLines } = await import('../lib/show/lines.ts')
  const lines = createLines({ phases, verbose, quiet: isQuiet, columns: columnsOf(stdout), write, writeError })
  return transient ? { ...lines, event: () => {}, end: async () => {} } : lines
}

async function list(json: boolean): Promise<string> {
  const { listed, listText } = await import('./commands/help.ts')
  if (!json) return listText()
  const { formatJsonLine } = await import('../lib/show/lines.ts')
  return [
    ...phases.map(({ name, title, makes }) => formatJsonLine({ type: 'phase', name, title, makes })),
    ...listed.map(({ name, does }) => formatJsonLine({ type: 'command', name, does })),
  ].join('\n')
}

async function version(json: boolean): Promise<string> {
  const version = ownVersion()
  return json ? (await import('../lib/show/lines.ts')).formatJsonLine({ type: 'version', version }) : version
}

type Printer = ReturnType<typeof createPrinter>

function createPrinter({ stdout, stderr }: Host) {
  return {
    print: (line: string): void => void stdout.write(`${line}\n`),
    printError: (text: string): void => void stderr.write(`${text}\n`),
  }
}

/** Throws a usage Failure. */
export function parseCommandLine(args: readonly string[]): { readonly command: Command; readonly options: Options } {
  const options = asPlan(withQuestion(parseOptions(args)))
  const command = commandFor(options.names)
  for (const word of command === run ? options.names : [options.names.join(' ')]) refuseRemoved(word)
  if (options.format === 'markdown') refuseRemoved('--format markdown')
  if (options.help) return { command, options }
  checkCombination(command, options)
  return { command, options: command.operands === nodeOperands ? withNodes(options) : options }
}

/** `plan` is `bootstrap --dry-run`. */
function asPlan(options: Options): Options {
  const [first, ...names] = options.names
  if (first !== planWord) return options
  return {
    ...options,
    names: names.length > 0 ? names : ['bootstrap'],
    dryRun: true,
    given: [...options.given, 'dry-run'],
  }
}

/** `status worker0` is `status --node worker0`. */
function withNodes(options: Options): Options {
  const [first = '', ...nodes] = options.names
  return { ...options, names: [first], nodes: [...options.nodes, ...nodes] }
}

/** Each works with and without its dashes. */
function withQuestion(options: Options): Options {
  const [first, ...names] = options.names
  const question = questions.find((name) => name === first)
  return question ? withQuestion({ ...options, names, [question]: true, given: [...options.given, question] }) : options
}

/** The first word decides, since others may have any name. A command in another position is then refused. */
function commandFor([first = '', ...others]: readonly string[]): Command {
  const named = (words: readonly string[]) => commands.find(({ name }) => name !== '' && words.includes(name))
  return named([first]) ?? named(others) ?? run
}

function checkCombination(command: Command, { names: [first = '', ...others], given }: Options): void {
  const { operands } = command
  const refuse = (message: string) => usage(message, command.name)
  if (command !== run && first !== command.name) throw refuse(`${command.name} can't be combined with ${first}`)
  const isOther = (word: string) => isPhase(word) || commands.some(({ name }) => name === word)
  const other = others.find((word) => operands === undefined || (operands === nodeOperands && isOther(word)))
  if (other !== undefined && operands === nodeOperands && isPhase(other))
    throw refuse(`${command.name} takes nodes, and ${other} is a phase`)
  if (other !== undefined) throw refuse(`${command.name} can't be combined with ${other}`)
  const option = given.find((name) => !takes(command, name))
  if (option === undefined) return
  const takers = commands.filter((each) => takes(each, option)).map(nameOf)
  const names = new Intl.ListFormat('en').format(takers)
  throw refuse(`--${option} is not an option of ${nameOf(command)}, only of ${names}`)
}

function nameOf({ name }: Command): string {
  return name || 'runs'
}

function takes({ options }: Command, option: OptionName): boolean {
  return [...options, ...commonOptions, ...questions].includes(option)
}
