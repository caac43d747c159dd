/** What `report --format prometheus` writes: tasks/run/metrics.ts has the names. */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { metricsFile } from '../../../lib/files/auth-dir.ts'
import { isStale, type UnitCheck } from '../../install/check-units.ts'
import { type InstallFound, needReload } from '../../install/install-node.ts'
import { nodeUnits } from '../../layouts/tables.ts'
import type { ListFound } from '../../revoked/on-node.ts'
import { rotations } from '../../rotations/rotations.ts'
import { family, formatLines, isOfLastRun } from '../../run/metrics.ts'
import type { ClusterRow, ClusterRows, Run } from '../../target.ts'
import { untilOf } from '../../views/holders.ts'
import { takeInventory } from '../../views/inventory.ts'
import { rotationsUnderWay } from '../../views/notices.ts'

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
  const ends = (isReplaced: boolean) =>
    [...untilOf(run, (why) => (why === 'replaced') === isReplaced)].map(
      ([name, end]) => [{ cluster, name }, end] as const,
    )
  const lastRun = String(run.auth.tryBytes(metricsFile) ?? '')
    .split('\n')
    .filter(isOfLastRun)
  return formatLines([
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
    ...family('unneeded_certificate_end_timestamp_seconds', ends(false)),
    ...family('earlier_certificate_end_timestamp_seconds', ends(true)),
    ...family('rotation_stage', stages),
    ...family('report_timestamp_seconds', [[{ cluster }, run.now]]),
    ...lastRun,
  ])
}

function stateOf({ cluster }: Run, rows: ClusterRows, node: ClusterNode) {
  const [deploy, install, list] = ['deploy', 'install', 'revoked'].map((phase) => rows.get(`${phase}/${node.name}`))
  if (!deploy) return undefined
  const units = install?.found as InstallFound | undefined
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
    revokedInForce: (list?.found as ListFound | undefined)?.revokedInForce,
    until: install?.until ?? deploy.until,
  }
}

const isUnknown = ({ state, failure }: ClusterRow) => state === 'failed' && failure?.kind !== 'refused'

/** A refusal is an answer: the files there are not ours. So is that they are newer. */
function answerOf(row: ClusterRow | undefined, isSo: (row: ClusterRow) => boolean): boolean | undefined {
  if (row?.state === 'fresh' || row?.state === 'stale') return isSo(row)
  return row?.failure?.kind === 'refused' || row?.failure?.code === 'newer-on-node' ? false : undefined
}
