/** Phase `deploy`: each node's files, replaced as one set, all or nothing. */

import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain, tryToAwait } from '../../lib/failure.ts'
import type { Force, Run, Work } from '../../lib/graph/target.ts'
import { prepareProbe } from '../../lib/kubernetes/probe.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { asFindings, type Change, type CheckResult, type ReasonOf } from '../../lib/reason.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import { nodeFiles, nodeUnits } from '../layouts/tables.ts'
import { refuseWrongClock } from '../nodes/clocks.ts'
import { type Life, readSelfMade, renewsFrom } from '../nodes/component.ts'
import { replaceInFolder } from '../nodes/copy.ts'
import { checkNode, everything, type FolderNames, filesToCopy, type NodeVerdict } from '../nodes/folder.ts'
import { keepOthers } from '../nodes/guards.ts'
import { stillListed } from '../nodes/lists.ts'
import { lookAtNode, type NodeLook } from '../nodes/look.ts'
import type { UnitsFound } from '../nodes/units.ts'

export interface DeployFound {
  /** Undefined without `install`, if files have to be copied, or if they could not be looked at. */
  readonly units: UnitsFound | undefined
  readonly look: NodeLook
  readonly checked: NodeVerdict
}

/** A node, and what its target knows of others. */
interface OfNode {
  readonly run: Run
  readonly node: ClusterNode
  readonly names: FolderNames
}

export async function checkFolder({ run, node, names }: OfNode, force?: Force): Promise<CheckResult<DeployFound>> {
  const { install } = run.cluster
  const unreached = run.unreached?.get(node.name)
  if (unreached) throw unreached
  if (install) prepareProbe()
  const asked = run.clock()
  const look = await lookAtNode(run, node)
  const checked = checkNode(run, node, look, names, force !== undefined)
  const { wrong, findings } = checked
  const isCopied = force !== undefined || (wrong !== undefined && filesToCopy(wrong).length > 0)
  if (isCopied && look.now !== undefined) refuseWrongClock(run, node, look.now, asked)
  if (look.places && !(look.places instanceof Failure)) refuseEarlyClock(run, node, look.places.now)
  // Here, where nodes are checked side by side: `install` checks them in the order of their restarts. Answers are of no use if
  // files are copied first.
  const units =
    install && !wrong
      ? await tryToAwait(async () => (await import('../nodes/units.ts')).lookAtUnits(run, node, look))
      : undefined
  const listed = install ? [] : stillListed(run, node, look)
  const isAsked = !install && run.isObserved
  const selfMade = isAsked
    ? await tryToAwait(() => readSelfMade({ run }, node, nodeUnits(run.cluster, node)))
    : undefined
  return {
    reasons: wrong ? [wrong] : [],
    ...(selfMade && { until: selfMade.notAfter, renewsFrom: renewsFrom(run, selfMade) }),
    findings: [
      ...findings,
      ...asFindings(listed, { owner: 'user', nodes: [node.name] }),
      ...asFindings([selfMade && warningOn(run, node, selfMade)]),
    ],
    found: { look, checked, units },
  }
}

/** Without `install` nothing here restarts it. */
function warningOn(run: Run, { name }: ClusterNode, life: Life): string | undefined {
  if (renewsFrom(run, life) > run.now) return undefined
  return `${name}: the certificate that kube-apiserver made itself at its start expires ${formatDate(life.notAfter, run.now)}; kube-apiserver fails when it does. Restart it there before then: sudo systemctl restart kube-apiserver`
}

export function foreseeCopies({ run, node }: OfNode, { found, force }: Work<DeployFound>): Change | undefined {
  const { wrong } = found.checked
  return changeOf(force ? everything(run, node, wrong) : wrong)
}

function changeOf(wrong: ReasonOf<'on-node'> | undefined): Change | undefined {
  return wrong && { kind: 'deployed', files: filesToCopy(wrong), removed: wrong.pruned }
}

/**
 * If the files changed between the look and the swap, the node is looked at and checked again, once for each node that shares
 * the folder: those leave less to do. More than the check has found is the next run's.
 */
export async function copyFiles(
  { run, node, names }: OfNode,
  { found: { look, checked }, force, tell }: Work<DeployFound>,
): Promise<{ change?: Change | undefined }> {
  const isForced = force !== undefined
  let [seen, { wrong, others }] = [look, checked]
  for (let tries = 0; ; tries++) {
    const left = isForced ? everything(run, node, wrong) : wrong
    if (!left) return {}
    try {
      keepOthers(run, node, others)
      await replaceInFolder(run, node, { seen, wrong: left, tell })
      return { change: changeOf(left) }
    } catch (error) {
      const isOver = tries === names.together.length
      if (isOver || !(error instanceof Failure && error.code === 'changed-meanwhile')) throw error
      seen = await lookAtNode(run, node)
      ;({ wrong, others } = checkNode(run, node, seen, names, isForced))
      if (wrong && !isWithin(wrong, left)) throw error
    }
  }
}

function isWithin(less: ReasonOf<'on-node'>, more: ReasonOf<'on-node'>): boolean {
  const copied = filesToCopy(more)
  return (
    filesToCopy(less).every((file) => copied.includes(file)) &&
    less.wrongMode.every((file) => [...copied, ...more.wrongMode].includes(file)) &&
    less.pruned.every((file) => more.pruned.includes(file))
  )
}

/**
 * `theirs` in seconds since 1970, by the node's clock. Throws a Failure if certificates are not valid yet by that clock. Those that are not
 * by ours either are reissued before any is deployed.
 */
function refuseEarlyClock({ auth, cluster, now }: Run, node: ClusterNode, theirs: number): void {
  const names = new Set(nodeFiles(cluster, node).flatMap((file) => auth.files.parse(file)?.name ?? []))
  const early = [...names].filter((name) => {
    const { notBefore } = tryCertificate(auth, name) ?? {}
    return notBefore && notBefore <= now && notBefore.getTime() > theirs * 1000
  })
  if (early.length === 0) return
  throw new Failure(`by its clock these are not valid yet: ${formatNames(early.map(auth.files.certificate))}`, {
    node: node.name,
    code: 'clock',
    remedy: `compare date -u there and here, and set the clock that is wrong; then ${runAgain}`,
  })
}
