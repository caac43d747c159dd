import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import type { Run } from '../../../lib/graph/run.ts'
import type { PlacesState } from '../../../lib/node/state.ts'
import { unitsOn } from '../../../tasks/nodes/reads.ts'
import { withVersions } from '../../../tasks/nodes/versions.ts'
import { nodeUnits } from '../../../tasks/tables/places.ts'
import { twoNodes as cluster, startedAs } from '../../support/fakes.ts'
import { scratch } from '../../support/files.ts'
import { isRoot } from '../../support/node-shells.ts'

const worker = cluster.nodes[1] as ClusterNode

interface Given {
  /** What the command prints; by default it is run here. */
  readonly said?: string
  readonly started?: number
  readonly flags?: readonly string[]
  readonly program?: string
  readonly bound?: ReadonlySet<string>
}

/** How kube-proxy loads another CA, and what is noted. */
async function loads({ said, started = 2000, flags = [], program = '/usr/bin/kube-proxy', bound = new Set() }: Given) {
  const notes: string[] = []
  const command = async ({ command: text }: { command: string }) => ({
    status: 0,
    said: said ?? execFileSync('sh', ['-c', text], { encoding: 'utf8' }),
  })
  const run = { cluster, auth: {}, note: (text: string) => notes.push(text), connect: async () => ({ run: command }) }
  const row = nodeUnits(cluster, worker).find(({ unit }) => unit === 'kube-proxy') ?? assert.fail()
  const process = startedAs(row, ...flags)
  const places = {
    units: new Map([['kube-proxy', { active: 'active', process: { id: 7, started } }]]),
    processes: [{ ...process, bound, command: [program, ...process.command.slice(1)] }],
    ...{
      folders: { has: () => true },
      files: { get: () => ({ size: 1, isKnown: true }) },
      real: new Map(),
      contents: new Map(),
    },
  } as unknown as PlacesState
  const units = unitsOn(cluster, worker, places)
  const found = await withVersions(
    run as unknown as Run,
    worker,
    { units, places },
    ({ unit }) => unit === 'kube-proxy',
  )
  const proxy = found.find(({ unit }) => unit === 'kube-proxy')
  return { ca: proxy?.files.find(({ part }) => part === 'ca')?.loads, notes }
}

test('one of a newer version, or of none that could be read, is restarted, which is said once', async () => {
  for (const [said, told] of [
    ['7 1000 Kubernetes v1.99.0', /^kube-proxy: Kubernetes v1\.99\.0 was not tried: a new CA restarts it$/],
    ['', /^kube-proxy: its version could not be read/],
  ] as const) {
    const { ca, notes } = await loads({ said })
    assert.deepEqual([ca, notes.length], ['restart', 1])
    assert.match(String(notes[0]), told)
    assert.deepEqual((await loads({ said })).notes, [])
  }
})

test('a CA in a file is read again by a component of a version that it was tried with, and by no other', async () => {
  const of = async (said: string, more: Given = {}) => (await loads({ said, ...more })).ca
  assert.equal(await of('7 1000 Kubernetes v1.36.1'), 'poll')
  for (const other of [
    '7 1000 Kubernetes v1.35.5',
    '7 1000 v26.1.0',
    '7 1000 ',
    '',
    'nonsense',
    '8 1000 Kubernetes v1.36.1',
  ])
    assert.equal(await of(other), 'restart', other)
  // The program was replaced after its start.
  assert.equal(await of('7 2001 Kubernetes v1.36.1'), 'restart')
  const gates = (value: string) => ({ flags: [`--feature-gates=Other=true,${value}`] })
  for (const off of ['ClientsAllowCARotation=false', 'AllBeta=false', 'ClientsAllowCARotation=$X'])
    assert.equal(await of('7 1000 Kubernetes v1.36.1', gates(off)), 'restart', off)
  assert.equal(await of('7 1000 Kubernetes v1.36.1', gates('ClientsAllowCARotation=true')), 'poll')
})

test('a CA that is mounted by itself is no better for a new version', async () => {
  const bound = new Set(['/var/lib/kube-proxy/kube-proxy-ca.pem'])
  assert.equal((await loads({ said: '7 1000 Kubernetes v1.36.1', bound })).ca, 'restart')
})

test('no program is run that others than root may change', {
  skip: !isRoot && 'needs root',
}, async (t: TestContext) => {
  const program = join(scratch(t), 'kube-proxy')
  writeFileSync(program, '#!/bin/sh\necho Kubernetes v1.36.0\n')
  utimesSync(program, 1000, 1000)
  const at = { program, started: Date.now() / 1000 + 60 }
  for (const [mode, expected] of [
    [0o755, 'poll'],
    [0o775, 'restart'],
    [0o757, 'restart'],
    [0o644, 'restart'],
  ] as const) {
    chmodSync(program, mode)
    assert.equal((await loads(at)).ca, expected, mode.toString(8))
  }
  assert.equal((await loads({ ...at, program: '/gone/kube-proxy' })).ca, 'restart')
})
