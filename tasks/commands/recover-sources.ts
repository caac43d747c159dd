/** What `recover` reads: a control node, or a backup of auth/. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { type AuthDir, caName, type FileNames, markersIn } from '../../lib/files/auth-dir.ts'
import { isOtherIdentity } from '../../lib/kubernetes/identity.ts'
import { realPath } from '../../lib/node/state.ts'
import { type Certificate, readCertificate } from '../../lib/pki/certificate.ts'
import { whyNotCompared } from '../deploy/owner.ts'
import { type NodeLook, placesOf, withList } from '../inspect/look.ts'
import { nodeFiles } from '../layouts/tables.ts'
import type { Run } from '../target.ts'

export interface Source {
  readonly where: string
  readonly files: ReadonlyMap<string, SourceFile>
  readonly backup?: AuthDir
}

interface SourceFile {
  /** Absolute; it may be that nothing is there. */
  readonly path: string
  readonly bytes?: Buffer | undefined
  readonly unread?: string | undefined
}

/** The files that the units of the node read, which the cluster runs with; otherwise the deployed ones. */
export function sourceOnNode(run: Run, node: ClusterNode, look: NodeLook): Source {
  const places = placesOf(look)
  const pathOf = new Map(look.units.flatMap(({ files }) => files.map(({ file, path }) => [file, path])))
  const { files } = run.auth
  const inFolder = (name: string) => look.contents.get(name)
  const ca = readCertificate(inFolder(files.certificate(caName)) ?? '')
  const read = (name: string): SourceFile => {
    const at = realPath(places, pathOf.get(name) ?? '')
    const place = places.files.get(at)
    const bytes = place ? places.contents.get(at) : inFolder(name)
    const path = place ? at : join(look.folder ?? node.directory, name)
    // Units read the service account's key alone, so its certificate may be older there.
    if (bytes) return { path, bytes: newer(files, name, bytes, inFolder(name), ca) }
    const there = place ?? look.files.get(name)
    return { path, unread: there && whyNotCompared(there) }
  }
  const names = nodeFiles(withList(run).cluster, node).filter((name) => files.parse(name)?.kind !== 'kubeconfig')
  return { where: node.name, files: new Map(names.map((name) => [name, read(name)])) }
}

/** Of two certificates over one key the one that was issued later, if it holds all keys that the other does. */
function newer(files: FileNames, name: string, placed: Buffer, other: Buffer | undefined, ca?: Certificate): Buffer {
  const [one, two] = [placed, other ?? ''].map((pem) => readCertificate(pem))
  if (!one || !two?.publicKey.equals(one.publicKey) || two.notBefore <= one.notBefore) return placed
  if (!other || !ca || !two.x509.verify(ca.publicKey)) return placed
  const tryBytes = (file: string) => (file === name ? other : undefined)
  return isOtherIdentity(name, { files, tryBytes }, placed) ? placed : other
}

/** Follows no link. Throws a Failure if there is no such directory. */
export function sourceInBackup(backup: AuthDir, names: readonly string[]): Source {
  const { path, files } = backup
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new Failure(`directory ${path} does not exist`, {
      remedy: `give the directory that contains ${files.certificate(caName)}`,
    })
  const read = (name: string): SourceFile => {
    const file = backup.read(name)
    const found = file?.kind === 'file' ? { bytes: file.bytes } : { unread: file && 'not a regular file' }
    return { path: join(path, name), ...found }
  }
  return { where: path, files: new Map([...markersIn(backup), ...names].map((name) => [name, read(name)])), backup }
}
