/** The options: one table, read by the parser, by --help and by the table of commands. Pure. */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { parseDuration } from '../../lib/duration.ts'
import { type Failure, usageFailure } from '../../lib/failure.ts'
import { suggest } from '../../lib/suggest.ts'
import { formatCommand } from './command.ts'

interface Option {
  readonly type: 'boolean' | 'string'
  readonly help: string
  /** The placeholder for its value in --help. */
  readonly value?: string
  readonly multiple?: true
  readonly short?: string
}

const table = {
  config: { type: 'string', value: 'FILE', help: 'another cluster.yaml (default ./cluster.yaml)' },
  'dry-run': { type: 'boolean', help: 'say what would be done and why; change nothing' },
  offline: {
    type: 'boolean',
    help: '--dry-run: by auth/ and cluster.yaml alone; no ssh, and no file that cluster.yaml names',
  },
  node: {
    type: 'string',
    multiple: true,
    value: 'NAME',
    help: 'only what belongs to this node (repeatable); recover: from this control node',
  },
  from: { type: 'string', value: 'DIR', help: 'recover: from this backup of auth/; init: for this auth/' },
  control: { type: 'string', multiple: true, value: 'a,b,c', help: 'init: the control nodes, by the names ssh has' },
  worker: { type: 'string', multiple: true, value: 'd,e', help: 'init: the workers' },
  gateway: { type: 'string', multiple: true, value: 'g', help: 'init: the load balancers' },
  'virtual-ip': { type: 'string', value: 'ADDRESS', help: 'init: where the API is reached through the load balancer' },
  name: { type: 'string', value: 'NAME', help: "init: the cluster's name (default: the folder's)" },
  user: { type: 'string', value: 'USER', help: 'init: who logs in on the nodes' },
  'ssh-config': { type: 'string', value: 'FILE', help: 'init: for ssh -F' },
  force: {
    type: 'boolean',
    help: 'rebuild what is selected even if fresh; the CA, the service-account key and the encryption key only where that very target is named; rotate: finish although somebody still uses the earlier one',
  },
  renew: { type: 'boolean', help: 'with ca only: a new ca.pem over the same key' },
  'replace-identity': {
    type: 'boolean',
    help: 'overwrite a node that holds another CA, service-account key or encryption key, and a kubeconfig that trusts another CA',
  },
  finish: { type: 'boolean', help: 'rotate: the last stage too, after which the earlier one is worth nothing' },
  undo: { type: 'boolean', help: 'rotate: back to before it, as long as it is not finished' },
  prune: { type: 'boolean', help: 'deploy: remove files of ours that no longer belong on a node' },
  'wait-nodes': {
    type: 'string',
    value: 'TIME',
    help: 'how long to wait (2m, 90s) for nodes that are still booting',
  },
  concurrency: { type: 'string', value: 'N', help: 'nodes at once, instead of ssh.concurrency' },
  'no-lock-wait': { type: 'boolean', help: 'fail at once if another run holds auth/, instead of waiting for it' },
  'on-nodes': { type: 'boolean', help: 'compare with what is on the nodes, and what runs there has loaded' },
  'sort-by': { type: 'string', value: 'KEY', help: 'by "end": what expires first before the rest' },
  format: { type: 'string', value: 'F', help: 'graph: mermaid, dot or json; report: html or prometheus' },
  list: { type: 'boolean', help: 'the phases, and what each makes' },
  json: { type: 'boolean', help: 'one JSON object a line on stdout, instead of the tree' },
  verbose: { type: 'boolean', help: "every target's line; nothing folded" },
  quiet: { type: 'boolean', help: 'only what failed, warnings, and what is left to do' },
  version: { type: 'boolean', help: 'the version' },
  help: { type: 'boolean', short: 'h', help: 'this text; after a command, that of the command' },
} as const satisfies Readonly<Record<string, Option>>

export type OptionName = keyof typeof table

export const optionNames = Object.keys(table) as readonly OptionName[]
export const optionTable: Readonly<Record<OptionName, Option>> = table

export type Options = Readonly<ReturnType<typeof parseOptions>>

/** Throws a usage Failure. */
export function parseOptions(args: readonly string[]) {
  const { values, positionals, tokens } = parseArgs({
    args: [...args],
    options: table as unknown as ParseArgsOptionsConfig,
    allowPositionals: true,
    strict: false,
    tokens: true,
  })
  for (const token of tokens) if (token.kind === 'option') checkOption(token)
  const flag = (name: OptionName) => values[name] === true
  const each = (name: OptionName): readonly string[] => ((values[name] ?? []) as string[]).map(String)
  if (flag('quiet') && flag('verbose')) throw usage("--quiet and --verbose can't be combined")
  return {
    names: positionals as readonly string[],
    /** The options that were given, to be compared with those that the command takes. */
    given: optionNames.filter((name) => values[name] !== undefined),
    nodes: each('node'),
    control: each('control'),
    worker: each('worker'),
    gateway: each('gateway'),
    virtualIP: values['virtual-ip'] as string | undefined,
    name: values.name as string | undefined,
    user: values.user as string | undefined,
    sshConfig: values['ssh-config'] as string | undefined,
    config: values.config as string | undefined,
    from: values.from as string | undefined,
    concurrency: values.concurrency === undefined ? undefined : wholeNumber(String(values.concurrency)),
    waitNodes: values['wait-nodes'] === undefined ? 0 : duration(String(values['wait-nodes'])),
    dryRun: flag('dry-run'),
    offline: flag('offline'),
    force: flag('force'),
    renew: flag('renew'),
    replaceIdentity: flag('replace-identity'),
    finish: flag('finish'),
    undo: flag('undo'),
    prune: flag('prune'),
    lockWait: !flag('no-lock-wait'),
    onNodes: flag('on-nodes'),
    sortBy: values['sort-by'] === undefined ? undefined : sortKey(String(values['sort-by'])),
    format: values.format as string | undefined,
    list: flag('list'),
    json: flag('json'),
    verbose: flag('verbose'),
    quiet: flag('quiet'),
    version: flag('version'),
    help: flag('help'),
  }
}

function checkOption({ name, rawName, value }: { name: string; rawName: string; value: string | undefined }): void {
  const option = Object.hasOwn(table, name) ? optionTable[name as OptionName] : undefined
  if (!option || (rawName.startsWith('--') && name.length === 1))
    throw usage(
      `unknown option ${rawName}: ${suggest(name, optionNames).replace(/did you mean (.*)\?/, 'did you mean --$1?')}`,
    )
  // A value that looks like an option is a forgotten one.
  if (option.type === 'string' && (value === undefined || value === '' || value.startsWith('-')))
    throw usage(`${rawName} needs a value: ${rawName} ${option.value}`)
  if (option.type === 'boolean' && value !== undefined) throw usage(`${rawName} takes no value`)
}

function duration(text: string): number {
  const milliseconds = parseDuration(text)
  if (milliseconds <= 24 * 3_600_000) return milliseconds
  throw usage(`--wait-nodes ${text}: give a time such as 2m or 90s, up to 24h`)
}

function wholeNumber(text: string): number {
  const number = Number(text)
  if (/^\d+$/.test(text) && number >= 1 && number <= 1000) return number
  throw usage(`--concurrency ${text}: give a whole number from 1 to 1000`)
}

function sortKey(text: string): 'end' {
  if (text === 'end') return text
  throw usage(`--sort-by ${text}: it can be sorted by end`)
}

/** With the help of a command, where it is known which. */
export function usage(message: string, command = ''): Failure {
  return usageFailure(message, formatCommand([command, '--help'].filter(Boolean).join(' '), {}))
}
