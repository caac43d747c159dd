/** Phase `deploy`: each node's files, as one set: all of them are there and right, or the old ones are. */
import { createHash, randomBytes } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { doing, Failure, refusal } from '../../lib/failure.ts'
import { fileMode, kubeconfigFile, pairFiles, parseFileName } from '../../lib/files/names.ts'
import { once, secretMode } from '../../lib/files/plain-file.ts'
import {
  archiveName,
  discardScript,
  type Look,
  lookScript,
  makeFolderScript,
  parseLook,
  type Swap,
  swapScript,
  tryScript,
} from '../../lib/nodes/shell.ts'
import type { Connection } from '../../lib/nodes/ssh.ts'
import { buildTar } from '../../lib/nodes/tar.ts'
import { readCertificate } from '../../lib/pki/certificate.ts'
import { isSameIdentity } from '../../lib/pki/identity.ts'
import type { Reason } from '../../lib/reason.ts'
import type { Target, TargetId } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatNames } from '../../lib/wording.ts'
import { certTable } from '../tables/certs.ts'
import { identityFiles, nodeFiles } from '../tables/files.ts'
import { fetchCommand } from './fetch-command.ts'

type NodeReason = Reason & { kind: 'on-node' }

interface Found {
  readonly look: Look
  /** Undefined where all is right. */
  readonly wrong: NodeReason | undefined
}

/** Earlier are the targets that make what is deployed. */
export function deployTargets(cluster: Cluster, earlier: readonly Target[]): Target[] {
  const makers = new Map(earlier.flatMap(({ id, makes }) => makes.map((file): [string, TargetId] => [file, id])))
  const known = new Set(makers.keys())
  return cluster.nodes.map(
    (node): Target<Found> => ({
      id: `deploy/${node.name}`,
      phase: 'deploy',
      node: node.name,
      needs: [...new Set(nodeFiles(node).flatMap((file) => makers.get(file) ?? []))],
      makes: [],
      where: 'node',
      check: async (at) => {
        const connection = await at.connect(node)
        const look = parseLook(await connection.run(lookScript(node.directory, identityDigests(at))))
        const { wrong, warning } = judge(at, node, look, known)
        return { reasons: wrong ? [wrong] : [], warning, found: { look, wrong } }
      },
      build: async (at, { found: { look, wrong } }) => {
        await push(at, node, look, wrong ?? everything(node))
        return undefined
      },
      release: (at) => at.disconnect(node),
    }),
  )
}

/** Machines that have a certificate in auth/ and no place in cluster.yaml any more; what is on them stays there. */
export function formerNodes({ auth, cluster }: Workspace): string[] {
  const known = new Set(certTable(cluster).map(({ name }) => name))
  return auth.names().flatMap((file) => {
    const { kind, name = '' } = parseFileName(file) ?? {}
    if (kind !== 'certificate' || known.has(name) || !isNodeCertificate(name, auth.tryBytes(file))) return []
    const held = [...pairFiles(name), kubeconfigFile(name)].filter((each) => auth.tryBytes(each))
    return [
      `${name} is no longer in cluster.yaml: it and ${auth.path} still hold ${held.join(', ')}, which are valid until they end`,
    ]
  })
}

function isNodeCertificate(name: string, pem: Buffer | undefined): boolean {
  return readCertificate(pem ?? '')?.attributes.includes(`CN=system:node:${name}`) === true
}

/** Whatever of an identity stands on the node is compared, whether it belongs there or not. */
function identityDigests({ auth }: Workspace): Map<string, string> {
  return new Map([...identityFiles.keys()].map((name) => [name, digestOf({ auth }, name) ?? '-']))
}

const sha256 = once((bytes) => createHash('sha256').update(bytes).digest('hex'))

function digestOf({ auth }: Pick<Workspace, 'auth'>, name: string): string | undefined {
  const bytes = auth.tryBytes(name)
  return bytes && sha256(bytes)
}

function judge(
  at: Workspace,
  node: ClusterNode,
  look: Look,
  known: ReadonlySet<string>,
): { wrong: NodeReason | undefined; warning: string | undefined } {
  if (!at.options.replaceIdentity) refuseOtherIdentity(at, node, look)
  const belongs = nodeFiles(node)
  const foreign = [...look.files.keys()].filter((name) => known.has(name) && !belongs.includes(name))
  const files = belongs.map((name) => ({ name, there: look.files.get(name) }))
  const names = (wrong: (file: (typeof files)[number]) => boolean) => files.filter(wrong).map(({ name }) => name)
  const reason: NodeReason = {
    kind: 'on-node',
    missing: names(({ there }) => !there),
    // What is not in auth/ yet is compared when it is.
    differ: names(({ name, there }) => there !== undefined && there.digest !== (digestOf(at, name) ?? there.digest)),
    wrongOwner: names(({ there }) => there !== undefined && there.uid !== look.uid),
    wrongMode: names(({ name, there }) => there?.isPlain === true && there.mode !== fileMode(name)),
    pruned: at.options.prune ? foreign : [],
    leftovers: look.leftovers.filter((name) => name.startsWith(stagingPrefix(at))),
  }
  const kept = at.options.prune ? [] : foreign
  const prunable = `${node.name} holds ${formatNames(kept)}, which does not belong there: --prune removes it`
  const { kind, ...lists } = reason
  const isFresh = Object.values(lists).every((list) => list.length === 0)
  return { wrong: isFresh ? undefined : reason, warning: kept.length > 0 ? prunable : undefined }
}

/** What runs with another CA or key would not survive ours. */
function refuseOtherIdentity(at: Workspace, node: ClusterNode, { files, contents }: Look): void {
  const { auth } = at
  // With --prune, what does not belong there would be removed.
  const names = at.options.prune ? [...identityFiles.keys()] : nodeFiles(node).filter((name) => identityFiles.has(name))
  const others = names.filter((name) => {
    const there = files.get(name)
    if (!there || there.digest === digestOf(at, name)) return false
    // What can't be read, or lies behind a symbolic link, can't be shown to be the same.
    const theirs = contents.get(name)
    return !theirs || !isSameIdentity(name, (file) => auth.tryBytes(file), theirs)
  })
  if (others.length === 0) return
  const labels = new Set(others.map((name) => identityFiles.get(name)))
  const what = [...labels].map(
    (label) => `${label} (${others.filter((name) => identityFiles.get(name) === label).join(', ')})`,
  )
  const whole = nodeFiles(node).filter((name) => identityFiles.has(name) && labels.has(identityFiles.get(name)))
  throw refusal(`${node.name} holds another ${what.join(', ')} than ${auth.path}`, [
    `if the node's is the right one, move ours away and fetch it: ${fetchCommand(at, whole, node)}`,
    `if ours is, put it over the node's: ${at.command(`deploy --node ${node.name} --replace-identity`)}`,
  ])
}

/** Says whose it is: while we hold auth/, no other run of ours can be using one of that name. */
function stagingPrefix({ auth }: Workspace): string {
  return `.harderway-${sha256(Buffer.from(`${hostname()} ${auth.path}`)).slice(0, 12)}-`
}

/** For a build that nothing found on the node gave reason for: --force. */
function everything(node: ClusterNode): NodeReason {
  return {
    kind: 'on-node',
    missing: [],
    differ: nodeFiles(node),
    wrongMode: [],
    wrongOwner: [],
    pruned: [],
    leftovers: [],
  }
}

async function push(at: Workspace, node: ClusterNode, look: Look, reason: NodeReason): Promise<void> {
  refuseFolders(node, look)
  const connection = await at.connect(node)
  const folder = look.folder ?? parseLook(await connection.run(makeFolderScript(node.directory))).folder
  if (folder === undefined) throw new Failure(`${node.name}: ${node.directory} could not be made`)
  const copied = [...new Set([...reason.missing, ...reason.differ, ...reason.wrongOwner])].map((name) => ({
    name,
    mode: fileMode(name),
    bytes: at.auth.bytes(name),
  }))
  const swap: Swap = {
    folder,
    staging: `${stagingPrefix(at)}${randomBytes(8).toString('hex')}`,
    copied: copied.map(({ name, mode, bytes }) => ({ name, mode, digest: sha256(bytes) })),
    modes: reason.wrongMode
      .filter((name) => !copied.some((file) => file.name === name))
      .map((name) => ({ name, mode: fileMode(name) })),
    removed: [...reason.pruned, ...reason.leftovers],
  }
  try {
    if (copied.length > 0) await copyArchive(at, node, connection, swap, buildTar(copied))
    await connection.run(swapScript(swap))
  } catch (error) {
    await connection.tidy(discardScript(folder, swap.staging))
    throw error
  }
}

async function copyArchive(
  { auth }: Workspace,
  node: ClusterNode,
  connection: Connection,
  swap: Swap,
  archive: Buffer,
): Promise<void> {
  const local = auth.makeTemporaryFolder(node.name)
  try {
    const path = join(local, archiveName)
    doing('write', path, () => writeFileSync(path, archive, { flag: 'wx', mode: secretMode }))
    await connection.copyFolder(local, `${swap.folder}/${swap.staging}`).catch(async (error) => {
      // SFTP says "failure" where a shell would say what failed: one is asked to do the same.
      if (error instanceof Failure && error.code === 'other')
        await connection.run(tryScript(swap.folder, swap.staging, archive.length))
      throw error
    })
  } finally {
    rmSync(local, { recursive: true, force: true })
  }
}

/** A rename replaces a file or a symbolic link, never a folder. */
function refuseFolders(node: ClusterNode, { files, folder }: Look): void {
  const inTheWay = nodeFiles(node).filter((name) => files.get(name)?.isFolder)
  if (inTheWay.length === 0) return
  throw new Failure(`${node.name}: a folder stands where ${formatNames(inTheWay)} should be in ${folder}`, {
    remedy: 'move it away, then run the same command again',
  })
}
