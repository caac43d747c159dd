/** The options: one table, read by the parser, by --help and by the table of commands. Pure. */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { type Failure, usageFailure } from '../../lib/failure.ts'
import type { Force } from '../../lib/graph/target.ts'
import { suggest } from '../../lib/wording.ts'
import { groups, isPhase, phases } from '../bootstrap.ts'
import type { ClusterGraph, ClusterTarget } from '../cluster-target.ts'
import { commands } from '../commands/commands.ts'
import type { CommandRun } from './command-run.ts'
import { formatCommand } from './host.ts'

interface Option {
  /** The name of its field, if it is not the option's in camel case. */
  readonly as?: string
  readonly parse?: (value: string) => unknown
  /** What it means unless the row of the command says otherwise. */
  readonly help?: string
  /** The placeholder for its value in --help; none where it takes none. */
  readonly value?: string
  readonly multiple?: true
  readonly short?: string
}

const table = {
  config: { value: 'FILE', help: 'another cluster.yaml (default: in this directory)' },
  'dry-run': { help: 'show what would be done and why; change nothing' },
  'expect-plan': {
    value: 'HASH',
    parse: planHash,
    help: 'carry out the plan with this hash, or refuse before any change',
  },
  node: {
    as: 'nodes',
    multiple: true,
    value: 'NAME',
    parse: names,
    help: 'only targets of this node, or of a,b (repeatable)',
  },
  from: { value: 'DIR' },
  layout: {
    value: 'NAME',
    help: 'the guide that the cluster follows: harder-way or hard-way (default: detected from auth/)',
  },
  control: {
    multiple: true,
    value: 'a,b,c',
    help: 'the control nodes; NAME=ADDRESS for one that neither /etc/hosts nor DNS has',
  },
  worker: { multiple: true, value: 'd,e', help: 'the workers' },
  gateway: { multiple: true, value: 'g', help: 'the load balancers' },
  'virtual-ip': { value: 'ADDRESS', help: 'the address of the API at the load balancer' },
  name: { value: 'NAME', help: 'the name of the cluster (default: of the directory)' },
  force: {},
  renew: { help: 'with ca only: renew the CA certificate; its key stays' },
  'replace-identity': {
    help: 'overwrite a node or kubeconfig that has another cluster identity (CA, service-account key, encryption key)',
  },
  yes: { help: 'skip the confirmation, as needed without a terminal' },
  finish: { help: 'complete the rotation; stop trusting the old CA or key' },
  undo: { help: 'go back to the previous stage; possible until --finish' },
  prune: {
    help: 'remove what no longer belongs in a deploy directory; move files of former nodes and users to auth/backup',
  },
  'on-nodes': { help: 'inspect nodes too, and what their units have loaded' },
  format: { value: 'F', help: 'html or prometheus' },
  output: { value: 'FILE' },
  write: { value: 'DIR', help: 'write the files to this directory' },
  json: { help: 'print one JSON object a line instead of text' },
  verbose: { help: 'print a line for every target' },
  quiet: { help: 'print only failures, warnings and what is left to do' },
  version: { help: 'print the version' },
  help: { short: 'h', help: 'print this text; after a command, its help' },
} as const satisfies Readonly<Record<string, Option>>

export type OptionName = keyof typeof table

export const optionNames = Object.keys(table) as readonly OptionName[]
export const optionTable: Readonly<Record<OptionName, Option>> = table

type Table = typeof table
type CamelCase<Name extends string> = Name extends `${infer First}-${infer Rest}`
  ? `${First}${Capitalize<CamelCase<Rest>>}`
  : Name
type Field<Name extends OptionName> = Table[Name] extends { readonly as: infer As extends string }
  ? As
  : CamelCase<Name>
type Value<Row> = Row extends { readonly multiple: true }
  ? readonly string[]
  : Row extends { readonly value: string }
    ? (Row extends { readonly parse: (value: string) => infer Parsed } ? Parsed : string) | undefined
    : boolean

/** A field for each option: false, empty or undefined where it was not given. */
export type Options = { readonly [Name in OptionName as Field<Name>]: Value<Table[Name]> } & {
  readonly names: readonly string[]
  /** The options that were given, to be compared with those that the command takes. */
  readonly given: readonly OptionName[]
}

const parserOptions: ParseArgsOptionsConfig = Object.fromEntries(
  Object.entries<Option>(table).map(([name, { value, multiple = false, short = '' }]) => [
    name,
    { type: value === undefined ? 'boolean' : 'string', multiple, ...(short && { short }) },
  ]),
)

export function parseOptions(args: readonly string[]): Options {
  const { values, positionals, tokens } = parseArgs({
    args: [...args],
    options: parserOptions,
    allowPositionals: true,
    strict: false,
    tokens: true,
  })
  for (const token of tokens) if (token.kind === 'option') checkOption(token)
  if (values.quiet && values.verbose) throw usage("--quiet and --verbose can't be combined")
  const fields = optionNames.map((name) => {
    const { parse, as = name.replace(/-./g, ([, letter = '']) => letter.toUpperCase()) } = optionTable[name]
    const value = values[name]
    if (value === undefined) return [as, notGiven(optionTable[name])]
    return [as, parse ? parse(String(value)) : value]
  })
  const given = optionNames.filter((name) => values[name] !== undefined)
  return { ...Object.fromEntries(fields), names: positionals, given }
}

function notGiven({ value, multiple }: Option) {
  if (value === undefined) return false
  return multiple ? [] : undefined
}

function checkOption({ name, rawName, value }: { name: string; rawName: string; value: string | undefined }): void {
  const option = Object.hasOwn(table, name) ? optionTable[name as OptionName] : undefined
  if (!option) {
    const all = optionNames.map((each) => `--${each}`)
    throw usage([`unknown option ${rawName}`, suggest(rawName, all)].filter(Boolean).join('; '))
  }
  if (option.value === undefined) {
    if (value !== undefined) throw usage(`${rawName} takes no value`)
    // A value that looks like an option is a forgotten one.
  } else if (value === undefined || value === '' || value.startsWith('-'))
    throw usage(`${rawName} needs a value: ${rawName} ${option.value}`)
}

/** Of all that were given, joined by commas. An empty one is a mistake: none at all would be every node. */
function names(text: string): readonly string[] {
  const all = text === '' ? [] : text.split(',')
  if (all.includes('')) throw usage(`--node ${text}: a name is empty`)
  return all
}

function planHash(text: string): string {
  if (/^[0-9a-f]{64}$/.test(text)) return text
  throw usage(`--expect-plan ${text}: expected the hash from the last line of --dry-run, 64 digits`)
}

/** Names the help of the command, if that is known. */
export function usage(message: string, command = ''): Failure {
  return usageFailure(message, `see:\n    ${formatCommand([command, '--help'].filter(Boolean).join(' '))}`)
}

/** Options that npm has too, and that an .npmrc may set. No run does more for want of them. */
const optionsOfNpm: readonly OptionName[] = ['force', 'json']

/** Without `--`, npm turns an option into a variable: https://docs.npmjs.com/cli/v11/using-npm/scripts#environment */
export function refuseTakenByNpm(env: NodeJS.ProcessEnv): void {
  const valueIn = (name: string) => env[`npm_config_${name.replaceAll('-', '_')}`] ?? ''
  const lost = optionNames.filter((name) => !optionsOfNpm.includes(name) && !['', 'false'].includes(valueIn(name)))
  if (lost.length > 0)
    throw usageFailure(
      `npm took --${lost.join(', --')}, or an .npmrc sets it; put harderway options after --`,
      `for example:\n    ${formatCommand('bootstrap --dry-run --config FILE')}`,
    )
}

export type Selection = Readonly<ReturnType<typeof select>>

type Selecting = Pick<CommandRun, 'cluster' | 'options' | 'command'>

/** Throws a usage Failure for an unknown name, and for an empty selection. */
export function select(run: Selecting, graph: ClusterGraph) {
  const { names, force, renew } = run.options
  const targets = names.flatMap((name) => named(graph, name, run))
  const chosen = selectNodes(run, targets)
  if (renew && force) throw usageFailure("--renew and --force can't be combined")
  if (renew && (names.length !== 1 || names[0] !== 'ca'))
    throw usageFailure('--renew can only be used with ca', `renew it:\n    ${run.command('ca --renew')}`)
  const isChosen = new Set(chosen.map(({ id }) => id))
  // In the order of the graph, whatever was typed first: who waits for a turn holds a slot.
  return { ids: [...graph.keys()].filter((id) => isChosen.has(id)), forced: forcedOf(chosen, run.options) }
}

function forcedOf(
  chosen: readonly ClusterTarget[],
  { names, force, renew }: Pick<Options, 'names' | 'force' | 'renew'>,
) {
  const forced = new Map<string, Force>()
  for (const { id, irreplaceable } of chosen) {
    const isNamed = names.includes(id)
    if (renew) forced.set(id, 'renew')
    else if (force && irreplaceable && isNamed) forced.set(id, 'replace')
    else if (force && irreplaceable !== 'whole') forced.set(id, 'rebuild')
  }
  return forced
}

export function formatTask({ names, nodes, force, renew, prune, replaceIdentity, yes }: Options): string {
  const flags = { '--force': force, '--renew': renew, '--prune': prune, '--replace-identity': replaceIdentity }
  const given = Object.entries({ ...flags, '--yes': yes }).flatMap(([flag, isGiven]) => (isGiven ? flag : []))
  return [...names, ...nodes.map((node) => `--node ${node}`), ...given].join(' ')
}

function named(graph: ClusterGraph, name: string, run: Selecting): ClusterTarget[] {
  if (isPhase(name)) {
    const desired = Object.hasOwn(groups, name) ? groups[name] : undefined
    const targets = [...graph.values()].filter(({ phase }) => (desired ?? [name]).includes(phase))
    // Beside other phases, too: whoever names it expects files to be installed.
    if (name === 'install' && targets.length === 0)
      throw usageFailure('nothing is installed: cluster.yaml has no install', 'set install: true in cluster.yaml')
    return targets
  }
  const target = graph.get(name)
  if (target) return [target]
  if (run.cluster.nodes.some((node) => node.name === name))
    throw usageFailure(`${name} is a node`, `select it with --node:\n    ${run.command(`bootstrap --node ${name}`)}`)
  throw unknownName(name, graph)
}

function unknownName(name: string, graph: ClusterGraph): Failure {
  const words = [...phases, ...commands].map((each) => each.name)
  const known = [...Object.keys(groups), ...words.filter(Boolean), ...graph.keys()]
  const like = suggest(name, known)
  const what = `unknown ${name.includes('/') ? 'target' : 'command'} "${name}"`
  return like ? usageFailure(`${what}; ${like}`) : usageFailure(what, `see all:\n    ${formatCommand('--help')}`)
}

/** The targets of the nodes that --node names; without it all. Throws a usage Failure if none is left. */
export function selectNodes(
  { cluster, options: { names, nodes } }: Selecting,
  targets: readonly ClusterTarget[],
): readonly ClusterTarget[] {
  checkNodes(cluster, nodes)
  const chosen = nodes.length === 0 ? targets : targets.filter(({ node = '' }) => nodes.includes(node))
  if (chosen.length > 0) return chosen
  const what = names.join(', ')
  throw usageFailure(
    nodes.length === 0 ? `cluster.yaml has no ${what}` : `${what} has no target on ${nodes.join(', ')}`,
  )
}

/** Throws a usage Failure for an unknown node. */
export function checkNodes(cluster: Cluster, nodes: readonly string[]): void {
  const known = cluster.nodes.map(({ name }) => name)
  for (const node of nodes)
    if (!known.includes(node))
      throw usageFailure(`cluster.yaml has no node ${node}; ${suggest(node, known) || `it has ${known.length} others`}`)
}
