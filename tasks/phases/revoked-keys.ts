/**
 * Phase `revoked-keys`: the list of who is revoked with what is good alone, once those who read a pair whose key is revoked have loaded the
 * new one.
 */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { isKeyEntry } from '../../lib/cluster/problem.ts'
import { isUnreached } from '../../lib/failure.ts'
import { authTarget, isLost, type Target, type Waiting } from '../../lib/graph/target.ts'
import { keysToList, pairsToReplace, wantedList } from '../../lib/kubernetes/authorization.ts'
import { localHolder, nodeFiles } from '../layouts/tables.ts'
import { deployId } from './deploy-targets.ts'
import { installId, listTargets } from './install-targets.ts'
import { changeOf, textsOf, write } from './revoked.ts'

const name = 'revoked-keys'

/** What `revoked-keys` waits for: the nodes that read a pair which is replaced, and whether your kubeconfig does. */
interface Readers {
  readonly nodes: readonly string[]
  readonly isLocal: boolean
}

/** In a walk over everything, after all of it. */
export function targets(cluster: Cluster, { earlier }: { readonly earlier: readonly Target[] }): Target[] {
  if (!cluster.revoked?.some(isKeyEntry)) return []
  const installs = new Map(cluster.nodes.map((node) => [node.name, installId(node)]))
  const local = earlier.filter(({ phase }) => phase === 'local-kubeconfig').map(({ id }) => id)
  const target: Target<Readers> = authTarget({
    id: name,
    phase: name,
    needs: ['revoked'],
    after: [...installs.values(), ...local],
    isOfWhole: true,
    waitsFor: ({ outcomes, found }) => {
      if (!found) return []
      const held = cluster.nodes.flatMap((node) => {
        const id = installs.get(node.name) ?? ''
        return found.nodes.includes(node.name) && isHolding(node, id, outcomes) ? id : []
      })
      const isOpen = (id: string) => isLost(outcomes.get(id))
      const controls = cluster.nodes.flatMap(({ name, role }) => (role === 'control' ? (installs.get(name) ?? []) : []))
      return [...held, ...(found.isLocal ? local.filter(isOpen) : []), ...(controls.every(isOpen) ? controls : [])]
    },
    makes: [],
    wanted: { keys: cluster.revoked.filter(isKeyEntry).toSorted() },
    where: 'auth',
    check: (run) => {
      const keys = keysToList(run)
      // One that will be too long is refused before anything is made.
      const list = wantedList(run)
      if (keys.length > 0) textsOf(run, list)
      const isReplaced = pairsToReplace(run)
      const nodes = cluster.nodes.filter((node) => nodeFiles(cluster, node).some(isReplaced))
      const holder = localHolder(cluster)
      return {
        reasons: keys.length > 0 ? [{ kind: 'revoked-changed', added: keys, removed: [] }] : [],
        // Certificates that are issued before it change `revoked`.
        staysFresh: true,
        found: {
          nodes: nodes.map((each) => each.name),
          isLocal: holder !== undefined && isReplaced(run.auth.files.certificate(holder.name)),
        },
      }
    },
    build: async (run) => {
      const change = changeOf(run, wantedList(run))
      write(run, wantedList(run))
      return { change }
    },
    foresee: (run) => changeOf(run, wantedList(run)),
  })
  return [target, ...listTargets(cluster, name)]
}

/**
 * Who reads the pair has to have loaded the new one. What ssh does not reach holds nothing, nor does a worker that fails: whoever broke
 * into it would decide when its key is revoked. Whoever is root on a control node has more than any list can take.
 */
function isHolding(node: ClusterNode, id: string, outcomes: Waiting['outcomes']): boolean {
  const outcome = outcomes.get(id)
  if (!isLost(outcome)) return outcome !== undefined && 'ownsClient' in outcome && outcome.ownsClient === true
  const cause = outcome?.kind === 'cancelled' ? outcomes.get(deployId(node)) : outcome
  if (cause?.kind !== 'failed') return true
  return node.role === 'control' && !isUnreached(cause.failure)
}
