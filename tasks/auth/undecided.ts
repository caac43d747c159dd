/**
 * Without `revoked` in cluster.yaml nothing says whether a node or user whom a list names is to have access: until
 * cluster.yaml or the list does, they get nothing.
 */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { type Failure, refusal } from '../../lib/failure.ts'
import { authorizationConfigFile } from '../../lib/files/auth-dir.ts'
import type { Run } from '../../lib/graph/target.ts'
import { formatEntries, listIn, namesInUse } from '../../lib/kubernetes/revocation.ts'
import { nobody, type RevokedList } from '../../lib/kubernetes/revoked-list.ts'
import { formatNames } from '../../lib/wording.ts'

type Unlisted = Pick<Run, 'auth' | 'cluster' | 'now' | 'command'>

/** The entries of a list that are names of cluster.yaml, where that has no `revoked`. */
export function undecidedIn({ entries }: RevokedList, cluster: Cluster): string[] {
  if (cluster.revoked !== undefined || entries.length === 0) return []
  const inUse = namesInUse(cluster)
  return entries.filter((entry) => inUse.has(entry))
}

/** What is wrong, and the ways out. `file` has the list. */
export function formatUndecided(
  run: Unlisted,
  { file, list, names }: { readonly file: string; readonly list: RevokedList; readonly names: readonly string[] },
): { what: string; ways: string[] } {
  const who = formatNames(names)
  const them = names.length === 1 ? 'this name' : 'these names'
  return {
    what: `${file} lists ${who} as revoked; cluster.yaml has ${them}, but no revoked`,
    ways: [
      `remove ${who} from cluster.yaml, and add ${formatEntries(run, list.entries)}`,
      `or restore access, with every certificate that is still valid: add revoked without ${who}, then run ${run.command('revoked install')}`,
    ],
  }
}

/** By the list in auth/; of all names, or of one. */
export function findUndecided(run: Unlisted, name?: string): Failure | undefined {
  const { auth } = run
  const list = listIn(auth) ?? nobody
  const names = undecidedIn(list, run.cluster)
  if (names.length === 0 || (name !== undefined && !names.includes(name))) return undefined
  const { what, ways } = formatUndecided(run, { file: `${auth.path}/${authorizationConfigFile}`, list, names })
  return refusal(what, ways)
}
