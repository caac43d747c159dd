import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Install } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import type { Workspace } from '../../../lib/graph/workspace.ts'
import { undrain } from '../../../tasks/nodes/drain.ts'
import { parsed } from '../../support/bad-files.ts'

test('an undrain that fails has one code, whatever the reason: what was restarted is healthy, and is not put back', async () => {
  const cluster = parsed(`name: kubenet
api: { virtualIP: 10.0.0.1 }
install: { drain: a, undrain: b }
nodes:
  - { name: g0, role: gateway, ip: 10.0.0.9 }
  - { name: c0, role: control, ip: 10.0.0.2 }
`)
  const control = cluster.nodes.find(({ name }) => name === 'c0')
  if (!control) return assert.fail()
  for (const code of ['connection-lost', 'timed-out', 'unreachable']) {
    const lost = async () => {
      throw new Failure('it is away', { code })
    }
    const workspace = { cluster, connect: async () => ({ run: lost, tidy: async () => {} }) } as unknown as Workspace
    await assert.rejects(
      undrain(workspace, control, cluster.install as Install),
      (error) => error instanceof Failure && error.code === 'not-undrained',
      code,
    )
  }
})
