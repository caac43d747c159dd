/** The files of auth/ that a node, or a folder, holds. Reads only. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { AuthDir } from '../../lib/files/auth-dir.ts'
import { caName, type FileNames } from '../../lib/files/names.ts'
import type { Run } from '../../lib/graph/target.ts'
import { otherIdentity } from '../../lib/kubernetes/identity.ts'
import { realPath } from '../../lib/node/state.ts'
import { type Certificate, readCertificate } from '../../lib/pki/certificate.ts'
import { nodeFiles } from '../layouts/tables.ts'
import { whyNotCompared } from '../nodes/guards.ts'
import { placesOf, readNode, withPlaces } from '../nodes/look.ts'
import type { CommandRun } from '../request/command-run.ts'

export interface Holding {
  /** A node's name, or the folder. */
  readonly where: string
  readonly files: ReadonlyMap<string, Buffer>
  /** Files that were not read, each with the reason. */
  readonly unread: ReadonlyMap<string, string>
  /** Where each of them is: an absolute path. */
  readonly paths: ReadonlyMap<string, string>
  /** Files that were read where units read them. */
  readonly placed: ReadonlySet<string>
}

/** Bytes; ours have some ten thousand, but for a list. It bounds the time that the YAML parser spends on a node's file. */
const largest = 32 * 1024

export interface Sources {
  readonly main: Holding
  /** The other control nodes. */
  readonly others: readonly Holding[]
  /** The node that `main` is from. */
  readonly node?: ClusterNode
}

/**
 * Reads the control nodes. The connection to `node` stays open: its components are queried next. Throws a Failure if that one
 * can't be read; any other is left out with a note.
 */
export async function readNodes(run: CommandRun, node: ClusterNode): Promise<Sources> {
  const rest = run.cluster.nodes.filter(({ role, name }) => role === 'control' && name !== node.name)
  const read = (each: ClusterNode) => run.limits.node(() => readHolding(run, each))
  const [main, ...results] = await Promise.allSettled([
    read(node),
    ...rest.map((each) => read(each).finally(() => run.disconnect(each))),
  ])
  run.signal.throwIfAborted()
  if (main.status === 'rejected') throw main.reason
  const others = results.flatMap((result) => {
    if (result.status === 'fulfilled') return [result.value]
    if (!(result.reason instanceof Failure)) throw result.reason
    run.note(result.reason.message)
    return []
  })
  return { main: { ...main.value, files: newestOf(run, main.value, others) }, others, node }
}

/** Another control node may have a certificate that was issued later. */
function newestOf({ auth }: Run, { files }: Holding, others: readonly Holding[]): ReadonlyMap<string, Buffer> {
  const ca = readCertificate(files.get(auth.files.certificate(caName)) ?? '')
  const newest = (name: string, bytes: Buffer) =>
    others.reduce((held, other) => newer(auth.files, name, held, other.files.get(name), ca), bytes)
  return new Map([...files].map(([name, bytes]) => [name, newest(name, bytes)]))
}

/** Of two certificates over one key the one that was issued later, if it holds all keys that the other does. */
function newer(files: FileNames, name: string, held: Buffer, other: Buffer | undefined, ca?: Certificate): Buffer {
  const [one, two] = [held, other ?? ''].map((pem) => readCertificate(pem))
  if (!one || !two?.publicKey.equals(one.publicKey) || two.notBefore <= one.notBefore) return held
  if (!other || !ca || !two.x509.verify(ca.publicKey)) return held
  const tryBytes = (file: string) => (file === name ? other : undefined)
  return otherIdentity(name, { files, tryBytes }, held) ? held : other
}

/** The files that its units read, which the cluster runs with; otherwise the deployed ones. */
async function readHolding(run: Run, node: ClusterNode): Promise<Holding> {
  const look = await readNode(run, node)
  // What was deployed may be older than what its units read.
  const places = placesOf(look)
  const pathOf = new Map(look.units.flatMap(({ files }) => files.map(({ file, path }) => [file, path])))
  const files = new Map<string, Buffer>()
  const unread = new Map<string, string>()
  const paths = new Map<string, string>()
  const placed = new Set<string>()
  const inFolder = (name: string) => look.contents.get(name)
  const ca = readCertificate(inFolder(run.auth.files.certificate(caName)) ?? '')
  for (const name of nodeFiles(run.cluster, node)) {
    if (run.auth.files.parse(name)?.kind === 'kubeconfig') continue
    const at = realPath(places, pathOf.get(name) ?? '')
    const place = places.files.get(at)
    if (place) placed.add(name)
    const bytes = place ? places.contents.get(at) : inFolder(name)
    const there = place ?? look.files.get(name)
    paths.set(name, place ? at : join(look.folder ?? node.directory, name))
    // Units read the service account's key alone, so its certificate may be older there.
    const isList = run.auth.files.parse(name)?.kind === 'authorization'
    if (bytes && (isList || bytes.length <= largest))
      files.set(name, newer(run.auth.files, name, bytes, inFolder(name), ca))
    else if (there) unread.set(name, whyNotCompared(there))
  }
  return { where: node.name, files, unread, paths, placed }
}

/** The same, and fails where root may not look at what units read, `install` or not: then nothing proves what the cluster runs with. */
export async function readWholeHolding(run: Run, node: ClusterNode): Promise<Holding> {
  try {
    return await readHolding(withPlaces(run, node.user === 'root' ? '' : 'sudo -n'), node)
  } catch (error) {
    if (run.cluster.install || !(error instanceof Failure) || error.code !== 'no-root') throw error
    const remedy = `let ${node.user} run sh as root there without a password (sudoers: NOPASSWD), then ${runAgain}`
    throw error.with({ remedy })
  }
}

export function readFolder(folder: AuthDir, names: readonly string[]): Holding {
  const { path, files } = folder
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new Failure(`there is no folder ${path}`, {
      remedy: `name the folder that ${files.certificate(caName)} is in`,
    })
  const bytes = new Map<string, Buffer>()
  const unread = new Map<string, string>()
  for (const name of names) {
    const file = folder.read(name)
    if (file?.kind === 'file') bytes.set(name, file.bytes)
    else if (file) unread.set(name, 'not a plain file')
  }
  const paths = new Map(names.map((name) => [name, join(path, name)]))
  return { where: path, files: bytes, unread, paths, placed: new Set() }
}
