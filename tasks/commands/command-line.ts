/** Finds the command of a command line, and refuses what the command does not take. Pure. */
import { type OptionName, type Options, parseOptions, usage } from '../request/options.ts'
import { type Command, commands, commonOptions, questions, run } from './table.ts'

/** Each works with and without its dashes. */
const questionWords: ReadonlySet<string> = new Set(questions)

/** Throws a usage Failure. */
export function parseCommandLine(args: readonly string[]): { readonly command: Command; readonly options: Options } {
  const options = parseOptions(args)
  const [first = ''] = options.names
  if (questionWords.has(first)) return parseCommandLine(args.with(args.indexOf(first), `--${first}`))
  const command = commandFor(options.names)
  if (options.help) return { command, options }
  checkCombination(command, options)
  return { command, options }
}

/** The first word decides, since others may have any name. A command in another position is then refused. */
function commandFor([first = '', ...others]: readonly string[]): Command {
  const named = (words: readonly string[]) => commands.find(({ name }) => name !== '' && words.includes(name))
  return named([first]) ?? named(others) ?? run
}

function checkCombination(command: Command, { names: [first = '', second], given }: Options): void {
  const refuse = (message: string) => usage(message, command.name)
  if (command !== run && first !== command.name) throw refuse(`${command.name} can't be combined with ${first}`)
  if (second !== undefined && command.operands === undefined)
    throw refuse(`${command.name} can't be combined with ${second}`)
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
