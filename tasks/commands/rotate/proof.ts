/** Proofs as targets: once every node has loaded a stage, its components are asked for what it promises. */
import type { Target } from '../../../lib/targets/target.ts'
import type { Rotating, Stage } from '../../rotations/rotation.ts'

export const proofPhase = { name: 'proof', title: 'Proof', makes: 'an answer of each component' }

export function proofTargets(rotating: Rotating, { prove, proof }: Stage, earlier: readonly Target[]): Target[] {
  if (!prove) return []
  const { name: phase } = proofPhase
  const after = earlier.filter(({ where }) => where === 'node').map(({ id }) => id)
  return rotating.workspace.cluster.nodes
    .filter(({ role }) => role !== 'gateway')
    .map((node) => ({
      id: `${phase}/${node.name}`,
      phase,
      node: node.name,
      needs: [],
      after,
      makes: [],
      where: 'node',
      // Asking may write, and so is no look.
      check: () => ({ reasons: [{ kind: 'rotation', what: proof }] }),
      build: async (_, { signal }) => ({
        change: { kind: 'proven', units: await prove({ ...rotating, signal }, node) },
      }),
      release: (workspace) => workspace.disconnect(node),
    }))
}
