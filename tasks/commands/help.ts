/** --help: of all, and of one command; both are read from the tables. Pure. */
import { breakLines } from '../../lib/paragraph.ts'
import { type Finding, statuses } from '../looks/exit-status.ts'
import { formatCommand } from '../request/command.ts'
import { type OptionName, optionNames, optionTable } from '../request/options.ts'
import { groups, type Phase, phases } from '../tables/phases.ts'
import { type Command, commands, commonOptions } from './table.ts'

/** Columns. */
const width = 80
const [commandColumn, optionColumn] = [33, 23]

export function helpText(): string {
  const rows: [string, string][] = [
    [formatCommand('bootstrap', {}), 'every phase, in order'],
    ...commands.map((command): [string, string] => [usageOf(command), command.does]),
    [formatCommand('COMMAND --help', {}), 'what that command does, and its options'],
    [formatCommand('--list', {}), optionTable.list.help],
  ]
  return [
    'harderway: the security set-up of a Kubernetes cluster, from cluster.yaml',
    '',
    ...rows.flatMap(([left, right]) => formatRow(left, right, commandColumn)),
    ...['', ...formatPhases()],
    ...['', 'Options', ...optionNames.flatMap((name) => formatOption(name))],
    ...['', ...formatStatuses(general)],
  ].join('\n')
}

/** Names are those that stand before --help: of phases, it is said what each makes. */
export function helpOf(command: Command, names: readonly string[] = []): string {
  const isRun = command.name === ''
  const asked = phases.filter(({ name }) => names.includes(name) || names.some((each) => groups[each]?.includes(name)))
  return [
    ...(isRun ? formatRow(formatCommand('bootstrap', {}), 'every phase, in order', commandColumn) : []),
    ...formatRow(usageOf(command), command.does, commandColumn),
    ...(isRun ? ['', ...formatPhases(asked)] : []),
    ...['', 'Options', ...command.options.flatMap((name) => formatOption(name, command))],
    ...['', 'Options of every command', ...commonOptions.flatMap((name) => formatOption(name))],
    ...['', ...formatStatuses({ ...command.findings, usage: general.usage })],
  ].join('\n')
}

function usageOf({ name, operands = '' }: Command): string {
  return formatCommand([name, operands].filter(Boolean).join(' '), {})
}

/** Of some it is said what each makes; of all, or of none, their names alone. */
function formatPhases(some: readonly Phase[] = []): string[] {
  if (some.length > 0 && some.length < phases.length)
    return some.flatMap(({ name, makes }) => formatRow(name, makes, optionColumn))
  return formatRow('Phases:', phases.map(({ name }) => name).join(', '), 'Phases: '.length, 0)
}

function formatOption(name: OptionName, command?: Command): string[] {
  const { value, help } = optionTable[name]
  const told = command ? ofCommand(help, command) : help
  return formatRow(`--${name}${value === undefined ? '' : ` ${value}`}`, told, optionColumn)
}

/** Of "only this node; recover: from this one; init: …" what is said of the command, else what is said of no other. */
function ofCommand(help: string, { name }: Command): string {
  const parts = help.split('; ').map((part) => {
    const of = commands.find((each) => each.name !== '' && part.startsWith(`${each.name}: `))?.name ?? ''
    return { of, text: of === '' ? part : part.slice(of.length + 2) }
  })
  const own = parts.filter(({ of }) => of !== '' && of === name)
  const told = own.length > 0 ? own : parts.filter(({ of }) => of === '')
  return told.map(({ text }) => text).join('; ')
}

/** The right part begins at the column, in a line of its own where the left part reaches so far. */
function formatRow(left: string, right: string, column: number, indent = 2): string[] {
  const head = `${' '.repeat(indent)}${left}`
  const lines = breakLines(right, width, column, column)
  return head.length < column ? [head + lines.join('\n').slice(head.length)] : [head, ...lines]
}

const general: Readonly<Record<Finding, string>> = {
  usage: 'bad usage or cluster.yaml',
  refused: 'refused to replace something irreplaceable',
  failed: 'a target failed',
  stale: 'found something to make (--dry-run, status, verify)',
}

function formatStatuses(findings: Readonly<Partial<Record<Finding, string>>>): string[] {
  const known = (Object.keys(findings) as Finding[]).toSorted((a, b) => statuses[a] - statuses[b])
  const meanings = known.map((finding) => `${statuses[finding]} ${findings[finding]}`)
  return breakLines(
    `Exit status: 0 all well; ${[...meanings, '128 + signal when ended by one'].join('; ')}.`,
    width,
    0,
    2,
  )
}
