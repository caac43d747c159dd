/** The clock of a node, by which its components judge certificates. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { certificateFile, parseFileName } from '../../lib/files/names.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatNames } from '../../lib/wording.ts'
import { nodeFiles } from '../tables/files.ts'
import { nodeFailure } from './node-failure.ts'

/** In seconds since 1970. Throws a Failure where what belongs there would be refused there. */
export function refuseEarlyClock({ auth }: Workspace, node: ClusterNode, now: number): void {
  const names = new Set(nodeFiles(node).flatMap((file) => parseFileName(file)?.name ?? []))
  const early = [...names].filter((name) => (tryCertificate(auth, name)?.notBefore.getTime() ?? 0) > now * 1000)
  if (early.length === 0) return
  throw nodeFailure(node, `by its clock these are not valid yet: ${formatNames(early.map(certificateFile))}`, {
    code: 'clock',
    remedy: 'compare date -u there and here, and set the clock that is wrong; then run the same command again',
  })
}
