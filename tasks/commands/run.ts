/** One run: the lock, a walk over the graph, and its report. */
import { asFailure } from '../../lib/failure.ts'
import type { Lock } from '../../lib/files/lock.ts'
import { caName, kubeconfigFile, parseFileName } from '../../lib/files/names.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import type { Outcome } from '../../lib/graph/executor.ts'
import { closure, type Graph } from '../../lib/graph/graph.ts'
import { type Force, nameInPhase, type TargetId } from '../../lib/graph/target.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { adviseAfter, findHeld, formatHeld } from '../../lib/show/advice.ts'
import { viewPhases } from '../../lib/show/phase-view.ts'
import { type Closing, summarise } from '../../lib/show/summary.ts'
import { formatDate, formatNames, quote } from '../../lib/wording.ts'
import { exitStatus, type Finding } from '../looks/exit-status.ts'
import { rotationsUnderWay } from '../looks/under-way.ts'
import { notesOnAddresses, walk } from '../looks/walk.ts'
import { clusterGraph } from '../phases/table.ts'
import { select } from '../request/selection.ts'
import { checkConfigFile, lockAuth, openWorkspace, type Request } from '../request/session.ts'
import { phases } from '../tables/phases.ts'

/** Throws a usage Failure before anything is printed or changed. */
export async function run(request: Request): Promise<readonly Finding[]> {
  const { cluster, options, signal, reporterFor } = request
  if (options.dryRun) return (await import('./plan.ts')).plan(request)
  const started = performance.now()
  const graph = clusterGraph(cluster)
  const { ids, forced } = select(request, graph)
  const wanted = closure(graph, ids)
  checkConfigFile(request, wanted)
  const reporter = await reporterFor(viewPhases(phases, wanted), false)
  const { workspace, limits, close } = openWorkspace(request, reporter.note)
  const { auth } = workspace

  let outcomes: ReadonlyMap<TargetId, Outcome> = new Map()
  let findings: readonly Finding[] = ['failed']
  let wasWide = false
  let lock: Lock | undefined
  try {
    auth.make()
    wasWide = auth.isWide()
    lock = await lockAuth(auth, request, reporter.note)
    ;({ outcomes, findings } = await walk(wanted, { workspace, forced, limits, signal, lost: lock.lost, reporter }))
    if (outcomes.size === 0) reporter.note('no file was made or changed')
    else if (ids.some((id) => wanted.get(id)?.where === 'node')) {
      const { formerHoldersNote } = await import('../looks/former-holders.ts')
      for (const note of [...notesOnAddresses(cluster), ...formerHoldersNote(workspace)]) reporter.note(note)
    }
    for (const { sentence } of await rotationsUnderWay(workspace)) reporter.note(sentence)
  } catch (error) {
    findings = ['failed']
    if (!signal.aborted) reporter.problem(asFailure(error))
  } finally {
    await close()
    lock?.release()
  }
  const exit = exitStatus(findings, request.endedStatus())
  const closing = {
    advice: adviseAfter([...wanted.values()], outcomes),
    toDo: signal.aborted
      ? []
      : [
          ...tellHeld(workspace, wanted, outcomes),
          ...tellUsers(workspace, outcomes),
          ...tellEarlier(workspace, { all: graph, wanted }, outcomes),
          ...tellNewIdentity(workspace, wanted, outcomes),
          ...(wasWide ? tellExposed(workspace, wanted, outcomes) : []),
        ],
    nextToExpire: nextToExpire(workspace, wanted),
    goOn: signal.aborted ? workspace.command(sameAgain(options, forced, outcomes)) : undefined,
  }
  await reporter.end(summarise(outcomes, (performance.now() - started) / 1000, exit, closing))
  return findings
}

/** Of workers, which nobody waits for. Of control nodes, one waits for the other because the cluster needs most of them. */
function tellHeld({ cluster, command }: Workspace, graph: Graph, outcomes: ReadonlyMap<TargetId, Outcome>) {
  const { nodes, by } = findHeld([...graph.values()], outcomes)
  const workers = new Set(cluster.nodes.flatMap(({ name, role }) => (role === 'worker' ? [name] : [])))
  const free = nodes.filter((node) => workers.has(node))
  return free.length > 0 ? [formatHeld({ nodes: free, by: by.filter((node) => !workers.has(node)) }, command)] : []
}

/** What a person holds is a copy. */
function tellUsers({ cluster }: Workspace, outcomes: ReadonlyMap<TargetId, Outcome>): string[] {
  const names = cluster.users.flatMap(({ name }) =>
    outcomes.get(`kubeconfigs/${name}`)?.kind === 'built' ? [name] : [],
  )
  if (names.length === 0) return []
  return [
    `give ${formatNames(names.map(kubeconfigFile))}${names.length === 1 ? ` to ${names[0]}` : ', each to its user'}`,
  ]
}

/** Of a phase that was run alone: what it made anew is in use elsewhere. */
function tellEarlier(
  { command }: Workspace,
  { all, wanted }: { all: Graph; wanted: Graph },
  outcomes: ReadonlyMap<TargetId, Outcome>,
): string[] {
  const isMadeAnew = (id: TargetId) => {
    const outcome = outcomes.get(id)
    if (outcome?.kind !== 'built' || outcome.change?.kind !== 'made') return false
    // Of what was replaced, its own warning says what comes next.
    return !outcome.change.isNew && !outcome.change.isReplaced
  }
  const isUsed = [...all.values()].some(({ id, needs }) => !wanted.has(id) && needs.some(isMadeAnew))
  return isUsed ? [`${command('bootstrap')}: kubeconfigs or nodes have the earlier files until then`] : []
}

/**
 * A run that deploys has looked at the control nodes before it made a CA, a service-account key or an encryption key. Any other
 * can't know whether the cluster has one already.
 */
function tellNewIdentity(
  { auth, cluster, command, now }: Workspace,
  graph: Graph,
  outcomes: ReadonlyMap<TargetId, Outcome>,
) {
  const made = [...graph.values()].filter(({ id, irreplaceable }) => {
    const outcome = outcomes.get(id)
    return irreplaceable && outcome?.kind === 'built' && outcome.change?.kind === 'made' && outcome.change.isNew
  })
  if (made.length === 0) return []
  const away = quote(`${auth.path}-${formatDate(now)}`)
  const control = cluster.nodes.find(({ role }) => role === 'control')?.name
  const restore = `mv ${quote(auth.path)} ${away} && ${command(`recover --node ${control}`)}`
  const hasLooked = [...graph.values()].some(({ where }) => where === 'node')
  return [
    `back up ${auth.path} (docs/backup.md): it is the only copy`,
    ...(hasLooked
      ? []
      : [
          `new identity: ${formatNames(made.map(nameInPhase))}; if this cluster runs already, its auth/ was lost: ${restore}`,
        ]),
  ]
}

/** Repaired by now; whoever has read a key still has it. */
function tellExposed({ auth, cluster, command }: Workspace, graph: Graph, outcomes: ReadonlyMap<TargetId, Outcome>) {
  const exposed = [...graph.values()].flatMap((target) => {
    const outcome = outcomes.get(target.id)
    const files = (outcome?.kind === 'built' ? outcome.reasons : []).flatMap((reason) =>
      reason.kind === 'wrong-mode' && reason.asked === secretMode && (reason.was & 0o044) !== 0 ? [reason.path] : [],
    )
    // Nothing revokes what a CA has signed, so that a leaf's key is replaced with its CA.
    return files.length > 0 ? [{ files, identity: target.irreplaceable ? nameInPhase(target) : caName }] : []
  })
  if (exposed.length === 0) return []
  const identities = [...new Set(exposed.map(({ identity }) => identity))]
  const rotations = identities.map((identity) => command(`rotate ${identity}`)).join(', ')
  const needs = cluster.install ? '' : ' (with install in cluster.yaml: docs/rotation.md)'
  return [
    `others on this machine could read ${formatNames(exposed.flatMap(({ files }) => files))} in ${auth.path}; if anybody else logs in here, replace them: ${rotations}${needs}`,
  ]
}

/** What was asked for, but that what is lost by a replacement is not replaced twice, and a CA is not renewed twice. */
function sameAgain(
  { names, nodes, prune, replaceIdentity }: Request['options'],
  forced: ReadonlyMap<TargetId, Force>,
  outcomes: ReadonlyMap<TargetId, Outcome>,
): string {
  const isLeft = ([id, force]: [TargetId, Force]) => {
    const outcome = outcomes.get(id)
    // In its middle, it may have been replaced.
    const isBegun = outcome?.kind === 'cancelled' && outcome.isBegun
    return force === 'rebuild' || (outcome?.kind !== 'built' && (force === 'renew' || !isBegun))
  }
  const isForcedAgain = forced.size > 0 && [...forced].every(isLeft)
  return [
    names.join(' ') || 'bootstrap',
    ...nodes.map((node) => `--node ${node}`),
    ...(isForcedAgain ? [[...forced.values()].includes('renew') ? '--renew' : '--force'] : []),
    ...(prune ? ['--prune'] : []),
    ...(replaceIdentity ? ['--replace-identity'] : []),
  ].join(' ')
}

/** Of the run's own certificates. */
export function nextToExpire({ auth, cluster }: Workspace, graph: Graph): Closing['nextToExpire'] {
  const dated = [...graph.values()].flatMap(({ makes: [file = ''] }) => {
    const { kind, name = '' } = parseFileName(file) ?? {}
    const at = kind === 'certificate' ? tryCertificate(auth, name)?.notAfter : undefined
    return at ? [{ name, at }] : []
  })
  if (dated.length === 0) return undefined
  const { name, at } = dated.reduce((first, each) => (each.at < first.at ? each : first))
  // What ends with its CA would not last longer by a new one.
  const end = tryCertificate(auth, caName)?.notAfter
  const isRenewed = end !== undefined && at < end
  return { name, at, renewsFrom: isRenewed ? new Date(at.getTime() - cluster.certificates.renewBefore) : undefined }
}
