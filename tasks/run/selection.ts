/** Finds the targets that the command line names. Pure. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { usageFailure } from '../../lib/failure.ts'
import type { Force } from '../../lib/graph/target.ts'
import { suggest } from '../../lib/wording.ts'
import { groups, isPhase, phases } from '../bootstrap.ts'
import type { ClusterGraph, ClusterTarget } from '../target.ts'
import type { CommandRun } from './command-run.ts'
import { formatCommand } from './host.ts'
import type { Options } from './options.ts'

export type Selection = Readonly<ReturnType<typeof select>>

type Selecting = Pick<CommandRun, 'cluster' | 'options' | 'commandNames' | 'command'>

/** Throws a usage Failure for an unknown name, and for an empty selection. */
export function select(run: Selecting, graph: ClusterGraph) {
  const { names, force, renew } = run.options
  refuseNodeNames(run, graph)
  const targets = names.flatMap((name) => named(graph, name, run))
  const chosen = selectNodes(run, targets)
  if (renew && force) throw usageFailure("--renew and --force can't be combined")
  if (renew && (names.length !== 1 || names[0] !== 'ca'))
    throw usageFailure('--renew can only be used with ca', `renew it:\n    ${run.command('ca --renew')}`)
  return { ids: chosen.map(({ id }) => id), forced: forcedOf(chosen, run.options) }
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

/** As it is typed again. */
export function formatTask({ names, nodes, force, renew, prune, replaceIdentity, yes }: Options): string {
  const flags = { '--force': force, '--renew': renew, '--prune': prune, '--replace-identity': replaceIdentity }
  const given = Object.entries({ ...flags, '--yes': yes }).flatMap(([flag, isGiven]) => (isGiven ? flag : []))
  return [...names, ...nodes.map((node) => `--node ${node}`), ...given].join(' ')
}

/** `deploy worker0` */
function refuseNodeNames(run: Selecting, graph: ClusterGraph): void {
  const { cluster, options, command } = run
  const isNode = (word: string) => cluster.nodes.some(({ name }) => name === word)
  const found = options.names.find((word) => isNode(word) && !isPhase(word))
  if (found === undefined) return
  const names = options.names.filter((word) => !isNode(word))
  // Throws for a word of another tool, as in `describe worker0`: with --node it would be unknown, too.
  for (const name of names) named(graph, name, run)
  const task = [
    names.join(' ') || 'bootstrap',
    ...options.names.filter(isNode).map((name) => `--node ${name}`),
    ...(options.dryRun ? ['--dry-run'] : []),
  ].join(' ')
  throw usageFailure(`${found} is a node`, `select it with --node:\n    ${command(task)}`)
}

function named(graph: ClusterGraph, name: string, { commandNames }: Selecting): ClusterTarget[] {
  const wanted = Object.hasOwn(groups, name) ? groups[name] : undefined
  if (isPhase(name)) {
    const targets = [...graph.values()].filter(({ phase }) => (wanted ?? [name]).includes(phase))
    // Beside other phases, too: whoever names it expects files to be installed.
    if (name === 'install' && targets.length === 0)
      throw usageFailure('nothing is installed: cluster.yaml has no install', 'set install: true in cluster.yaml')
    return targets
  }
  const target = graph.get(name)
  if (target) return [target]
  throw unknownName(name, [...commandNames, ...graph.keys()])
}

/** Of other tools, and what does the same here. */
const otherWords: ReadonlyMap<string, readonly [what: string, task: string][]> = new Map([
  ['apply', [['carry out what plan shows', 'bootstrap']]],
  ['describe', [['show what is up to date and when it expires', 'status']]],
  ['diff', [['show what would change', 'plan']]],
  ['get', [['show what is up to date and when it expires', 'status']]],
  [
    'renew',
    [
      ['what expires within renewBefore', 'bootstrap'],
      ['every certificate now, then bootstrap', 'certs --force'],
      ['the CA itself, then bootstrap', 'ca --renew'],
    ],
  ],
])

/** `more`: what may be meant besides phases. */
export function unknownName(name: string, more: readonly string[]) {
  const known = [...Object.keys(groups), ...phases.map((phase) => phase.name), ...more]
  const same = otherWords.get(name)?.map(([what, task]) => `- ${what}:\n    ${formatCommand(task)}`)
  if (same) return usageFailure(`unknown command "${name}"; it can mean`, same.join('\n'))
  const like = suggest(name, known)
  const what = `unknown ${name.includes('/') ? 'target' : 'command'} "${name}"`
  return like ? usageFailure(`${what}; ${like}`) : usageFailure(what, `list all:\n    ${formatCommand('--list')}`)
}

/** The targets of the nodes that --node names; without it all. Throws a usage Failure if none is left. */
export function selectNodes(
  { cluster, options }: Selecting,
  targets: readonly ClusterTarget[],
): readonly ClusterTarget[] {
  const { names, nodes } = options
  checkNodes(cluster, nodes)
  const chosen = onNodes(options, targets)
  if (chosen.length > 0) return chosen
  throw usageFailure(
    nodes.length === 0
      ? `cluster.yaml has no ${names.join(', ')}`
      : `${names.join(', ')} has no target on ${nodes.join(', ')}`,
  )
}

function onNodes({ nodes }: Pick<Options, 'nodes'>, targets: readonly ClusterTarget[]): readonly ClusterTarget[] {
  return nodes.length === 0 ? targets : targets.filter(({ node }) => node !== undefined && nodes.includes(node))
}

/** Throws a usage Failure for an unknown node. */
export function checkNodes(cluster: Cluster, nodes: readonly string[]): void {
  const known = cluster.nodes.map(({ name }) => name)
  for (const node of nodes)
    if (!known.includes(node))
      throw usageFailure(`cluster.yaml has no node ${node}; ${suggest(node, known) || `it has ${known.length} others`}`)
}
