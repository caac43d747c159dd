/** Phase `deploy`: each node's files, replaced as one set, all or nothing. */

import { Failure } from '../../lib/failure.ts'
import type { Force, Work } from '../../lib/graph/target.ts'
import { prepareProbe } from '../../lib/kubernetes/probe.ts'
import type { Change, CheckResult, ReasonOf } from '../../lib/results.ts'
import type { OnNode } from '../inspect/component.ts'
import { lookAtNode, type NodeLook } from '../inspect/look.ts'
import { checkNode, everything, filesToCopy, type NodeVerdict } from './check-folder.ts'
import { refuseEarlyClock, refuseWrongClock } from './clocks.ts'
import { replaceInFolder } from './copy.ts'
import { keepOthers } from './guards.ts'
import { unknownOn } from './held.ts'

export interface DeployFound<Units = unknown> {
  /** Undefined without `install`, if files have to be copied, or if they could not be looked at. */
  readonly units: Units | undefined
  readonly look: NodeLook
  readonly checked: NodeVerdict
}

/** What else a node's check tells, beside its folder. */
export interface Beside extends Pick<CheckResult<unknown>, 'findings' | 'until' | 'renewsFrom'> {
  readonly units?: unknown
}

/**
 * Looks at what day 2 has on the node, of which deploy knows nothing: tasks/bootstrap.ts gives it. `isCopied`: files are
 * copied first, so that answers of units are of no use. Throws a Failure where nothing may be copied.
 */
export type LookBeside = (on: OnNode, look: NodeLook, isCopied: boolean) => Promise<Beside>

export async function checkFolder(
  { run, node, known }: OnNode & { readonly known: ReadonlySet<string> },
  lookBeside: LookBeside,
  force?: Force,
): Promise<CheckResult<DeployFound>> {
  const unreached = run.unreached?.get(node.name)
  if (unreached) throw unreached
  if (run.cluster.install) prepareProbe()
  const asked = run.clock()
  const look = await lookAtNode(run, node)
  const checked = checkNode(run, node, look, known, force !== undefined)
  const { wrong, findings } = checked
  const isCopied = force !== undefined || (wrong !== undefined && filesToCopy(wrong).length > 0)
  if (isCopied && look.now !== undefined) refuseWrongClock(run, node, look.now, asked)
  if (isCopied && look.isGreeting) await (await run.connect(node)).tryCopy()
  if (look.places && !(look.places instanceof Failure)) refuseEarlyClock(run, node, look.places.now)
  const { units, findings: more = [], ...life } = await lookBeside({ run, node }, look, wrong !== undefined)
  return {
    reasons: wrong ? [wrong] : [],
    change: changeOf(force ? everything(run, node, wrong) : wrong),
    ...life,
    ...(wrong && {
      facts: { kind: 'folder', unknown: unknownOn(run, node, look, [...wrong.missing, ...wrong.differ]) },
    }),
    findings: [...findings, ...more],
    found: { look, checked, units },
  }
}

function changeOf(wrong: ReasonOf<'on-node'> | undefined): Change | undefined {
  return wrong && { kind: 'deployed', files: filesToCopy(wrong), removed: wrong.pruned }
}

export async function copyFiles(
  { run, node }: OnNode,
  { found, force, tell }: Work<DeployFound>,
): Promise<{ change?: Change | undefined }> {
  const { look, checked } = found
  const wrong = force ? everything(run, node, checked.wrong) : checked.wrong
  if (!wrong) return {}
  keepOthers(run, node, checked.others)
  await replaceInFolder(run, node, { seen: look, wrong, tell })
  return { change: changeOf(wrong) }
}
