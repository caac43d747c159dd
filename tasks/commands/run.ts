/** One run: a walk over the graph, and what it reports at its end. */
import { createInterface } from 'node:readline'
import { refusal } from '../../lib/failure.ts'
import { caName, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import {
  byPhase,
  closure,
  clusterGraph,
  type Force,
  type Graph,
  isDone,
  isLost,
  nameInPhase,
  type Outcome,
  type Run,
} from '../../lib/graph/target.ts'
import { asFindings, type Finding, formatFinding } from '../../lib/reason.ts'
import { adviseAfter } from '../../lib/show/words.ts'
import { formatNames, joinClauses, printable } from '../../lib/wording.ts'
import { replaceCommand } from '../nodes/fetch-command.ts'
import { phases } from '../phases/bootstrap.ts'
import { writeAuth } from '../request/access.ts'
import type { CommandRun } from '../request/command-run.ts'
import { notesOnEntries, notesOnHolders } from '../request/holders.ts'
import type { ExitCause } from '../request/job.ts'
import {
  adviseBackup,
  adviseLeft,
  adviseOnCa,
  adviseRevoked,
  isNewIdentity,
  nextToExpire,
  noteOnValidity,
  notesOnAddresses,
  notesOnRotations,
} from '../request/notices.ts'
import { usage } from '../request/options.ts'
import { namesToForce, select } from '../request/selection.ts'
import { notesOnUses } from '../request/uses.ts'
import { walk } from '../request/walk.ts'

/** Throws a usage Failure before anything is printed or changed. */
export async function run(given: CommandRun): Promise<readonly ExitCause[]> {
  const { auth, command, now, options, signal } = given
  if (options.offline) throw usage('--offline can only be used with --dry-run')
  if (options.format !== undefined) throw usage('--format can only be used with --dry-run')
  const graph = await clusterGraph(phases, given.cluster)
  const { ids, forced } = select(given, graph)
  const wanted = closure(graph, ids)
  const replaced = [...forced].flatMap(([id, force]) => (force === 'replace' ? id : []))
  const loss = joinClauses(
    replaced.length > 0 && `a new ${formatNames(replaced)}: what was made with the present one stops working`,
    options.replaceIdentity && '--replace-identity: what is there of another identity is overwritten',
  )
  const restAfter = (outcomes: ReadonlyMap<string, Outcome>) => formatRest(given, graph, { forced, outcomes })
  if (loss) await confirm(given, loss, restAfter(new Map()))
  const wasWide = auth.isWide()
  const reporter = await given.reporterFor(byPhase(phases, wanted), false)
  return writeAuth(given, {
    graph: wanted,
    reporter,
    isWhole: wanted.size === graph.size,
    work: async (run) => {
      const isPlanned = options.expectPlan !== undefined
      const planned = isPlanned ? await (await import('./plan.ts')).readPlanned(run, wanted, forced) : wanted
      const walked = await walk(planned, { run, signal, forced, reporter })
      const { outcomes } = walked
      if (outcomes.size === 0) reporter.note('no file was made or changed')
      const reachesNodes = outcomes.size > 0 && ids.some((id) => wanted.get(id)?.where === 'node')
      for (const note of await notesAfter(run, outcomes, reachesNodes)) reporter.note(formatFinding(note))
      return walked
    },
    closing: (outcomes) => ({
      advice: adviseAfter([...wanted.values()], outcomes),
      toDo: [
        ...toDoAfter(given, { all: graph, wanted, wasWide }, outcomes),
        ...asFindings([
          forced.size > 0 &&
            [...outcomes.values()].some(isLost) &&
            !signal.aborted &&
            `run the rest: ${command(restAfter(outcomes))}`,
        ]),
      ],
      nextToExpire: nextToExpire(given, wanted.values()),
      caEnds: outcomes.has(caName) && !signal.aborted ? adviseOnCa(given) : undefined,
      now,
      goOn: signal.aborted ? command(restAfter(outcomes)) : undefined,
    }),
  })
}

async function notesAfter(run: Run, outcomes: ReadonlyMap<string, Outcome>, reachesNodes: boolean): Promise<Finding[]> {
  const isIdle = [...outcomes.values()].every(({ kind }) => kind === 'fresh')
  const isOwn = reachesNodes || outcomes.has('local-kubeconfig')
  return [
    ...(isOwn ? (await import('../phases/local-kubeconfig.ts')).notesOnAdminKeys(run) : []),
    ...(reachesNodes ? notesOnAddresses(run.cluster) : []),
    ...(reachesNodes || !isIdle
      ? [...notesOnEntries(run, outcomes), ...notesOnHolders(run), ...notesOnUses(run, outcomes)]
      : []),
    ...noteOnValidity(run, outcomes),
    ...(await notesOnRotations(run)),
  ]
}

interface RunScope {
  readonly all: Graph
  /** The targets of this run. */
  readonly wanted: Graph
  /** Others could read auth/ before it. */
  readonly wasWide: boolean
}

/** After an interruption only what must not wait for the next run. */
function toDoAfter(given: CommandRun, scope: RunScope, outcomes: ReadonlyMap<string, Outcome>): Finding[] {
  const urgent = [
    ...adviseBackup(given, scope.wanted, outcomes),
    ...asFindings(adviseNewIdentity(given, scope.wanted, outcomes)),
    ...adviseLeft(given, outcomes),
    ...(outcomes.size > 0 ? adviseRevoked(given, outcomes) : []),
  ]
  if (given.signal.aborted) return urgent
  return [
    ...asFindings([...adviseUsers(given, outcomes), ...adviseOthers(given, scope, outcomes)]),
    ...urgent,
    ...asFindings(scope.wasWide ? adviseExposed(given, outcomes) : []),
  ]
}

/** Users hold copies of their kubeconfigs. */
function adviseUsers({ cluster }: Run, outcomes: ReadonlyMap<string, Outcome>): string[] {
  const names = cluster.users.flatMap(({ name }) =>
    outcomes.get(`kubeconfigs/${name}`)?.kind === 'built' ? [name] : [],
  )
  if (names.length === 0) return []
  return [
    `give ${formatNames(names.map(kubeconfigFile))}${names.length === 1 ? ` to ${names[0]}` : ', each to its user'}`,
  ]
}

/** After a phase that was run alone: other targets still hold what it replaced. */
function adviseOthers({ command }: Run, { all, wanted }: RunScope, outcomes: ReadonlyMap<string, Outcome>): string[] {
  const isRemade = (id: string) => {
    const outcome = outcomes.get(id)
    if (outcome?.kind !== 'built' || outcome.change?.kind !== 'made') return false
    // A replaced identity has a warning of its own, which says what comes next.
    return !outcome.change.isNew && !outcome.change.isReplaced && !outcome.change.isRestored
  }
  const isUsed = [...all.values()].some(({ id, needs }) => !wanted.has(id) && needs.some(isRemade))
  return isUsed ? [`${command('bootstrap')}: kubeconfigs or nodes have the old files until then`] : []
}

/**
 * After a new CA: a deploy refuses a node that holds another one. Without a deploy to every control node, the run can't know whether the
 * cluster has one already.
 */
function adviseNewIdentity(run: Run, graph: Graph, outcomes: ReadonlyMap<string, Outcome>) {
  const made = [...graph.values()].filter((target) => isNewIdentity(target, outcomes.get(target.id)))
  const controls = run.cluster.nodes.filter(({ role }) => role === 'control')
  const hasLooked = controls.every(({ name }) => isDone(outcomes.get(`deploy/${name}`)))
  if (hasLooked || !made.some(({ id }) => id === caName)) return []
  return [
    `new identity: ${formatNames(made.map(nameInPhase))}; if this cluster already runs, recover the lost auth/: ${replaceCommand(run)}`,
  ]
}

/** The modes are repaired by now, but whoever has read a key still has it. */
function adviseExposed({ auth }: Run, outcomes: ReadonlyMap<string, Outcome>): string[] {
  const files = [...outcomes.values()].flatMap((outcome) =>
    (outcome.kind === 'built' ? outcome.reasons : []).flatMap((reason) =>
      reason.kind === 'wrong-mode' && reason.wanted === secretMode && (reason.was & 0o044) !== 0 ? [reason.path] : [],
    ),
  )
  if (files.length === 0) return []
  return [
    `others on this machine could read ${formatNames(files)} in ${auth.path}; if anybody else logs in here, replace them: docs/rotation.md, "A key that may have leaked"`,
  ]
}

/** The same command for what is left: nothing is replaced or renewed twice. */
function formatRest(
  given: CommandRun,
  graph: Graph,
  {
    forced,
    outcomes,
  }: { readonly forced: ReadonlyMap<string, Force>; readonly outcomes: ReadonlyMap<string, Outcome> },
): string {
  const { names, nodes, prune, renew, replaceIdentity, yes } = given.options
  const left = new Map([...forced].filter(([id]) => !isDone(outcomes.get(id))))
  const own = renew ? [] : namesToForce(given, graph, left)
  return [
    ...(own.length > 0 ? own : names),
    ...nodes.map((node) => `--node ${node}`),
    ...(own.length > 0 ? ['--force'] : []),
    ...(renew && left.size > 0 ? ['--renew'] : []),
    ...(prune ? ['--prune'] : []),
    ...(replaceIdentity ? ['--replace-identity'] : []),
    ...(yes && (replaceIdentity || [...left.values()].includes('replace')) ? ['--yes'] : []),
  ].join(' ')
}

/** `loss` is what it does, `again` the task. Throws a refusal unless the cluster's name is typed on a terminal, or --yes is given. */
export async function confirm(run: CommandRun, loss: string, again: string): Promise<void> {
  const { cluster, command, file, host, options, signal } = run
  if (options.yes) return
  const [stdin, stderr] = [host.stdin?.(), host.stderr]
  const found = `${cluster.name} (${file}): ${loss}`
  const yes = `on a terminal it asks; without a question: ${command(`${again} --yes`)}`
  if (!stdin?.isTTY || !stderr.isTTY) throw refusal(`${found}: nothing was done`, [yes])
  stderr.write(printable(`${found}\nTo do it, type the name of the cluster: `))
  const lines = createInterface({ input: stdin, signal })
  let typed = ''
  for await (const line of lines) {
    typed = line.trim()
    break
  }
  // A terminal that is still read keeps the process.
  lines.close()
  signal.throwIfAborted()
  if (typed !== cluster.name) throw refusal(`that is not ${cluster.name}: nothing was done`, [yes])
}
