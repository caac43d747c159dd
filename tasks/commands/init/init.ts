/** `init`: the folder of a new cluster, with a cluster.yaml for its nodes. */
import { join } from 'node:path'
import { formatJsonLine } from '../../../lib/views/json-lines.ts'
import { printable, quote } from '../../../lib/wording.ts'
import type { Finding } from '../../looks/exit-status.ts'
import { formatCommand } from '../../request/command.ts'
import type { Call } from '../../request/session.ts'
import { type Asked, parseAsked } from './asked.ts'
import { beginDraft } from './begin.ts'
import { checkDraft } from './check.ts'
import type { Draft } from './draft.ts'
import { addFile, exists, makeFolder, refuseExisting, schemaPath } from './folder.ts'
import { findHosts } from './hosts.ts'
import { findMissing, formatCluster } from './text.ts'

/** Throws a Failure before anything is written. */
export async function init(call: Call): Promise<readonly Finding[]> {
  const asked = parseAsked(call)
  refuseExisting(asked.file)
  const begun = beginDraft(asked)
  // Before ssh is handed a name out of it.
  checkDraft(begun, asked)
  const draft = await findHosts(begun, asked, call)
  checkDraft(draft, asked)
  call.signal.throwIfAborted()
  return tell(draft, write(draft, asked), asked, call)
}

/** cluster.yaml, which comes last: while it is not there, the same command may be given again. */
function write(draft: Draft, { folder, file }: Asked): string {
  makeFolder(folder)
  addFile(join(folder, '.gitignore'), 'auth/\n')
  const text = formatCluster(draft, schemaPath(folder))
  if (!addFile(file, text)) throw exists(file)
  return text
}

function tell(draft: Draft, text: string, asked: Asked, { options, print, clone, cwd }: Call): Finding[] {
  const say = (message: string) => print(options.json ? formatJsonLine({ type: 'note', message }) : printable(message))
  const missing = findMissing(text)
  if (!options.quiet) {
    for (const { name, role, ips } of draft.nodes)
      say(`${name.padEnd(12)} ${role.padEnd(8)} ${ips.join(', ') || 'address unknown'}`)
    say(`${asked.file} is written; ssh logs in as ${draft.ssh.user}`)
  }
  for (const { line, what } of missing) say(`${asked.file}:${line}: missing: ${what}`)
  if (!options.quiet) say(`${missing.length > 0 ? 'then' : 'now'}: ${nextCommand(asked, cwd(), clone)}`)
  return missing.length > 0 ? ['stale'] : []
}

function nextCommand({ file, typedFile, from }: Asked, cwd: string, clone: string | undefined): string {
  const config = file === join(cwd, 'cluster.yaml') ? undefined : typedFile
  const task = from === undefined ? 'bootstrap --dry-run' : `recover --from ${quote(from)}`
  return formatCommand(task, { config, clone })
}
