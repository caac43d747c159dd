/** A node's deploy directory: what differs there from what belongs there, and its replacement, all files or none. */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { caNames, hasDigest } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import type { BuildContext, Force } from '../../lib/graph/target.ts'
import { type Difference, diff, folderOf } from '../../lib/node/place.ts'
import { type NodeState, openFoldersTo, realPath } from '../../lib/node/state.ts'
import { type Check, type Diff, namesOf, texts } from '../../lib/results.ts'
import { count, formatNames, quote } from '../../lib/wording.ts'
import type { ClusterTarget, Run } from '../cluster-target.ts'
import type { OnNode } from '../inspect/component.ts'
import { digestOf, lookAtNode, type NodeLook } from '../inspect/look.ts'
import { identityFiles, isSwitchedOff, nodeFiles } from '../layouts/tables.ts'
import { formatOthers, guard, keepOthers, type Other, refuseOtherMachine, refuseWrongClock } from './guards.ts'
import { fileOn, ownerOf } from './owner.ts'

export interface FolderLook<Units = unknown> {
  /** Undefined without `install`, if files have to be copied, or if they could not be looked at. */
  readonly units: Units | undefined
  readonly look: NodeLook
  readonly differences: readonly Diff[]
  /** Of another cluster, or somebody else's: auth/backup gets a copy before they are overwritten. */
  readonly others: readonly Other[]
}

export interface Beside extends Pick<Check, 'warn' | 'until'> {
  readonly units?: unknown
}

/** What install has on the node. `isCopied`: answers of units are of no use. Throws where nothing may be copied. */
export type LookBeside = (on: OnNode, look: NodeLook, isCopied: boolean) => Promise<Beside>

/** `known`: names of files of ours, wherever they belong. Throws a Failure if the node may not be written to. */
async function checkFolder(
  { run, node, known }: OnNode & { readonly known: ReadonlySet<string> },
  lookBeside: LookBeside,
  force?: Force,
): Promise<Check<FolderLook>> {
  const asked = run.clock()
  const look = await lookAtNode(run, node)
  refuseWrongClock(run, node, look.now, asked)
  refuseOtherMachine(run, node, look)
  refusePlaces(run, node, look)
  const others = guard(run, node, look, force !== undefined)
  const foreign = foreignFiles(run, node, look, known)
  const pruned = run.options.prune ? foreign.filter((name) => isPrunable(run, look, name)) : []
  const left = foreign.filter((name) => !pruned.includes(name))
  const differences = [
    ...compareFolder(run, node, look),
    ...listed(pruned, 'not needed there', 'remove'),
    ...listed(look.leftovers, 'left by an interrupted run'),
  ]
  refuseUnseen(run, look, filesToCopy(differences))
  const { units, warn = [], until } = await lookBeside({ run, node }, look, differences.length > 0)
  const again = force ? nodeFiles(run.cluster, node).filter((name) => !filesToCopy(differences).includes(name)) : []
  return {
    diffs: [...differences, ...listed(again, 'copied again', 'copy')],
    until,
    warn: [...warningsOn(run, node, left, others), ...warn],
    findings: { look, differences, others, units },
  }
}

function warningsOn(
  { options }: Run,
  { name }: ClusterNode,
  left: readonly string[],
  others: readonly Other[],
): string[] {
  const verb = left.length === 1 ? 'does' : 'do'
  return texts(
    others.length > 0 && `another ${formatOthers(others)} on ${name} is backed up to auth/backup and overwritten`,
    !options.prune &&
      left.length > 0 &&
      `${name} has ${formatNames(left)}, which ${verb} not belong on it; remove with --prune`,
    options.prune &&
      left.length > 0 &&
      `--prune leaves ${formatNames(left)} on ${name}, which are not of this cluster, or newer than in auth/`,
  )
}

async function copyFiles(
  { run, node }: OnNode,
  { diffs, findings, tell }: BuildContext<FolderLook>,
): Promise<undefined> {
  if (diffs.length === 0) return
  keepOthers(run, node, findings.others)
  await replaceInFolder(run, node, { seen: findings.look, diffs, tell })
}

/** What units read is replaced by `install`, in turns, with the old files kept until units are healthy. */
export function refusePlaces({ cluster }: Run, node: ClusterNode, { folder, places, units }: NodeLook): void {
  if (!cluster.install || !places || places instanceof Failure) return
  const reader = units.find(({ files }) => files.some(({ path }) => folderOf(realPath(places, path)) === folder))
  if (reader)
    throw refusal(
      `${node.name}: ${reader.unit} reads its files from ${folder}, so that can't be the deploy directory`,
      [
        `set another directory in cluster.yaml (ssh.directory, or directory of ${node.name}), then ${runAgain}`,
        'or set install: false, so that no run installs them',
      ],
    )
}

/** An identity is not deployed to a node while nobody can tell which one its units read. */
function refuseUnseen({ cluster }: Run, { places }: NodeState, files: readonly string[]): void {
  if (places instanceof Failure && files.some((name) => identityFiles(cluster).has(name))) throw places
}

const filesToCopy = (diffs: readonly Diff[]) => [...new Set(namesOf(diffs, 'copy', 'update'))]

function listed(names: readonly string[], what: string, verb?: Diff['verb']): Diff[] {
  return names.length === 0 ? [] : [{ what: `${formatNames(names)} ${what}`, ...(verb && { verb, names }) }]
}

export function compareFolder(run: Run, node: ClusterNode, seen: NodeState): Diff[] {
  const differences = diff(
    nodeFiles(run.cluster, node).map((name) => ({
      path: name,
      sha256: digestOf(run, name),
      isSecret: run.auth.files.mode(name) === secretMode,
      readers: { login: seen.uid },
    })),
    seen,
  )
  const names = (...whats: Difference['what'][]) =>
    differences.flatMap(({ path, what }) => (whats.includes(what) ? [path] : []))
  const differ = names('differs', 'not a file')
  return [
    ...listed(names('missing'), 'missing', 'copy'),
    ...listed(differ, differ.length === 1 ? 'differs' : 'differ', 'update'),
    ...listed(names('wrong mode'), 'with a wrong mode', 'chmod'),
    ...listed(names('wrong owner'), 'with a wrong owner', 'update'),
  ]
}

/** What is newer than in auth/, or none of ours, is left. */
function isPrunable(run: Run, look: NodeLook, name: string): boolean {
  const all = [...look.files.keys()].flatMap((each) => fileOn(look, each, each))
  const there = all.find(({ file }) => file === name)
  return there !== undefined && ['same', 'replaceable'].includes(ownerOf(run, there, all))
}

/** Files of ours that don't belong on the node; no folder, nor a switched-off file that auth/ never had. */
function foreignFiles(
  { auth, cluster }: Run,
  node: ClusterNode,
  { files }: NodeState,
  known: ReadonlySet<string>,
): string[] {
  const belongs = new Set(nodeFiles(cluster, node))
  const isCaKey = (name: string) => caNames.some((each) => name === auth.files.key(each))
  const isOurs = (name: string, digest: string | undefined) =>
    known.has(name) || (isSwitchedOff(cluster, name) && (isCaKey(name) || hasDigest(auth, name, digest)))
  return [...files].flatMap(([name, { kind, sha256 }]) =>
    !belongs.has(name) && kind !== 'folder' && isOurs(name, sha256) ? [name] : [],
  )
}

async function replaceInFolder(
  run: Run,
  node: ClusterNode,
  { seen, diffs, tell }: { seen: NodeState; diffs: readonly Diff[]; tell: BuildContext['tell'] },
): Promise<void> {
  const { auth, cluster } = run
  const on = await run.connect(node)
  const there = seen.folder === undefined ? await on.makeFolder({ directory: node.directory, names: auth.files }) : seen
  const copied = filesToCopy(diffs)
  if (copied.length > 0) {
    refuseOpenFolder(node, there)
    tell(`copying ${count(copied.length, 'file')}`)
  }
  const pruned = namesOf(diffs, 'remove')
  const modes = namesOf(diffs, 'chmod').filter((name) => !copied.includes(name))
  const change = {
    folder: there.folder ?? '',
    // In the order of the table: a certificate and its key are next to each other.
    files: nodeFiles(cluster, node)
      .filter((name) => copied.includes(name))
      .map((name) => ({ path: name, bytes: auth.bytes(name), access: { mode: auth.files.mode(name) } })),
    unchanged: [...new Set([...nodeFiles(cluster, node), ...identityFiles(cluster).keys(), ...pruned])],
    seen: seen.files,
    tidied: {
      pruned,
      modes: modes.map((name) => ({ name, mode: auth.files.mode(name) })),
      leftovers: seen.leftovers,
    },
  }
  await on.replace(change, () => auth.makeTemporaryFolder(node.name))
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

export function targets(
  cluster: Cluster,
  { earlier, lookBeside }: { readonly earlier: readonly ClusterTarget[]; readonly lookBeside: LookBeside },
): ClusterTarget[] {
  const makers = new Map(earlier.flatMap(({ id, makes }) => makes.map((file): [string, string] => [file, id])))
  const known = new Set(makers.keys())
  // The node's install uses the same connection. With more nodes than are worked on at once, too many would stay open.
  const keepsConnection = cluster.install !== undefined && cluster.nodes.length <= cluster.ssh.concurrency
  return cluster.nodes.map(
    (node): ClusterTarget<FolderLook> => ({
      id: deployId(node),
      phase: 'deploy',
      node: node.name,
      needs: [...new Set(nodeFiles(cluster, node).flatMap((file) => makers.get(file) ?? []))],
      makes: [],
      desired: placeOf(node),
      where: 'node',
      check: (run, force) => checkFolder({ run, node, known }, lookBeside, force),
      build: (run, work) => copyFiles({ run, node }, work),
      ...(!keepsConnection && { release: (run) => run.disconnect(node) }),
    }),
  )
}

export function deployId({ name }: ClusterNode): string {
  return `deploy/${name}`
}

export function placeOf({ host, port, user, directory }: ClusterNode) {
  return { host, port, user, directory }
}
