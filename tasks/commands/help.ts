/** --help, for everything and for one command, and --list: all derived from the tables. Pure. */
import { formatCommand } from '../request/host.ts'
import { type Finding, statuses } from '../request/job.ts'
import { asTyped, type OptionName, optionNames, optionTable } from '../request/options.ts'
import { groups, type Phase, phases } from '../tables/phases.ts'
import { type Command, commands, commonOptions, run } from './table.ts'

/** Columns. */
const width = 80
const [commandColumn, optionColumn, listColumn] = [33, 23, 20]

export function helpText(): string {
  const rows: [string, string][] = [
    [formatCommand('bootstrap', {}), 'every phase, in order'],
    ...commands.map((command): [string, string] => [usageOf(command), command.does]),
    [formatCommand('COMMAND --help', {}), 'what that command does, and its options'],
    [formatCommand('--list', {}), helpWith('list', run)],
  ]
  return [
    'harderway: the security set-up of a Kubernetes cluster, from cluster.yaml',
    '',
    ...rows.flatMap(([left, right]) => formatRow(left, right, commandColumn)),
    ...['', ...formatPhases()],
    ...['', 'Options', ...optionNames.flatMap((name) => formatOption(name, helpOfAll(name)))],
    ...['', ...formatStatuses(general)],
  ].join('\n')
}

/** `names`: the words before --help; the phases among them are explained. */
export function helpOf(command: Command, names: readonly string[] = []): string {
  const isRun = command.name === ''
  const asked = phases.filter(({ name }) => names.includes(name) || names.some((each) => groups[each]?.includes(name)))
  return [
    ...(isRun ? formatRow(formatCommand('bootstrap', {}), 'every phase, in order', commandColumn) : []),
    ...formatRow(usageOf(command), command.does, commandColumn),
    ...(isRun ? ['', ...formatPhases(asked)] : []),
    ...(command.options.length > 0 ? ['', 'Options'] : []),
    ...command.options.flatMap((name) => formatOption(name, helpWith(name, command))),
    ...['', formatCommon(command)],
    ...['', ...formatStatuses({ ...command.findings, usage: general.usage })],
  ].join('\n')
}

function usageOf({ name, operands = '' }: Command): string {
  return formatCommand([name, operands].filter(Boolean).join(' '), {})
}

/** Explains some phases; for all, or none, it lists only the names. */
function formatPhases(some: readonly Phase[] = []): string[] {
  if (some.length > 0 && some.length < phases.length)
    return some.flatMap(({ name, makes }) => formatRow(name, makes, optionColumn))
  return formatRow('Phases:', phases.map(({ name }) => name).join(', '), 'Phases: '.length, 0)
}

function formatOption(name: OptionName, help: string): string[] {
  return formatRow(asTyped(name), help, optionColumn)
}

function helpWith(name: OptionName, { means }: Command): string {
  return means?.[name] ?? optionTable[name].help ?? ''
}

/** What it means to most commands, then what it means to others. */
function helpOfAll(name: OptionName): string {
  const own = commands.flatMap(({ name: command, means }) => {
    const text = means?.[name]
    return text === undefined ? [] : `${command && `${command}: `}${text}`
  })
  return [optionTable[name].help, ...own].filter(Boolean).join('; ')
}

function formatCommon({ auth }: Command): string {
  const known = commonOptions.filter((name) => name !== 'config' || auth !== 'has none yet')
  const names = new Intl.ListFormat('en').format(known.map((name) => `--${name}`))
  return `Also ${names.replace(', and', ' and')}: see ${formatCommand('--help', {})}`
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

const general: Readonly<Record<Finding, string>> = {
  usage: 'bad usage or cluster.yaml',
  refused: 'refused to replace something irreplaceable',
  failed: 'a target failed',
  stale:
    'found something to make (--dry-run, status, verify) or to fill in (init), or the CA is about to expire (runs)',
}

function formatStatuses(findings: Readonly<Partial<Record<Finding, string>>>): string[] {
  const known = (Object.keys(findings) as Finding[]).toSorted((a, b) => statuses[a] - statuses[b])
  const meanings = known.map((finding) => `${statuses[finding]} ${findings[finding]}`)
  const [first = '', ...others] = breakLines(
    `Exit status: 0 success; ${[...meanings, '128 + signal when ended by one'].join('; ')}.`,
    width - 2,
  )
  return [first, ...others.map((line) => `  ${line}`)]
}
