/** How often a rotation of the CA restarts a unit, counted from the stages and the layout's table: by restarts alone, and from Kubernetes 1.36 on. */

import { readFileSync } from 'node:fs'
import { nodeUnits } from '../../tasks/layouts/tables.ts'
import { caRotation } from '../../tasks/rotations/ca.ts'
import { readCluster } from '../support/harderway.ts'
import type { Group } from './groups.ts'

const cluster = { ...readCluster(readFileSync('cluster.yaml')), install: false } as const
const nodes = [
  ...Array.from({ length: 3 }, () => 'control' as const),
  ...Array.from({ length: 100 }, () => 'worker' as const),
  'gateway' as const,
]

/** `reads`: what a kubeconfig names by file is read again. */
function restarts(reads: boolean): number {
  const units = nodes.flatMap((role, i) => nodeUnits(cluster, { name: `n${i}`, role }))
  const restarted = caRotation.stages.map(
    ({ changes }) =>
      units.filter(({ files }) =>
        files.some(({ file, part, loads }) => loads === 'restart' && !(reads && part) && changes(file, cluster)),
      ).length,
  )
  return restarted.reduce((sum, each) => sum + each, 0)
}

export const restartGroup: Group = {
  pairs: 1,
  parts: [],
  rows: [
    {
      what: 'restarts of a CA rotation, 3 control nodes, 100 workers',
      ours: 'reads',
      theirs: 'before',
      of: 'restarts',
      goal: 0.05,
    },
  ],
  prepare: async () => {
    const sample = (count: number) => ({ seconds: Number.NaN, cpu: Number.NaN, mebibytes: Number.NaN, restarts: count })
    return { reads: async () => sample(restarts(true)), before: async () => sample(restarts(false)) }
  },
}
