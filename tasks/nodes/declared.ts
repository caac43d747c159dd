/**
 * Where units read other files than cluster.yaml, or the guide, says: the error, with the `install` that says what the nodes do. Its owner
 * pastes it; until then nothing is installed there.
 */
import { stringify } from 'yaml'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import { formatDuration, groupAlike } from '../../lib/wording.ts'
import { NODE, type Unit } from '../layouts/layout.ts'
import { nodeUnits } from '../layouts/tables.ts'
import type { Contradiction, UnitSeen } from './reads.ts'

interface Contradicted {
  readonly node: ClusterNode
  readonly units: readonly Pick<UnitSeen, 'unit' | 'contradicted'>[]
}

/** Throws a Failure if a command line of the node names other paths. */
export function refuseContradicted(cluster: Cluster, node: ClusterNode, units: readonly UnitSeen[]): void {
  const found = units.filter(({ contradicted }) => contradicted.length > 0)
  if (found.length === 0) return
  const what = found.map(({ unit, contradicted }) => `${unit}: ${contradicted.map(formatContradiction).join(', ')}`)
  throw new Failure(`${what.join('; ')}; cluster.yaml has other paths, so nothing is installed`, {
    node: node.name,
    code: 'contradicted',
    shared: {
      what: 'units read other paths than cluster.yaml has, so nothing is installed',
      who: node.name,
      place: { node, units: found },
      remedyFor: (places: readonly Contradicted[]) =>
        `if they are right, write this in place of install in cluster.yaml, then ${runAgain}\n${formatInstall(cluster, places)}`,
    },
  })
}

function formatContradiction({ by, path }: Contradiction): string {
  return `${by} names ${path}`
}

/** Files, and the config, of a unit as its node has them. */
interface Declared {
  readonly config?: string
  readonly files: Readonly<Record<string, string | Readonly<Record<string, string>>>>
}

/** YAML: of all nodes what all of them have, of a node what it has alone. */
function formatInstall(cluster: Cluster, places: readonly Contradicted[]): string {
  const { install } = cluster
  if (!install) return ''
  const found = places.flatMap(({ node, units }) =>
    units.map(({ unit, contradicted }) => ({ node, unit, declared: declaredBy(cluster, node, unit, contradicted) })),
  )
  const groups = groupAlike(found, ({ unit, declared }) => JSON.stringify([unit, declared]))
  const isOfAll = ([{ unit }, ...more]: (typeof groups)[number]) =>
    cluster.nodes.filter((node) => nodeUnits(cluster, node).some((each) => each.unit === unit)).length ===
    more.length + 1
  const ofAll = new Map(groups.filter(isOfAll).map(([{ unit, declared }]) => [unit, declared]))
  const names = [...new Set([...install.units.keys(), ...ofAll.keys()])]
  const units = names.map((unit) => {
    const old = install.units.get(unit)
    const { config, files = {} } = ofAll.get(unit) ?? {}
    const merged = old === false ? old : { ...old, ...(config && { config }), files: { ...old?.files, ...files } }
    return [unit, merged && Object.keys(merged.files).length === 0 ? withoutFiles(merged) : merged]
  })
  const { drain, undrain, timeout, sudo } = install
  const block = {
    ...(sudo !== 'sudo -n' && sudo !== '' && { sudo }),
    ...(drain && { drain, undrain }),
    ...(timeout !== 120_000 && { timeout: formatDuration(timeout) }),
    ...(units.length > 0 && { units: Object.fromEntries(units) }),
  }
  const own = groups.filter((group) => !isOfAll(group)).flatMap((group) => [...group])
  const ofNodes = [...Map.groupBy(own, ({ node }) => node.name)].map(([name, all]) => {
    const text = stringify({ units: Object.fromEntries(all.map(({ unit, declared }) => [unit, declared])) })
    return `and in the node ${name}:\n${indent(text)}`
  })
  return [indent(stringify({ install: Object.keys(block).length > 0 ? block : true })), ...ofNodes].join('\n')
}

const withoutFiles = <T extends { files: unknown }>({ files: _, ...rest }: T) => rest

const indent = (text: string) => text.trimEnd().replace(/^/gm, '    ')

/** By file one path, or a path by each of its settings. `<node>` stands for the name of the node. */
function declaredBy(
  cluster: Cluster,
  node: ClusterNode,
  name: string,
  contradicted: readonly Contradiction[],
): Declared {
  const unit = nodeUnits(cluster, node).find((each) => each.unit === name)
  const general = (text: string) => text.replaceAll(node.name, NODE)
  const config = contradicted.find(({ file }) => file === undefined)?.path
  const named = Map.groupBy(
    contradicted.flatMap(({ file, by, path }) => (file === undefined ? [] : [{ file, by, path }])),
    ({ file }) => file,
  )
  const files = [...named].map(([file, others]) => [general(file), pathsOf(unit, file, others, general)])
  return { ...(config !== undefined && { config: general(config) }), files: Object.fromEntries(files) }
}

function pathsOf(
  unit: Unit | undefined,
  file: string,
  others: readonly { readonly by: string; readonly path: string }[],
  general: (text: string) => string,
) {
  const rows = unit?.reads.filter((row) => row.file === file && row.by.length > 0) ?? []
  const all = rows.map(({ by, usual }): [string, string] => {
    const other = others.find((each) => by.includes(each.by))
    return [other?.by ?? by[0] ?? '', general(other?.path ?? usual)]
  })
  const paths = new Set(all.map(([, path]) => path))
  return paths.size === 1 ? all[0]?.[1] : Object.fromEntries(all)
}
