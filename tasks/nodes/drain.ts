/** Keeps requests from the API server of a node while it is restarted: the commands of cluster.yaml, on every gateway. */
import { randomBytes } from 'node:crypto'
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { folderWord } from '../../lib/remote/shell.ts'
import { drainedSuffix } from '../../lib/remote/staging.ts'
import { excerpt, quote } from '../../lib/wording.ts'
import { addressOf } from './component.ts'
import { stagingOwner } from './folder.ts'
import { nodeFailure } from './node-failure.ts'
import { commandLimit, runCommand } from './places.ts'

type Change = 'drain' | 'undrain'

/**
 * Marks the node, so that the next run knows if this one is killed before it undrains. Throws a Failure, also if another run has its
 * mark there: one of the two would undrain the node while the other restarts it.
 */
export async function markDrained(workspace: Workspace, node: ClusterNode): Promise<void> {
  const { auth, run } = stagingOwner(workspace)
  const said = await runInFolder(workspace, node, [
    'read -r boot < /proc/sys/kernel/random/boot_id && read -r up _ < /proc/uptime || exit',
    `own=.harderway-${auth}-${run}-\${boot%%-*}-\${up%%.*}-${randomBytes(8).toString('hex')}${drainedSuffix}`,
    'mkdir -- "$own" || exit',
    `for each in .harderway-*${drainedSuffix}; do`,
    '  [ "$each" = "$own" ] || { rmdir -- "$own"; echo "$each"; }',
    'done',
  ])
  const others = said.split('\n').filter(Boolean)
  if (others.length > 0) throw drainedByAnother(node, others)
}

export function drainedByAnother(node: ClusterNode, marks: readonly string[]): Failure {
  return nodeFailure(node, 'another run is restarting its units, or was killed meanwhile', {
    code: 'busy',
    remedy: `${runAgain} when that one has ended; if none is at work, remove there: ${node.directory}/${marks[0]}`,
  })
}

export async function drain(workspace: Workspace, node: ClusterNode, install: Install): Promise<void> {
  for (const gateway of gatewaysOf(workspace)) await change(workspace, gateway, node, install, 'drain')
}

/** Undrains on all gateways even if one fails, then throws that Failure: its code is always not-undrained. `left`: marks. */
export async function undrain(
  workspace: Workspace,
  node: ClusterNode,
  install: Install,
  left: readonly string[] = [],
): Promise<void> {
  const changed = await Promise.allSettled(
    gatewaysOf(workspace).map((gateway) => change(workspace, gateway, node, install, 'undrain')),
  )
  try {
    for (const each of changed) if (each.status === 'rejected') throw each.reason
    const { auth, run } = stagingOwner(workspace)
    const own = `.harderway-${auth}-${run}-*${drainedSuffix}`
    await runInFolder(workspace, node, [`rm -rf -- ${[own, ...left.map(quote)].join(' ')}`])
  } catch (error) {
    throw error instanceof Failure ? error.with({ code: 'not-undrained' }) : error
  }
}

function gatewaysOf({ cluster }: Workspace): ClusterNode[] {
  return cluster.nodes.filter(({ role }) => role === 'gateway')
}

async function change(
  workspace: Workspace,
  gateway: ClusterNode,
  node: ClusterNode,
  install: Install,
  what: Change,
): Promise<void> {
  const command = `NODE=${quote(node.name)} ADDRESS=${quote(addressOf(node))} sh -c ${quote(install[what])}`
  const limit = commandLimit(install)
  const outcome = await runCommand(workspace, gateway, { sudo: '', command, limit }).catch(async (error) => {
    // The run was ended by a signal: tries to undrain all the same.
    if (what === 'undrain') await (await workspace.connect(gateway)).tidy(`${command}\n`)
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

async function runInFolder(workspace: Workspace, node: ClusterNode, script: readonly string[]): Promise<string> {
  const command = [`cd -- ${folderWord(node.directory)} || exit`, ...script].join('\n')
  const { status, said } = await runCommand(workspace, node, { sudo: '', command })
  if (status === 0) return said
  throw nodeFailure(node, `its mark for a drain could not be changed: ${excerpt(said)}`, {
    code: 'not-marked',
    remedy: `see what mkdir and rm say in ${node.directory} there; then ${runAgain}`,
  })
}
