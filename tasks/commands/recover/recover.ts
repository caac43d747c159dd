/** `recover`: an auth/ that was lost, brought back from the nodes, or from a backup. Nothing there is overwritten. */

import type { LimitFunction } from 'p-limit'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { asFailure, usageFailure } from '../../../lib/failure.ts'
import type { Lock } from '../../../lib/files/lock.ts'
import { fileMode } from '../../../lib/files/names.ts'
import type { Target } from '../../../lib/targets/target.ts'
import type { Workspace } from '../../../lib/targets/workspace.ts'
import type { Reporter } from '../../../lib/views/reporter.ts'
import { summarise } from '../../../lib/views/summary.ts'
import { countFiles } from '../../../lib/wording.ts'
import { exitStatus, type Finding } from '../../looks/exit-status.ts'
import { closeFolder } from '../../looks/folder.ts'
import { clusterGraph } from '../../phases/table.ts'
import { usage } from '../../request/options.ts'
import { checkNodes } from '../../request/selection.ts'
import { checkConfigFile, lockAuth, openWorkspace, type Request } from '../../request/session.ts'
import { checkFound, rotationFiles, type Sources, type Whole } from './found.ts'
import { readFolder, readNodes } from './holding.ts'

/** Throws a usage Failure where it is not said from where. */
export async function recover(request: Request): Promise<readonly Finding[]> {
  checkSource(request)
  const started = performance.now()
  const reporter = await request.reporterFor([], false)
  const { workspace, limits, close } = openWorkspace(request, reporter.note)
  let lock: Lock | undefined
  let findings: readonly Finding[] = []
  try {
    workspace.auth.make()
    lock = await lockAuth(workspace.auth, request, reporter.note)
    const targets = [...clusterGraph(workspace.cluster).values()].filter(({ where }) => where === 'auth')
    const sources = await readSources(request, workspace, limits.node, reporter, targets)
    const whole = await checkFound(workspace, targets, sources)
    request.signal.throwIfAborted()
    take(workspace, whole, reporter)
  } catch (error) {
    const failure = asFailure(error)
    findings = [failure.kind]
    if (!request.signal.aborted) reporter.problem(failure)
  } finally {
    await close()
    lock?.release()
  }
  const exit = exitStatus(findings, request.endedStatus())
  await reporter.end(summarise(new Map(), (performance.now() - started) / 1000, exit))
  return findings
}

function checkSource({ options: { nodes, from }, cluster }: Request): void {
  const [name, ...more] = nodes
  if (more.length > 0 || (name === undefined) === (from === undefined))
    throw usage('recover needs one place to recover from: --node NAME or --from DIR', 'recover')
  if (name === undefined) return
  checkNodes(cluster, nodes)
  if (cluster.nodes.find((node) => node.name === name)?.role !== 'control')
    throw usageFailure(
      `--node ${name}: no control node: only they hold the CA's key`,
      `one of: ${cluster.nodes.flatMap(({ name, role }) => (role === 'control' ? [name] : [])).join(', ')}`,
    )
}

/** Throws a Failure where the place that was named can't be read; notes what else can't be. */
async function readSources(
  request: Request,
  workspace: Workspace,
  limit: LimitFunction,
  { note }: Reporter,
  targets: readonly Target[],
): Promise<Sources> {
  const { nodes, from } = request.options
  if (from !== undefined) {
    const main = readFolder(request.pathOf(from), [...targets.flatMap(({ makes }) => makes), ...rotationFiles])
    return { main, ofNode: () => main, others: [] }
  }
  checkConfigFile(request, clusterGraph(workspace.cluster))
  const controls = workspace.cluster.nodes.filter(({ role }) => role === 'control')
  const node = controls.find(({ name }) => name === nodes[0]) as ClusterNode
  const { holdings, lost } = await readNodes(workspace, limit, node)
  request.signal.throwIfAborted()
  const main = holdings.get(node.name)
  if (!main) throw lost.get(node.name)
  for (const { message } of lost.values()) note(message)
  const others = controls.flatMap(({ name }) => (name === node.name ? [] : (holdings.get(name) ?? [])))
  return { main, ofNode: (name) => holdings.get(name), others, node }
}

/** Each is whole, or not there: this may be killed at any moment, and run again. */
function take({ auth }: Workspace, { files, notes, next }: Whole, { note }: Reporter): void {
  closeFolder(auth, note)
  const missing = [...files].filter(([name]) => !auth.tryBytes(name))
  for (const [name, bytes] of missing) auth.write(name, bytes, fileMode(name), { durable: true })
  for (const each of notes) note(each)
  note(
    `${auth.path}: ${countFiles(missing.length)} ${missing.length === 1 ? 'was' : 'were'} put there, ${files.size - missing.length} were there; now: ${next}`,
  )
}
