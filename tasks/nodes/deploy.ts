/** Deploys a node's files as one set: copies one archive by scp, then runs one script. */
import { randomBytes } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { doing, Failure, runAgain } from '../../lib/failure.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Work } from '../../lib/graph/target.ts'
import { type FolderSeen, readFolderRecords } from '../../lib/node/answer.ts'
import type { Connection } from '../../lib/node/connection.ts'
import { discardScript, readAnswer } from '../../lib/node/shell.ts'
import { namesOf } from '../../lib/node/staging.ts'
import { buildTar, type Swap, swapScript } from '../../lib/node/swap.ts'
import { formatReason } from '../../lib/reason.ts'
import { quote } from '../../lib/wording.ts'
import { identityFiles, nodeFiles } from '../tables/files.ts'
import { compareFolder, isRight, type NodeReason, stagingOwner } from './folder.ts'
import { asUnknown, makeFolder, newNonce, sha256 } from './look.ts'
import { stopFailure } from './places.ts'

/** Throws a Failure unless the node reports all its files in place afterwards. */
export async function swap(
  run: Run,
  node: ClusterNode,
  { seen, wrong, tell }: { seen: FolderSeen; wrong: NodeReason; tell: Work['tell'] },
): Promise<void> {
  const { auth, cluster } = run
  const there = seen.path === undefined ? await makeFolder(run, node) : seen
  const { path: folder = '' } = there
  const wanted = new Set(filesToCopy(wrong))
  if (wanted.size > 0) refuseOpenFolder(node, there)
  // In the order of the table: a certificate and its key are next to each other.
  const files = nodeFiles(cluster, node)
    .filter((name) => wanted.has(name))
    .map((name) => ({ name, mode: auth.files.mode(name), bytes: auth.bytes(name) }))
  const parts: Swap = {
    folder,
    files: auth.files,
    archive: `${namesOf(stagingOwner(run))}${randomBytes(8).toString('hex')}`,
    copied: files.map(({ name, mode, bytes }) => ({ name, mode, digest: sha256(bytes) })),
    modes: wrong.wrongMode.filter((name) => !wanted.has(name)).map((name) => ({ name, mode: auth.files.mode(name) })),
    pruned: wrong.pruned,
    leftovers: wrong.leftovers,
    unchanged: [...new Set([...nodeFiles(cluster, node), ...identityFiles(cluster).keys(), ...wrong.pruned])],
  }
  const connection = await run.connect(node)
  try {
    if (files.length > 0) tell({ doing: 'copying', files: files.length })
    if (files.length > 0) await copyArchive(run, node, connection, parts, buildTar(files))
    tell({ doing: 'swapping' })
    refuseWrong(run, node, await putInPlace(node, connection, parts, seen))
  } catch (error) {
    await connection.tidy(discardScript(`${folder}/${parts.archive}`))
    throw error
  }
}

/** Others could take the copied files, or redirect the path that scp writes to. */
function refuseOpenFolder(node: ClusterNode, { open }: FolderSeen): void {
  if (open === undefined) return
  const { user } = node
  throw new Failure(
    `${open} there may be changed by others than ${user}: keys are not copied to where they could be taken`,
    {
      node: node.name,
      code: 'open-folder',
      remedy: `there, as root: chown ${user} ${quote(open)} && chmod go-w ${quote(open)}; or name another directory in cluster.yaml`,
    },
  )
}

export function filesToCopy({ missing, differ, wrongOwner }: NodeReason): string[] {
  return [...new Set([...missing, ...differ, ...wrongOwner])]
}

/** Returns what the node holds afterwards, as the script itself has looked. */
async function putInPlace(
  node: ClusterNode,
  connection: Connection,
  parts: Swap,
  seen: FolderSeen,
): Promise<FolderSeen> {
  const nonce = newNonce()
  const output = await connection.run(swapScript(parts, seen, nonce))
  try {
    const { records, stopped } = readAnswer(output, nonce)
    if (stopped) throw stopFailure(node, stopped.why, stopped.said)
    return readFolderRecords(records)
  } catch (error) {
    throw asUnknown(node, error, 'could not be inspected afterwards')
  }
}

function refuseWrong(run: Run, node: ClusterNode, seen: FolderSeen): void {
  const wrong = compareFolder(run, node, seen)
  if (isRight(wrong)) return
  throw new Failure(`its files are not right after they were put in place: ${formatReason(wrong)}`, {
    node: node.name,
    code: 'not-replaced',
    remedy: `see what mv, chmod and touch do there; then ${runAgain}`,
  })
}

async function copyArchive(
  { auth }: Run,
  node: ClusterNode,
  connection: Connection,
  swap: Swap,
  archive: Buffer,
): Promise<void> {
  const local = auth.makeTemporaryFolder(node.name)
  const there = `${swap.folder}/${swap.archive}`
  try {
    const path = join(local, 'files.tar')
    doing('write', path, () => writeFileSync(path, archive, { flag: 'wx', mode: secretMode }))
    await connection.copyFile(path, there)
  } finally {
    rmSync(local, { recursive: true, force: true })
  }
}
