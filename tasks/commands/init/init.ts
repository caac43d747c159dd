/** `init`: the folder of a new cluster, with a cluster.yaml for its nodes. */
import { join } from 'node:path'
import { formatJsonLine } from '../../../lib/views/json-lines.ts'
import { printable, quote } from '../../../lib/wording.ts'
import type { Finding } from '../../looks/exit-status.ts'
import { formatCommand } from '../../request/command.ts'
import type { Call } from '../../request/session.ts'
import { type Asked, parseAsked } from './asked.ts'
import { beginDraft } from './begin.ts'
import { checkDraft, findBlanks } from './check.ts'
import type { Draft } from './draft.ts'
import { addFile, exists, makeFolder, refuseExisting, schemaPath } from './folder.ts'
import { findHosts } from './hosts.ts'
import { askForBlanks } from './questions.ts'
import { formatCluster } from './text.ts'

/** Throws a Failure before anything is written. */
export async function init(call: Call): Promise<readonly Finding[]> {
  const asked = parseAsked(call)
  refuseExisting(asked.file)
  const begun = beginDraft(asked)
  // Before ssh is handed a name out of it.
  checkDraft(begun, asked)
  const found = await findHosts(begun, asked, call)
  const draft = call.isInteractive ? await askForBlanks(found, call.signal) : found
  checkDraft(draft, asked)
  call.signal.throwIfAborted()
  write(draft, asked)
  return tell(draft, asked, call)
}

/** cluster.yaml comes last: while it is not there, the same command may be given again. */
function write(draft: Draft, { folder, file }: Asked): void {
  makeFolder(folder)
  addFile(join(folder, '.gitignore'), 'auth/\n')
  if (!addFile(file, formatCluster(draft, schemaPath(folder)))) throw exists(file)
}

function tell(draft: Draft, asked: Asked, { options, print, clone, cwd }: Call): Finding[] {
  const say = (message: string) => print(options.json ? formatJsonLine({ type: 'note', message }) : printable(message))
  const blanks = findBlanks(draft)
  if (!options.quiet) {
    for (const { name, role, ips } of draft.nodes)
      say(`${name.padEnd(12)} ${role.padEnd(8)} ${ips.join(', ') || 'address unknown'}`)
    say(`${asked.file} is written; ssh logs in as ${draft.ssh.user}`)
  }
  for (const blank of blanks) say(`missing in ${asked.file}: ${blank}`)
  if (!options.quiet) say(`${blanks.length > 0 ? 'then' : 'now'}: ${nextCommand(asked, cwd(), clone)}`)
  return blanks.length > 0 ? ['stale'] : []
}

function nextCommand({ file, typedFile, from }: Asked, cwd: string, clone: string | undefined): string {
  const config = file === join(cwd, 'cluster.yaml') ? undefined : typedFile
  const task = from === undefined ? 'bootstrap --dry-run' : `recover --from ${quote(from)}`
  return formatCommand(task, { config, clone })
}
