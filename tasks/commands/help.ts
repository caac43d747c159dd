/** --help, for everything and for one command, and --list: all derived from the tables. Pure. */
import { formatCommand } from '../request/host.ts'
import { type Finding, statuses } from '../request/job.ts'
import { type OptionName, optionTable } from '../request/options.ts'
import { phases } from '../tables/phases.ts'
import { type Command, commands, commonOptions, questions, run } from './table.ts'

/** Columns. */
const width = 80
const [commandColumn, optionColumn, listColumn] = [33, 23, 20]

export function helpText(): string {
  const rows: [string, string][] = [
    everyPhase,
    ...commands.map((command): [string, string] => [usageOf(command), command.does]),
    [formatCommand('COMMAND --help'), 'what that command does, its options and exit statuses'],
  ]
  return [
    'harderway: the security set-up of a Kubernetes cluster, from cluster.yaml',
    '',
    ...rows.flatMap(([left, right]) => formatRow(left, right, commandColumn)),
    ...['', ...formatPhases()],
    ...['', 'Options of every command'],
    ...[...commonOptions, ...questions].flatMap((name) => formatOption(name, run)),
  ].join('\n')
}

export function helpOf(command: Command): string {
  const isRun = command === run
  return [
    ...(isRun ? formatRow(...everyPhase, commandColumn) : []),
    ...formatRow(usageOf(command), command.does, commandColumn),
    ...(isRun ? ['', ...formatPhases()] : []),
    ...(command.options.length > 0 ? ['', 'Options'] : []),
    ...command.options.flatMap((name) => formatOption(name, command)),
    ...['', formatCommon(command)],
    ...['', ...formatStatuses(command.findings)],
  ].join('\n')
}

const everyPhase: [string, string] = [formatCommand('bootstrap'), 'every phase, in order']

function usageOf({ name, operands = '' }: Command): string {
  return formatCommand([name, operands].filter(Boolean).join(' '))
}

function formatPhases(): string[] {
  return formatRow('Phases:', phases.map(({ name }) => name).join(', '), 'Phases: '.length, 0)
}

function formatOption(name: OptionName, { means }: Command): string[] {
  const { value } = optionTable[name]
  return formatRow(
    `--${name}${value === undefined ? '' : ` ${value}`}`,
    means?.[name] ?? optionTable[name].help ?? '',
    optionColumn,
  )
}

function formatCommon({ isWithoutCluster }: Command): string {
  const known = commonOptions.filter((name) => name !== 'config' || !isWithoutCluster)
  const names = new Intl.ListFormat('en').format(known.map((name) => `--${name}`))
  return `Also ${names.replace(', and', ' and')}: see ${formatCommand('--help')}`
}

/** Each phase and each command. */
export function listText(): string {
  const rows = (heading: string, named: readonly (readonly [string, string])[]) => [
    heading,
    ...named.flatMap(([name, text]) => formatRow(name, text, listColumn)),
  ]
  const known = commands.filter(({ name }) => name !== '')
  return [
    ...rows(
      'Phases',
      phases.map(({ name, makes }) => [name, makes]),
    ),
    '',
    ...rows(
      'Commands',
      known.map(({ name, does }) => [name, does]),
    ),
  ].join('\n')
}

/** The right part begins at the column, on the next line if the left part is too long. */
function formatRow(left: string, right: string, column: number, indent = 2): string[] {
  const head = `${' '.repeat(indent)}${left}`
  const lines = breakLines(right, width - column).map((line) => ' '.repeat(column) + line)
  return head.length < column ? [head + lines.join('\n').slice(head.length)] : [head, ...lines]
}

/** Broken between words. */
function breakLines(text: string, columns: number): string[] {
  const [first = '', ...words] = text.split(' ')
  const lines = [first]
  for (const word of words) {
    const longer = `${lines.at(-1)} ${word}`
    if (longer.length > columns) lines.push(word)
    else lines.splice(-1, 1, longer)
  }
  return lines
}

function formatStatuses(findings: Command['findings']): string[] {
  const all = { ...findings, usage: 'bad usage or cluster.yaml' }
  const known = (Object.keys(all) as Finding[]).toSorted((a, b) => statuses[a] - statuses[b])
  const meanings = known.map((finding) => `${statuses[finding]} ${all[finding]}`)
  const [first = '', ...others] = breakLines(
    `Exit status: 0 success; ${[...meanings, '128 + signal when ended by one'].join('; ')}.`,
    width - 2,
  )
  return [first, ...others.map((line) => `  ${line}`)]
}
