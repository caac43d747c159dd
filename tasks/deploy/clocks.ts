/** Compares this machine's clock with the nodes', before certificates are dated by it. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, isUnanswered, runAgain } from '../../lib/failure.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { formatNames } from '../../lib/wording.ts'
import { lookAtMachine } from '../inspect/look.ts'
import { nodeFiles } from '../layouts/tables.ts'
import type { ClusterGraph, Run } from '../target.ts'

/** Seconds; certificates are dated back by five minutes. */
const mostApart = 240

interface Offset {
  readonly node: string
  readonly role: ClusterNode['role']
  /** How far its clock is ahead of ours, in seconds. */
  readonly ahead: number
}

/**
 * For the nodes that the run deploys to; those that can't be asked are left to their deploy. The clock is this
 * machine's.
 */
export async function refuseWrongClocks(run: Run, graph: ClusterGraph): Promise<void> {
  const names = new Set([...graph.values()].flatMap(({ where, node }) => (where === 'node' ? (node ?? []) : [])))
  const nodes = run.cluster.nodes.filter(({ name }) => names.has(name))
  const offsets = await run.limits.node.map(nodes, (node) => readOffset(run, node))
  refuseApart(
    offsets.filter((each) => each !== undefined),
    run.clock(),
  )
}

async function readOffset(run: Run, node: ClusterNode): Promise<Offset | undefined> {
  if (run.unreached?.has(node.name)) return undefined
  const asked = run.clock()
  try {
    const { now } = await lookAtMachine(run, node, [])
    return { node: node.name, role: node.role, ahead: aheadOf(now, asked, run.clock()) }
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    if (isUnanswered(error)) run.unreached?.set(node.name, error)
    return undefined
  }
}

/** The least that explains what was seen: the node's answer was on its way for some time. */
function aheadOf(theirs: number, asked: Date, answered: Date): number {
  const [earliest, latest] = [asked.getTime() / 1000, answered.getTime() / 1000]
  return theirs > latest ? theirs - latest : theirs + 1 < earliest ? theirs + 1 - earliest : 0
}

const isClose = (ahead: number) => Math.abs(ahead) <= mostApart
const timeOf = (now: Date, ahead: number) =>
  new Date(now.getTime() + ahead * 1000).toISOString().replace(/\.\d+Z$/, 'Z')

/**
 * Throws a Failure if the node's clock, `theirs` when it was looked at, is not this machine's: no file is copied to it
 * then.
 */
export function refuseWrongClock(run: Run, { name }: ClusterNode, theirs: number, asked: Date): void {
  const now = run.clock()
  const ahead = aheadOf(theirs, asked, now)
  if (!isClose(ahead)) throw differing(now, [{ node: name, ahead }]).with({ node: name })
}

/**
 * Throws a Failure if the certificates of the node, which units may be given, are not valid yet by its clock, `theirs`.
 * Those that are not by ours either are reissued before any is deployed.
 */
export function refuseEarlyClock({ auth, cluster, now }: Run, node: ClusterNode, theirs: number): void {
  const ahead = theirs - now.getTime() / 1000
  for (const file of nodeFiles(cluster, node)) {
    const { notBefore } = tryCertificate(auth, auth.files.parse(file)?.name ?? '') ?? {}
    if (notBefore && notBefore <= now && notBefore.getTime() > theirs * 1000)
      throw differing(now, [{ node: node.name, ahead }]).with({ node: node.name })
  }
}

/**
 * Throws a Failure with all times; not for nodes beside control nodes that agree with this machine: their own deploy
 * refuses them.
 */
export function refuseApart(offsets: readonly Offset[], now: Date): void {
  const apart = offsets.filter(({ ahead }) => !isClose(ahead))
  const controls = offsets.filter(({ role }) => role === 'control')
  if (apart.length === 0 || (controls.length > 0 && controls.every(({ ahead }) => isClose(ahead)))) return
  throw differing(now, apart)
}

function differing(now: Date, apart: readonly Omit<Offset, 'role'>[]): Failure {
  const theirs = formatNames(apart.map(({ node, ahead }) => `${timeOf(now, ahead)} on ${node}`))
  return new Failure(`clocks differ (${timeOf(now, 0)} here, ${theirs})`, {
    code: 'clock',
    remedy: `set the wrong clock (timedatectl; date -u shows the time), then ${runAgain}`,
  })
}
