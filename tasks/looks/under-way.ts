/** The rotations that are under way, for those who tell of them beside their own work. */
import type { Workspace } from '../../lib/targets/workspace.ts'
import type { UnderWay } from '../rotations/table.ts'
import { isUnderWay } from '../successors/under-way.ts'

export interface Told {
  readonly rotation: UnderWay
  readonly sentence: string
}

/** What rotations need is loaded only where one is under way. */
export async function rotationsUnderWay(workspace: Workspace): Promise<Told[]> {
  if (!isUnderWay(workspace)) return []
  const { formatUnderWay, rotationsIn } = await import('../rotations/table.ts')
  return rotationsIn(workspace).map((rotation) => ({ rotation, sentence: formatUnderWay(rotation, workspace) }))
}
