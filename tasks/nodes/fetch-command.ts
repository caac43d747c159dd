/** Commands that copy lost files of auth/ back from a node. */
import { join } from 'node:path'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { backupTime } from '../../lib/files/auth-dir.ts'
import type { Run } from '../../lib/graph/run.ts'
import { quote } from '../../lib/wording.ts'

/** The command that restores all of auth/, from the given node or else the first control node. */
export function recoverCommand({ cluster, command }: Run, from?: ClusterNode): string {
  const node = from ?? cluster.nodes.find(({ role }) => role === 'control')
  return command(`recover --node ${node?.name}`)
}

/** As `recoverCommand`, if auth/ belongs to another cluster or is not needed: recover overwrites nothing. */
export function replaceCommand(run: Run, recover = recoverCommand(run)): string {
  const { auth, now } = run
  return `mv ${quote(auth.path)} ${quote(`${auth.path}-${backupTime(now)}`)} && ${recover}`
}

/**
 * The ways out if nodes hold what auth/ has lost. What is left in auth/ is kept, since nodes do not have all of it, unless it
 * `isOfAnother` cluster.
 */
export function waysOutOfLost(run: Run, from?: ClusterNode, isOfAnother = false): string[] {
  const { command } = run
  const typed = (recover: string) => (isOfAnother ? replaceCommand(run, recover) : recover)
  return [
    `take it over: ${typed(recoverCommand(run, from))}, or from a backup: ${typed(command('recover --from DIR'))}`,
    `or give it up, with all that depends on it: ${command('bootstrap --replace-identity')}`,
  ]
}

/** Of these files of auth/. Those that are there are moved to backup/ first: recover overwrites nothing. */
export function fetchCommand(run: Run, names: readonly string[], recover = recoverCommand(run)): string {
  const { auth, now } = run
  const there = names.filter((name) => auth.read(name)).map((name) => quote(join(auth.path, name)))
  const kept = quote(join(auth.path, 'backup', `${backupTime(now)}-replaced`))
  const move = there.length > 0 ? `mkdir -m 700 -p ${kept} && mv ${there.join(' ')} ${kept} && ` : ''
  return move + recover
}
