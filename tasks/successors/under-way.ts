/** Whether anything is being rotated, told without what a rotation needs: most runs load none of that. */
import { tryTo } from '../../lib/failure.ts'
import { readSealingKeys } from '../../lib/kubernetes/sealing-keys.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { certTable } from '../tables/certs.ts'
import { encryptionConfig } from '../tables/files.ts'
import { readRotation as readCaRotation } from './next-ca.ts'
import { readRotation as readTokenRotation } from './token-keys.ts'

export function isUnderWay(workspace: Workspace): boolean {
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
