/**
 * Where units read other files than cluster.yaml, or the guide, says: the error, with the `install` that says what the
 * nodes do, all of them at once where all are known. Its owner pastes it; until then nothing is installed there.
 */
import { stringify } from 'yaml'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { formatDuration, groupAlike, pasteable } from '../../lib/wording.ts'
import { NODE } from '../layouts/layout.ts'
import { nodeUnits } from '../layouts/tables.ts'
import type { ClusterRows } from '../target.ts'
import type { UnitOnNode } from './reads.ts'

type Contradicting = Pick<UnitOnNode, 'unit' | 'contradicted' | 'confirmed'>

interface Contradicted {
  readonly node: ClusterNode
  readonly units: readonly Contradicting[]
}

/** Throws a Failure if a command line of the node names other paths. */
export function refuseContradicted(cluster: Cluster, node: ClusterNode, units: readonly UnitOnNode[]): void {
  const found = units.filter(({ contradicted }) => contradicted.length > 0)
  if (found.length === 0) return
  const what = found.map(
    ({ unit, contradicted }) => `${unit} reads ${contradicted.map(({ by, path }) => `${path} (${by})`).join(', ')}`,
  )
  throw new Failure(`${what.join('; ')}; cluster.yaml has other paths, so nothing is installed`, {
    ...{ node: node.name, code },
    remedy: remedyFor(cluster, [{ node, units: found }]),
    cause: { node, units: found } satisfies Contradicted,
  })
}

const code = 'contradicted'

/** What such a Failure was made of. */
const contradictedBy = (failure?: Failure) => (failure?.code === code ? [failure.cause as Contradicted] : [])

function remedyFor(cluster: Cluster, places: readonly Contradicted[]): string {
  return `if they are right, replace install in cluster.yaml with this:\n${formatInstall(cluster, places)}`
}

/**
 * For views that join failures of equal text: those of several nodes become alike, with the `install` for all of them.
 * It is one value of cluster.yaml, so that what is printed for one node would replace what was pasted for another.
 */
export function withOneInstall(cluster: Cluster, rows: ClusterRows): ClusterRows {
  const found = [...rows.values()].flatMap(({ failure }) => contradictedBy(failure))
  const places = [...new Map(found.map((place) => [place.node.name, place])).values()]
  if (places.length < 2) return rows
  const what = 'units read other paths than cluster.yaml has, so nothing is installed'
  const remedy = remedyFor(cluster, places)
  return new Map(
    [...rows].map(([id, row]) => {
      const isOne = row.kind === 'failed' && contradictedBy(row.failure).length > 0
      return [id, isOne ? { ...row, failure: row.failure.with({ what, remedy }) } : row]
    }),
  )
}

/** What a unit of a node has: `config`, or one of its files; a path, or one by each of its settings. */
interface Declared {
  readonly node: ClusterNode
  readonly unit: string
  readonly key: string
  readonly value: string | Readonly<Record<string, string>>
}

const config = 'config'

/** YAML: of all nodes what all of them have, of a node what it has alone. */
function formatInstall({ install, nodes, ...cluster }: Cluster, places: readonly Contradicted[]): string {
  if (!install) return ''
  const items = places.flatMap(({ node, units }) => units.flatMap((unit) => declaredBy(node, unit)))
  // What a node has of its own counts before what all have.
  const isOfAll = (group: readonly Declared[]) => {
    const due = nodes.filter((node) =>
      nodeUnits({ ...cluster, install }, node).some(({ unit }) => unit === group[0]?.unit),
    )
    return due.length === group.length && group.every(({ node, unit }) => !node.units[unit])
  }
  const groups = groupAlike(items, ({ unit, key, value }) => JSON.stringify([unit, key, value]))
  const ofAll = groups.filter(isOfAll).map(([first]) => first)
  const own = groups.filter((group) => !isOfAll(group)).flat()
  const { drain, undrain, timeout, sudo } = install
  const units = withDeclared(Object.fromEntries(install.units), ofAll)
  const block = {
    ...(sudo !== 'sudo -n' && sudo !== '' && { sudo }),
    ...(drain && { drain, undrain }),
    ...(timeout !== 120_000 && { timeout: formatDuration(timeout) }),
    ...(Object.keys(units).length > 0 && { units }),
  }
  const ofNodes = groupAlike(own, ({ node }) => node).map(
    (group) => `and in the node ${group[0].node.name}:\n${indent({ units: withDeclared(group[0].node.units, group) })}`,
  )
  return [indent({ install: Object.keys(block).length > 0 ? block : true }), ...ofNodes].join('\n')
}

/** Units as cluster.yaml has them, with these. */
function withDeclared(
  units: Readonly<Record<string, object | false>>,
  items: readonly Declared[],
): Record<string, unknown> {
  const all = new Map<string, Record<string, unknown> | false>(
    Object.entries(units).map(([unit, has]) => [unit, has && { ...has }]),
  )
  for (const { unit, key, value } of items) {
    const { files, ...has } = all.get(unit) || {}
    all.set(
      unit,
      key === config ? { ...has, config: value, files } : { ...has, files: { ...(files as object), [key]: value } },
    )
  }
  const isEmpty = (value: unknown) =>
    value === undefined || (typeof value === 'object' && Object.keys(value ?? {}).length === 0)
  const short = (has: Record<string, unknown> | false) =>
    has && Object.fromEntries(Object.entries(has).filter(([, value]) => !isEmpty(value)))
  return Object.fromEntries([...all].map(([unit, has]) => [unit, short(has)]))
}

const indent = (value: object) => pasteable(stringify(value, { lineWidth: 0 }).trimEnd().replace(/^/gm, '    '))

/** `<node>` stands for the name of the node. */
function declaredBy(node: ClusterNode, { unit, contradicted, confirmed }: Contradicting): Declared[] {
  const general = (text: string) => text.replaceAll(node.name, NODE)
  return [...new Set(contradicted.map(({ file }) => file))].map((file): Declared => {
    const named = [...contradicted, ...confirmed].filter((each) => each.file === file)
    const paths = new Map(named.map(({ setting, path }) => [setting, general(path)]))
    const [path = '', ...others] = new Set(paths.values())
    const value = others.length === 0 ? path : Object.fromEntries(paths)
    return { node, unit, key: file === undefined ? config : general(file), value }
  })
}
