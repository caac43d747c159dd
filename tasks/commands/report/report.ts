/** `report`: auth/report.html, one page to read anywhere; or the same expiries as metrics. */
import { Failure } from '../../../lib/failure.ts'
import { metricsFile } from '../../../lib/files/auth-dir.ts'
import { checkOutput, publicMode, writeOutput } from '../../../lib/files/plain-file.ts'
import { formatJsonLine } from '../../../lib/show/lines.ts'
import { printable } from '../../../lib/wording.ts'
import { rotations } from '../../day2/rotations/rotations.ts'
import { writeAuth } from '../../run/access.ts'
import type { CommandRun } from '../../run/command-run.ts'
import type { ExitCause } from '../../run/exit-status.ts'
import { pathOf } from '../../run/host.ts'
import { family, formatLines, isOfLastRun } from '../../run/metrics.ts'
import { usage } from '../../run/options.ts'
import { untilOf } from '../../views/holders.ts'
import { type Inventory, type NodeItem, takeInventory } from '../../views/inventory.ts'
import { rotationsUnderWay } from '../../views/notices.ts'
import { observe, wholeCluster } from '../../views/observe.ts'

/** Throws a usage Failure for an unknown format, and a Failure if auth/ does not exist. */
export async function report(given: CommandRun): Promise<readonly ExitCause[]> {
  const { auth, command, host, options, print, signal } = given
  const { format = 'html' } = options
  if (format !== 'html' && format !== 'prometheus')
    throw usage(`--format ${format}: expected html or prometheus`, 'report')
  const file = format === 'html' ? 'report.html' : metricsFile
  if (!auth.hasFiles())
    throw new Failure(`nothing to report: ${auth.path} has no files yet`, {
      remedy: `create them:\n    ${command('bootstrap')}`,
    })
  const graph = await wholeCluster(given)
  const copy = options.output === undefined ? undefined : pathOf(host, options.output)
  if (copy !== undefined) checkOutput(copy, auth.path)
  return writeAuth(given, {
    graph,
    work: async (run) => {
      const inventory = takeInventory(await observe(run, graph))
      const text =
        format === 'html' ? await (await import('./page.ts')).formatPage(inventory) : await formatMetrics(inventory)
      if (!signal.aborted) {
        auth.write(file, text, publicMode)
        if (copy !== undefined) await writeOutput(copy, text, signal)
        for (const path of [`${auth.path}/${file}`, copy ?? []].flat())
          print(options.json ? formatJsonLine({ type: 'report', path }) : printable(path))
      }
      return { rows: inventory.rows, causes: [] }
    },
  })
}

export async function formatMetrics({ run, items, nodes }: Inventory): Promise<string> {
  const { name: cluster, revoked } = run.cluster
  const ours = items.flatMap((item) => {
    const { id, node = '', purpose, where } = item
    // Whoever runs it has a kubeconfig of their own.
    return where === 'kubeconfig' ? [] : [[{ cluster, id, node, purpose }, item] as const]
  })
  const each = nodes.map((item) => [{ cluster, node: item.node }, item] as const)
  const underWay = new Map((await rotationsUnderWay(run)).map(({ name, stage }) => [name, stage]))
  const stages = rotations.map(({ name }) => [{ cluster, rotation: name }, underWay.get(name) ?? 0] as const)
  const isInspected = ({ state, deployed }: NodeItem) => state !== 'failed' && deployed !== undefined
  const lastRun = String(run.auth.tryBytes(metricsFile) ?? '')
    .split('\n')
    .filter(isOfLastRun)
  return formatLines([
    ...family('not_after_timestamp_seconds', ours, ({ certificate }) => certificate?.notAfter),
    ...family('end_timestamp_seconds', ours, ({ end }) => end),
    ...family('fresh', ours, ({ state }) => state === 'fresh'),
    ...family('node_inspected', each, isInspected),
    ...family('node_deployed', each, ({ deployed }) => deployed),
    ...family('node_installed', each, ({ installed }) => installed),
    ...family('node_loaded', each, ({ loaded }) => loaded),
    ...family('node_api_server_end_timestamp_seconds', each, ({ until }) => until),
    ...family('revoked_entries', revoked ? [[{ cluster }, revoked.length]] : []),
    ...family('revoked_in_force', each, ({ revokedInForce }) => revokedInForce),
    ...family(
      'unneeded_certificate_end_timestamp_seconds',
      [...untilOf(run, (why) => why !== 'replaced')].map(([name, end]) => [{ cluster, name }, end]),
    ),
    ...family(
      'earlier_certificate_end_timestamp_seconds',
      [...untilOf(run, (why) => why === 'replaced')].map(([name, end]) => [{ cluster, name }, end]),
    ),
    ...family('rotation_stage', stages),
    ...family('report_timestamp_seconds', [[{ cluster }, run.now]]),
    ...lastRun,
  ])
}
