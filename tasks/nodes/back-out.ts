/** Puts a node's old files back if something failed after they were replaced. */
import { asFailure, Failure } from '../../lib/failure.ts'
import { oldSuffix } from '../../lib/remote/look.ts'
import { formatNames } from '../../lib/wording.ts'
import type { Unit } from '../tables/places.ts'
import { putBack } from './places.ts'
import { guarded } from './quorum.ts'
import { type On, restart, whyNotHealthy } from './restart.ts'

/** Puts the old files back and restarts the units with them. Returns the error, with the outcome of that added. */
export async function backOut(
  on: On,
  error: unknown,
  paths: readonly string[],
  restarted: readonly Unit[],
): Promise<Failure> {
  const { workspace, node, install } = on
  const failure = asFailure(error)
  if (paths.length === 0) return failure
  const isBack = await succeeds(putBack(workspace, node, install, paths))
  const ill = isBack ? await restartAll(on, restarted) : []
  const units = formatNames(restarted.map(({ unit }) => unit))
  const outcome =
    ill.length === 0
      ? `${units} healthy again with them`
      : `${units} restarted with them, but not healthy: ${formatNames(ill.map(({ unit }) => unit))}`
  const done = isBack
    ? `the files are as they were${units === '' ? '' : `, and ${outcome}`}`
    : `the old files could not be put back: they are beside the new ones (*${oldSuffix})`
  return failure.with({ what: `${failure.what}; ${done}` })
}

/** Restarts every unit, even if another fails. Returns those that did not become healthy. */
async function restartAll(on: On, units: readonly Unit[]): Promise<Unit[]> {
  const ill: Unit[] = []
  for (const unit of units) {
    const isHealthy = unit.isQuorum === true && (await whyNotHealthy(on, on.node, unit)) === undefined
    if (!(await succeeds(guarded(on, unit, isHealthy, () => restart(on, unit))))) ill.push(unit)
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
