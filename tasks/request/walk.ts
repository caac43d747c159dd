/** One walk over targets while auth/ is locked: the refusals first, then the builds. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { type Failure, isUnreached } from '../../lib/failure.ts'
import type { AuthDir } from '../../lib/files/auth-dir.ts'
import { execute, findRefusals, type RunOptions } from '../../lib/graph/executor.ts'
import { checkOf, type Graph, type Outcome, type Run, type Target } from '../../lib/graph/target.ts'
import { keysToList, pairsToReplace } from '../../lib/kubernetes/authorization.ts'
import type { Reporter } from '../../lib/show/reporter.ts'
import { joinFailures } from '../../lib/show/words.ts'
import { formatNames } from '../../lib/wording.ts'
import { nodeFiles } from '../layouts/tables.ts'
import { type Finding, findingsOf } from './job.ts'

/** Without an outcome if it was refused. */
export async function walk(
  graph: Graph,
  { reporter, ...options }: Pick<RunOptions, 'run' | 'forced' | 'signal'> & { readonly reporter: Reporter },
): Promise<{ outcomes: ReadonlyMap<string, Outcome>; findings: readonly Finding[] }> {
  const run = withClockCheck(options.run, graph)
  const { auth } = run
  prepareConnections(run, graph)
  const refusals = await refusalsBefore(graph, { ...options, run, tell: run.note })
  for (const [id, failure] of refusals) reporter.problem(failure, id)
  if (refusals.length > 0) return { outcomes: new Map(), findings: ['refused'] }
  closeFolder(auth, reporter.note)
  const outcomes = await execute(graph, { ...options, run, dryRun: false, emit: reporter.event })
  return { outcomes, findings: findingsOf(outcomes.values()) }
}

/** ssh says how it would connect to the first nodes while auth/ is checked. What fails is reported by whoever connects. */
function prepareConnections({ cluster, connect }: Run, graph: Graph): void {
  const names = new Set([...graph.values()].filter(({ where }) => where === 'node').map(({ node }) => node))
  const nodes = cluster.nodes.filter(({ name }) => names.has(name)).slice(0, cluster.ssh.concurrency)
  for (const node of nodes) connect(node).catch(() => {})
}

/** What stops a run before it builds anything, and so a plan. */
export async function refusalsBefore(
  graph: Graph,
  { run, forced, ...more }: Pick<RunOptions, 'run' | 'forced' | 'signal'> & { readonly tell: Run['note'] },
): Promise<[string | undefined, Failure][]> {
  const deploys = [...graph.values()].some(({ where }) => where === 'node')
  const nodes = deploys ? await import('../nodes/other-cluster.ts') : undefined
  const { files } = run.auth
  const isApiNew = !run.auth.read(files.certificate(files.names.api))
  const refusals = await findRefusals(graph, run, forced)
  return joinFailures([
    ...(nodes ? await nodes.adviseByNodes(run, graph, { refusals, tell: more.tell }) : refusals),
    ...(nodes ? await nodes.findOtherCluster(run, graph, more) : []),
    ...(deploys && isApiNew ? await (await import('../phases/api-names.ts')).findLostNames(run, graph) : []),
  ])
}

/** For a walk that makes something, or foresees it. */
export function withClockCheck<Given extends Run>(given: Given, graph: Graph): Given {
  let checked: Promise<void> | undefined
  const run = { ...given, unreached: new Map() }
  const check = async () => (await import('../nodes/clocks.ts')).refuseWrongClocks(run, graph)
  return {
    ...run,
    checkClocks: () => {
      checked ??= check()
      return checked
    },
  }
}

export type Rollout = Readonly<ReturnType<typeof rolloutOf>>

/** `all`: with the targets that were not selected. */
export function rolloutOf(run: Run, all: Graph, outcomes: ReadonlyMap<string, Outcome>) {
  const { cluster } = run
  const hasReplacedKey = pairsToReplace(run)
  const reads = (node: ClusterNode) => nodeFiles(cluster, node).some(hasReplacedKey)
  const readers = new Set(cluster.nodes.filter(reads).map(({ name }) => name))
  const isDown = ({ phase }: Target, outcome: Outcome | undefined) =>
    phase === 'deploy' && outcome?.kind === 'failed' && isUnreached(outcome.failure)
  const down = new Set(
    [...all.values()].flatMap((each) => (isDown(each, outcomes.get(each.id)) ? (each.node ?? []) : [])),
  )
  const isRight = ({ id, where, node = '' }: Target) => {
    const { kind = 'cancelled' } = outcomes.get(id) ?? {}
    return (
      ['fresh', 'built', 'stale'].includes(kind) ||
      (where === 'node' && outcomes.has(id) && (down.has(node) || !readers.has(node)))
    )
  }
  /** Who may go on with an old key, by node. */
  const oldKeys = [...all.values()].flatMap(({ id, node = '' }): [string, readonly string[]][] => {
    if (down.has(node) && readers.has(node)) return [[node, ['it could not be reached']]]
    const keys = checkOf(outcomes.get(id)).oldKeys
    return keys ? [[node, keys]] : []
  })
  /** The control nodes that could be reached. */
  const controls = controlsOf(run).filter((name) => !down.has(name))
  /** A control node can be given the list, and every node that is up and reads a new pair has it: what is wrong elsewhere holds no key. */
  const isReady = controls.length > 0 && [...all.values()].every(isRight)
  return { controls, isReady, oldKeys: new Map(oldKeys) }
}

function controlsOf({ cluster }: Run): string[] {
  return cluster.nodes.flatMap(({ name, role }) => (role === 'control' ? name : []))
}

/** Of keys that are newly revoked: what keeps them from being cut off, where they are not, and who is cut off with them. */
export function adviseKeys(run: Run, { isReady, controls, oldKeys }: Rollout): string[] {
  const { command } = run
  const keys = keysToList(run)
  if (keys.length === 0) return []
  if (!isReady)
    return [
      `${formatNames(keys)} not cut off yet: a run over everything does it, once the new keys are in use: ${command('bootstrap')}`,
    ]
  const open = controlsOf(run).filter((name) => !controls.includes(name))
  return [
    ...(open.length > 0
      ? [`${formatNames(open)} could not be reached: an API server there still lets in ${formatNames(keys)}`]
      : []),
    ...[...oldKeys].map(
      ([name, who]) =>
        `${name} may be cut off with the old key (${who.join('; ')}), until it has the new one: ${command(`bootstrap --node ${name}`)}`,
    ),
  ]
}

/** Before anything is written there. */
export function closeFolder(auth: AuthDir, note: (text: string) => void): void {
  auth.keepOutOfGit()
  if (auth.tightenFolder() && auth.hasFiles()) note(`${auth.path} was accessible to others: its mode is now 0700`)
}
