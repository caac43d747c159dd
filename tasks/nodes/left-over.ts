/** Files left over from another role where units read: ours by content, or signed by our CA. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { backups } from '../../lib/files/auth-dir.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { otherIdentity } from '../../lib/kubernetes/identity.ts'
import { readClientCertificate } from '../../lib/kubernetes/kubeconfig.ts'
import { isIssuedBy, readCertificate } from '../../lib/pki/certificate.ts'
import { ownCas } from '../../lib/pki/pair.ts'
import { isRunning, type PlacesSeen, realPath } from '../../lib/remote/answer.ts'
import { formerPlaces } from '../tables/places.ts'
import { digestAt } from './look.ts'

export interface LeftOver {
  readonly path: string
  /** SHA-256 in hex. */
  readonly digest: string
  /** True if a unit that may read it runs there. Then it is left alone. */
  readonly isInUse: boolean
}

export function findLeftOver(workspace: Workspace, node: ClusterNode, places: PlacesSeen): LeftOver[] {
  const { files, contents } = places
  const there = formerPlaces(workspace.cluster, node).flatMap((place) => {
    const path = realPath(places, place.path)
    const digest = files.get(path)?.sha256
    return digest === undefined ? [] : [{ ...place, path, digest }]
  })
  const isUsed = (path: string) => there.some((each) => each.path === path && isRunning(places, each.unit))
  const unique = [...new Map(there.map((each) => [each.path, each])).values()]
  return unique
    .filter((each) => each.digest === digestAt(workspace, each) || isOurs(workspace, each.file, each.path, contents))
    .map(({ path, digest }) => ({ path, digest, isInUse: isUsed(path) }))
}

function isOurs(
  { auth }: Pick<Workspace, 'auth'>,
  file: string,
  path: string,
  contents: ReadonlyMap<string, Buffer>,
): boolean {
  const bytes = contents.get(path) ?? Buffer.alloc(0)
  if (bytes.length === 0) return false
  const { kind, name = '' } = auth.files.parse(file) ?? {}
  if (kind === 'certificate' || kind === 'kubeconfig') {
    const certificate = readCertificate(kind === 'certificate' ? bytes : (readClientCertificate(`${bytes}`) ?? bytes))
    return certificate !== undefined && ownCas(auth).some((ca) => isIssuedBy(certificate, ca))
  }
  // A key that has been replaced since is recognised by the certificate beside it.
  const beside = `${path.replace(/[^/]*$/, '')}${auth.files.certificate(name)}`
  const certificate = contents.get(beside)
  const isPairOfOurs = certificate !== undefined && isOurs({ auth }, auth.files.certificate(name), beside, contents)
  const readers = [
    auth,
    ...(isPairOfOurs
      ? [{ files: auth.files, tryBytes: (each: string) => (each === file ? undefined : certificate) }]
      : []),
  ]
  return readers.some((ours) => otherIdentity(file, ours, bytes, (each) => backups(auth, each)) === undefined)
}

/** Splits them into those to remove and those to report. */
export function splitLeftOver(workspace: Workspace, found: readonly LeftOver[]): [LeftOver[], LeftOver[]] {
  const removed = workspace.options.prune ? found.filter(({ isInUse }) => !isInUse) : []
  return [removed, found.filter((each) => !removed.includes(each))]
}
