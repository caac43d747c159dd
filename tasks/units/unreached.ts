/** What runs on a node and reads files of ours where `install` puts none: a rotation would cut it off. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { caNames, nextName } from '../../lib/files/auth-dir.ts'
import type { Run } from '../../lib/graph/target.ts'
import { knownCertificates } from '../../lib/kubernetes/revocation.ts'
import { fileAt, type PlacesState, realPath, textAt } from '../../lib/node/state.ts'
import { isIssuedBy, keyIdOf, readCertificates } from '../../lib/pki/certificate.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { printable } from '../../lib/wording.ts'
import { nodeFiles, nodeUnits, unitsOf } from '../layouts/tables.ts'
import { formatUnset } from '../looks/flags.ts'
import { digestAt } from '../looks/look.ts'
import { type OtherProcess, startingOf, withNamed } from '../looks/reads.ts'
import type { UnitsFound } from './inspect.ts'

/**
 * A clause for each that reads one of the files, with what to do. `units`: it is not known what they read, or they read
 * a copy; `ofRoot`: other processes of root; `ofUsers`: those of other users, who may start any.
 */
export function unreachedOn(
  run: Run,
  node: ClusterNode,
  { units, otherProcesses, places }: Pick<UnitsFound, 'units' | 'otherProcesses' | 'places'>,
  concerns: (file: string) => boolean = () => true,
  /** Of other processes. */
  isSearched = concerns,
) {
  const own = units.filter(({ reads }) => reads.some(({ file }) => concerns(file)))
  const known = own.flatMap(({ unit, unreached }) => unreached.map((what) => `${unit}: ${what}`))
  const reached = Map.groupBy(
    units.flatMap(({ files }) => files),
    ({ path }) => realPath(places, path),
  )
  const copies = units.flatMap(({ unit, unlistedFlags }) =>
    withNamed(unlistedFlags, places).flatMap(({ by, path }) => {
      const all = reached.has(realPath(places, path)) ? [] : oursAt(run, node, places, path)
      const ours = all.find(({ file }) => concerns(file))
      return ours ? [`${unit}: ${by} (${path}) ${ours.is} ${ours.file}; name the original instead`] : []
    }),
  )
  /** What a process of others reads there: the file of a unit's place, or a copy. */
  const filesAt = (path: string) => {
    const placed = (fileAt(places, path) && reached.get(realPath(places, path))) ?? []
    return [...placed, ...oursAt(run, node, places, path)]
  }
  const clausesOf = (isRoots: boolean) => {
    const all = otherProcesses.filter(({ process }) => (process.uid === 0) === isRoots)
    const [unread, ...more] = all.filter(({ process }) => process.command.length === 0)
    const readers = all.flatMap((other) => {
      const held = other.names.find(({ path }) => filesAt(path).some(({ file }) => isSearched(file)))
      return held ? [formatOther(run, node, other, held)] : []
    })
    return unread ? [...readers, formatUnread(unread, more.length)] : readers
  }
  return { units: [...known, ...copies], ofRoot: clausesOf(true), ofUsers: clausesOf(false) }
}

/**
 * A sentence for each unit whose flags still name a path of another file, with how to change all of them: a certificate
 * needs its key.
 */
export function unsetOn(
  { cluster }: Pick<Run, 'cluster'>,
  { units, places }: Pick<UnitsFound, 'units' | 'places'>,
  concerns: (file: string) => boolean = () => true,
): string[] {
  return units.flatMap((unit) => {
    const unset = unit.flags.unset
    if (!unset.some(({ file }) => concerns(file))) return []
    return [formatUnset(startingOf(cluster, unit, places), unset)]
  })
}

/**
 * Our file of which that is a copy, whole or in part; else our CAs and pairs of which it has a certificate, current or
 * old.
 */
function oursAt({ auth, cluster }: Run, node: ClusterNode, places: PlacesState, path: string) {
  const digest = fileAt(places, path)?.sha256
  const all = () => [
    ...nodeFiles(cluster, node).map((file) => ({ file })),
    ...nodeUnits(cluster, node).flatMap(({ files }) => files),
  ]
  const same = digest && all().find((each) => digestAt({ auth }, each) === digest)
  if (same) return [{ file: same.file, is: 'is a copy of' }]
  const certificates = certificatesIn(textAt(places, path))
  if (certificates.length === 0) return []
  const isOfCa = (name: string) => {
    const ca = tryCertificate(auth, name)
    return ca && certificates.some((each) => each.publicKey.equals(ca.publicKey) || isIssuedBy(each, ca))
  }
  const ca = caNames.find((name) => isOfCa(name) || isOfCa(nextName(name)))
  const keys = new Set(certificates.map(keyIdOf))
  const names = new Set(knownCertificates(auth).flatMap(({ name, keyId }) => (keys.has(keyId) ? name : [])))
  return [...(ca === undefined ? [] : [ca]), ...names].map((name) => ({
    file: auth.files.certificate(name),
    is: 'has certificates of',
  }))
}

/** Those of a PEM file, and those embedded in a kubeconfig. */
function certificatesIn(text: string) {
  const embedded = text.matchAll(
    /^[ \t-]*"?(?:certificate-authority|client-certificate)-data"?:[ \t]*["']?([\w+/=]+)/gm,
  )
  const decoded = [...embedded].map(([, data = '']) => Buffer.from(data, 'base64').toString())
  return readCertificates([text, ...decoded].join('\n'))
}

/** One for all, as any user may start any number. */
function formatUnread({ process: { id, group } }: OtherProcess, more: number): string {
  const first = `process ${id} in ${group}`
  return more > 0
    ? `${first} and ${more} more may be components, with command lines too long to read; stop them`
    : `${first} may be a component, with a command line too long to read; stop it`
}

function formatOther(
  { cluster }: Run,
  node: ClusterNode,
  { component, process: { id, uid, group, command } }: OtherProcess,
  { by, path }: OtherProcess['names'][number],
): string {
  const isOfNode = component !== undefined && unitsOf(cluster, node.role).includes(component)
  const service = isOfNode ? /([^/]+)\.service$/.exec(group)?.[1] : undefined
  const elsewise = isOfNode ? 'run it in a unit' : 'give it its own files'
  const way =
    service === undefined
      ? `stop it, or ${elsewise}`
      : `stop it, or name its unit in cluster.yaml: install.units: { ${component}: { unit: ${service} } }`
  const program = printable(component ?? command[0]?.replace(/.*\//, '') ?? '')
  const owner = uid === 0 ? '' : ` of user ${uid}`
  return `${program}, process ${id}${owner} in ${group}, reads ${path} (${by}), which belongs to this cluster; ${way}`
}
