import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import type { Run } from '../../../tasks/cluster-target.ts'
import { refuseOtherMachine, refuseWrongClock } from '../../../tasks/deploy/guards.ts'
import type { NodeLook } from '../../../tasks/inspect/look.ts'
import { twoNodes } from '../../support/fakes.ts'

test('a node of another time is refused: how long its answer took is no difference', () => {
  const now = new Date('2026-11-28T12:00:00Z')
  const lookAt = (seconds: number, took = 0) => {
    const run = { clock: () => now } as unknown as Run
    const asked = new Date(now.getTime() - took * 1000)
    refuseWrongClock(run, { name: 'w0' } as ClusterNode, now.getTime() / 1000 + seconds, asked)
  }
  for (const [seconds, took] of [[0], [240], [-241], [-600, 360]] as const) lookAt(seconds, took)
  for (const [seconds, took] of [[241], [-242], [-602, 360]] as const)
    assert.throws(() => lookAt(seconds, took), { code: 'clock', node: 'w0' })
  const what = 'clocks differ (2026-11-28T12:00:00Z here, 2026-11-28T12:05:00Z on w0)'
  assert.throws(() => lookAt(300), { what })
})

test('a machine is another node if it has its address, and not its own', () => {
  const [control, worker] = twoNodes.nodes as [ClusterNode, ClusterNode]
  const [own, other] = [control, worker].map(({ ips }) => ips[0] ?? assert.fail()) as [string, string]
  const virtualIP = '192.168.1.99'
  const cluster = { ...twoNodes, api: { ...twoNodes.api, virtualIP } }
  const lookAt = (...addresses: readonly string[]) =>
    refuseOtherMachine({ cluster } as Run, control, { addresses: new Set(addresses) } as unknown as NodeLook)
  for (const addresses of [[], [own, other], ['127.0.0.1', virtualIP], ['10.0.2.15']]) lookAt(...addresses)
  assert.throws(() => lookAt('127.0.0.1', other), { kind: 'refused', code: 'other-node', node: control.name })
})
