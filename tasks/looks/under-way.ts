/** The rotations that are under way, for those who tell of them beside their own work. */
import { Failure, tryTo } from '../../lib/failure.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { readSealingKeys } from '../../lib/kubernetes/sealing-keys.ts'
import { openWorkspace, type Request } from '../request/session.ts'
import { readRotation as readCaRotation } from '../rotations/ca-state.ts'
import { readRotation as readTokenRotation } from '../rotations/service-account-state.ts'
import type { UnderWay } from '../rotations/table.ts'
import { certTable } from '../tables/certs.ts'
import { encryptionConfig } from '../tables/files.ts'

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

/** Told without what a rotation needs: most runs load none of that. */
function isUnderWay(workspace: Workspace): boolean {
  const { auth, cluster } = workspace
  const sealing = tryTo(() => auth.tryBytes(encryptionConfig.file))
  const stages = [
    tryTo(() => readCaRotation(workspace).stage),
    ...certTable(cluster)
      .filter(({ irreplaceable }) => irreplaceable?.part === 'key')
      .map((row) => tryTo(() => readTokenRotation(workspace, row).stage)),
    sealing && readSealingKeys(sealing.toString())?.stage,
  ]
  return stages.some((stage) => stage !== undefined && stage !== 'settled')
}

export interface Uses {
  /** A sentence for each who still uses what the last stage ends, and for what is out of sight. */
  readonly sentences: readonly string[]
  /** Why it is not known who does. */
  readonly failure?: Failure
}

export function formatNotAsked({ message }: Failure): string {
  return `who still uses the earlier one could not be asked: ${message}`
}

/** Asked of the components of the nodes; of a rotation whose last stage is not the next, nothing. */
export async function askForUses(request: Request, rotation: UnderWay): Promise<Uses> {
  const { cluster, signal } = request
  if (!cluster.install) return { sentences: [] }
  const { tellUses } = await import('../rotations/table.ts')
  const { workspace, close } = openWorkspace(request, () => {})
  const rotating = { workspace, install: cluster.install, signal, isForced: false }
  try {
    return { sentences: await tellUses(rotating, rotation) }
  } catch (error) {
    if (error instanceof Failure) return { sentences: [], failure: error }
    throw error
  } finally {
    await close()
  }
}
