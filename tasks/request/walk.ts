/** One walk over targets while auth/ is locked: the refusals first, then the builds. */
import { type Failure, isUnreached } from '../../lib/failure.ts'
import type { AuthDir } from '../../lib/files/auth-dir.ts'
import { execute, findRefusals, type RunOptions } from '../../lib/graph/executor.ts'
import { checkOf, type Graph, isDone, isLost, type Outcome, type Run } from '../../lib/graph/target.ts'
import {
  keysToList,
  listIn,
  lockedOutBy,
  pairsOf,
  pinnedUsers,
  unknownKeys,
  wantedList,
} from '../../lib/kubernetes/authorization.ts'
import type { Reporter } from '../../lib/show/reporter.ts'
import { joinFailures } from '../../lib/show/words.ts'
import { count, formatNames } from '../../lib/wording.ts'
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

/** Of `revoked`: what is not enforced, where, and who goes on with an old key; in a plan, who would. */
export function adviseRevoked(run: Run, outcomes: ReadonlyMap<string, Outcome>): string[] {
  const { cluster, command } = run
  if (!cluster.revoked || cluster.revoked.length === 0) return []
  const listing = outcomes.get('revoked-keys')
  const unknown = unknownKeys(run)
  const keys = keysToList(run).filter((entry) => !unknown.includes(entry))
  const isHeld = keys.length > 0 && listing?.kind !== 'stale'
  return [
    ...(isHeld ? [`run ${command('bootstrap')}; it revokes ${formatNames(keys)} once the new keys are in use`] : []),
    ...adviseEnforced(run, outcomes),
    ...(listing && isDone(listing) ? adviseOldKeys(run, listing, outcomes) : []),
    ...adviseUnlisted(run, outcomes),
  ]
}

/** After a run of nodes that read no list, as with --node: API servers let in a pinned name only with what they know. */
function adviseUnlisted(run: Run, outcomes: ReadonlyMap<string, Outcome>): string[] {
  const { auth, cluster, command, now } = run
  const listed = listIn(auth)
  const isOnNodes = cluster.nodes.some(({ name }) => outcomes.has(`install/${name}`))
  if (!listed || !isOnNodes || outcomes.has('revoked')) return []
  const users = lockedOutBy(listed, wantedList(run, keysToList(run)), now)
  return users.length > 0
    ? [`run ${command('bootstrap')}; until then API servers refuse the new certificate of ${formatNames(users)}`]
    : []
}

/** Of those that the run has looked at. */
function adviseEnforced({ auth, cluster }: Run, outcomes: ReadonlyMap<string, Outcome>): string[] {
  const controls = cluster.nodes.map(({ name }) => name).filter((name) => outcomes.has(`revoked/${name}`))
  const isEnforced = (name: string) => {
    const last = outcomes.get(`revoked-keys/${name}`) ?? outcomes.get(`revoked/${name}`)
    return isDone(last) && !isLost(outcomes.get(`install/${name}`)) && !checkOf(last).isUnfinished
  }
  const open = controls.filter((name) => !isEnforced(name))
  if (open.length === 0) return []
  const done = controls.length - open.length
  const older = open.filter((name) => isLost(outcomes.get(`revoked/${name}`)))
  const users = older.length > 0 ? pinnedUsers(auth) : []
  return [
    `revoked is enforced on ${done} of ${count(controls.length, 'control node')}; not on ${formatNames(open)}`,
    ...(users.length > 0
      ? [
          `until a run reaches ${formatNames(older)}, its API server may refuse new certificates of ${formatNames(users)}`,
        ]
      : []),
  ]
}

/** The nodes that read a pair over a key which is listed, and may not have loaded the new one. */
function adviseOldKeys(
  { auth, cluster, command }: Run,
  listing: Outcome,
  outcomes: ReadonlyMap<string, Outcome>,
): string[] {
  const added = checkOf(listing).reasons.flatMap((each) => (each.kind === 'revoked-changed' ? each.added : []))
  const isReplaced = pairsOf(auth, added)
  return cluster.nodes.flatMap((node) => {
    const { name } = node
    const [deploy, install] = [outcomes.get(`deploy/${name}`), outcomes.get(`install/${name}`)]
    // --offline
    if (!deploy || !nodeFiles(cluster, node).some(isReplaced)) return []
    const isDown = deploy.kind === 'failed' && isUnreached(deploy.failure)
    const who = isDown
      ? ['it could not be reached']
      : !isDone(install)
        ? ['it failed']
        : (checkOf(install).oldKeys ?? [])
    if (who.length === 0) return []
    const again = command(`bootstrap --node ${name}`)
    return [`${name} may lose access with the old key (${who.join('; ')}) until it has the new one: ${again}`]
  })
}

/** Before anything is written there. */
export function closeFolder(auth: AuthDir, note: (text: string) => void): void {
  auth.keepOutOfGit()
  if (auth.tightenFolder() && auth.hasFiles()) note(`${auth.path} was accessible to others: its mode is now 0700`)
}
