/** Keeps requests from the API server of a node while it is restarted: the commands of cluster.yaml, on every gateway. */
import { randomBytes } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { Run } from '../../lib/graph/run.ts'
import { marksFolder, namesOf } from '../../lib/node/staging.ts'
import { excerpt, quote } from '../../lib/wording.ts'
import { addressOf } from './component.ts'
import { stagingOwner } from './folder.ts'
import { commandLimit, installOf } from './look.ts'

/**
 * Marks the node, so that the next run knows if this one is killed before it undrains, and takes over the marks in `left`. Throws a
 * Failure, also if another run has its mark there: one of the two would undrain the node while the other restarts it.
 */
export async function markDrained(run: Run, node: ClusterNode, left: readonly string[] = []): Promise<void> {
  const own = namesOf(stagingOwner(run))
  const others = await runAmongMarks(run, node, [
    `mkdir -- ${own}${randomBytes(8).toString('hex')} || exit`,
    ...(left.length > 0 ? [`rm -rf -- ${left.map(quote).join(' ')} || exit`] : []),
    'others=',
    'for each in .harderway-*; do',
    `  case $each in ${own}*) ;; *) [ ! -d "$each" ] || others="$others $each" ;; esac`,
    'done',
    `[ -z "$others" ] || { rm -rf -- ${own}*; echo $others; }`,
  ])
  const marks = others.match(/\.harderway-[\w-]+/g)
  if (marks) throw drainedByAnother(node, marks)
}

export function drainedByAnother(node: ClusterNode, [mark = '']: readonly string[]): Failure {
  return new Failure('another run is restarting its units, or was killed meanwhile', {
    node: node.name,
    code: 'busy',
    remedy: `${runAgain} when that one has ended; if none is at work, undrain it, and remove there: ${marksFolder}/${mark}`,
  })
}

export async function drain(run: Run, node: ClusterNode): Promise<void> {
  for (const gateway of gatewaysOf(run)) await change(run, gateway, node, 'drain')
}

/** Undrains on all gateways even if one fails, then throws that Failure: its code is always not-undrained. `left`: marks. */
export async function undrain(run: Run, node: ClusterNode, left: readonly string[] = []): Promise<void> {
  const changed = await Promise.allSettled(gatewaysOf(run).map((gateway) => change(run, gateway, node, 'undrain')))
  try {
    for (const each of changed) if (each.status === 'rejected') throw each.reason
    const own = `${namesOf(stagingOwner(run))}*`
    await runAmongMarks(run, node, [`rm -rf -- ${[own, ...left.map(quote)].join(' ')}`])
  } catch (error) {
    throw error instanceof Failure ? error.with({ code: 'not-undrained' }) : error
  }
}

function gatewaysOf({ cluster }: Run): ClusterNode[] {
  return cluster.nodes.filter(({ role }) => role === 'gateway')
}

async function change(run: Run, gateway: ClusterNode, node: ClusterNode, what: 'drain' | 'undrain'): Promise<void> {
  const command = `NODE=${quote(node.name)} ADDRESS=${quote(addressOf(node))} sh -c ${quote(installOf(run)[what])}`
  const limit = commandLimit(run)
  const there = await run.connect(gateway)
  const outcome = await there.run({ sudo: '', command, limit }).catch(async (error) => {
    // The run was ended by a signal: tries to undrain all the same.
    if (what === 'undrain') await there.tidy(command)
    if (error instanceof Failure && error.code === 'timed-out') return undefined
    throw error
  })
  if (outcome?.status === 0) return
  const end = outcome
    ? `ended with status ${outcome.status}: ${excerpt(outcome.said)}`
    : `has not ended in ${limit / 1000} s`
  throw new Failure(`install.${what} for ${node.name} ${end}`, {
    node: gateway.name,
    code: `not-${what}ed`,
    remedy: `see that this works on ${gateway.name}: ${command}`,
  })
}

/** Returns what the script prints, among what tools there may say. */
async function runAmongMarks(run: Run, node: ClusterNode, script: readonly string[]): Promise<string> {
  const command = [`mkdir -p -m 700 -- ${marksFolder} && cd -- ${marksFolder} || exit`, ...script].join('\n')
  const { status, said } = await (await run.connect(node)).run({ sudo: installOf(run).sudo, command })
  if (status === 0) return said
  throw new Failure(`its mark for a drain could not be changed: ${excerpt(said)}`, {
    node: node.name,
    code: 'not-marked',
    remedy: `see what mkdir and rm say in ${marksFolder} there; then ${runAgain}`,
  })
}
