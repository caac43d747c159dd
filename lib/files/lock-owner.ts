/** What stands in a lock's file: who holds it. */
import { readPlainFile } from './plain-file.ts'
import { livenessOf, type ProcessId, parseProcessId } from './process-id.ts'

export interface Owner extends ProcessId {
  /** No two locks have the same. */
  readonly token: string
}

/** `gone`: there is no lock; `nameless`: it is another program's, such as kubectl's. */
export type Holder = 'gone' | 'nameless' | { readonly owner: Owner; readonly beat: number }

/** Opens the file each time: over NFS that asks the server, where a look at the path alone may be a minute old (nfs(5)). */
export function readHolder(path: string): Holder {
  const file = readPlainFile(path)
  if (!file) return 'gone'
  const owner = file.kind === 'file' ? parseOwner(file.bytes.toString()) : undefined
  return owner && file.kind === 'file' ? { owner, beat: file.modified } : 'nameless'
}

export function isHeldBy(holder: Holder, token: string): boolean {
  return typeof holder === 'object' && holder.owner.token === token
}

function parseOwner(text: string): Owner | undefined {
  const id = parseProcessId(text)
  const token: unknown = id && JSON.parse(text).token
  // It becomes part of a file name.
  return id && typeof token === 'string' && /^[0-9a-f-]{36}$/.test(token) ? { ...id, token } : undefined
}

export function formatOwner(holder: Owner | undefined): string {
  if (!holder) return 'another program'
  const where = livenessOf(holder) === 'unknown' ? ', in another container or on another machine' : ''
  return `process ${holder.pid} on ${holder.host}${where}`
}
