/** The command that brings files of auth/ back from a node, for whoever has lost them. */
import { resolve } from 'node:path'
import { bracketed } from '../../lib/address.ts'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { quote } from '../../lib/nodes/shell.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'

/** From that node; else from the first control node. */
export function fetchCommand({ auth, cluster }: Workspace, names: readonly string[], from?: ClusterNode): string {
  const node = from ?? cluster.nodes.find(({ role }) => role === 'control')
  const { user, configFile, options } = cluster.ssh
  const words = [
    ...(configFile === undefined ? [] : ['-F', resolve(auth.path, '..', configFile)]),
    ...(node?.port === undefined ? [] : ['-P', String(node.port)]),
    ...[...options].flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    ...names.map((name) => `${user}@${bracketed(node?.host ?? '')}:${node?.directory}/${name}`),
    auth.path,
  ]
  return `scp ${words.map(quote).join(' ')}`
}
