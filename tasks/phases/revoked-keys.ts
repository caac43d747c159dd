/**
 * Phase `revoked-keys`: adds the revoked keys to the list, once everything that reads a pair over such a key has loaded
 * the new one; and the certificates that were replaced, so that API servers count who still uses one.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { isKeyEntry } from '../../lib/cluster/problem.ts'
import { isUnreached } from '../../lib/failure.ts'
import { authorizationConfigFile } from '../../lib/files/auth-dir.ts'
import {
  authTarget,
  type Earlier,
  type Force,
  isLost,
  type Run,
  type Target,
  type Waiting,
} from '../../lib/graph/target.ts'
import { nobody, type RevokedList } from '../../lib/kubernetes/authorization.ts'
import { countingIn, withCounts } from '../../lib/kubernetes/counts.ts'
import { keysToList, listIn, pairsToReplace, wantedList } from '../../lib/kubernetes/revocation.ts'
import type { CheckResult, Reason } from '../../lib/reason.ts'
import { localHolder, nodeFiles } from '../layouts/tables.ts'
import { deployId } from './deploy-targets.ts'
import { installId, listId, listTargets } from './install-targets.ts'
import { changeOf, writeList } from './revoked.ts'
import type { ListFound } from './revoked-list.ts'

const name = 'revoked-keys'

/** What `revoked-keys` waits for: the nodes that read a pair which is replaced, and whether your kubeconfig does. */
interface Readers {
  readonly nodes: readonly string[]
  readonly isLocal: boolean
  /** What it makes. */
  readonly list: RevokedList
}

/** In a walk over everything, after all of it. */
export function targets(cluster: Cluster, { earlier }: { readonly earlier: readonly Target[] }): Target[] {
  const { revoked = [], install } = cluster
  if (cluster.revoked === undefined || !(install || revoked.some(isKeyEntry))) return []
  const local = earlier.filter(({ phase }) => phase === 'local-kubeconfig').map(({ id }) => id)
  const target: Target<Readers> = authTarget({
    id: name,
    phase: name,
    needs: ['revoked'],
    after: [...cluster.nodes.map(installId), ...local],
    isOfWhole: true,
    waitsFor: ({ outcomes, found }) => {
      if (!found) return []
      const readers = cluster.nodes.filter((node) => found.nodes.includes(node.name))
      const held = readers.filter((node) => isHolding(node, installId(node), outcomes)).map(installId)
      const controls = cluster.nodes.filter(({ role }) => role === 'control').map(installId)
      const isOpen = (id: string) => isLost(outcomes.get(id))
      return [...held, ...(found.isLocal ? local.filter(isOpen) : []), ...(controls.every(isOpen) ? controls : [])]
    },
    makes: [],
    wanted: { keys: revoked.filter(isKeyEntry).toSorted() },
    where: 'auth',
    check,
    build: async (run, { found }) => ({ change: writeList(run, found.list) }),
    foresee: (run, { found }) => changeOf(run, found.list),
  })
  return [target, ...listTargets(cluster, name)]
}

/** With certificates to count. Whoever loads a new one in this walk may still use the old. */
function listWith(run: Run, before: Earlier): RevokedList {
  const { auth, cluster, waits } = run
  const list = wantedList(run)
  const kinds = cluster.nodes.map((node) => before.outcomes.get(installId(node))?.kind)
  if (!cluster.install || kinds.includes('built') || kinds.includes('stale')) return list
  const looks = cluster.nodes.map((node) => before.found.get(listId('revoked', node)) as ListFound | undefined)
  const counting = countingIn(
    list,
    looks.flatMap((look) => look?.counts ?? []),
  )
  // Not the run's own moment: what is listed later than that is not counted since then.
  return withCounts({ auth, now: run.clock() }, list, { seconds: waits.polled, counting })
}

function check(run: Run, _force?: Force, before: Earlier = nothingBefore): CheckResult<Readers> {
  const { auth, cluster } = run
  const keys = keysToList(run)
  const isReplaced = pairsToReplace(run)
  const nodes = cluster.nodes.filter((node) => nodeFiles(cluster, node).some(isReplaced))
  const holder = localHolder(cluster)
  const list = listWith(run, before)
  const isOther = !isDeepStrictEqual(list.counted, (listIn(auth) ?? nobody).counted)
  const counted: Reason = { kind: 'content-changed', path: authorizationConfigFile, what: ['counted certificates'] }
  return {
    reasons: [
      ...(keys.length > 0 ? [{ kind: 'revoked-changed' as const, added: keys, removed: [] }] : []),
      ...(isOther ? [counted] : []),
    ],
    // A rebuilt `revoked` adds no key.
    staysFresh: true,
    found: {
      nodes: nodes.map(({ name }) => name),
      isLocal: holder !== undefined && isReplaced(auth.files.certificate(holder.name)),
      list,
    },
  }
}

const nothingBefore: Earlier = { found: new Map(), outcomes: new Map() }

/**
 * Who reads the pair has to have loaded the new one. What ssh does not reach holds nothing, nor does a worker that
 * fails, or seems to get its certificate elsewhere: whoever broke into it would decide when its key is revoked. Whoever
 * is root on a control node has more than any list can take.
 */
function isHolding(node: ClusterNode, id: string, outcomes: Waiting['outcomes']): boolean {
  const outcome = outcomes.get(id)
  if (!isLost(outcome)) return node.role === 'control' && outcome !== undefined && 'ownsClient' in outcome
  const cause = outcome?.kind === 'cancelled' ? outcomes.get(deployId(node)) : outcome
  if (cause?.kind !== 'failed') return true
  return node.role === 'control' && !isUnreached(cause.failure)
}
