/** The command line: one table of options, read by the parser and by --help. Pure. */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { parseDuration } from '../../lib/cluster/schema.ts'
import { type Failure, usageFailure } from '../../lib/failure.ts'
import { suggest } from '../../lib/suggest.ts'

/** The commands that show and never make. */
export const lookCommands = ['verify', 'status', 'graph', 'report'] as const

const table = {
  config: { type: 'string', value: 'FILE', help: 'another cluster.yaml (default ./cluster.yaml)' },
  'dry-run': { type: 'boolean', help: 'say what would be done and why; touch nothing' },
  node: { type: 'string', multiple: true, value: 'NAME', help: 'only what belongs to this node (repeatable)' },
  force: {
    type: 'boolean',
    help: 'rebuild what is selected even if fresh; the CA, the service-account key and the encryption key only where that very target is named',
  },
  renew: { type: 'boolean', help: 'with ca alone: a new ca.pem over the same key' },
  'replace-identity': {
    type: 'boolean',
    help: 'deploy over a node that holds another CA, service-account key or encryption key',
  },
  prune: { type: 'boolean', help: 'deploy: remove files of ours that no longer belong on a node' },
  'wait-nodes': {
    type: 'string',
    value: 'TIME',
    help: 'deploy: wait that long (2m, 90s) for nodes that are still booting',
  },
  concurrency: { type: 'string', value: 'N', help: 'nodes at once, in place of ssh.concurrency' },
  'no-lock-wait': { type: 'boolean', help: 'stop at once where another run holds auth/' },
  'on-nodes': { type: 'boolean', help: 'status: compare with what is on the nodes' },
  'sort-by': { type: 'string', value: 'KEY', help: 'status: by "end", what ends first before the rest' },
  format: { type: 'string', value: 'F', help: 'graph: mermaid, dot or json; report: html, prometheus or ics' },
  list: { type: 'boolean', help: 'the phases and what each makes' },
  json: { type: 'boolean', help: 'one JSON object a line on stdout, instead of the tree' },
  verbose: { type: 'boolean', help: "every target's line; nothing folded" },
  quiet: { type: 'boolean', help: 'only failures' },
  help: { type: 'boolean', short: 'h', help: 'this text' },
} as const

export type Options = Readonly<ReturnType<typeof readOptions>>

/** Throws a usage Failure. */
export function parseOptions(args: readonly string[]): Options {
  const options = readOptions(args)
  checkCombination(options)
  return options
}

function readOptions(args: readonly string[]) {
  const { values, positionals, tokens } = parseArgs({
    args: [...args],
    options: table as unknown as ParseArgsOptionsConfig,
    allowPositionals: true,
    strict: false,
    tokens: true,
  })
  for (const token of tokens) if (token.kind === 'option') checkOption(token)
  const flag = (name: keyof typeof table) => values[name] === true
  return {
    names: positionals as readonly string[],
    nodes: ((values.node ?? []) as string[]).map(String) as readonly string[],
    config: values.config as string | undefined,
    concurrency: values.concurrency === undefined ? undefined : wholeNumber(String(values.concurrency)),
    waitNodes: values['wait-nodes'] === undefined ? 0 : duration(String(values['wait-nodes'])),
    dryRun: flag('dry-run'),
    force: flag('force'),
    renew: flag('renew'),
    replaceIdentity: flag('replace-identity'),
    prune: flag('prune'),
    lockWait: !flag('no-lock-wait'),
    onNodes: flag('on-nodes'),
    sortBy: values['sort-by'] as string | undefined,
    format: values.format as string | undefined,
    list: flag('list'),
    json: flag('json'),
    verbose: flag('verbose'),
    quiet: flag('quiet'),
    help: flag('help'),
  }
}

function checkCombination(options: Options): void {
  const { names, quiet, verbose, force, renew, replaceIdentity, prune, onNodes, sortBy, format } = options
  if (quiet && verbose) throw usage('--quiet and --verbose exclude each other')
  const look = lookCommands.find((name) => names.includes(name))
  if (look && (names.length > 1 || force || renew || replaceIdentity || prune))
    throw usage(`${look} goes alone: it only looks`)
  if ((onNodes || sortBy !== undefined) && look !== 'status') throw usage('--on-nodes and --sort-by go with status')
  if (sortBy !== undefined && sortBy !== 'end') throw usage(`--sort-by ${sortBy}: it can be sorted by end`)
  if (format !== undefined && look !== 'graph' && look !== 'report') throw usage('--format goes with graph or report')
}

function checkOption({ name, rawName, value }: { name: string; rawName: string; value: string | undefined }): void {
  const option = Object.hasOwn(table, name) ? table[name as keyof typeof table] : undefined
  if (!option || (rawName.startsWith('--') && name.length === 1))
    throw usage(
      `there is no option ${rawName}: ${suggest(name, Object.keys(table)).replace(/did you mean (.*)\?/, 'did you mean --$1?')}`,
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

export function helpText(phaseNames: readonly string[]): string {
  const options = Object.entries(table).map(([name, option]) => {
    const left = `  --${name}${'value' in option ? ` ${option.value}` : ''}`.padEnd(22)
    return wrap(option.help, 56)
      .map((line, i) => `${i === 0 ? left : ' '.repeat(22)} ${line}`)
      .join('\n')
  })
  return `harderway: the security set-up of a Kubernetes cluster, from cluster.yaml

  npm run bootstrap               every phase, in order
  npm run task -- NAME...         a phase, a target such as node-certs/worker0,
                                  or certs; with whatever it needs
  npm run task -- --list          the phases and what each makes

  npm run task -- status          what was made: is it right, when does it end
  npm run task -- verify          every handshake of the cluster, made
                                  between the files in auth/
  npm run task -- report          auth/report.html: when what ends, who holds
                                  which key, each certificate
  npm run task -- graph           what is made of what, as a picture; SVG:
                                  --format dot | dot -Tsvg

Phases: ${wrap(phaseNames.join(', '), 70).join('\n        ')}

Options
${options.join('\n')}

Exit status: 0 all well, 1 a target failed, 2 bad usage or cluster.yaml,
3 refused to replace something irreplaceable, 4 found something to make
(--dry-run, status, verify), 128 + signal when ended by one.`
}

function wrap(text: string, width: number): string[] {
  return text.match(new RegExp(`.{1,${width}}(\\s|$)`, 'g'))?.map((line) => line.trim()) ?? []
}

function usage(message: string): Failure {
  return usageFailure(message, 'npm run task -- --help')
}
