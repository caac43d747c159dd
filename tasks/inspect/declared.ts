/** Where units read other files than cluster.yaml, or the guide, says: nothing is installed there until both agree. */
import { stringify } from 'yaml'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { NODE } from '../layouts/layout.ts'
import type { UnitOnNode } from './reads.ts'

/**
 * Throws a Failure if a command line of the node names other paths: of the first such unit, with the key of cluster.yaml
 * that says the same.
 */
export function refuseContradicted(node: ClusterNode, units: readonly UnitOnNode[]): void {
  const found = units.find(({ contradicted }) => contradicted.length > 0)
  const [first] = found?.contradicted ?? []
  if (!found || !first) return
  throw new Failure(
    `${found.unit} reads ${first.path} (${first.by}), and cluster.yaml has another path; nothing is installed`,
    {
      node: node.name,
      code: 'contradicted',
      remedy: `if the unit is right, set in cluster.yaml:\n    ${keyFor(node, found)}`,
    },
  )
}

/** `<node>` stands for the name of the node. */
function keyFor(node: ClusterNode, { unit, contradicted, confirmed }: UnitOnNode): string {
  const general = (text: string) => text.replaceAll(node.name, NODE)
  const config = contradicted.find(({ file }) => file === undefined)
  if (config) return `install.units.${unit}.config: ${general(config.path)}`
  const files = [...new Set(contradicted.flatMap(({ file }) => file ?? []))].map((file) => {
    const named = [...contradicted, ...confirmed].filter((each) => each.file === file)
    const paths = Object.fromEntries(named.map(({ setting, path }) => [setting, general(path)]))
    const [path, ...others] = new Set(Object.values(paths))
    return [general(file), others.length === 0 ? path : paths]
  })
  const flow = stringify(Object.fromEntries(files), { collectionStyle: 'flow', lineWidth: 0 })
  return `install.units.${unit}.files: ${flow.trim().replaceAll(/\n */g, ' ')}`
}
