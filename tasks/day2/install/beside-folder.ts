/**
 * What a node's check tells beside its folder: of its units with `install`, and without it of an API server that is
 * left to its owner.
 */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { tryToAwait } from '../../../lib/failure.ts'
import type { Run } from '../../../lib/graph/target.ts'
import { asFindings } from '../../../lib/results.ts'
import { formatDate } from '../../../lib/wording.ts'
import type { Beside } from '../../deploy/deploy-node.ts'
import { type Life, readSelfMade, renewsFrom } from '../../inspect/component.ts'
import type { NodeLook } from '../../inspect/look.ts'
import { nodeUnits } from '../../layouts/tables.ts'
import { stillListed } from '../revoked/guard-list.ts'
import type { UnitsFound } from './look-at-units.ts'

/** `isCopied`: files are copied first, so that answers of units are of no use. */
export async function lookBeside(
  run: Run,
  node: ClusterNode,
  look: NodeLook,
  isCopied: boolean,
): Promise<Beside<UnitsFound>> {
  if (!run.cluster.install) return checkLeftToOwner(run, node, look)
  // Here, where nodes are checked side by side: `install` checks them in the order of their restarts.
  const { lookAtUnits } = await import('./look-at-units.ts')
  return { units: isCopied ? undefined : await tryToAwait(() => lookAtUnits(run, node, look)) }
}

async function checkLeftToOwner(run: Run, node: ClusterNode, look: NodeLook): Promise<Beside<UnitsFound>> {
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
