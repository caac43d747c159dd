/** `report`: auth/report.html, one page to read anywhere; or the same expiries as metrics. */
import { Failure } from '../../../lib/failure.ts'
import { metricsFile } from '../../../lib/files/auth-dir.ts'
import { checkOutput, publicMode, writeOutput } from '../../../lib/files/plain-file.ts'
import { formatJsonLine } from '../../../lib/show/lines.ts'
import { printable } from '../../../lib/wording.ts'
import { writeAuth } from '../../run/access.ts'
import type { CommandRun } from '../../run/command-run.ts'
import type { ExitCause } from '../../run/exit-status.ts'
import { pathOf } from '../../run/host.ts'
import { usage } from '../../run/options.ts'
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
      const seen = await observe(run, graph)
      const text =
        format === 'html'
          ? await (await import('./page.ts')).formatPage(seen)
          : await (await import('./cluster-metrics.ts')).formatMetrics(seen)
      if (!signal.aborted) {
        auth.write(file, text, publicMode)
        if (copy !== undefined) writeOutput(copy, text)
        for (const path of [`${auth.path}/${file}`, copy ?? []].flat())
          print(options.json ? formatJsonLine({ type: 'report', path }) : printable(path))
      }
      return { rows: seen.rows, causes: [] }
    },
  })
}
