/** How every command is carried out: lock, connections, failure, end and exit status. */
import { asFailure, tryTo } from '../../lib/failure.ts'
import type { Lock } from '../../lib/files/lock.ts'
import { metricsFile } from '../../lib/files/names.ts'
import { publicMode } from '../../lib/files/plain-file.ts'
import type { Run } from '../../lib/graph/run.ts'
import { type Closing, summarise } from '../../lib/show/summary.ts'
import { count, printable } from '../../lib/wording.ts'
import { exitStatus, type Finding, type Reading, type Worked, type Writing } from '../request/job.ts'
import { checkConfigFile, lockAuth, openSession, type Request, readUnlocked } from '../request/session.ts'
import type { ClusterCommand } from './table.ts'

/** Throws a usage Failure before anything is printed or changed. */
export async function perform(command: ClusterCommand, request: Request): Promise<readonly Finding[]> {
  switch (command.auth) {
    case 'leaves alone':
      return (await command.load())(request)
    case 'reads':
      return read(request, await (await command.load())(request))
    case 'writes':
      return command.loadPlan && request.options.dryRun
        ? read(request, await (await command.loadPlan())(request), { isPlan: true })
        : write(request, await (await command.load())(request))
    default:
      return command satisfies never
  }
}

async function read(request: Request, { graph, read }: Reading, { isPlan = false } = {}): Promise<readonly Finding[]> {
  if (graph) checkConfigFile(request, graph)
  if (isPlan) await announce(request)
  const show = await readUnlocked(request, async () => {
    const { session, close } = openSession(request, () => {})
    return read(session).finally(close)
  })
  return show()
}

async function write(request: Request, { graph, reporter, work, closing }: Writing): Promise<readonly Finding[]> {
  if (graph) checkConfigFile(request, graph)
  if (reporter) await announce(request)
  const started = performance.now()
  const note = reporter?.note ?? request.printError
  const { session, close } = openSession(request, note)
  const { run, signal } = session
  let lock: Lock | undefined
  let worked: Worked
  let end: Closing | undefined
  let findings: readonly Finding[]
  const status = () => exitStatus(findings, request.endedStatus())
  try {
    try {
      run.auth.make()
      lock = await lockAuth(run.auth, request, note)
      worked = await work(session)
    } catch (error) {
      if (!reporter) throw error
      const failure = asFailure(error)
      worked = { outcomes: new Map(), findings: [failure.kind] }
      if (!signal.aborted) reporter.problem(failure)
    }
    end = closing?.(run, worked.outcomes)
    findings = [...worked.findings, ...(end?.caEnds ? ['stale' as const] : [])]
    if (reporter && lock) await recordRun(run, { ended: request.now(), exit: status() })
  } finally {
    await close()
    lock?.release()
  }
  await reporter?.end(summarise(worked.outcomes, (performance.now() - started) / 1000, status(), end))
  return findings
}

/** In the metrics, if auth/ has them. Nothing is decided by it, so a run does not fail where it can't be written. */
async function recordRun({ auth, cluster }: Run, run: { ended: Date; exit: number }): Promise<void> {
  const metrics = tryTo(() => auth.tryBytes(metricsFile))
  if (!metrics) return
  const { replaceLastRun } = await import('./report/metrics.ts')
  const text = replaceLastRun(String(metrics), { cluster: cluster.name, ...run })
  tryTo(() => auth.write(metricsFile, text, publicMode))
}

/** Printed first, so that a wrong folder is noticed before anything is done to its cluster. */
async function announce({ cluster, file, options, print }: Request): Promise<void> {
  const { name, nodes } = cluster
  const size = count(nodes.length, 'node')
  if (options.json) {
    const { formatJsonLine } = await import('../../lib/show/lines.ts')
    print(formatJsonLine({ type: 'cluster', name, file, nodes: nodes.length }))
  } else if (options.format === 'markdown') print(`### Plan for \`${name}\`, ${size}\n`)
  else if (!options.quiet) print(printable(`${name}: ${file}, ${size}`))
}
