/** Compares this machine's clock with the nodes', before certificates are dated by it. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, isUnanswered, runAgain } from '../../lib/failure.ts'
import type { Graph, Run } from '../../lib/graph/target.ts'
import { formatNames } from '../../lib/wording.ts'
import { lookAtMachine } from '../looks/look.ts'

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
export async function refuseWrongClocks(run: Run, graph: Graph): Promise<void> {
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

const isClose = (one: number, other: number) => Math.abs(one - other) <= mostApart
const timeOf = (now: Date, ahead: number) =>
  new Date(now.getTime() + ahead * 1000).toISOString().replace(/\.\d+Z$/, 'Z')

/**
 * Throws a Failure if the node's clock, `theirs` when it was looked at, is not this machine's: no file is copied to it
 * then.
 */
export function refuseWrongClock(run: Run, { name }: ClusterNode, theirs: number, asked: Date): void {
  const now = run.clock()
  const ahead = aheadOf(theirs, asked, now)
  if (isClose(ahead, 0)) return
  const remedy = `set the wrong clock (timedatectl; date -u shows the time), then ${runAgain}`
  throw new Failure(`clocks differ (${timeOf(now, 0)} here, ${timeOf(now, ahead)} on ${name})`, {
    node: name,
    code: 'clock',
    shared: {
      what: 'clocks differ',
      who: name,
      place: undefined,
      remedyFor: () => remedy,
    },
  })
}

/**
 * Throws a Failure that says whose clock is wrong, where all others agree; not for nodes beside control nodes that
 * agree with this machine: their own deploy refuses them.
 */
export function refuseApart(offsets: readonly Offset[], now: Date): void {
  const apart = offsets.filter(({ ahead }) => !isClose(ahead, 0))
  const controls = offsets.filter(({ role }) => role === 'control')
  const [first] = apart
  if (!first || (controls.length > 0 && controls.every(({ ahead }) => isClose(ahead, 0)))) return
  const names = formatNames(apart.map(({ node }) => node))
  const times = `${timeOf(now, 0)} here, ${timeOf(now, first.ahead)} on ${names}`
  const agree = offsets.length > 1 && offsets.every(({ ahead }) => isClose(ahead, first.ahead))
  const isTheirs = apart.length < offsets.length - apart.length
  const whose = agree
    ? 'the clock of this machine is wrong'
    : isTheirs
      ? `the clock of ${names} is wrong`
      : 'clocks differ'
  const what = `${whose} (${times})`
  const remedy = `nothing was issued; set the wrong clock (timedatectl; date -u shows the time), then ${runAgain}`
  const who = agree ? 'the nodes agree with each other' : 'certificates get the time of this machine'
  throw new Failure(what, { code: 'clock', shared: { what, who, place: undefined, remedyFor: () => remedy } })
}
