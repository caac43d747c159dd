/** `rotate`: one stage after the other, each an ordinary walk over all targets, and proven before the next begins. */
import { asFailure, type Failure, usageFailure } from '../../lib/failure.ts'
import type { Lock } from '../../lib/files/lock.ts'
import { caName, certificateFile } from '../../lib/files/names.ts'
import { suggest } from '../../lib/suggest.ts'
import type { Finding } from '../looks/exit-status.ts'
import { clusterGraph } from '../phases/table.ts'
import { commandOf } from '../request/command.ts'
import { usage } from '../request/options.ts'
import { authBeside, checkConfigFile, lockAuth, openWorkspace, type Request } from '../request/session.ts'
import { refusalDuring } from '../rotations/refusal.ts'
import type { Rotation } from '../rotations/rotation.ts'
import { rotations, underWay } from '../rotations/table.ts'
import { goBack } from './rotate-back.ts'
import { goOn } from './rotate-forward.ts'
import { planRotation } from './rotate-plan.ts'
import { type Run, standing, Teller, walkOf } from './rotate-run.ts'

/** Throws a usage Failure before anything is printed or changed. */
export async function rotate(request: Request): Promise<readonly Finding[]> {
  const rotation = asked(request)
  const { install } = request.cluster
  if (!install)
    throw usageFailure(
      'a rotation needs install in cluster.yaml: what runs must have loaded one stage before the next begins',
      'set install: guide, then bootstrap',
    )
  const auth = authBeside(request.file)
  if (!auth.read(certificateFile(caName)))
    throw usageFailure(`${auth.path} has no CA yet: there is nothing to rotate`, commandOf(request, 'bootstrap'))
  checkConfigFile(request, clusterGraph(request.cluster))
  if (request.options.dryRun) return planRotation(request, rotation, install)
  const teller = new Teller(request)
  const { workspace, limits, close } = openWorkspace(request, teller.say)
  const rotating = { workspace, install, signal: request.signal, isForced: request.options.force }
  let lock: Lock | undefined
  let findings: readonly Finding[]
  let failure: Failure | undefined
  try {
    workspace.auth.make()
    lock = await lockAuth(workspace.auth, request, teller.say)
    const walk = walkOf(request, rotating, teller, { limits, lost: lock.lost })
    const run: Run = { request, rotation, rotating, walk, say: teller.say }
    refuseOther(run)
    findings = await (request.options.undo ? goBack(run) : goOn(run))
  } catch (error) {
    failure = asFailure(error)
    findings = [failure.kind]
  } finally {
    await close()
    lock?.release()
  }
  await teller.end(request.signal.aborted ? undefined : failure)
  return findings
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
