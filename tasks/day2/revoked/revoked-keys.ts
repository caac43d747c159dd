/**
 * Phase `revoked-keys`: adds the revoked keys to the list, once everything that reads a pair over such a key has loaded
 * the new one.
 */
import type { Cluster, ClusterNode } from '../../../lib/cluster/cluster.ts'
import { isKeyEntry } from '../../../lib/cluster/problem.ts'
import { isUnreached } from '../../../lib/failure.ts'
import { isLost, type Waiting } from '../../../lib/graph/target.ts'
import { pairsToReplace, waitingKeys, wantedList } from '../../../lib/kubernetes/revocation.ts'
import type { RevokedList } from '../../../lib/kubernetes/revoked-list.ts'
import type { CheckResult } from '../../../lib/results.ts'
import { withReplaced } from '../../auth/accepted.ts'
import { localHolder, nodeFiles } from '../../layouts/tables.ts'
import { deployId } from '../../phases/deploy.ts'
import { authTarget, type ClusterTarget, type Run } from '../../target.ts'
import { installId, listTargets } from '../install/install.ts'
import { changeOf, writeList } from './revoked.ts'

const name = 'revoked-keys'

/** What `revoked-keys` waits for: the nodes that read a pair which is replaced, and whether your kubeconfig does. */
interface Readers {
  readonly nodes: readonly string[]
  readonly isLocal: boolean
  /** What it makes. */
  readonly list: RevokedList
}

/** In a walk over everything, after all of it. */
export function targets(
  cluster: Cluster,
  { earlier }: { readonly earlier: readonly ClusterTarget[] },
): ClusterTarget[] {
  const { revoked = [] } = cluster
  if (!revoked.some(isKeyEntry)) return []
  const local = earlier.filter(({ phase }) => phase === 'local-kubeconfig').map(({ id }) => id)
  const target: ClusterTarget<Readers> = authTarget({
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

function check(run: Run): CheckResult<Readers> {
  const { auth, cluster } = run
  const keys = waitingKeys(run)
  const isReplaced = pairsToReplace(run)
  const nodes = cluster.nodes.filter((node) => nodeFiles(cluster, node).some(isReplaced))
  const holder = localHolder(cluster)
  return {
    reasons: keys.length > 0 ? [{ kind: 'revoked-changed', added: keys, removed: [] }] : [],
    // A rebuilt `revoked` adds no key.
    staysFresh: true,
    found: {
      nodes: nodes.map(({ name }) => name),
      isLocal: holder !== undefined && isReplaced(auth.files.certificate(holder.name)),
      list: withReplaced(run, wantedList(run)),
    },
  }
}

/**
 * Who reads the pair has to have loaded the new one. What ssh does not reach holds nothing, nor does a worker that
 * fails: whoever broke into it would decide when its key is revoked. Whoever is root on a control node has more than any
 * list can take.
 */
function isHolding(node: ClusterNode, id: string, outcomes: Waiting['outcomes']): boolean {
  const outcome = outcomes.get(id)
  if (!isLost(outcome)) return false
  const cause = outcome?.kind === 'cancelled' ? outcomes.get(deployId(node)) : outcome
  if (cause?.kind !== 'failed') return true
  return node.role === 'control' && !isUnreached(cause.failure)
}
