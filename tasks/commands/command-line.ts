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

function checkCombination(command: Command, { names, given }: Options): void {
  const [more] = names.toSpliced(names.indexOf(command.name), 1)
  if (more !== undefined && command.operands === undefined) throw usage(refuse(command, more), command.name)
  const option = given.find((name) => !takes(command, name))
  if (option === undefined) return
  const takers = commands.filter((each) => takes(each, option)).map(({ name }) => name || 'phases and targets')
  const isOfRunAlone = commands.every((each) => each === run || !takes(each, option))
  throw usage(
    isOfRunAlone
      ? refuse(command, `--${option}`)
      : `--${option} can only be used with ${new Intl.ListFormat('en', { type: 'disjunction' }).format(takers)}`,
    command.name,
  )
}

function refuse({ name, auth }: Command, word: string): string {
  return `${name} ${auth === 'writes' ? '' : 'is read-only and '}can't be combined with ${word}`
}

function takes({ options }: Command, option: OptionName): boolean {
  return options.includes(option) || commonOptions.includes(option)
}
