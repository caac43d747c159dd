/** `report`: auth/report.html, one page to read anywhere; or the same expiries as metrics. */
import { Failure } from '../../../lib/failure.ts'
import { metricsFile } from '../../../lib/files/names.ts'
import { publicMode, replaceFile } from '../../../lib/files/plain-file.ts'
import { formatJsonLine } from '../../../lib/show/lines.ts'
import { printable } from '../../../lib/wording.ts'
import { commandOf } from '../../request/host.ts'
import {
  type Item,
  isOurs,
  type ReportData,
  type Rollout,
  takeInventory,
  takeNodeInventory,
} from '../../request/inventory.ts'
import type { Writing } from '../../request/job.ts'
import { look, wholeCluster } from '../../request/observe.ts'
import { usage } from '../../request/options.ts'
import { authBeside, type Request } from '../../request/session.ts'
import { rotations } from '../../rotations/table.ts'
import { rotationsUnderWay } from '../../rotations/under-way.ts'
import { family, formatLines, readLastRun, type Value } from './metrics.ts'

/** Throws a usage Failure for an unknown format, and a Failure if auth/ does not exist. */
export function report(request: Request): Writing {
  const { options, print, signal } = request
  const { format = 'html' } = options
  if (format !== 'html' && format !== 'prometheus')
    throw usage(`--format ${format}: report has html, prometheus`, 'report')
  const file = format === 'html' ? 'report.html' : metricsFile
  const auth = authBeside(request)
  if (auth.names().every((name) => name.startsWith('.')))
    throw new Failure(`there is nothing in ${auth.path} yet`, { remedy: commandOf(request, 'bootstrap') })
  const scope = wholeCluster(request)
  const copy = options.output === undefined ? undefined : request.pathOf(options.output)
  return {
    graph: scope.graph,
    work: async (session) => {
      const seen = await look(session, scope)
      const data = { ...seen, items: takeInventory(seen), nodes: takeNodeInventory(seen) }
      const text = await (format === 'html' ? (await import('./page.ts')).formatPage(data) : formatMetrics(data))
      if (!signal.aborted) {
        session.run.auth.write(file, text, publicMode)
        if (copy !== undefined) replaceFile(copy, text, publicMode, { durable: false })
        for (const path of [`${auth.path}/${file}`, copy ?? []].flat())
          print(options.json ? formatJsonLine({ type: 'report', path }) : printable(path))
      }
      return { outcomes: seen.outcomes, findings: [] }
    },
  }
}

export async function formatMetrics({ run, items, nodes }: ReportData): Promise<string> {
  const cluster = run.cluster.name
  const ofItems = (value: (item: Item) => Value) =>
    items.filter(isOurs).map((item) => {
      const { id, node = '', purpose } = item
      return [{ cluster, id, node, purpose }, value(item)] as const
    })
  const ofNodes = (state: keyof Rollout) => nodes.map((item) => [{ cluster, node: item.node }, item[state]] as const)
  const underWay = await rotationsUnderWay(run)
  const stages = new Map(underWay.map(({ name, stage }) => [name, stage]))
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
    family(
      'node_inspected',
      'Whether the node could be looked at.',
      nodes.map(({ node, state, deployed }) => [{ cluster, node }, state !== 'failed' && deployed !== undefined]),
    ),
    family('node_deployed', 'Whether the node has the files of auth/.', ofNodes('deployed')),
    family('node_installed', 'Whether they are where the units of the node read them.', ofNodes('installed')),
    family('node_loaded', 'Whether the units of the node have loaded them.', ofNodes('loaded')),
    family(
      'rotation_stage',
      'Stage of the rotation that is under way; 0 where none is.',
      rotations.map(({ name }) => [{ cluster, rotation: name }, stages.get(name) ?? 0]),
    ),
    family('report_timestamp_seconds', 'When these were read.', [[{ cluster }, run.now]]),
  ]
  const lastRun = readLastRun(String(run.auth.tryBytes(metricsFile) ?? ''))
  return formatLines([...families.flat(), ...lastRun])
}
