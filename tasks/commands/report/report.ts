/** `report`: auth/report.html, one page to read anywhere; or the same expiries as metrics. */
import { Failure, usageFailure } from '../../../lib/failure.ts'
import { publicMode } from '../../../lib/files/plain-file.ts'
import { formatJsonLine } from '../../../lib/show/json-lines.ts'
import { printable } from '../../../lib/wording.ts'
import { commandOf } from '../../request/command.ts'
import { type ReportData, takeInventory, takeNodeInventory } from '../../request/inventory.ts'
import type { Writing } from '../../request/job.ts'
import { look, wholeCluster } from '../../request/look.ts'
import { authBeside, type Request } from '../../request/session.ts'

interface Format {
  readonly file: string
  readonly format: (data: ReportData) => Promise<string>
}

const formats: Readonly<Record<string, Format>> = {
  html: { file: 'report.html', format: async (data) => (await import('./page.ts')).formatPage(data) },
  prometheus: {
    file: 'report.prom',
    format: async (data) => (await import('./metrics.ts')).formatMetrics(data),
  },
}

/** Throws a usage Failure for an unknown format, and a Failure if auth/ does not exist. */
export function report(request: Request): Writing {
  const { options, print, signal } = request
  const name = options.format ?? 'html'
  const chosen = Object.hasOwn(formats, name) ? formats[name] : undefined
  if (!chosen) throw usageFailure(`--format ${name}: report has ${Object.keys(formats).join(', ')}`)
  const auth = authBeside(request.file)
  if (auth.names().every((name) => name.startsWith('.')))
    throw new Failure(`there is nothing in ${auth.path} yet`, { remedy: commandOf(request, 'bootstrap') })
  const scope = wholeCluster(request)
  return {
    graph: scope.graph,
    work: async (session) => {
      const seen = await look(session, scope)
      const text = await chosen.format({ ...seen, items: takeInventory(seen), nodes: takeNodeInventory(seen) })
      if (!signal.aborted) {
        session.workspace.auth.write(chosen.file, text, publicMode)
        const file = `${auth.path}/${chosen.file}`
        print(options.json ? formatJsonLine({ type: 'report', path: file }) : printable(file))
      }
      return { outcomes: seen.outcomes, findings: [] }
    },
  }
}
