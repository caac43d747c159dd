/**
 * Where units read other files than cluster.yaml, or the guide, says: the error, with the `install` that says what the nodes do. Its owner
 * pastes it; until then nothing is installed there.
 */
import { stringify } from 'yaml'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import { formatDuration, groupAlike } from '../../lib/wording.ts'
import { NODE } from '../layouts/layout.ts'
import { nodeUnits } from '../layouts/tables.ts'
import type { UnitSeen } from './reads.ts'

type Contradicting = Pick<UnitSeen, 'unit' | 'contradicted' | 'confirmed'>

interface Contradicted {
  readonly node: ClusterNode
  readonly units: readonly Contradicting[]
}

/** Throws a Failure if a command line of the node names other paths. */
export function refuseContradicted(cluster: Cluster, node: ClusterNode, units: readonly UnitSeen[]): void {
  const found = units.filter(({ contradicted }) => contradicted.length > 0)
  if (found.length === 0) return
  const what = found.map(
    ({ unit, contradicted }) => `${unit}: ${contradicted.map(({ by, path }) => `${by} names ${path}`).join(', ')}`,
  )
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
    units.map((each) => ({ node, unit: each.unit, declared: declaredBy(node, each) })),
  )
  const groups = groupAlike(found, ({ unit, declared }) => JSON.stringify([unit, declared]))
  // What a node has of its own counts before what all have.
  const isOfAll = (group: (typeof groups)[number]) => {
    const [{ unit }] = group
    const due = cluster.nodes.filter((node) => nodeUnits(cluster, node).some((each) => each.unit === unit))
    return due.length === group.length && group.every(({ node }) => !node.units[unit])
  }
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
  const ofNodes = [...Map.groupBy(own, ({ node }) => node)].map(([{ name, units }, all]) => {
    const merged = all.map(({ unit, declared: { files, ...declared } }) => [
      unit,
      { ...units[unit], ...declared, files: { ...units[unit]?.files, ...files } },
    ])
    return `and in the node ${name}:\n${indent(stringify({ units: { ...units, ...Object.fromEntries(merged) } }))}`
  })
  return [indent(stringify({ install: Object.keys(block).length > 0 ? block : true })), ...ofNodes].join('\n')
}

const withoutFiles = <T extends { files: unknown }>({ files: _, ...rest }: T) => rest

const indent = (text: string) => text.trimEnd().replace(/^/gm, '    ')

/** By file one path, or a path by each of its settings. `<node>` stands for the name of the node. */
function declaredBy(node: ClusterNode, { contradicted, confirmed }: Contradicting): Declared {
  const general = (text: string) => text.replaceAll(node.name, NODE)
  const config = contradicted.find(({ file }) => file === undefined)?.path
  const files = [...new Set(contradicted.flatMap(({ file }) => file ?? []))].map((file) => {
    const named = [...contradicted, ...confirmed].filter((each) => each.file === file)
    const paths = new Map(named.map(({ by, path }) => [by, general(path)]))
    const [path, ...others] = new Set(paths.values())
    return [general(file), others.length === 0 ? path : Object.fromEntries(paths)]
  })
  return { ...(config !== undefined && { config: general(config) }), files: Object.fromEntries(files) }
}
