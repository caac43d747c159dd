/** Where the units of a node read our files. */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { apiServer, besideKubeconfig, NODE, type Place, type Unit } from '../layouts/layout.ts'
import { layoutOf } from '../layouts/table.ts'

type Placing = Pick<Cluster, 'layout' | 'install'>

/** The units of a node, in the order of the table, as cluster.yaml has them. */
export function nodeUnits(cluster: Placing, { name, role }: Pick<ClusterNode, 'name' | 'role'>): Unit[] {
  const itsOwn = (text: string) => text.replace(NODE, name)
  return layoutOf(cluster).units.flatMap(({ on, ...row }): Unit[] => {
    const override = cluster.install ? cluster.install.units.get(row.unit) : undefined
    if (override === false || !on.includes(role)) return []
    const files = row.files.map((place) => {
      const file = itsOwn(place.file)
      const path = override?.files[place.file] ?? itsOwn(place.path)
      return { ...place, file, path: place.part === 'pair' ? besideKubeconfig(path, file) : path }
    })
    // systemd refuses to start a unit that it has given up: StartLimitBurst= of systemd.unit(5).
    const byDefault = `systemctl reset-failed ${row.unit}; systemctl restart ${row.unit}`
    const restart = override?.restart ?? row.restart ?? byDefault
    return [{ ...row, files, serves: row.serves.map((port) => ({ ...port, name: itsOwn(port.name) })), restart }]
  })
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
  const reads = ({ file, loads }: Place) =>
    loads === 'restart' && files.includes(node ? file.replace(NODE, node) : file)
  return layoutOf(cluster)
    .units.filter((row) => row.files.some(reads))
    .map(({ unit }) => unit)
}
