/** Puts back what a node's units read before, where one that was well does not get well with what is new. */
import { Failure } from '../../lib/failure.ts'
import { oldSuffix } from '../../lib/remote/units-look.ts'
import { formatNames } from '../../lib/wording.ts'
import type { Unit } from '../tables/places.ts'
import { putBack } from './places.ts'
import { guarded } from './quorum.ts'
import { type On, restart, whyNotWell } from './restart.ts'

/** The old files were good for the unit that did not get well: they and a restart get it back. */
export async function undo(
  on: On,
  failure: Failure,
  paths: readonly string[],
  restarted: readonly Unit[],
): Promise<Failure> {
  const { workspace, node, install } = on
  if (paths.length === 0) return failure
  const isBack = await succeeds(putBack(workspace, node, install, paths))
  const ill = isBack ? await restartAll(on, restarted) : []
  const units = formatNames(restarted.map(({ unit }) => unit))
  const outcome =
    ill.length === 0
      ? `${units} well again with them`
      : `${units} restarted with them, but not well: ${formatNames(ill.map(({ unit }) => unit))}`
  const told = isBack
    ? `the files are as they were${units === '' ? '' : `, and ${outcome}`}`
    : `the old files could not be put back: they are beside the new ones (*${oldSuffix})`
  const { code, remedy, kind } = failure
  return new Failure(`${failure.message}; ${told}`, {
    kind,
    ...(code && { code }),
    ...(remedy && { remedy }),
    cause: failure,
  })
}

/** Each of them, whatever becomes of the others; gives those that did not get well. */
async function restartAll(on: On, units: readonly Unit[]): Promise<Unit[]> {
  const ill: Unit[] = []
  for (const unit of units) {
    const isWell = unit.isQuorum === true && (await whyNotWell(on, on.node, unit)) === undefined
    if (!(await succeeds(guarded(on, unit, isWell, () => restart(on, unit))))) ill.push(unit)
  }
  return ill
}

async function succeeds(work: Promise<void>): Promise<boolean> {
  return work.then(
    () => true,
    (error) => {
      if (error instanceof Failure) return false
      throw error
    },
  )
}
