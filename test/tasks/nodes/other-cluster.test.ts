import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import pLimit from 'p-limit'
import { Failure } from '../../../lib/failure.ts'
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import type { Run } from '../../../lib/graph/run.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { findOtherCluster } from '../../../tasks/nodes/other-cluster.ts'
import { clusterGraph } from '../../../tasks/phases/table.ts'
import { twoNodes as cluster } from '../../support/fakes.ts'
import { scratch } from '../../support/files.ts'

test('a node that was not reached could not be looked at; nothing is said of one where the run was interrupted', async (t) => {
  const notes = async (signal: AbortSignal) => {
    const said: string[] = []
    const tell = (text: string) => void said.push(text)
    const run = {
      ...{ cluster, options: {}, command: String, note: tell },
      auth: new AuthDir(join(scratch(t), 'auth'), harderWay.files),
      connect: async () => {
        throw new Failure('connection refused')
      },
    } as unknown as Run
    const limits = { auth: pLimit(1), node: pLimit(1), kubeconfig: pLimit(1) }
    assert.deepEqual(await findOtherCluster(run, clusterGraph(cluster), { limits, signal, tell }), [])
    return said
  }
  const looking = 'looking for an existing CA on c0, w0'
  const [first, second = '', ...more] = await notes(new AbortController().signal)
  assert.deepEqual([first, more], [looking, []])
  assert.match(second, /^c0, w0 could not be looked at: /)
  assert.deepEqual(await notes(AbortSignal.abort()), [looking])
})
