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
  nameInPhase,
  type Outcome,
  type Run,
} from '../../lib/graph/target.ts'
import { keysToList, pairsToReplace } from '../../lib/kubernetes/authorization.ts'
import { adviseAfter } from '../../lib/show/words.ts'
import { formatNames, joinClauses, printable } from '../../lib/wording.ts'
import { replaceCommand } from '../nodes/fetch-command.ts'
import { phases } from '../phases/bootstrap.ts'
import { writeAuth } from '../request/access.ts'
import type { CommandRun } from '../request/command-run.ts'
import type { Finding } from '../request/job.ts'
import {
  adviseBackup,
  adviseLeft,
  adviseOnCa,
  nextToExpire,
  noteOnFormerHolders,
  noteOnValidity,
  notesOnAddresses,
  notesOnRotations,
} from '../request/notices.ts'
import { type Options, usage } from '../request/options.ts'
import { select } from '../request/selection.ts'
import { adviseKeys, type Rollout, rolloutOf, walk } from '../request/walk.ts'

/**
 * A key that is newly revoked is listed by a second run, once the first has made the new pair, and whoever reads it has loaded that.
 * Throws a usage Failure before anything is printed or changed.
 */
export async function run(given: CommandRun): Promise<readonly Finding[]> {
  const { options, signal, note } = given
  const { findings, planned, rollout } = await runOnce({ ...given, listsNoKeys: true })
  const keys = keysToList(given)
  if (keys.length === 0 || !rollout?.isReady || signal.aborted) return findings
  if (!options.quiet) note(`the new keys are in use, so the old ones are listed now: ${formatNames(keys)}`)
  const once = {
    names: ['install'],
    nodes: rollout.controls,
    force: false,
    prune: false,
    replaceIdentity: false,
    expectPlan: undefined,
  }
  const listing = await runOnce({ ...given, options: { ...options, ...once } }, planned)
  return [...findings, ...listing.findings]
}

/** `planned`: the targets of a plan that it is held to. */
async function runOnce(given: CommandRun, planned?: Graph) {
  const { auth, command, now, options, signal } = given
  if (options.offline) throw usage('--offline can only be used with --dry-run')
  if (options.format !== undefined) throw usage('--format can only be used with --dry-run')
  const graph = await clusterGraph(phases, given.cluster)
  const { ids, forced } = select(given, graph)
  const wanted = closure(planned ?? graph, ids)
  let rollout: Rollout | undefined
  let held: Graph | undefined
  const replaced = [...forced].flatMap(([id, force]) => (force === 'replace' ? id : []))
  const loss = joinClauses(
    replaced.length > 0 && `a new ${formatNames(replaced)}: what was made with the present one stops working`,
    options.replaceIdentity && '--replace-identity: what is there of another identity is overwritten',
  )
  const again = `${sameAgain(options, [])}${options.force ? ' --force' : ''}`
  if (loss) await confirm(given, loss, again)
  const wasWide = auth.isWide()
  const reporter = await given.reporterFor(byPhase(phases, wanted), false)
  const findings = await writeAuth(given, {
    graph: wanted,
    reporter,
    work: async (locked) => {
      const run = { ...locked, hasReplacedKey: pairsToReplace(locked) }
      const isPlanned = options.expectPlan !== undefined
      const keys = { listsNoKeys: wanted.size < graph.size }
      if (isPlanned) held = await (await import('./plan.ts')).readPlanned({ ...run, ...keys }, wanted, forced)
      const worked = await walk(held ?? wanted, { run, limits: run.limits, signal, forced, reporter })
      if (worked.outcomes.size === 0) reporter.note('no file was made or changed')
      const reachesNodes = worked.outcomes.size > 0 && ids.some((id) => wanted.get(id)?.where === 'node')
      const notes = [
        ...(reachesNodes ? [...notesOnAddresses(run.cluster), ...noteOnFormerHolders(run)] : []),
        ...noteOnValidity(run, worked.outcomes),
        ...(await notesOnRotations(run)),
      ]
      for (const note of notes) reporter.note(note)
      rollout = rolloutOf(run, graph, worked.outcomes)
      const isLeft = keysToList(run).length > 0 && (!rollout.isReady || rollout.oldKeys.size > 0)
      return isLeft ? { ...worked, findings: [...worked.findings, 'unfinished'] } : worked
    },
    closing: (outcomes) => ({
      advice: adviseAfter([...wanted.values()], outcomes),
      toDo: [
        ...(signal.aborted ? [] : adviseUsers(given, outcomes)),
        ...(signal.aborted ? [] : adviseOthers(given, { all: graph, wanted }, outcomes)),
        ...adviseBackup(given, wanted, outcomes),
        ...adviseNewIdentity(given, wanted, outcomes),
        ...adviseLeft(given, outcomes),
        ...(rollout ? adviseKeys(given, rollout) : []),
        ...(wasWide && !signal.aborted ? adviseExposed(given, outcomes) : []),
      ],
      nextToExpire: nextToExpire(given, wanted.values()),
      caEnds: outcomes.has(caName) && !signal.aborted ? adviseOnCa(given) : undefined,
      now,
      goOn: signal.aborted ? command(sameAgain(options, [...forced.values()])) : undefined,
    }),
  })
  return { findings, rollout, planned: held }
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
function adviseOthers(
  { command }: Run,
  { all, wanted }: { all: Graph; wanted: Graph },
  outcomes: ReadonlyMap<string, Outcome>,
): string[] {
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
 * A deploy refuses a node that holds another CA, service-account key or encryption key. Without one to every control node, the run
 * can't know whether the cluster has one already.
 */
function adviseNewIdentity(run: Run, graph: Graph, outcomes: ReadonlyMap<string, Outcome>) {
  const { cluster } = run
  const made = [...graph.values()].filter(({ id, irreplaceable }) => {
    const outcome = outcomes.get(id)
    return irreplaceable && outcome?.kind === 'built' && outcome.change?.kind === 'made' && outcome.change.isNew
  })
  const controls = cluster.nodes.filter(({ role }) => role === 'control')
  const kindOf = (id: string) => outcomes.get(id)?.kind ?? 'cancelled'
  const hasLooked = controls.every(({ name }) => ['fresh', 'built'].includes(kindOf(`deploy/${name}`)))
  if (hasLooked || made.length === 0) return []
  return [
    `new identity: ${formatNames(made.map(nameInPhase))}; if this cluster runs already, its auth/ was lost: ${replaceCommand(run)}`,
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

/** The same command, but nothing is replaced or renewed twice. */
function sameAgain({ names, nodes, prune, replaceIdentity, yes }: Options, forced: readonly Force[]): string {
  return [
    names.join(' '),
    ...nodes.map((node) => `--node ${node}`),
    ...(forced.length > 0 && forced.every((each) => each === 'rebuild') ? ['--force'] : []),
    ...(prune ? ['--prune'] : []),
    ...(replaceIdentity ? ['--replace-identity'] : []),
    ...(yes && replaceIdentity ? ['--yes'] : []),
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
