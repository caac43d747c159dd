/** Puts a node's old files back if something failed after they were replaced. */
import { asFailure, Failure } from '../../lib/failure.ts'
import { oldSuffix } from '../../lib/node/place.ts'
import { formatNames } from '../../lib/wording.ts'
import type { Unit } from '../layouts/layout.ts'
import { guarded } from './quorum.ts'
import { type NodeRun, putBack } from './replace.ts'
import { restart, whyNotHealthy } from './restart.ts'
import type { UnitsFound } from './units.ts'

interface Changed {
  readonly found: UnitsFound
  /** Real paths. */
  readonly paths: readonly string[]
  /** To be restarted with the old files. */
  readonly units: readonly Unit[]
}

/** Puts the old files back and restarts the units with them. Returns the error, with the outcome of that added. */
export async function backOut(
  on: NodeRun,
  error: unknown,
  { found, paths, units: restarted }: Changed,
): Promise<Failure> {
  const failure = asFailure(error)
  if (paths.length === 0) return failure
  const isBack = await succeeds(putBack(on, found, paths))
  const unhealthy = isBack ? await restartAll(on, restarted) : []
  const units = formatNames(restarted.map(({ unit }) => unit))
  const outcome =
    unhealthy.length === 0
      ? `${units} healthy again with them`
      : `${units} restarted with them, but not healthy: ${formatNames(unhealthy.map(({ unit }) => unit))}`
  const done = isBack
    ? `the files are as they were${units === '' ? '' : `, and ${outcome}`}`
    : `the old files could not be put back: they are beside the new ones (*${oldSuffix})`
  return failure.with({ what: `${failure.what}; ${done}` })
}

/** Restarts every unit, even if another fails. Returns those that did not become healthy. */
async function restartAll(on: NodeRun, units: readonly Unit[]): Promise<Unit[]> {
  const unhealthy: Unit[] = []
  for (const unit of units) {
    const isHealthy = unit.isQuorum === true && (await whyNotHealthy(on, on.node, unit)) === undefined
    if (!(await succeeds(guarded(on, unit, isHealthy, () => restart(on, unit, { isBackOut: true })))))
      unhealthy.push(unit)
  }
  return unhealthy
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
