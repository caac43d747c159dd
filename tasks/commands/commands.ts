/** The commands, one row each, read by the parser, its errors and --help. To add a command, add a row and a file. */

import { isPhase, phases } from '../bootstrap.ts'
import type { CommandRun, WithoutCluster } from '../run/command-run.ts'
import { type ExitCause, formatCommand, statuses } from '../run/host.ts'
import { type OptionName, optionTable } from '../run/options.ts'

interface CommandRow {
  /** The word that is typed for it; '' for the run, whose words are phases and targets. */
  readonly name: string
  readonly operands?: string
  readonly does: string
  readonly examples: readonly [string, string]
  readonly options: readonly OptionName[]
  /** What an option means to it, if that differs from the table of options. */
  readonly means?: Readonly<Partial<Record<OptionName, string>>>
}

/** What it loads throws a usage Failure before anything is printed or changed. `loadPlan`: instead, with --dry-run. */
type Load<Call> = () => Promise<(given: Call) => Promise<readonly ExitCause[]>>

export type Command = CommandRow &
  (
    | { readonly isWithoutCluster?: false; readonly load: Load<CommandRun>; readonly loadPlan?: Load<CommandRun> }
    | { readonly isWithoutCluster: true; readonly load: Load<WithoutCluster>; readonly loadPlan?: undefined }
  )

export const commonOptions: readonly OptionName[] = ['config', 'json', 'verbose', 'quiet']
export const questions: readonly OptionName[] = ['version', 'help']

export const run: Command = {
  name: '',
  operands: 'NAME...',
  does: 'runs phases or targets (node-certs/worker0) and what they depend on',
  examples: ['bootstrap --dry-run', 'node-certs/worker0 --force'],
  options: [
    ...(['dry-run', 'expect-plan', 'node', 'force', 'renew'] as const),
    ...(['replace-identity', 'yes', 'prune'] as const),
  ],
  means: {
    force:
      'rebuild the selection even if up to date; the CA, service-account key and encryption key are replaced only if named',
  },
  load: async () => (await import('./run.ts')).run,
  loadPlan: async () => (await import('./plan.ts')).plan,
}

export const planWord = 'plan'

/** The operands of a command that takes nodes with and without --node. */
export const nodeOperands = 'NODE...'

/** The words for several phases, of what is typed for a run. */
const runsOfSeveral = [
  { name: 'bootstrap', does: 'runs every phase, in order' },
  { name: planWord, does: 'bootstrap --dry-run: shows what would be done' },
  { name: 'certs', does: 'runs the phases that issue certificates' },
] as const

export const commands: readonly Command[] = [
  run,
  {
    name: 'verify',
    operands: nodeOperands,
    does: 'tries all TLS connections in memory',
    examples: ['verify', 'verify --node worker0'],
    options: ['node'],
    load: async () => (await import('./verify.ts')).verify,
  },
  {
    name: 'status',
    operands: nodeOperands,
    does: 'shows whether each file is up to date and when it expires',
    examples: ['status --on-nodes', 'status worker0 --verbose'],
    options: ['node', 'on-nodes'],
    load: async () => (await import('./status.ts')).status,
  },
  {
    name: 'report',
    does: 'writes auth/report.html: what expires when, and who holds which file',
    examples: ['report --on-nodes', 'report --format prometheus'],
    options: ['format', 'output', 'on-nodes'],
    means: { output: 'write a copy there, with mode 0644' },
    load: async () => (await import('./report.ts')).report,
  },
  {
    name: 'schedule',
    does: 'prints a systemd timer that runs bootstrap every day',
    examples: ['schedule', 'schedule --write .'],
    options: ['write', 'output'],
    means: { output: 'write metrics there, for node_exporter' },
    load: async () => (await import('./schedule.ts')).schedule,
  },
  {
    name: 'rotate',
    operands: 'WHAT',
    does: 'replaces ca, etcd-ca, service-account or encryption-key in stages, while the cluster runs',
    examples: ['rotate ca --dry-run', 'rotate ca --finish'],
    options: ['dry-run', 'finish', 'undo', 'force', 'yes'],
    means: {
      force: 'continue although something still uses the old CA or key, or a connection would be refused',
    },
    load: async () => (await import('./rotate.ts')).rotate,
    loadPlan: async () => (await import('./rotate.ts')).plan,
  },
  {
    name: 'recover',
    does: 'restores a lost auth/, from a control node (--node) or a backup (--from)',
    examples: ['recover --node control0', 'recover --from /mnt/backup/auth --dry-run'],
    options: ['node', 'from', 'dry-run'],
    means: {
      node: 'from this control node',
      from: 'from this backup of auth/',
      'dry-run':
        'show what would be restored if auth/ were lost, and whether control nodes have the cluster identity of the backup; change nothing',
    },
    load: async () => (await import('./recover.ts')).recover,
  },
  {
    name: 'init',
    operands: 'DIR',
    does: 'creates a directory with a cluster.yaml, from node names or an existing auth/',
    examples: ['init kubenet --control control0 --worker worker0,worker1', 'init kubenet --from /mnt/backup/auth'],
    options: ['control', 'worker', 'gateway', 'virtual-ip', 'name', 'layout', 'from'],
    means: { from: 'read all other values from this auth/' },
    isWithoutCluster: true,
    load: async () => (await import('./init.ts')).init,
  },
]

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
    ...['', ...breakLines(`Phases: ${phases.map(({ name }) => name).join(', ')}`, width), ''],
    'Options of every command',
    ...formatOptions([...commonOptions, ...questions], run),
  ].join('\n')
}

function helpOf(command: Command): string {
  const { options } = command
  return [
    ...formatUsage(command),
    ...(command === run ? ['', 'Phases', ...phases.flatMap(({ name, makes }) => formatRow(name, makes, 20))] : []),
    ...(options.length > 0 ? ['', 'Options', ...formatOptions(options, command)] : []),
    ...['', 'Examples', ...command.examples.map((line) => `  ${formatCommand(line)}`)],
    ...['', `For the options of every command, see ${formatCommand('--help')}`, ''],
    'Exit status',
    ...Object.entries(meanings).flatMap(([status, meaning]) => formatRow(status, meaning, 7)),
  ].join('\n')
}

const meanings = {
  0: 'success',
  [statuses.failed]: 'something failed; the rest was done, unless it depends on that',
  [statuses.usage]: 'bad usage or cluster.yaml',
  [statuses.refused]: 'refused to replace what a running cluster depends on, or to deviate from --expect-plan',
  [statuses.stale]: 'something is left to do',
  '128+': 'ended by a signal: 128 + its number',
}

function formatUsage({ name, operands = '', does }: Pick<Command, 'name' | 'operands' | 'does'>): string[] {
  return formatRow(formatCommand([name, operands].filter(Boolean).join(' ')), does, 33)
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
