/**
 * Expiries as metrics, for the textfile collector of Prometheus' node_exporter:
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */
import { type Item, isOurs, type ReportData, type Rollout } from '../../request/inventory.ts'
import { rotations, rotationsIn } from '../../rotations/table.ts'

type Labels = Readonly<Record<string, string>>
type Value = number | boolean | Date | undefined

/** A metric, and its value for each set of labels; one that is undefined has no line. */
function family(name: string, help: string, samples: readonly (readonly [Labels, Value])[]): string[] {
  const lines = samples.flatMap(([each, value]) =>
    value === undefined ? [] : [`harderway_${name}${labels(each)} ${numberOf(value)}`],
  )
  return lines.length === 0 ? [] : [`# HELP harderway_${name} ${help}`, `# TYPE harderway_${name} gauge`, ...lines]
}

function numberOf(value: NonNullable<Value>): number {
  return value instanceof Date ? Math.floor(value.getTime() / 1000) : Number(value)
}

export function formatMetrics({ workspace, items, nodes }: ReportData): string {
  const cluster = workspace.cluster.name
  const ofItems = (value: (item: Item) => Value) =>
    items.filter(isOurs).map((item) => {
      const { id, node = '', purpose } = item
      return [{ cluster, id, node, purpose }, value(item)] as const
    })
  const ofNodes = (state: keyof Rollout) => nodes.map((item) => [{ cluster, node: item.node }, item[state]] as const)
  const stages = new Map(rotationsIn(workspace).map(({ name, stage }) => [name, stage]))
  const families = [
    family(
      'not_after_timestamp_seconds',
      'Expiry of the certificate, or of the one in the kubeconfig.',
      ofItems(({ certificate }) => certificate?.notAfter),
    ),
    family(
      'end_timestamp_seconds',
      'Effective expiry: the earliest along the chain.',
      ofItems(({ end }) => end),
    ),
    family(
      'fresh',
      'Whether it matches cluster.yaml.',
      ofItems(({ state }) => state === 'fresh'),
    ),
    family('node_deployed', 'Whether the node has the files of auth/.', ofNodes('deployed')),
    family('node_installed', 'Whether they are where the units of the node read them.', ofNodes('installed')),
    family('node_loaded', 'Whether the units of the node have loaded them.', ofNodes('loaded')),
    family(
      'rotation_stage',
      'Stage of the rotation that is under way; 0 where none is.',
      rotations.map(({ name }) => [{ cluster, rotation: name }, stages.get(name) ?? 0]),
    ),
    family('report_timestamp_seconds', 'When these were read.', [[{ cluster }, workspace.now]]),
  ]
  return `${families.flat().join('\n')}\n`
}

function labels(values: Labels): string {
  const quoted = (value: string) => value.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')
  return `{${Object.entries(values)
    .map(([name, value]) => `${name}="${quoted(value)}"`)
    .join(',')}}`
}
