/** Commands that copy lost files of auth/ back from a node. */
import { join } from 'node:path'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { backupTime } from '../../lib/files/auth-dir.ts'
import { quote } from '../../lib/wording.ts'
import type { Run } from '../target.ts'

/**
 * The command that restores all of auth/: from the given node or else the first control node, or from a backup if no
 * node has all of it. It overwrites nothing, and says what to move aside.
 */
export function recoverCommand(run: Run, from?: ClusterNode): string {
  return run.cluster.certificates.caKeyOnNodes ? recoverFromNode(run, from) : run.command('recover --from DIR')
}

function recoverFromNode({ cluster, command }: Run, from?: ClusterNode): string {
  const node = from ?? cluster.nodes.find(({ role }) => role === 'control')
  return command(`recover --node ${node?.name}`)
}

/** The ways out if nodes hold what auth/ has lost. What is left in auth/ is kept: nodes do not have all of it. */
export function waysOutOfLost(run: Run, from?: ClusterNode): string[] {
  const { command } = run
  const ways = new Set([recoverCommand(run, from), command('recover --from DIR')])
  return [
    ...[...ways].map((each, i) => `${i === 0 ? 'recover the cluster' : 'or recover it from a backup'}:\n    ${each}`),
    `or abandon it and everything that depends on it:\n    ${command('bootstrap --replace-identity')}`,
  ]
}

/** Of these files of auth/. Those that are there are moved to backup/ first: recover overwrites nothing. */
export function fetchCommand(run: Run, names: readonly string[], recover = recoverFromNode(run)): string {
  const { auth, now } = run
  const there = names.filter((name) => auth.read(name)).map((name) => quote(join(auth.path, name)))
  const kept = quote(join(auth.path, 'backup', `${backupTime(now)}-replaced`))
  const move = there.length > 0 ? `mkdir -m 700 -p ${kept} && mv ${there.join(' ')} ${kept} && ` : ''
  return move + recover
}
