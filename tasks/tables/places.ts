/** Where the units of a node read our files. */
import type { Cluster, ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { apiServer, mergePlaces, NODE, placesAt, type Reads, type Unit, type UnitRow } from '../layouts/layout.ts'
import { layoutOf } from '../layouts/table.ts'
import { isKeptOff, type Keeping } from './files.ts'

type UnitOverride = Exclude<ReturnType<Install['units']['get']>, false | undefined>
type Placing = Keeping & Pick<Cluster, 'install'>

/** The units of a node, in the order of the table, as cluster.yaml has them. */
export function nodeUnits(cluster: Placing, { name, role }: Pick<ClusterNode, 'name' | 'role'>): Unit[] {
  return layoutOf(cluster).units.flatMap((row): Unit[] => {
    const override = cluster.install ? cluster.install.units.get(row.unit) : undefined
    return override === false || !row.on.includes(role)
      ? []
      : [unitOf(row, name, override, (file) => isKeptOff(cluster, file))]
  })
}

function unitOf(
  { on, ...row }: UnitRow,
  node: string,
  override: Partial<UnitOverride> = {},
  isWithdrawn: (file: string) => boolean = () => false,
): Unit {
  const itsOwn = (text: string) => text.replace(NODE, node)
  const all = row.reads.map((each) => ({
    ...each,
    file: itsOwn(each.file),
    usual: override.files?.[each.file] ?? itsOwn(each.usual),
  }))
  const reads = all.filter(({ file }) => !isWithdrawn(file))
  const withdrawn = all.filter(({ file }) => isWithdrawn(file))
  const files = mergePlaces(reads.flatMap((each) => placesAt(each, each.usual, each.by[0] ?? '')))
  const service = override.unit ?? row.unit
  // systemd refuses to start a unit that it has given up: StartLimitBurst= of systemd.unit(5).
  const byDefault = `systemctl reset-failed ${service}; systemctl restart ${service}`
  const restart = override.restart ?? row.restart ?? byDefault
  const serves = row.serves.map((port) => ({ ...port, name: itsOwn(port.name) }))
  return { ...row, reads, withdrawn, files, serves, service, restart }
}

/** Even those that cluster.yaml leaves out. */
export function unitsOf(cluster: Placing, role: ClusterNode['role']): string[] {
  return layoutOf(cluster)
    .units.filter(({ on }) => on.includes(role))
    .map(({ unit }) => unit)
}

/** What a restart of these units interrupts; undefined where another node serves the same meanwhile. */
export function outageOf({ nodes }: Cluster, restarts: readonly string[]): string | undefined {
  const [control, ...more] = nodes.filter(({ role }) => role === 'control')
  if (!control || more.length > 0 || !restarts.includes(apiServer)) return undefined
  return `${control.name} has the only API server: while it is restarted, the API is away for about a minute, or for seconds where it has --shutdown-watch-termination-grace-period=2s`
}

/** The units that read one of the files only at their start, wherever they run. */
export function unitsToRestart(cluster: Placing, files: readonly string[], node?: string): string[] {
  const isAtStart = ({ file, loads }: Reads) =>
    loads === 'restart' && files.includes(node ? file.replace(NODE, node) : file)
  return layoutOf(cluster)
    .units.filter((row) => row.reads.some(isAtStart))
    .map(({ unit }) => unit)
}
