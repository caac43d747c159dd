/** What runs on a node and may read files of ours where `install` puts none: a rotation would cut it off. */

import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { type AuthDir, backups, caName, hasDigest } from '../../../lib/files/auth-dir.ts'
import { sha256 } from '../../../lib/files/plain-file.ts'
import { readEmbedded } from '../../../lib/kubernetes/kubeconfig.ts'
import { fileAt, type PlacesState, realPath } from '../../../lib/node/state.ts'
import { excerpt, groupAlike, pasteable, printable } from '../../../lib/wording.ts'
import { formatUnset } from '../../inspect/flags.ts'
import { digestAt } from '../../inspect/look.ts'
import { mayLeaveOut, type OtherProcess, processesOf } from '../../inspect/reads.ts'
import { NODE } from '../../layouts/layout.ts'
import { layoutOf, nodeUnits, serviceOf, unitsOf } from '../../layouts/tables.ts'
import type { Run } from '../../target.ts'
import type { UnitsFound } from './look-at-units.ts'

/**
 * A clause for each that reads one of the files, with what to do. `units`: it is not known what they read, or they read
 * a copy; `ofRoot`: other processes of root; `ofUsers`: those of other users, who may start any. A component of no unit
 * counts as a reader of all that its component reads, whatever its command line says. An etcd or API server on a node
 * that is to have none counts by its command line alone: it may be an application's, and which members and API servers
 * the cluster has is read from the cluster.
 */
export function unreachedOn(
  run: Run,
  node: ClusterNode,
  { units, otherProcesses, places }: Pick<UnitsFound, 'units' | 'otherProcesses' | 'places'>,
  concerns: (file: string) => boolean = () => true,
) {
  const own = units.filter(({ reads }) => reads.some(({ file }) => concerns(file)))
  const known = own.flatMap(({ unit, unreached }) => unreached.map((what) => `${unit}: ${what}`))
  const reached = Map.groupBy(
    units.flatMap(({ files }) => files),
    ({ path }) => realPath(places, path),
  )
  const { certificate, parse } = run.auth.files
  // Of a key its certificate counts too: of that there may be a copy from before a renewal.
  const isOfPair = (file: string) => concerns(file) || concerns(certificate(parse(file)?.name ?? ''))
  let earlier: ReadonlyMap<string, string> | undefined
  const copyAt = (path: string) => {
    const digest = fileAt(places, path)?.sha256
    if (digest === undefined) return undefined
    const alike = filesAlike(run, node, digest).find(isOfPair)
    if (alike !== undefined) return alike
    earlier ??= earlierKubeconfigs(run.auth)
    return [earlier.get(digest) ?? []].flat().find(isOfPair)
  }
  const copies = units.flatMap(({ unit, unlistedFlags }) =>
    unlistedFlags.flatMap(({ by, path }) => {
      const file = reached.has(realPath(places, path)) ? undefined : copyAt(path)
      return file === undefined ? [] : [`${unit}: ${by} (${path}) is a copy of ${file}; name the original instead`]
    }),
  )
  /** It is the file of a unit's place, or a copy. */
  const isRead = (path: string) => {
    const placed = fileAt(places, path) && reached.get(realPath(places, path))
    return placed?.some(({ file }) => concerns(file)) || copyAt(path) !== undefined
  }
  const readers = layoutOf(run.cluster).units.flatMap(({ unit, reads }) =>
    reads.some(({ file }) => concerns(file.replace(NODE, node.name))) ? [unit] : [],
  )
  const clausesOf = (isRoots: boolean) => {
    const all = otherProcesses.filter(({ process, isLeftOut }) => !isLeftOut && (process.uid === 0) === isRoots)
    const isReader = ({ component = '' }: OtherProcess) =>
      readers.includes(component) && (mayLeaveOut(component) || unitsOf(run.cluster, node.role).includes(component))
    const [components, others] = [all.filter(isReader), all.filter((each) => !isReader(each))]
    const [unread, ...more] = others.filter(({ process }) => process.command.length === 0)
    return [
      ...byUser(components).map((same) => formatComponent(run, node, places, same)),
      ...others.flatMap((other) => {
        const held = other.names.find(({ path }) => isRead(path))
        return held ? [formatOther(other, held)] : []
      }),
      ...(unread ? [formatUnread(unread, more.length)] : []),
    ]
  }
  return { units: [...known, ...copies], ofRoot: clausesOf(true), ofUsers: clausesOf(false) }
}

/** Each of root's; of another user, who may start any number, one of each component, and how many more there are. */
function byUser(all: readonly OtherProcess[]): [OtherProcess, ...OtherProcess[]][] {
  return groupAlike(all, ({ component, process: { id, uid } }) => `${component} ${uid} ${uid === 0 ? id : ''}`)
}

/**
 * A sentence for each unit whose flags still name a path of another file, with how to change all of them: a certificate
 * needs its key.
 */
export function unsetOn(
  { units }: Pick<UnitsFound, 'units'>,
  concerns: (file: string) => boolean = () => true,
): string[] {
  return units.flatMap((unit) => {
    const unset = unit.flags.unset
    if (!unset.some(({ file }) => concerns(file))) return []
    return [formatUnset(unit, unset)]
  })
}

/** Our files of that digest, whole or in part, as they are or as they were: all but those of other nodes. */
function filesAlike({ auth, cluster }: Run, node: ClusterNode, digest: string): string[] {
  const others = new Set(cluster.nodes.flatMap(({ name }) => (name === node.name ? [] : name)))
  const parts = nodeUnits(cluster, node)
    .flatMap(({ files }) => files)
    .filter((place) => place.part !== undefined && digestAt({ auth }, place) === digest)
  const whole = auth.names().flatMap((file) => {
    const { name } = auth.files.parse(file) ?? {}
    return name !== undefined && !others.has(name) && hasDigest(auth, file, digest) ? [file] : []
  })
  return [...whole, ...parts.map(({ file }) => file)]
}

/**
 * Digest → kubeconfig: as each was with an earlier certificate or CA. A run keeps these when it replaces them, but no
 * kubeconfig.
 */
function earlierKubeconfigs(auth: AuthDir): ReadonlyMap<string, string> {
  const swapped = (text: string, present: Buffer, name: string) => {
    const file = auth.files.certificate(name)
    // In a rotation a kubeconfig has more than the CA.
    const all = [present, auth.tryBytes(file) ?? [], backups(auth, file)].flat()
    return all.map((each) => text.replace(present.toString('base64'), each.toString('base64')))
  }
  const rows = auth.names().flatMap((file) => {
    const { kind, name = '' } = auth.files.parse(file) ?? {}
    const text = kind === 'kubeconfig' ? String(auth.tryBytes(file)) : ''
    const present = readEmbedded(text)
    if (!present) return []
    return swapped(text, present.ca, caName)
      .flatMap((each) => swapped(each, present.certificate, name))
      .map((each) => [sha256(Buffer.from(each)), file] as const)
  })
  return new Map(rows)
}

/** One for all, as any user may start any number. */
function formatUnread({ process: { id, group } }: OtherProcess, more: number): string {
  const first = `process ${id} in ${printable(group)}`
  return more > 0
    ? `${first} and ${more} more may be components, with command lines too long to read; stop them`
    : `${first} may be a component, with a command line too long to read; stop it`
}

/**
 * Those of a component and user. Whoever may start any process must not have the component's units left out on all
 * nodes, nor must a second one beside its unit.
 */
function formatComponent(
  { cluster }: Run,
  node: ClusterNode,
  places: PlacesState,
  [{ component = '', process }, ...more]: readonly [OtherProcess, ...OtherProcess[]],
): string {
  const isAlone = process.uid === 0 && processesOf({ unit: component }, places).length === 0
  const isDue = isAlone && unitsOf(cluster, node.role).includes(component)
  const service = /([^/]+)\.service$/.exec(process.group)?.[1] ?? ''
  const ways = [
    'stop it',
    isDue && !['', serviceOf(cluster, component)].includes(service)
      ? `name its unit in cluster.yaml: ${pasteable(`install.units: { ${component}: { unit: ${service} } }`)}`
      : isAlone && mayLeaveOut(component)
        ? `leave ${component} out on all nodes, if you give it its files yourself: ${pasteable(`install.units: { ${component}: false }`)}`
        : isDue && 'run it in a unit',
  ].filter(Boolean)
  const which = more.length > 0 ? `${formatProcess(process)} and ${more.length} more` : formatProcess(process)
  return `${component}, ${which} (${excerpt(process.command.join(' '))}), belongs to no unit in cluster.yaml, so what it reads is not known; ${ways.join(', or ')}`
}

function formatOther({ process }: OtherProcess, { by, path }: OtherProcess['names'][number]): string {
  const program = printable(process.command[0]?.replace(/.*\//, '') ?? '')
  return `${program}, ${formatProcess(process)}, reads ${path} (${by}), which belongs to this cluster; stop it, or give it its own files`
}

function formatProcess({ id, uid, group }: OtherProcess['process']): string {
  return `process ${id}${uid === 0 ? '' : ` of user ${uid}`} in ${printable(group)}`
}
