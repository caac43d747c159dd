/** The targets that bring the list of who is revoked to API servers, of phases `install` and `revoked-keys`. */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { authorizationConfigFile } from '../../lib/files/auth-dir.ts'
import type { Target } from '../../lib/graph/target.ts'
import type { UnitsFound } from '../nodes/units.ts'
import type { DeployFound } from './deploy.ts'
import { deployId } from './deploy-targets.ts'

/** The list of who is revoked, from auth/ to each API server: without a restart, and before anything that it names is loaded. */
export function listTargets({ nodes, install, revoked }: Cluster, phase: 'revoked' | 'revoked-keys'): Target[] {
  if (!install || !revoked) return []
  const load = () => import('./revoked-list.ts')
  return nodes
    .filter(({ role }) => role === 'control')
    .map(
      (node): Target<UnitsFound> => ({
        id: listId(phase, node),
        // The first is a part of what is installed; `revoked` alone makes files of auth/.
        phase: phase === 'revoked' ? 'install' : phase,
        node: node.name,
        needs: [phase, deployId(node)],
        makes: [],
        wanted: { list: authorizationConfigFile },
        where: 'node',
        check: async (run, _force, before) => {
          const [first, copied] = [listId('revoked', node), deployId(node)].map((id) => before?.found.get(id))
          const seen = (first as UnitsFound | undefined) ?? (copied as DeployFound | undefined)?.units
          const { warning, ...checked } = await (await load()).checkList(run, node, seen)
          // The first has said it.
          return phase === 'revoked' && warning !== undefined ? { ...checked, warning } : checked
        },
        build: async (run, work) => (await load()).bringList({ run, node }, work),
        foresee: async (_run, work) => (await load()).foreseeList(work),
        ...(phase === 'revoked-keys' && { isOfWhole: true, release: (run) => run.disconnect(node) }),
      }),
    )
}

function listId(phase: 'revoked' | 'revoked-keys', { name }: ClusterNode): string {
  return `${phase}/${name}`
}
