/** What runs on a node and reads files of ours where `install` puts none: a rotation would cut it off. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import type { Run } from '../../lib/graph/run.ts'
import { otherIdentity } from '../../lib/kubernetes/identity.ts'
import { readEmbeddedCa } from '../../lib/kubernetes/kubeconfig.ts'
import { type ComponentProcess, fileAt, type PlacesState, realPath } from '../../lib/node/state.ts'
import { isIssuedBy, readCertificates } from '../../lib/pki/certificate.ts'
import { ownCas } from '../../lib/pki/pair.ts'
import type { Place } from '../layouts/layout.ts'
import { identityFiles, nodeFiles } from '../tables/files.ts'
import { unitsOf } from '../tables/places.ts'
import { formatUnset } from './flags.ts'
import { certificatesIn } from './guards.ts'
import { digestAt, digestOf } from './look.ts'
import { othersOn, type UnitSeen } from './reads.ts'
import type { UnitsFound } from './units.ts'

/** A clause for each that reads one of the files, with what to do. */
export function unreachedOn(
  run: Run,
  node: ClusterNode,
  { units, places }: Pick<UnitsFound, 'units' | 'places'>,
  concerns: (file: string) => boolean = () => true,
): string[] {
  const own = units.filter(({ reads }) => reads.some(({ file }) => concerns(file)))
  const others = othersOn(run.cluster, node, places).flatMap(({ unit, process }) => {
    const held = unit.files.filter((place) => concerns(place.file) && isOurs(run, place, places))
    const isUnits = unitsOf(run.cluster, node.role).includes(unit.unit)
    return held[0] ? [formatOther(unit, process, held[0], isUnits)] : []
  })
  const reached = new Set(units.flatMap(({ files }) => files.map(({ path }) => realPath(places, path))))
  const copies = units.flatMap(({ unit, besides }) =>
    besides.flatMap(({ by, path }) => {
      const digest = reached.has(realPath(places, path)) ? undefined : fileAt(places, path)?.sha256
      const file = digest && nodeFiles(run.cluster, node).find((each) => digestOf(run, each) === digest)
      return file && concerns(file) ? [`${unit}: ${by} (${path}) is a copy of ${file}: name the original there`] : []
    }),
  )
  const unread = places.processes
    .filter(({ command }) => command.length === 0)
    .map(({ id, group }) => `process ${id} in ${group} may be a component, and its command line is too long: stop it`)
  const known = own.flatMap(({ unit, unreached }) => unreached.map((what) => `${unit}: ${what}`))
  return [...known, ...copies, ...others, ...unread]
}

/** A sentence for each unit whose flags still name a path of another file, with how to change all of them: a certificate needs its key. */
export function unsetOn(
  { cluster }: Pick<Run, 'cluster'>,
  { units, places }: Pick<UnitsFound, 'units' | 'places'>,
  concerns: (file: string) => boolean = () => true,
): string[] {
  return units.flatMap((unit) => {
    const { unset } = unit.flags
    const { sudo } = cluster.install || { sudo: '' }
    return unset.some(({ file }) => concerns(file)) ? [formatUnset(unit, unset, { places, sudo })] : []
  })
}

/** A file of ours, or of an earlier time. */
function isOurs(run: Run, place: Place, places: PlacesState): boolean {
  const there = fileAt(places, place.path)?.sha256
  if (there === undefined) return false
  if (there === digestAt(run, place)) return true
  const bytes = places.contents.get(realPath(places, place.path))
  const isIdentity = identityFiles(run.cluster).has(place.file)
  if (isIdentity && bytes && !otherIdentity(place.file, run.auth, bytes)) return true
  const cas = ownCas(run.auth)
  const trusted = readCertificates(bytes ? (readEmbeddedCa(bytes.toString()) ?? '') : '')
  return [...certificatesIn(run.auth, place.file, bytes), ...trusted].some((certificate) =>
    cas.some((ca) => isIssuedBy(certificate, ca)),
  )
}

function formatOther(
  { unit }: UnitSeen,
  { id, group }: ComponentProcess,
  { by, path }: Place,
  isOfNode: boolean,
): string {
  const service = isOfNode ? /([^/]+)\.service$/.exec(group)?.[1] : undefined
  const way =
    service === undefined
      ? `stop it, or ${isOfNode ? 'start it by a unit' : 'have it read files of its own: the layout has none on such a node'}`
      : `name its unit in cluster.yaml, or stop it: install.units: { ${unit}: { unit: ${service} } }`
  return `${unit}, process ${id} in ${group}, reads ${path} (${by}), which is of this cluster: ${way}`
}
