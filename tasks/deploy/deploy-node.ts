/** Phase `deploy`: each node's files, replaced as one set, all or nothing. */
import type { Built, Force, Work } from '../../lib/graph/target.ts'
import type { Check } from '../../lib/results.ts'
import { formatNames } from '../../lib/wording.ts'
import type { OnNode } from '../inspect/component.ts'
import { lookAtNode, type NodeLook } from '../inspect/look.ts'
import { checkNode, diffsOf, everything, filesToCopy, type NodeVerdict } from './check-folder.ts'
import { replaceInFolder } from './copy.ts'
import { refuseWrongClock } from './guard-machine.ts'
import { keepOthers } from './guards.ts'

export interface DeployFound<Units = unknown> {
  /** Undefined without `install`, if files have to be copied, or if they could not be looked at. */
  readonly units: Units | undefined
  readonly look: NodeLook
  readonly checked: NodeVerdict
}

/** What else a node's check tells, beside its folder. */
export interface Beside extends Pick<Check, 'warn' | 'until'> {
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
): Promise<Check<DeployFound>> {
  const asked = run.clock()
  const look = await lookAtNode(run, node)
  if (look.now !== undefined) refuseWrongClock(run, node, look.now, asked)
  const checked = checkNode(run, node, look, known, force !== undefined)
  const { wrong, warn, todo } = checked
  const toCopy = wrong ? filesToCopy(wrong) : []
  const { units, warn: more = [], until } = await lookBeside({ run, node }, look, wrong !== undefined)
  const again = force ? everything(run, node, wrong).differ.filter((name) => !toCopy.includes(name)) : []
  return {
    diffs: [
      ...(wrong ? diffsOf(wrong) : []),
      ...(again.length > 0
        ? [{ what: `${formatNames(again)} copied again`, verb: 'copy' as const, names: again }]
        : []),
    ],
    until,
    warn: [...warn, ...more],
    todo,
    found: { look, checked, units },
  }
}

export async function copyFiles(
  { run, node }: OnNode,
  { found, force, tell }: Work<DeployFound>,
): Promise<Built | undefined> {
  const { look, checked } = found
  const wrong = force ? everything(run, node, checked.wrong) : checked.wrong
  if (!wrong) return undefined
  keepOthers(run, node, checked.others)
  await replaceInFolder(run, node, { seen: look, wrong, tell })
  return undefined
}
