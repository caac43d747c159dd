import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import type { Install } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import type { Connection } from '../../../lib/node/connection.ts'
import { Node } from '../../../lib/node/node.ts'
import type { Run } from '../../../tasks/cluster-target.ts'
import type { UnitOnNode } from '../../../tasks/inspect/agreement.ts'
import { restart, undrain } from '../../../tasks/install/restart.ts'
import { control, twoNodes } from '../../support/fakes.ts'
import { scratch } from '../../support/files.ts'

const install = { ...(twoNodes.install as Install), drain: 'true', undrain: 'true' }
const cluster = { ...twoNodes, install }

const runIn = (folder: string) => async (script: string) => {
  // A tool that warns there says nothing of marks.
  const env = { ...process.env, LD_PRELOAD: '/usr/lib/gone.so' }
  return execFileSync('sh', ['-c', script.replaceAll('/var/lib/harderway', folder)], {
    ...{ encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'ignore'] },
  })
}

test('an undrain that fails has one code, whatever the reason: what was restarted is healthy, and is not put back', async () => {
  for (const code of ['connection-lost', 'unreachable']) {
    const lost = async () => {
      throw new Failure('it is away', { code })
    }
    const run = {
      cluster,
      auth: { id: () => 'a' },
      connect: async () => new Node('c0', { run: lost, tidy: async () => {} } as unknown as Connection),
    } as unknown as Run
    await assert.rejects(undrain(run, control), { code: 'not-undrained' }, code)
  }
})

test('an undrain that fails after the restart did is told, and hides not why', async (t) => {
  const notes: string[] = []
  const marks = runIn(scratch(t))
  let asked = 0
  const once = async (script: string) => {
    if (asked++ === 0) return await marks(script)
    throw new Failure('it is away', { code: asked === 2 ? 'connection-lost' : 'unreachable' })
  }
  const run = {
    cluster,
    auth: { id: () => 'a' },
    note: (text: string) => notes.push(text),
    connect: async () => new Node('c0', { run: once } as unknown as Connection),
  } as unknown as Run
  const on = { run, node: control, signal: new AbortController().signal, tell: () => {} }
  const unit = { unit: 'etcd', restart: 'true', isDrained: true } as UnitOnNode
  await assert.rejects(restart(on, unit), { code: 'connection-lost' })
  assert.match(notes.join(), /^c0 may still be drained/)
})
