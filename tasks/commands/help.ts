/** --help, for everything and for one command, and --list: all derived from the tables. Pure. */

import { isPhase, phases } from '../bootstrap.ts'
import { statuses } from '../run/exit-status.ts'
import { formatCommand } from '../run/host.ts'
import { type OptionName, optionTable } from '../run/options.ts'
import { type Command, commands, commonOptions, questions, run, runsOfSeveral } from './commands.ts'

const width = 80

/** For a word that is no command, nor a phase or one of its targets, the same as for none. */
export function help(command: Command, [first = '']: readonly string[]): string {
  const isKnown = command !== run || isPhase(first.replace(/\/.*/, ''))
  return isKnown ? helpOf(command) : helpText()
}

function helpText(): string {
  return [
    'harderway manages the PKI of a Kubernetes cluster from cluster.yaml',
    ...['', ...[...runsOfSeveral, ...commands].flatMap(formatUsage)],
    ...formatRow(formatCommand('COMMAND --help'), 'shows its options, examples and exit statuses', 33),
    ...['', ...formatPhases(), ''],
    'Options of every command',
    ...formatOptions([...commonOptions, ...questions], run),
  ].join('\n')
}

function helpOf(command: Command): string {
  const { options } = command
  return [
    ...formatUsage(command),
    ...(command === run ? ['', ...formatPhases()] : []),
    ...(options.length > 0 ? ['', 'Options', ...formatOptions(options, command)] : []),
    ...['', 'Examples', ...command.examples.map((line) => `  ${formatCommand(line)}`)],
    ...['', `For the options of every command, see ${formatCommand('--help')}`, ''],
    'Exit status',
    ...Object.entries(meanings).flatMap(([status, meaning]) => formatRow(status, meaning, 7)),
  ].join('\n')
}

/** docs/commands.md has more about each. */
const meanings = {
  0: 'success',
  [statuses.failed]: 'something failed; the rest was done, unless it depends on that',
  [statuses.usage]: 'bad usage or cluster.yaml',
  [statuses.refused]: 'refused to replace what a running cluster depends on, or to deviate from --expect-plan',
  [statuses.stale]: 'something is left to do',
  '128+': 'ended by a signal: 128 + its number',
}

export function listText(): string {
  return [
    'Phases',
    ...phases.flatMap(({ name, makes }) => formatRow(name, makes, 20)),
    ...['', 'Commands'],
    ...[...runsOfSeveral, ...commands].flatMap(({ name, does }) => (name === '' ? [] : formatRow(name, does, 20))),
  ].join('\n')
}

function formatUsage({ name, operands = '', does }: Pick<Command, 'name' | 'operands' | 'does'>): string[] {
  return formatRow(formatCommand([name, operands].filter(Boolean).join(' ')), does, 33)
}

function formatPhases(): string[] {
  return breakLines(`Phases: ${phases.map(({ name }) => name).join(', ')}`, width)
}

function formatOptions(names: readonly OptionName[], { means }: Command): string[] {
  return names.flatMap((name) => {
    const { value = '', help = '' } = optionTable[name]
    return formatRow(`--${name} ${value}`.trim(), means?.[name] ?? help, 23)
  })
}

/** The right part begins at the column, on the next line if the left part is too long. */
function formatRow(left: string, right: string, column: number): string[] {
  const [first = '', ...lines] = breakLines(right, width - column).map((line) => ' '.repeat(column) + line)
  return left.length + 2 < column
    ? [`  ${left}${first.slice(left.length + 2)}`, ...lines]
    : [`  ${left}`, first, ...lines]
}

/** Broken between words; one that is too long for a line stays whole. */
function breakLines(text: string, columns: number): string[] {
  return text.match(new RegExp(`\\S.{0,${columns - 1}}(?= |$)|\\S+`, 'g')) ?? []
}
