/** The commands, a row each: the parser, its errors and --help read it. A new command is a row here, and a file. */
import type { Finding } from '../looks/exit-status.ts'
import type { OptionName } from '../request/options.ts'
import type { Call, Request } from '../request/session.ts'

interface Row {
  /** The word that asks for it; '' for the run, whose words are phases and targets. */
  readonly name: string
  /** What further words it takes, as --help shows them; none: it takes none. */
  readonly operands?: string
  /** For --help. */
  readonly does: string
  /** Those that it takes besides what every command takes. */
  readonly options: readonly OptionName[]
  /** Writers take the lock; readers wait for its holder. */
  readonly auth: 'writes' | 'reads' | 'leaves alone'
  /** What its findings mean: each has its exit status. */
  readonly findings: Readonly<Partial<Record<Finding, string>>>
}

type Load<Given> = () => Promise<(given: Given) => Promise<readonly Finding[]>>

/** All but the one that writes a cluster.yaml are given what is in it. */
export type Command = Row &
  (
    | { readonly writesCluster?: undefined; readonly load: Load<Request> }
    | { readonly writesCluster: true; readonly load: Load<Call> }
  )

/** Every command takes these. */
export const commonOptions: readonly OptionName[] = ['config', 'list', 'json', 'verbose', 'quiet', 'version', 'help']

export const run: Command = {
  name: '',
  operands: 'NAME...',
  does: 'a phase, a target such as node-certs/worker0, or certs; with whatever it needs',
  options: [
    ...(['dry-run', 'offline', 'node', 'force', 'renew', 'replace-identity', 'prune'] as const),
    ...(['wait-nodes', 'concurrency', 'no-lock-wait'] as const),
  ],
  auth: 'writes',
  findings: {
    refused: 'refused to replace something irreplaceable',
    failed: 'a target failed; the others ran as far as their needs allow',
    stale: '--dry-run: found something to make',
  },
  load: async () => (await import('./run.ts')).run,
}

export const commands: readonly Command[] = [
  run,
  {
    name: 'verify',
    does: 'every TLS handshake of the cluster, made between the files in auth/',
    options: ['node', 'no-lock-wait'],
    auth: 'reads',
    findings: { failed: 'a handshake did not have the expected result', stale: 'a file is missing' },
    load: async () => (await import('./verify/verify.ts')).verify,
  },
  {
    name: 'status',
    does: 'what was made: is it right, when does it expire',
    options: ['node', 'on-nodes', 'sort-by', 'wait-nodes', 'concurrency', 'no-lock-wait'],
    auth: 'reads',
    findings: { failed: 'something could not be read', stale: 'something is missing, stale, or about to expire' },
    load: async () => (await import('./status.ts')).status,
  },
  {
    name: 'graph',
    does: 'what is made of what, as a picture; SVG: --format dot | dot -Tsvg',
    options: ['node', 'format'],
    auth: 'leaves alone',
    findings: {},
    load: async () => (await import('./graph.ts')).graph,
  },
  {
    name: 'report',
    does: 'auth/report.html: when what expires, who holds which key, each certificate',
    options: ['format', 'on-nodes', 'wait-nodes', 'concurrency', 'no-lock-wait'],
    auth: 'writes',
    findings: { failed: 'it could not be written' },
    load: async () => (await import('./report/report.ts')).report,
  },
  {
    name: 'rotate',
    operands: 'ca | service-account | encryption-key',
    does: 'puts a new one in its place, in stages, while the cluster runs; --finish: the last stage too',
    options: ['dry-run', 'finish', 'undo', 'force', 'wait-nodes', 'concurrency', 'no-lock-wait'],
    auth: 'writes',
    findings: {
      refused: 'another rotation is under way, something still uses the earlier one, or there is no way back',
      failed: 'a node is not as asked, or did not prove it: the same command goes on from there',
      stale: 'with --dry-run: there are stages to do',
    },
    load: async () => (await import('./rotate/rotate.ts')).rotate,
  },
  {
    name: 'recover',
    does: 'an auth/ that was lost: from a control node (--node), or from a backup (--from)',
    options: ['node', 'from', 'wait-nodes', 'concurrency', 'no-lock-wait'],
    auth: 'writes',
    findings: {
      refused: 'auth/ holds something else, or what was found does not fit together; nothing was taken',
      failed: 'the node or the folder could not be read',
    },
    load: async () => (await import('./recover/recover.ts')).recover,
  },
  {
    name: 'init',
    operands: 'DIR',
    does: "a new cluster's folder: its cluster.yaml, from the names of its nodes, or from an auth/ that is there",
    options: [...(['control', 'worker', 'gateway', 'virtual-ip', 'name', 'user', 'ssh-config'] as const), 'from'],
    auth: 'writes',
    writesCluster: true,
    findings: {
      failed: 'the folder could not be written',
      stale: 'cluster.yaml is written, and what is missing in it was told',
    },
    load: async () => (await import('./init/init.ts')).init,
  },
]
