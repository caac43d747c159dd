/**
 * Whose files are that a run has left on a node half-way: of this run, of one that is over, or of one that may go on.
 */
import { randomBytes } from 'node:crypto'
import { sha256 } from '../../lib/files/plain-file.ts'
import { checkStaging, longestUse, type StagingOwner } from '../../lib/node/place.ts'
import type { PlacesState } from '../../lib/node/state.ts'
import { installOf } from '../inspect/look.ts'
import { diskOf, type Run } from '../target.ts'

const thisRun = randomBytes(4).toString('hex')

/** Only one run with this auth/ can work on nodes: the one that holds its lock. */
export function stagingOwner(run: Run): StagingOwner {
  return { auth: sha256(Buffer.from(diskOf(run).id())).slice(0, 12), run: thisRun }
}

/** The marks of runs that are over, and those of runs that may be restarting the node's units now. */
export function splitMarks(
  run: Run,
  { places }: { readonly places: Pick<PlacesState, 'drained'> },
): { readonly left: string[]; readonly inUse: string[] } {
  // Restart, health, and on each gateway drain and undrain: each may take as long.
  const gateways = run.cluster.nodes.filter(({ role }) => role === 'gateway').length
  const longest = Math.max(longestUse, ((2 + 2 * gateways) * installOf(run).timeout) / 1000)
  const marks = Map.groupBy(places.drained, (each) => checkStaging(each, stagingOwner(run), longest))
  const names = (use: ReturnType<typeof checkStaging>) => (marks.get(use) ?? []).map(({ name }) => name)
  return { left: [...names('of this run'), ...names('left')], inUse: names('may be in use') }
}
