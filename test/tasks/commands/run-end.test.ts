/** What a run tells at its end: what to copy and restart, what expires next, and where a mistake of ours was made. */
import assert from 'node:assert/strict'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { parseCluster } from '../../../lib/cluster/cluster.ts'
import type { Outcome } from '../../../lib/graph/target.ts'
import { adviseAfter } from '../../../lib/show/advice.ts'
import { clusterGraph } from '../../../tasks/phases/table.ts'
import { known } from '../../../tasks/tables/files.ts'
import { type Lab, startLab } from '../../lab/lab.ts'
import { scratch } from '../../support/files.ts'
import { type Edit, harderway, labEdits, makePlace, oneOfEach, writeCluster } from '../../support/harderway.ts'
import { start } from '../../support/process.ts'
import { needs } from '../../support/programs.ts'

const moreResources: Edit = [
  ['encryption', 'resources'],
  ['secrets', 'configmaps'],
]
const nodesWith = (worker: object): Edit => [
  ['nodes'],
  [
    { name: 'control0', role: 'control', ip: '192.168.1.11' },
    { name: 'worker0', role: 'worker', ip: '192.168.1.14', ...worker },
  ],
]
const moreNames = nodesWith({ sans: ['worker.example.org'] })

describe('a run that replaces files on nodes', { skip: needs('sshd', 'ssh', 'scp') }, () => {
  let place: string
  let lab: Lab

  const write = (...edits: readonly Edit[]) =>
    writeCluster(place, [...oneOfEach, nodesWith({}), ...labEdits(lab), ...edits])
  const closing = async (...args: string[]) => {
    const { status, events } = await harderway(place, ...args, '--json')
    const { advice, nextToExpire } = events.at(-1) ?? {}
    return { status, advice, nextToExpire }
  }

  before(async () => {
    place = makePlace()
    const nodes = ['control0', 'worker0'].map((name) => ({ name }))
    lab = await startLab({ dir: join(place, 'lab'), nodes })
    write()
  })
  after(async () => {
    await lab.stop()
    rmSync(place, { recursive: true, force: true })
  })

  test('says nothing of restarts the first time, when nobody has read them, but what expires first', async () => {
    const { status, stdout } = await harderway(place, 'bootstrap')
    assert.equal(status, 0, stdout)
    assert.doesNotMatch(stdout, /replaced|restart/)
    assert.match(stdout, /^To do {6}back up \S+\/auth \(docs\/backup\.md\): it is the only copy$/m)
    assert.doesNotMatch(stdout, /auth\/ was lost/)
    assert.match(
      stdout,
      /\nNext {7}[\w-]+ expires on \d{4}-\d\d-\d\d; a run from \d{4}-\d\d-\d\d on renews it\n[^\n]+ in \d+\.\d s\n$/,
    )
  })

  test('says that nothing changed where everything is fresh; for scripts the date is there all the same', async () => {
    const { stdout } = await harderway(place, 'bootstrap')
    assert.match(stdout, /^Changed {4}nothing: everything matches cluster\.yaml\nNext {7}/m)
    assert.doesNotMatch(stdout, /replaced|To do/)
    const { status, advice, nextToExpire } = await closing('bootstrap')
    assert.deepEqual([status, advice], [0, []])
    const { name, expires: at } = nextToExpire as { name: string; expires: string }
    // Every certificate but the CA has a year: of the run's own the CA is not the first.
    assert.ok(name !== 'ca' && Date.parse(at) < Date.now() + 366 * 86_400_000, `${name} ${at}`)
    assert.equal(((await closing('ca')).nextToExpire as { name: string }).name, 'ca')
    assert.equal((await closing('encryption-key')).nextToExpire, undefined)
  })

  test('says for each kind of node what was replaced and what has to be restarted, in words before the summary', async () => {
    write(moreResources, moreNames)
    const { status, stdout } = await harderway(place, 'bootstrap')
    assert.equal(status, 0, stdout)
    const lines = stdout.trimEnd().split('\n').slice(-4)
    assert.deepEqual(lines.slice(0, 2), [
      'To do      control0: encryption-config.yaml replaced: copy it to where the units read it, then restart kube-apiserver',
      'To do      worker0: worker0.pem, worker0.kubeconfig replaced: copy them to where the units read them, then restart kubelet',
    ])
    assert.match(lines[2] ?? '', /^Next {7}/)
    assert.match(lines[3] ?? '', /^\d+ targets: /)
  })

  test('says the same to scripts, and with --quiet what is left to do', async () => {
    write(moreResources)
    const { status, advice } = await closing('bootstrap')
    assert.deepEqual(
      [status, advice],
      [0, [{ nodes: ['worker0'], files: ['worker0.pem', 'worker0.kubeconfig'], restart: ['kubelet'] }]],
    )
    write(moreResources, moreNames)
    const { stdout } = await harderway(place, 'bootstrap', '--quiet')
    assert.match(stdout, /^To do {6}worker0: worker0.pem, worker0.kubeconfig replaced: .*, then restart kubelet\n$/)
    assert.deepEqual((await harderway(place, 'bootstrap', '--quiet')).stdout, '')
  })
})

test('with install on there is nothing left to copy or restart, whatever was replaced', () => {
  const text = (install: string) => `name: kubenet
api: { virtualIP: 10.0.0.1 }
install: ${install}
nodes:
  - { name: c0, role: control, ip: 10.0.0.2 }
  - { name: w0, role: worker, ip: 10.0.0.3 }
  - { name: g0, role: gateway, ip: 10.0.0.4 }
`
  const advised = (install: string) => {
    const parsed = parseCluster(Buffer.from(text(install)), known)
    assert.ok('cluster' in parsed)
    const targets = [...clusterGraph(parsed.cluster).values()]
    const none = { missing: [], wrongMode: [], wrongOwner: [], pruned: [], leftovers: [] }
    const replaced: Outcome = { kind: 'built', reasons: [{ kind: 'on-node', differ: ['ca.pem'], ...none }] }
    const followed: Outcome = { kind: 'built', reasons: [{ kind: 'need-rebuilt', ids: [] }] }
    return adviseAfter(targets, new Map(targets.map(({ id, phase }) => [id, phase === 'deploy' ? replaced : followed])))
  }
  assert.deepEqual(
    advised('false').flatMap(({ nodes }) => nodes),
    ['c0', 'w0', 'g0'],
  )
  assert.deepEqual(advised('guide'), [])
})

describe('a mistake of ours, made by what is loaded before the program', { concurrency: 2 }, () => {
  const breaking = (name: string) =>
    `data:text/javascript,${encodeURIComponent(`
      import fs from 'node:fs'
      import { syncBuiltinESMExports } from 'node:module'
      fs.${name} = function broken() { throw new TypeError('broken', { cause: new RangeError('deeper') }) }
      syncBuiltinESMExports()`)}`
  const ran = async (t: TestContext, name: string, ...args: string[]) => {
    const place = scratch(t)
    mkdirSync(join(place, 'home'))
    writeCluster(place, oneOfEach)
    const env = { NODE_OPTIONS: `--import=${breaking(name)}` }
    const { status, stdout, stderr } = await start(place, ['ca', ...args], { env }).ended
    assert.equal(status, 1, stdout + stderr)
    return { said: stdout + stderr, events: args.includes('--json') ? stdout.trimEnd().split('\n') : [] }
  }
  const message = 'a mistake in harderway itself: TypeError: broken'
  const stack = /TypeError: broken\n +at [\s\S]*\n +at .*\/lib\/files\/[\s\S]*\ncaused by RangeError: deeper\n +at /

  for (const [where, name] of [
    ['in a target', 'renameSync'],
    ['before there is a target', 'mkdirSync'],
  ] as const)
    test(`${where}: one line, and the stack with that of its cause with --verbose and with --json`, async (t) => {
      const { said } = await ran(t, name)
      assert.ok(said.includes(message), said)
      assert.doesNotMatch(said, /\n +at .*:\d+|caused by/)
      assert.match((await ran(t, name, '--verbose')).said, stack)
      const { events } = await ran(t, name, '--json')
      const told = events.map((line) => JSON.parse(line)).filter((event) => event.message === message)
      assert.deepEqual(
        told.map(({ cause }) => cause),
        ['bug'],
      )
      assert.match(told[0].stack, stack)
    })
})
