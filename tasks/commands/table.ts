/** The commands, one row each, read by the parser, its errors and --help. To add a command, add a row and a file. */
import type { LayoutName } from '../../lib/cluster/cluster.ts'
import type { CommandRun, WithoutCluster } from '../request/command-run.ts'
import type { ExitCause } from '../request/job.ts'
import type { OptionName } from '../request/options.ts'

interface CommandRow {
  /** The word that is typed for it; '' for the run, whose words are phases and targets. */
  readonly name: string
  /** The further words that it takes, as --help shows them. */
  readonly operands?: string
  /** What may stand there. */
  readonly words?: readonly string[]
  /** For --help. */
  readonly does: string
  /** For --help: what is typed. */
  readonly examples: readonly [string, string]
  /** Besides those that every command takes. */
  readonly options: readonly OptionName[]
  /** What an option means to it, if that differs from the table of options. */
  readonly means?: Readonly<Partial<Record<OptionName, string>>>
  /** The values of an option, for the shell. */
  readonly values?: Readonly<Partial<Record<OptionName, readonly string[]>>>
  /** What causes its exit statuses. */
  readonly exits: Readonly<Partial<Record<ExitCause, string>>>
}

type Load<Given> = () => Promise<(given: Given) => Promise<readonly ExitCause[]>>

export type Command = CommandRow &
  (
    | {
        readonly isWithoutCluster?: false
        readonly load: Load<CommandRun>
        /** Instead, with --dry-run. */
        readonly loadPlan?: Load<CommandRun>
      }
    /** Before there is a cluster.yaml. */
    | {
        readonly isWithoutCluster: true
        readonly load: Load<WithoutCluster>
        readonly loadPlan?: undefined
      }
  )

/** Every command takes these. */
export const commonOptions: readonly OptionName[] = ['config', 'json', 'verbose', 'quiet']
/** Each is answered instead of running the command. */
export const questions: readonly OptionName[] = ['list', 'version', 'help']

export const run: Command = {
  name: '',
  operands: 'NAME...',
  does: 'a phase, a target such as node-certs/worker0, or all certs, with whatever it needs',
  examples: ['bootstrap --dry-run', 'node-certs/worker0 --force'],
  options: [
    ...(['dry-run', 'offline', 'format', 'expect-plan', 'node', 'force', 'renew'] as const),
    ...(['replace-identity', 'yes', 'prune'] as const),
    ...(['wait-nodes', 'concurrency', 'no-lock-wait'] as const),
  ],
  means: {
    force:
      'rebuild what is selected even if fresh; the CA, the service-account key and the encryption key only if that very target is named',
    format: 'with --dry-run: markdown, as a comment on a pull request',
    renew: 'with ca only: a new CA certificate over the same key',
    'replace-identity':
      'overwrite a node that holds another CA, service-account key or encryption key, and a kubeconfig that trusts another CA',
    prune: 'remove files of ours that no longer belong on a node',
  },
  values: { format: ['markdown'] },
  exits: {
    refused: 'refused to replace something irreplaceable, or to do something else than --expect-plan',
    failed: 'a target failed; the others ran, unless they depend on it',
    stale: '--dry-run: found something to make; or the CA expires within renewBefore, or its key is left on a node',
  },
  load: async () => (await import('./run.ts')).run,
  loadPlan: async () => (await import('./plan.ts')).plan,
}

/** What --list names beside the commands: of what is typed for a run, the words for several phases. */
export const runsOfSeveral = [
  { name: 'bootstrap', does: 'every phase, in order' },
  { name: 'certs', does: 'the phases that make certificates' },
] as const

export const commands: readonly Command[] = [
  run,
  {
    name: 'verify',
    does: 'makes every TLS connection of the cluster in memory, with the files in auth/; or checks a backup (--from)',
    examples: ['verify', 'verify --from /mnt/backup/auth'],
    options: ['node', 'from', 'no-lock-wait'],
    means: { from: 'whether this backup of auth/ would bring the cluster back; asks the control nodes' },
    exits: {
      refused: '--from: a control node holds another identity, or a newer harderway is needed',
      failed: 'a handshake did not have the expected result; --from: something is missing or wrong in the backup',
      stale: 'a file is missing',
    },
    load: async () => (await import('./verify.ts')).verify,
  },
  {
    name: 'status',
    does: 'lists what was made: whether it is right, and when it expires',
    examples: ['status --on-nodes', 'status --node worker0 --verbose'],
    options: ['node', 'on-nodes', 'wait-nodes', 'concurrency', 'no-lock-wait'],
    exits: {
      refused: 'a run would refuse to replace something that is there',
      failed: 'something could not be read',
      stale: 'something is missing, stale, or about to expire',
    },
    load: async () => (await import('./status.ts')).status,
  },
  {
    name: 'graph',
    does: 'draws what is made from what; as SVG: --format dot | dot -Tsvg',
    examples: ['graph', 'graph --format dot'],
    options: ['node', 'format'],
    means: { format: 'mermaid or dot' },
    values: { format: ['mermaid', 'dot'] },
    exits: {},
    load: async () => (await import('./graph.ts')).graph,
  },
  {
    name: 'report',
    does: 'writes auth/report.html: what expires when, who holds which key, each certificate',
    examples: ['report --on-nodes', 'report --format prometheus'],
    options: ['format', 'output', 'on-nodes', 'wait-nodes', 'concurrency', 'no-lock-wait'],
    means: { format: 'html or prometheus', output: 'also write it there, for others to read: mode 0644' },
    values: { format: ['html', 'prometheus'] },
    exits: { failed: 'it could not be written' },
    load: async () => (await import('./report/report.ts')).report,
  },
  {
    name: 'schedule',
    does: 'prints a systemd service and timer that run bootstrap every day, and a line for cron',
    examples: ['schedule', 'schedule --write /etc/systemd/system'],
    options: ['write', 'output'],
    means: {
      write: 'write them there, instead of printing them',
      output: 'where node_exporter reads the metrics of each run',
    },
    exits: { failed: 'a file could not be written' },
    load: async () => (await import('./schedule.ts')).schedule,
  },
  {
    name: 'rotate',
    operands: 'WHAT',
    words: ['ca', 'etcd-ca', 'front-proxy-ca', 'service-account', 'encryption-key'],
    does: 'replaces ca, etcd-ca, front-proxy-ca, service-account or encryption-key, in stages, while the cluster runs',
    examples: ['rotate ca --dry-run', 'rotate ca --finish'],
    options: ['dry-run', 'finish', 'undo', 'force', 'wait-nodes', 'concurrency', 'no-lock-wait'],
    means: {
      finish: 'of what is under way: through the last stage, after which the old one is no longer trusted',
      undo: 'back to the state before it, as long as it is not finished',
      force: 'finish although something still uses the old one',
    },
    exits: {
      refused:
        'another rotation is under way, with --finish none, something still uses the old one, or there is no way back',
      failed: 'a node does not match cluster.yaml, or did not prove it: the same command continues from there',
      stale: 'with --dry-run: there are stages to do; else: it waits for a change on nodes that it names',
    },
    load: async () => (await import('./rotate.ts')).rotate,
    loadPlan: async () => (await import('./rotate.ts')).plan,
  },
  {
    name: 'recover',
    does: 'restores an auth/ that was lost, from a control node (--node) or from a backup (--from)',
    examples: ['recover --node control0', 'recover --from /mnt/backup/auth'],
    options: ['node', 'from', 'wait-nodes', 'concurrency', 'no-lock-wait'],
    means: { node: 'from this control node', from: 'from this backup of auth/' },
    exits: {
      refused: 'auth/ holds something else, or what was found does not fit together: not everything was taken',
      failed: 'the node or the folder could not be read',
    },
    load: async () => (await import('./recover.ts')).recover,
  },
  {
    name: 'init',
    operands: 'DIR',
    does: "creates a new cluster's folder, with a cluster.yaml from the names of its nodes, or from an auth/ that is there",
    examples: ['init kubenet --control control0 --worker worker0,worker1', 'init kubenet --from /mnt/backup/auth'],
    options: [
      ...(['control', 'worker', 'gateway', 'virtual-ip', 'name', 'user', 'ssh-config', 'layout'] as const),
      'from',
    ],
    means: {
      control: 'the control nodes; NAME=HOST for one that ssh knows by another name',
      worker: 'the workers',
      gateway: 'the load balancers',
      'virtual-ip': 'where the API is reached through the load balancer',
      name: "the cluster's name (default: the folder's)",
      user: 'the user that logs in on the nodes',
      'ssh-config': "ssh's configuration file, as for ssh -F",
      layout: 'the guide that the cluster follows: harder-way or hard-way (default: as the files in auth/ show)',
      from: 'read the rest from this auth/',
    },
    values: { layout: ['harder-way', 'hard-way'] satisfies LayoutName[] },
    isWithoutCluster: true,
    exits: {
      failed: 'the folder could not be written',
      stale: 'cluster.yaml is written, and what is missing in it is listed',
    },
    load: async () => (await import('./init.ts')).init,
  },
  {
    name: 'completion',
    operands: 'bash | zsh',
    words: ['bash', 'zsh'],
    does: 'prints a script for your shell: the command harderway, with tab completion',
    examples: ['completion bash', 'completion zsh'],
    options: [],
    isWithoutCluster: true,
    exits: {},
    load: async () => {
      const { completion } = await import('./completion.ts')
      return (given) => completion(given, commands, [...commonOptions, ...questions])
    },
  },
]
