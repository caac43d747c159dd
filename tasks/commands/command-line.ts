/** From the command line to a command and its options, which the table says go together. Pure. */
import { type OptionName, type Options, parseOptions, usage } from '../request/options.ts'
import { type Command, commands, commonOptions, questions, run } from './table.ts'

export interface CommandLine {
  readonly command: Command
  readonly options: Options
}

/** Throws a usage Failure. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const options = parseOptions(args)
  const command = commandFor(options.names)
  if (!options.help) checkCombination(command, options)
  return { command, options }
}

/** By the first word: what follows it may be called anything. One that stands elsewhere is then refused. */
function commandFor([first = '', ...others]: readonly string[]): Command {
  const named = (words: readonly string[]) => commands.find(({ name }) => name !== '' && words.includes(name))
  return named([first]) ?? named(others) ?? run
}

function checkCombination(command: Command, { names: words, given }: Options): void {
  const [first = '', second] = words
  if (command !== run && first !== command.name) throw usage(refuse(command, first), command.name)
  if (second !== undefined && command.operands === undefined) throw usage(refuse(command, second), command.name)
  const option = given.find((name) => !takes(command, name))
  if (option === undefined) return
  const takers = commands.filter((each) => takes(each, option))
  const names = takers.map(({ name }) => name || 'phases and targets')
  // What changes something belongs to no look.
  const isRefused = takers.includes(run) && (takers.length === 1 || (isReadOnly(command) && !takers.some(isReadOnly)))
  throw usage(
    isRefused
      ? refuse(command, `--${option}`)
      : `--${option} can only be used with ${new Intl.ListFormat('en', { type: 'disjunction' }).format(names)}`,
    command.name,
  )
}

function isReadOnly({ auth }: Command): boolean {
  return auth === 'reads' || auth === 'leaves alone'
}

function refuse(command: Command, word: string): string {
  return `${command.name} ${isReadOnly(command) ? 'is read-only and ' : ''}can't be combined with ${word}`
}

function takes({ options }: Command, option: OptionName): boolean {
  return [...options, ...commonOptions, ...questions].includes(option)
}
