/**
 * Expiries as metrics, for the textfile collector of Prometheus' node_exporter:
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */
import { type Item, isOurs, isRight, type ReportData } from '../../looks/inventory.ts'
import { rotations, rotationsIn } from '../../rotations/table.ts'

interface Metric {
  readonly name: string
  readonly help: string
  readonly value: (item: Item) => number | undefined
}

const seconds = (date: Date | undefined) => date && Math.floor(date.getTime() / 1000)
const metrics: readonly Metric[] = [
  {
    name: 'harderway_not_after_timestamp_seconds',
    help: 'Expiry of the certificate, or of the one in the kubeconfig.',
    value: ({ certificate }) => seconds(certificate?.notAfter),
  },
  {
    name: 'harderway_end_timestamp_seconds',
    help: 'Effective expiry: the earliest along the chain.',
    value: ({ end }) => seconds(end),
  },
  {
    name: 'harderway_fresh',
    help: 'Whether it is what cluster.yaml asks for.',
    value: ({ state }) => (state === 'fresh' ? 1 : 0),
  },
]

const rotation = {
  name: 'harderway_rotation_stage',
  help: 'Stage of the rotation that is under way; 0 where none is.',
}

export function formatMetrics({ workspace, items, nodes }: ReportData): string {
  const cluster = workspace.cluster.name
  const families = metrics.map(({ name, help, value }) => [
    ...head(name, help),
    ...items.filter(isOurs).flatMap((item) => {
      const number = value(item)
      const { id, node = '', purpose } = item
      return number === undefined ? [] : [`${name}${labels({ cluster, id, node, purpose })} ${number}`]
    }),
  ])
  const onNode = 'harderway_node_right'
  const nodeLines = nodes.map((node) => `${onNode}${labels({ cluster, node: node.node })} ${isRight(node) ? 1 : 0}`)
  const nodeFamily =
    nodes.length > 0 ? [...head(onNode, 'Whether the node has, and has loaded, what is in auth/.'), ...nodeLines] : []
  const rotating = new Map(rotationsIn(workspace).map(({ name, stage }) => [name, stage]))
  const stages = rotations.map(
    ({ name }) => `${rotation.name}${labels({ cluster, rotation: name })} ${rotating.get(name) ?? 0}`,
  )
  const time = 'harderway_report_timestamp_seconds'
  return `${[...families.flat(), ...nodeFamily, ...head(rotation.name, rotation.help), ...stages, ...head(time, 'When these were read.'), `${time}${labels({ cluster })} ${seconds(workspace.now)}`].join('\n')}\n`
}

function head(name: string, help: string): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} gauge`]
}

function labels(values: Readonly<Record<string, string>>): string {
  const quoted = (value: string) => value.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')
  return `{${Object.entries(values)
    .map(([name, value]) => `${name}="${quoted(value)}"`)
    .join(',')}}`
}
