/** Replaces the files in a node's folder with those of auth/, all or none. */
import { randomBytes } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { Work } from '../../lib/graph/target.ts'
import type { Replacement } from '../../lib/node/node.ts'
import { type NodeState, openFoldersTo } from '../../lib/node/state.ts'
import { formatDiffs } from '../../lib/results.ts'
import { count, quote } from '../../lib/wording.ts'
import { identityFiles, nodeFiles } from '../layouts/tables.ts'
import type { Run } from '../target.ts'
import { compareFolder, diffsOf, type FolderDifference, filesToCopy, isRight } from './check-folder.ts'

/** Throws a Failure unless the node reports all its files in place afterwards. */
export async function replaceInFolder(
  run: Run,
  node: ClusterNode,
  { seen, wrong, tell }: { seen: NodeState; wrong: FolderDifference; tell: Work['tell'] },
): Promise<void> {
  const { auth, cluster } = run
  const on = await run.connect(node)
  const there = seen.folder === undefined ? await on.makeFolder({ directory: node.directory, names: auth.files }) : seen
  const wanted = new Set(filesToCopy(wrong))
  if (wanted.size > 0) refuseOpenFolder(node, there)
  // In the order of the table: a certificate and its key are next to each other.
  const files = nodeFiles(cluster, node)
    .filter((name) => wanted.has(name))
    .map((name) => ({ path: name, bytes: auth.bytes(name), access: { mode: auth.files.mode(name) } }))
  const modes = wrong.wrongMode.filter((name) => !wanted.has(name))
  const change: Replacement = {
    folder: there.folder ?? '',
    files,
    unchanged: [...new Set([...nodeFiles(cluster, node), ...identityFiles(cluster).keys(), ...wrong.pruned])],
    seen: seen.files,
    tidied: {
      names: auth.files,
      pruned: wrong.pruned,
      modes: modes.map((name) => ({ name, mode: auth.files.mode(name) })),
      leftovers: wrong.leftovers,
    },
  }
  if (files.length > 0) tell(`copying ${count(files.length, 'file')}`)
  const after = await on.replace(
    change,
    stagingOf(run, node, () => tell('replacing files')),
  )
  if (after) refuseWrongFiles(run, node, after)
}

/** `copied`: called once the archive is there. */
export function stagingOf(run: Run, { name }: ClusterNode, copied: () => void) {
  return {
    name: `.harderway-${randomBytes(8).toString('hex')}`,
    temporary: () => run.auth.makeTemporaryFolder(name),
    copied,
  }
}

/** Others could take the copied files, or redirect the path that scp writes to. */
function refuseOpenFolder(node: ClusterNode, { above, folder, uid }: NodeState): void {
  const [found] = openFoldersTo({ above, real: new Map() }, `${folder}/.`, [{ uid, gids: [0] }])
  if (!found) return
  const { user } = node
  const open = found.path
  throw new Failure(`${open} is writable by others than ${user}, so no keys are copied there`, {
    node: node.name,
    code: 'open-folder',
    remedy: `run as root on ${node.name}:\n    chown ${user} ${quote(open)} && chmod go-w ${quote(open)}\nor set another directory in cluster.yaml`,
  })
}

function refuseWrongFiles(run: Run, node: ClusterNode, seen: NodeState): void {
  const wrong = compareFolder(run, node, seen)
  if (isRight(wrong)) return
  throw new Failure(`still out of date after copying; ${formatDiffs(diffsOf(wrong))}`, {
    node: node.name,
    code: 'not-replaced',
    remedy: `check what mv, chmod and tar do on ${node.name}; then ${runAgain}`,
  })
}
