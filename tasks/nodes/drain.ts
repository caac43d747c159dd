/** Keeps requests from the API server of a node while it is restarted: the commands of cluster.yaml, on every gateway. */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { drainedMark } from '../../lib/remote/look.ts'
import { folderWord } from '../../lib/remote/shell.ts'
import { excerpt, quote } from '../../lib/wording.ts'
import { addressOf } from './component.ts'
import { nodeFailure } from './node-failure.ts'
import { commandLimit, runCommand } from './places.ts'

type Change = 'drain' | 'undrain'

/** Puts a mark on the node first, so that the next run knows if this one is killed. Throws a Failure. */
export async function drain(workspace: Workspace, node: ClusterNode, install: Install): Promise<void> {
  const path = markOf(node)
  // Does not follow a link in its place.
  await mark(workspace, node, `rm -f -- ${path} && set -C && : > ${path}`)
  for (const gateway of gatewaysOf(workspace)) await change(workspace, gateway, node, install, 'drain')
}

/** Undrains on all gateways even if one fails, then throws that Failure: its code is always not-undrained. */
export async function undrain(workspace: Workspace, node: ClusterNode, install: Install): Promise<void> {
  const changed = await Promise.allSettled(
    gatewaysOf(workspace).map((gateway) => change(workspace, gateway, node, install, 'undrain')),
  )
  try {
    for (const each of changed) if (each.status === 'rejected') throw each.reason
    await mark(workspace, node, `rm -f -- ${markOf(node)}`)
  } catch (error) {
    throw error instanceof Failure ? error.with({ code: 'not-undrained' }) : error
  }
}

function gatewaysOf({ cluster }: Workspace): ClusterNode[] {
  return cluster.nodes.filter(({ role }) => role === 'gateway')
}

function markOf({ directory }: ClusterNode): string {
  return `${folderWord(directory)}/${drainedMark}`
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

async function mark(workspace: Workspace, node: ClusterNode, command: string): Promise<void> {
  const { status, said } = await runCommand(workspace, node, { sudo: '', command })
  if (status === 0) return
  throw nodeFailure(node, `could not be marked as drained: ${excerpt(said)}`, {
    code: 'not-marked',
    remedy: `see why there: ${command}; then ${runAgain}`,
  })
}
