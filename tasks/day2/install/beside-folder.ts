/**
 * What a node's check tells beside its folder: of its units with `install`, and without it of an API server that is
 * left to its owner.
 */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { tryToAwait } from '../../../lib/failure.ts'
import { texts } from '../../../lib/results.ts'
import { formatDate } from '../../../lib/wording.ts'
import type { Beside } from '../../deploy/folder.ts'
import { type Life, type OnNode, readSelfMade, renewsFrom } from '../../inspect/component.ts'
import type { NodeLook } from '../../inspect/look.ts'
import { nodeUnits } from '../../layouts/tables.ts'
import type { Run } from '../../target.ts'
import { guardList } from '../revoked/revoked.ts'

/** Throws a refusal for a list of who is revoked that is longer than that of cluster.yaml. */
export async function lookBeside({ run, node }: OnNode, look: NodeLook, isCopied: boolean): Promise<Beside> {
  guardList(run, node, look)
  if (!run.cluster.install) return checkLeftToOwner(run, node)
  // Here, where nodes are checked side by side: `install` checks them in the order of their restarts.
  const { lookAtUnits } = await import('./look-at-units.ts')
  return { units: isCopied ? undefined : await tryToAwait(() => lookAtUnits(run, node, look)) }
}

async function checkLeftToOwner(run: Run, node: ClusterNode): Promise<Beside> {
  const life = run.isObserved && (await tryToAwait(() => readSelfMade({ run }, node, nodeUnits(run.cluster, node))))
  return {
    ...(life && { until: life.notAfter }),
    warn: texts(life && warningOn(run, node, life)),
  }
}

/** Without `install` nothing here restarts it. */
function warningOn(run: Run, { name }: ClusterNode, life: Life): string | undefined {
  if (renewsFrom(run, life) > run.now) return undefined
  return `on ${name}, restart kube-apiserver before ${formatDate(life.notAfter, run.now)}, when its loopback certificate expires and it fails:\n    sudo systemctl restart kube-apiserver`
}
