/** The command that copies lost files of auth/ back from a node. */
import { dirname } from 'node:path'
import { bracketed } from '../../lib/address.ts'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { typedCommand } from '../../lib/ssh-config/command.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'

/** The command that brings all of auth/ back; from that node, else from the first control node. */
export function recoverCommand({ cluster, command }: Workspace, from?: ClusterNode): string {
  const node = from ?? cluster.nodes.find(({ role }) => role === 'control')
  return command(`recover --node ${node?.name}`)
}

/** From that node; else from the first control node. */
export function fetchCommand({ auth, cluster }: Workspace, names: readonly string[], from?: ClusterNode): string {
  const node = from ?? cluster.nodes.find(({ role }) => role === 'control')
  const words = [
    // The node has just been asked, so that its key is known: an impostor's identity is not fetched, whatever is configured.
    ...['-o', 'StrictHostKeyChecking=yes'],
    ...(node?.port === undefined ? [] : ['-P', String(node.port)]),
    ...names.map((name) => `${cluster.ssh.user}@${bracketed(node?.host ?? '')}:${node?.directory}/${name}`),
    auth.path,
  ]
  return typedCommand('scp', { folder: dirname(auth.path), ssh: cluster.ssh }, words)
}
