/**
 * Metrics for node_exporter's textfile collector: what `report --format prometheus` writes.
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { isStale, type UnitCheck } from '../install/check-units.ts'
import { type InstallLook, needReload } from '../install/install.ts'
import { nodeUnits } from '../layouts/tables.ts'
import type { ListLook } from '../revoked/revoked.ts'
import { rotations } from '../rotations/rotations.ts'
import type { ClusterRow, ClusterRows, Run } from '../target.ts'
import { rotationsUnderWay, takeInventory } from '../views/observe.ts'

export async function formatMetrics({ run, rows }: { readonly run: Run; readonly rows: ClusterRows }): Promise<string> {
  const { name: cluster, nodes, revoked } = run.cluster
  const items = [...takeInventory(run, rows).values()].map((item) => {
    const { id, node = '', purpose = '' } = item.row.target
    return [{ cluster, id, node, purpose }, item] as const
  })
  const each = nodes.flatMap((node) => {
    const state = stateOf(run, rows, node)
    return state ? [[{ cluster, node: node.name }, state] as const] : []
  })
  const underWay = new Map((await rotationsUnderWay(run)).map(({ name, stage }) => [name, stage]))
  const stages = rotations.map(({ name }) => [{ cluster, rotation: name }, underWay.get(name) ?? 0] as const)
  const lines = [
    ...family('not_after_timestamp_seconds', items, ({ certificate }) => certificate?.notAfter),
    ...family('end_timestamp_seconds', items, ({ end }) => end),
    ...family('fresh', items, ({ row }) => row.state === 'fresh'),
    ...family('node_inspected', each, ({ inspected }) => inspected),
    ...family('node_deployed', each, ({ deployed }) => deployed),
    ...family('node_installed', each, ({ installed }) => installed),
    ...family('node_loaded', each, ({ loaded }) => loaded),
    ...family('node_api_server_end_timestamp_seconds', each, ({ until }) => until),
    ...family('revoked_entries', revoked ? [[{ cluster }, revoked.length]] : []),
    ...family('revoked_in_force', each, ({ revokedInForce }) => revokedInForce),
    ...family('rotation_stage', stages),
    ...family('report_timestamp_seconds', [[{ cluster }, run.now]]),
  ]
  return lines.map((line) => `${line}\n`).join('')
}

function stateOf({ cluster }: Run, rows: ClusterRows, node: ClusterNode) {
  const [deploy, install, list] = ['deploy', 'install', 'revoked'].map((phase) => rows.get(`${phase}/${node.name}`))
  if (!deploy) return undefined
  const units = install?.found as InstallLook | undefined
  const checks = units?.checks ?? []
  // Where no unit is due, nothing is there to be installed or loaded.
  const due = cluster.install !== false && nodeUnits(cluster, node).length > 0 ? install : undefined
  const have = (isWrong: (check: UnitCheck) => boolean) =>
    answerOf(due, () => checks.length > 0 && !checks.some(isWrong))
  const isReloaded = (units === undefined || needReload(units).length === 0) && !list?.todo?.length
  const deployed = answerOf(deploy, ({ diffs }) => diffs.length === 0)
  return {
    deployed,
    inspected: deployed !== undefined && ![deploy, install, list].some((row) => row && isUnknown(row)),
    installed: have(({ places }) => places.length > 0),
    // What is not installed yet is loaded by nobody.
    loaded: units && checks.length === 0 ? undefined : have(isStale) && isReloaded,
    revokedInForce: (list?.found as ListLook | undefined)?.revokedInForce,
    until: install?.until ?? deploy.until,
  }
}

const isUnknown = ({ state, failure }: ClusterRow) => state === 'failed' && failure?.kind !== 'refused'

/** A refusal is an answer: the files there are not ours. So is that they are newer. */
function answerOf(row: ClusterRow | undefined, isSo: (row: ClusterRow) => boolean): boolean | undefined {
  if (row?.state === 'fresh' || row?.state === 'stale') return isSo(row)
  return row?.failure?.kind === 'refused' || row?.failure?.code === 'newer-on-node' ? false : undefined
}

type MetricValue = number | boolean | Date | undefined

/** The HELP of each, in which the label `cluster` needs no word. */
const help = {
  not_after_timestamp_seconds: 'Expiry of the certificate, or of the one in the kubeconfig.',
  end_timestamp_seconds: 'Effective expiry: the earliest along the chain.',
  fresh: '1 if it is up to date, else 0.',
  node_inspected: '1 if the node was inspected, else 0.',
  node_deployed: '1 if the node has the files of auth/, else 0.',
  node_installed: '1 if these files are where its units read them, else 0.',
  node_loaded: '1 if its units have loaded them, else 0.',
  node_api_server_end_timestamp_seconds: 'Expiry of the loopback certificate of its API server.',
  revoked_entries: 'Number of entries of revoked in cluster.yaml.',
  revoked_in_force: 'Number of these entries that its API server denies; 0 if it does not run.',
  rotation_stage: 'Stage of the rotation in progress, else 0.',
  report_timestamp_seconds: 'Time of this report.',
}

function family<T = MetricValue>(
  name: keyof typeof help,
  samples: readonly (readonly [labels: Readonly<Record<string, string>>, T])[],
  read: (of: T) => MetricValue = (of) => of as MetricValue,
): string[] {
  const lines = samples.flatMap(([labels, of]) => {
    // JSON escapes what Prometheus does, and no label here has more.
    const pairs = Object.entries(labels).map(([label, text]) => `${label}=${JSON.stringify(text)}`)
    const value = read(of)
    const number = value instanceof Date ? Math.floor(value.getTime() / 1000) : Number(value)
    return value === undefined ? [] : [`harderway_${name}{${pairs}} ${number}`]
  })
  return lines.length === 0
    ? []
    : [`# HELP harderway_${name} ${help[name]}`, `# TYPE harderway_${name} gauge`, ...lines]
}
