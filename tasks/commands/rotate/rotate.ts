/** `rotate`: one stage after the other, each an ordinary walk over all targets, and proven before the next begins. */
import { usageFailure } from '../../../lib/failure.ts'
import { caName, certificateFile } from '../../../lib/files/names.ts'
import { suggest } from '../../../lib/suggest.ts'
import { clusterGraph } from '../../phases/table.ts'
import { commandOf } from '../../request/command.ts'
import { usage } from '../../request/options.ts'
import { authBeside, type Request } from '../../request/session.ts'
import type { Rotation } from '../../rotations/rotation.ts'
import { rotations, stageNumber, underWay } from '../../rotations/table.ts'
import { refusalDuring } from '../../successors/refusal.ts'
import type { Reading, Writing } from '../job.ts'
import { goBack } from './back.ts'
import { goOn } from './forward.ts'
import { planRotation } from './plan.ts'
import { type Run, standing, Teller, walkOf } from './run.ts'

/** Throws a usage Failure before anything is printed or changed. */
export function rotate(request: Request): Writing {
  const { rotation, install, graph } = checked(request)
  const teller = new Teller(request)
  return {
    graph,
    reporter: teller,
    work: async ({ workspace, limits, lost }) => {
      const rotating = { workspace, install, signal: request.signal, isForced: request.options.force }
      const walk = walkOf(request, rotating, teller, { limits, lost })
      const run: Run = { request, rotation, rotating, walk, say: teller.note }
      refuseOther(run)
      return { outcomes: new Map(), findings: await (request.options.undo ? goBack(run) : goOn(run)) }
    },
  }
}

/** The same, with --dry-run. */
export function plan(request: Request): Reading {
  const { rotation, install, graph } = checked(request)
  return {
    graph,
    read: async ({ workspace }) => {
      const at = stageNumber(rotation, workspace)
      return () => planRotation(request, rotation, { install, at })
    },
  }
}

function checked(request: Request) {
  const rotation = asked(request)
  const { install } = request.cluster
  if (!install)
    throw usageFailure(
      'a rotation needs install in cluster.yaml: what runs must have loaded one stage before the next begins',
      `set install: guide, then: ${commandOf(request, 'bootstrap')}`,
    )
  const auth = authBeside(request.file)
  if (!auth.read(certificateFile(caName)))
    throw usageFailure(`${auth.path} has no CA yet: there is nothing to rotate`, commandOf(request, 'bootstrap'))
  return { rotation, install, graph: clusterGraph(request.cluster) }
}

function asked({ options: { names, finish, undo, dryRun } }: Request): Rotation {
  const [, name = '', ...more] = names
  const known = rotations.map((each) => each.name)
  if (name === '') throw usage(`rotate needs a name: ${known.join(', ')}`, 'rotate')
  if (more.length > 0) throw usage(`rotate takes one name at a time, not ${[name, ...more].join(', ')}`, 'rotate')
  const rotation = rotations.find((each) => each.name === name)
  if (!rotation) throw usage(`rotate ${name}: ${suggest(name, known) || `it can be ${known.join(', ')}`}`, 'rotate')
  if (finish && undo) throw usage("--finish and --undo can't be combined", 'rotate')
  if (dryRun && undo) throw usage("--undo and --dry-run can't be combined", 'rotate')
  return rotation
}

/** Two at once would each wait for what the other changes; one that has begun all the same is led to its end. */
function refuseOther(run: Run): void {
  const { rotation, rotating } = run
  const { workspace } = rotating
  if (standing(run) > 0) return
  const [other] = underWay(
    workspace,
    rotations.filter((each) => each !== rotation),
  )
  if (other) throw refusalDuring(other.name, `a rotation of ${other.what} is under way: ${other.title}`, workspace)
}
