/** Finds the targets that the command line names. Pure. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { type Failure, usageFailure } from '../../lib/failure.ts'
import type { Force } from '../../lib/graph/target.ts'
import { suggest } from '../../lib/wording.ts'
import { groups, isPhase, phases } from '../bootstrap.ts'
import { commands } from '../commands/commands.ts'
import type { ClusterGraph, ClusterTarget } from '../target.ts'
import type { CommandRun } from './command-run.ts'
import { formatCommand } from './host.ts'
import type { Options } from './options.ts'

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
  return like ? usageFailure(`${what}; ${like}`) : usageFailure(what, `list all:\n    ${formatCommand('--list')}`)
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
