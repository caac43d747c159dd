/** `report`: auth/report.html, one page to read anywhere; or the same expiries as metrics. */
import { Failure, usageFailure } from '../../../lib/failure.ts'
import { publicMode } from '../../../lib/files/plain-file.ts'
import { formatJsonLine } from '../../../lib/show/json-lines.ts'
import { printable } from '../../../lib/wording.ts'
import type { Finding } from '../../looks/exit-status.ts'
import { type ReportData, takeInventory, takeNodeInventory } from '../../looks/inventory.ts'
import { lookOnce, wholeCluster } from '../../looks/look.ts'
import { commandOf } from '../../request/command.ts'
import { authBeside, lockAuth, type Request } from '../../request/session.ts'

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
export async function report(request: Request): Promise<readonly Finding[]> {
  const { options, print, printError, signal } = request
  const name = options.format ?? 'html'
  const chosen = Object.hasOwn(formats, name) ? formats[name] : undefined
  if (!chosen) throw usageFailure(`--format ${name}: report has ${Object.keys(formats).join(', ')}`)
  const auth = authBeside(request.file)
  if (auth.names().every((name) => name.startsWith('.')))
    throw new Failure(`there is nothing in ${auth.path} yet`, {
      remedy: commandOf(request, 'bootstrap'),
    })
  const lock = await lockAuth(auth, request, printError)
  try {
    const seen = await lookOnce(request, wholeCluster(request), auth)
    const text = await chosen.format({ ...seen, items: takeInventory(seen), nodes: takeNodeInventory(seen) })
    if (signal.aborted) return []
    auth.write(chosen.file, text, publicMode)
  } finally {
    lock.release()
  }
  const path = `${auth.path}/${chosen.file}`
  print(options.json ? formatJsonLine({ type: 'report', path }) : printable(path))
  return []
}
