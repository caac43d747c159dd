/** Clocks that differ. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { refuseEarlyClock, refuseWrongClock } from '../../../tasks/deploy/clocks.ts'
import type { Run } from '../../../tasks/target.ts'
import { makeEverything, temporaryAuth } from '../../support/certificates.ts'
import { minimal, parsed } from '../../support/files.ts'

const now = new Date('2026-11-28T12:00:00Z')
test('no file goes to a node of another time: how long its answer took is no difference', () => {
  const copyAt = (seconds: number, took = 0) => {
    const run = { clock: () => now } as unknown as Run
    const asked = new Date(now.getTime() - took * 1000)
    refuseWrongClock(run, { name: 'w0' } as ClusterNode, now.getTime() / 1000 + seconds, asked)
  }
  for (const [seconds, took] of [[0], [240], [-241], [-600, 360]] as const) copyAt(seconds, took)
  for (const [seconds, took] of [[241], [-242], [-602, 360]] as const)
    assert.throws(() => copyAt(seconds, took), { code: 'clock', node: 'w0' })
})

test('a node by whose clock a certificate is not valid yet is given none', async (t) => {
  const [auth, cluster] = [temporaryAuth(t), parsed(minimal)]
  await makeEverything(auth, cluster, now)
  const [node] = cluster.nodes as [ClusterNode]
  // Certificates are dated back by five minutes.
  const give = (ahead: number) =>
    refuseEarlyClock({ auth, cluster, now } as unknown as Run, node, now.getTime() / 1000 + ahead)
  give(-300)
  const what = `clocks differ (2026-11-28T12:00:00Z here, 2026-11-28T11:54:59Z on ${node.name})`
  assert.throws(() => give(-301), { code: 'clock', node: node.name, what })
})
