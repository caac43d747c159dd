/** Keeps requests from the API server of a node while it is restarted: the commands of cluster.yaml, on every gateway. */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { readAnswer } from '../../lib/nodes/frame.ts'
import { commandScript } from '../../lib/nodes/place.ts'
import { folderWord } from '../../lib/nodes/shell.ts'
import { drainedPrefix } from '../../lib/nodes/units.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { quote } from '../../lib/wording.ts'
import { newNonce } from './look.ts'
import { addressOf } from './units.ts'

type Change = 'drain' | 'undrain'

/** Throws a Failure where a gateway did not do it; those before it are drained. */
export async function drain(at: Workspace, node: ClusterNode, install: Install): Promise<void> {
  for (const gateway of gatewaysOf(at)) await tell(at, gateway, node, install, 'drain')
}

/** On all gateways, whatever one of them says: then throws a Failure. */
export async function undrain(at: Workspace, node: ClusterNode, install: Install): Promise<void> {
  const results = await Promise.allSettled(gatewaysOf(at).map((gateway) => tell(at, gateway, node, install, 'undrain')))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** Closes what was opened for it. Never throws. */
export async function leaveGateways(at: Workspace): Promise<void> {
  await Promise.all(gatewaysOf(at).map((gateway) => at.disconnect(gateway)))
}

/** On one gateway, for nodes that a killed run left drained. */
export async function undrainOn(
  at: Workspace,
  gateway: ClusterNode,
  names: readonly string[],
  install: Install,
): Promise<void> {
  for (const name of names) {
    const node = at.cluster.nodes.find((each) => each.name === name)
    if (node) await tell(at, gateway, node, install, 'undrain')
  }
}

function gatewaysOf({ cluster }: Workspace): ClusterNode[] {
  return cluster.nodes.filter(({ role }) => role === 'gateway')
}

async function tell(
  at: Workspace,
  gateway: ClusterNode,
  node: ClusterNode,
  install: Install,
  change: Change,
): Promise<void> {
  const command = install[change]
  if (command === '') return
  const connection = await at.connect(gateway)
  const script = changeScript(gateway, node, command, change)
  const nonce = newNonce()
  try {
    const { records } = readAnswer(await connection.run(commandScript('', script, nonce)), nonce)
    const [status = '', ...said] = records.map((record) => record.replace(/^said /, ''))
    if (status !== 'status 0')
      throw new Failure(
        `${gateway.name}: install.${change} for ${node.name} ended with ${status}: ${said.join(' ').slice(0, 160)}`,
        {
          code: `not-${change}ed`,
          remedy: `see that this works on ${gateway.name}: NODE=${node.name} ADDRESS=${addressOf(node)} sh -c ${quote(command)}`,
        },
      )
  } catch (error) {
    // Ended by a signal: it is not left drained, as far as that can be helped.
    if (change === 'undrain') await connection.tidy(`${script}\n`)
    throw error
  }
}

/** What is drained is marked there before it is: a run that is killed leaves a word of it to the next. */
function changeScript(gateway: ClusterNode, node: ClusterNode, command: string, change: Change): string {
  const mark = `${folderWord(gateway.directory)}/${drainedPrefix}${node.name}`
  const run = `NODE=${quote(node.name)} ADDRESS=${quote(addressOf(node))} sh -c ${quote(command)}`
  return change === 'drain' ? `: > ${mark} && ${run}` : `${run} && rm -f -- ${mark}`
}
