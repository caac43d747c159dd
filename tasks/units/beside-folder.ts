/**
 * What a node's check tells beside its folder: of its units with `install`, and without it of an API server that is
 * left to its owner.
 */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { tryToAwait } from '../../lib/failure.ts'
import type { Run } from '../../lib/graph/target.ts'
import { asFindings, type CheckResult } from '../../lib/reason.ts'
import { formatDate } from '../../lib/wording.ts'
import { stillListed } from '../folder/guard-list.ts'
import { nodeUnits } from '../layouts/tables.ts'
import { type Life, readSelfMade, renewsFrom } from '../looks/component.ts'
import type { NodeLook } from '../looks/look.ts'
import type { UnitsFound } from './inspect.ts'

/**
 * Of units here, where nodes are checked side by side: `install` checks them in the order of their restarts. Answers
 * are of no use if files are copied first.
 */
export async function lookAtUnitsBeside(run: Run, node: ClusterNode, look: NodeLook, isCopied: boolean) {
  const { lookAtUnits } = await import('./inspect.ts')
  const units: UnitsFound | undefined = isCopied ? undefined : await tryToAwait(() => lookAtUnits(run, node, look))
  return { units }
}

export async function checkLeftToOwner(
  run: Run,
  node: ClusterNode,
  look: NodeLook,
): Promise<Pick<CheckResult<unknown>, 'findings' | 'until' | 'renewsFrom'>> {
  const life = run.isObserved && (await tryToAwait(() => readSelfMade({ run }, node, nodeUnits(run.cluster, node))))
  return {
    ...(life && { until: life.notAfter, renewsFrom: renewsFrom(run, life) }),
    findings: [
      ...asFindings(stillListed(run, node, look), { owner: 'user', nodes: [node.name] }),
      ...asFindings([life && warningOn(run, node, life)]),
    ],
  }
}

/** Without `install` nothing here restarts it. */
function warningOn(run: Run, { name }: ClusterNode, life: Life): string | undefined {
  if (renewsFrom(run, life) > run.now) return undefined
  return `on ${name}, restart kube-apiserver before ${formatDate(life.notAfter, run.now)}, when its loopback certificate expires and it fails: sudo systemctl restart kube-apiserver`
}
