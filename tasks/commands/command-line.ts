/** From the command line to a command and its options, which the table says go together. Pure. */
import { type OptionName, type Options, parseOptions, usage } from '../request/options.ts'
import { type Command, commands, commonOptions, run } from './table.ts'

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

/** Wherever its name stands among the words. */
function commandFor(names: readonly string[]): Command {
  return commands.find(({ name }) => name !== '' && names.includes(name)) ?? run
}

function checkCombination(command: Command, { names: words, given }: Options): void {
  const [more] = words.toSpliced(words.indexOf(command.name), 1)
  if (more !== undefined && command.operands === undefined) throw usage(refuse(command, more), command.name)
  const option = given.find((name) => !takes(command, name))
  if (option === undefined) return
  const takers = commands.filter((each) => takes(each, option))
  const names = takers.map(({ name }) => name || 'phases and targets')
  // What changes something belongs to no look.
  const isRefused = takers.includes(run) && (takers.length === 1 || isReadOnly(command, takers))
  throw usage(
    isRefused
      ? refuse(command, `--${option}`)
      : `--${option} can only be used with ${new Intl.ListFormat('en', { type: 'disjunction' }).format(names)}`,
    command.name,
  )
}

function isReadOnly({ auth }: Command, takers: readonly Command[]): boolean {
  return auth !== 'writes' && takers.every((each) => each.auth === 'writes')
}

function refuse({ name, auth }: Command, word: string): string {
  return `${name} ${auth === 'writes' ? '' : 'is read-only and '}can't be combined with ${word}`
}

function takes({ options }: Command, option: OptionName): boolean {
  return options.includes(option) || commonOptions.includes(option)
}
