/**
 * Without `revoked` in cluster.yaml nothing says whether a node or user whom a list names is to have access: until
 * cluster.yaml or the list does, they get nothing.
 */
import { type Failure, refusal } from '../../lib/failure.ts'
import { authorizationConfigFile } from '../../lib/files/auth-dir.ts'
import { formatEntries, listIn, namesInUse } from '../../lib/kubernetes/revocation.ts'
import { nobody, type RevokedList } from '../../lib/kubernetes/revoked-list.ts'
import { formatNames } from '../../lib/wording.ts'
import type { Run } from '../target.ts'

type Unlisted = Pick<Run, 'auth' | 'cluster' | 'now' | 'command'>

/** By a list, which `file` has: what is wrong, and the ways out. */
export function findUndecidedIn(run: Unlisted, file: string, { entries }: RevokedList): Failure | undefined {
  const { cluster, command } = run
  if (cluster.revoked !== undefined || entries.length === 0) return undefined
  const inUse = namesInUse(cluster)
  const names = entries.filter((entry) => inUse.has(entry))
  if (names.length === 0) return undefined
  const who = formatNames(names)
  const them = names.length === 1 ? 'this name' : 'these names'
  return refusal(`${file} lists ${who} as revoked; cluster.yaml has ${them}, but no revoked`, [
    `remove ${who} from cluster.yaml, and add ${formatEntries(run, entries)}`,
    `or restore access, with every certificate that is still valid: add revoked without ${who}, then run ${command('revoked install')}`,
  ])
}

/** By the list in auth/; of all names, or of one. */
export function findUndecided(run: Unlisted, name?: string): Failure | undefined {
  const { auth } = run
  const list = listIn(auth) ?? nobody
  if (name !== undefined && !list.entries.includes(name)) return undefined
  return findUndecidedIn(run, `${auth.path}/${authorizationConfigFile}`, list)
}
