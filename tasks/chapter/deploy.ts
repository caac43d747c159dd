/** Phase `deploy`: each node's files, replaced as one set, all or nothing. */

import { Failure } from '../../lib/failure.ts'
import type { Force, Work } from '../../lib/graph/target.ts'
import { prepareProbe } from '../../lib/kubernetes/probe.ts'
import type { Change, CheckResult, ReasonOf } from '../../lib/reason.ts'
import type { OnNode } from '../looks/component.ts'
import { lookAtNode, type NodeLook } from '../looks/look.ts'
import { checkNode, everything, type FolderNames, filesToCopy, type NodeVerdict } from '../node-folder/check-folder.ts'
import { refuseEarlyClock, refuseWrongClock } from '../node-folder/clocks.ts'
import { replaceInFolder } from '../node-folder/copy.ts'
import { keepOthers } from '../node-folder/guards.ts'
import { unknownOn } from '../node-folder/held.ts'

export interface DeployFound<Units = unknown> {
  /** Undefined without `install`, if files have to be copied, or if they could not be looked at. */
  readonly units: Units | undefined
  readonly look: NodeLook
  readonly checked: NodeVerdict
}

/** What else a node's check tells, beside its folder. */
export interface Beside<Units> extends Pick<CheckResult<unknown>, 'findings' | 'until' | 'renewsFrom'> {
  readonly units?: Units | undefined
}

/** A node, and what its target knows of others. */
type OfNode = OnNode & { readonly names: FolderNames }

export async function checkFolder<Units>(
  { run, node, names }: OfNode,
  lookBeside: (look: NodeLook, checked: NodeVerdict) => Promise<Beside<Units>>,
  force?: Force,
): Promise<CheckResult<DeployFound<Units>>> {
  const unreached = run.unreached?.get(node.name)
  if (unreached) throw unreached
  if (run.cluster.install) prepareProbe()
  const asked = run.clock()
  const look = await lookAtNode(run, node)
  const checked = checkNode(run, node, look, names, force !== undefined)
  const { wrong, findings } = checked
  const isCopied = force !== undefined || (wrong !== undefined && filesToCopy(wrong).length > 0)
  if (isCopied && look.now !== undefined) refuseWrongClock(run, node, look.now, asked)
  if (isCopied && look.isGreeting) await (await run.connect(node)).tryCopy()
  if (look.places && !(look.places instanceof Failure)) refuseEarlyClock(run, node, look.places.now)
  const { units, findings: more = [], ...life } = await lookBeside(look, checked)
  return {
    reasons: wrong ? [wrong] : [],
    ...life,
    ...(wrong && { unknown: unknownOn(run, node, look, [...wrong.missing, ...wrong.differ]) }),
    findings: [...findings, ...more],
    found: { look, checked, units },
  }
}

export function foreseeCopies({ run, node }: OnNode, { found, force }: Work<DeployFound>): Change | undefined {
  const { wrong } = found.checked
  return changeOf(force ? everything(run, node, wrong) : wrong)
}

function changeOf(wrong: ReasonOf<'on-node'> | undefined): Change | undefined {
  return wrong && { kind: 'deployed', files: filesToCopy(wrong), removed: wrong.pruned }
}

/**
 * If the files changed between the look and the swap, the node is looked at and checked again, once for each node that
 * shares the folder: those leave less to do. More than the check has found is the next run's.
 */
export async function copyFiles(
  { run, node, names }: OfNode,
  { found: { look, checked }, force, tell }: Work<DeployFound>,
): Promise<{ change?: Change | undefined }> {
  const isForced = force !== undefined
  let [seen, { wrong, others, empty }] = [look, checked]
  for (let tries = 0; ; tries++) {
    const left = isForced ? everything(run, node, wrong) : wrong
    if (!left) return {}
    try {
      keepOthers(run, node, others)
      await replaceInFolder(run, node, { seen, wrong: left, tell, empty })
      return { change: changeOf(left) }
    } catch (error) {
      const isOver = tries === names.together.length
      if (isOver || !(error instanceof Failure && error.code === 'changed-meanwhile')) throw error
      seen = await lookAtNode(run, node)
      ;({ wrong, others, empty } = checkNode(run, node, seen, names, isForced))
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
