/** Compares this machine's clock with the nodes', before certificates are dated by it. */
import type { LimitFunction } from 'p-limit'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain, tryToAwait } from '../../lib/failure.ts'
import type { Graph } from '../../lib/graph/graph.ts'
import type { Run } from '../../lib/graph/run.ts'
import { formatNames } from '../../lib/wording.ts'
import { lookAtMachine } from './look.ts'

/** Seconds; certificates are dated back by five minutes. */
const mostApart = 240

/** How far a clock is ahead of ours, in seconds. */
interface Offset {
  readonly node: string
  readonly ahead: number
}

/** For the nodes that the run deploys to; those that can't be asked are left to their deploy. The clock is this machine's. */
export async function refuseWrongClocks(run: Run, graph: Graph, limit: LimitFunction): Promise<void> {
  const names = new Set([...graph.values()].flatMap(({ where, node }) => (where === 'node' ? (node ?? []) : [])))
  const nodes = run.cluster.nodes.filter(({ name }) => names.has(name))
  const offsets = await Promise.all(nodes.map((node) => limit(() => tryToAwait(() => readOffset(run, node)))))
  refuseApart(
    offsets.filter((each) => each !== undefined),
    run.clock(),
  )
}

/** The least that explains what was seen: the node's answer was on its way for some time. */
async function readOffset(run: Run, node: ClusterNode): Promise<Offset> {
  const asked = run.clock().getTime() / 1000
  const { now: theirs } = await lookAtMachine(run, node, [])
  const answered = run.clock().getTime() / 1000
  const ahead = theirs > answered ? theirs - answered : theirs + 1 < asked ? theirs + 1 - asked : 0
  return { node: node.name, ahead }
}

/** Throws a Failure that says whose clock is wrong, where all others agree. */
export function refuseApart(offsets: readonly Offset[], now: Date): void {
  const isClose = (one: number, other: number) => Math.abs(one - other) <= mostApart
  const apart = offsets.filter(({ ahead }) => !isClose(ahead, 0))
  const [first] = apart
  if (!first) return
  const timeOf = (ahead: number) => new Date(now.getTime() + ahead * 1000).toISOString().replace(/\.\d+Z$/, 'Z')
  const names = formatNames(apart.map(({ node }) => node))
  const [here, there] = [`it is ${timeOf(0)} here`, `${timeOf(first.ahead)} on ${names}`]
  const agree = offsets.length > 1 && offsets.every(({ ahead }) => isClose(ahead, first.ahead))
  const isTheirs = apart.length < offsets.length - apart.length
  const whose = agree
    ? "this machine's clock is wrong"
    : isTheirs
      ? `the clock of ${names} is wrong`
      : 'a clock is wrong'
  const what = `${whose}: ${here}, and ${there}`
  const remedy = `nothing was issued: set the clock that is wrong (timedatectl; date -u shows the time), then ${runAgain}`
  const who = agree ? 'the nodes agree with each other' : 'certificates are dated by this one'
  throw new Failure(what, { code: 'clock', shared: { what, who, place: undefined, remedyFor: () => remedy } })
}
