import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Install } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import type { Run } from '../../../lib/graph/target.ts'
import type { Connection } from '../../../lib/node/connection.ts'
import { Node } from '../../../lib/node/node.ts'
import { splitMarks } from '../../../tasks/nodes/folder.ts'
import { markDrained, undrain } from '../../../tasks/nodes/restart.ts'
import { parsed } from '../../support/files.ts'

const cluster = parsed(`name: kubenet
api: { virtualIP: 10.0.0.1 }
install: { drain: 'true', undrain: 'true' }
nodes:
  - { name: g0, role: gateway, ip: 10.0.0.9 }
  - { name: c0, role: control, ip: 10.0.0.2 }
`)
const [control] = cluster.nodes.filter(({ name }) => name === 'c0')

test('an undrain that fails has one code, whatever the reason: what was restarted is healthy, and is not put back', async () => {
  if (!control) return assert.fail()
  for (const code of ['connection-lost', 'timed-out', 'unreachable']) {
    const lost = async () => {
      throw new Failure('it is away', { code })
    }
    const run = {
      cluster,
      auth: { id: () => 'a' },
      connect: async () => new Node('c0', { run: lost, tidy: async () => {} } as unknown as Connection),
    } as unknown as Run
    await assert.rejects(
      undrain(run, control),
      (error) => error instanceof Failure && error.code === 'not-undrained',
      code,
    )
  }
})

test('a node is marked by one run at a time, and the mark is gone once it is undrained', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'harderway-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const own = { ...cluster, install: { ...(cluster.install as Install), sudo: '' } }
  // A tool that warns there says nothing of marks.
  const env = { ...process.env, LD_PRELOAD: '/usr/lib/gone.so' }
  const run = async (script: string) =>
    execFileSync('sh', ['-c', script.replaceAll('/var/lib/harderway', folder)], {
      ...{ encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'ignore'] },
    })
  const runWith = (id: string) => ({
    cluster: own,
    auth: { id: () => id },
    connect: async () => new Node('c0', { run } as unknown as Connection),
  })
  const [one, other] = ['one', 'other'].map(runWith) as unknown as [Run, Run]
  if (!control) return assert.fail()
  writeFileSync(join(folder, '.harderway-a-file'), '')
  await markDrained(one, control)
  const marks = readdirSync(folder).filter((name) => name !== '.harderway-a-file')
  assert.equal(marks.length, 1)
  await assert.rejects(markDrained(other, control), (error) => error instanceof Failure && error.code === 'busy')
  assert.deepEqual(readdirSync(folder).toSorted(), ['.harderway-a-file', ...marks].toSorted())
  // As a later process sees it.
  const names = marks.map((name) => name.replace(/-[0-9a-f]{8}-/, '-00000000-'))
  const split = (run: Run, age: number) =>
    splitMarks(run, { places: { drained: names.map((name) => ({ name, age })) } })
  assert.deepEqual(split(other, 900), { left: [], inUse: names })
  assert.deepEqual(split(other, 901), { left: names, inUse: [] })
  assert.deepEqual(split(one, 0), { left: names, inUse: [] })
  await undrain(one, control)
  assert.deepEqual(readdirSync(folder), ['.harderway-a-file'])
  mkdirSync(join(folder, names[0] ?? ''))
  await markDrained(other, control, names)
  const taken = readdirSync(folder).filter((name) => name !== '.harderway-a-file')
  assert.ok(taken.length === 1 && !names.includes(taken[0] ?? ''), String(taken))
})
