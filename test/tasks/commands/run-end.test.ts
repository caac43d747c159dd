/** What a run tells at its end: what to copy and restart, what expires next, and where a mistake of ours was made. */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { type Edit, exits, harderway, labEdits, oneOfEach, writeCluster } from '../../support/harderway.ts'
import { localPlace } from '../../support/labs.ts'
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

describe('a run that replaces files on nodes', { skip: needs('ssh') }, () => {
  const suite = localPlace('control0', 'worker0')
  const { place } = suite

  const write = (...edits: readonly Edit[]) =>
    writeCluster(place, [...oneOfEach, nodesWith({}), ...labEdits(suite.lab), ...edits])
  const closing = async (...args: string[]) => {
    const { status, events } = await harderway(place, ...args, '--json')
    const { advice, nextToExpire } = events.at(-1) ?? {}
    return { status, advice, nextToExpire }
  }

  before(async () => {
    write()
  })

  test('says to back up auth/ where the first was interrupted after it made the CA', async () => {
    const go = join(place, 'go')
    const run = start(place, ['bootstrap'], { at: { event: 'rename kubernetes.pem#1', do: 'hold', go } })
    await run.told('ca: new')
    run.child.kill('SIGINT')
    writeFileSync(go, '')
    const { status, stdout } = await run.ended
    assert.equal(status, 130)
    assert.match(stdout, /^To do {6}back up \S+\/auth \(docs\/everyday\.md\)$/m)
    rmSync(join(place, 'auth'), { recursive: true })
  })

  test('says nothing of restarts the first time, when nobody has read them, but what expires first', async () => {
    const { stdout } = await exits(0, place, 'bootstrap')
    assert.doesNotMatch(stdout, /replaced|restart/)
    assert.match(stdout, /^To do {6}back up \S+\/auth \(docs\/everyday\.md\)$/m)
    assert.doesNotMatch(stdout, /auth\/ was lost/)
    assert.match(
      stdout,
      /\nNext {7}[\w-]+ expires on \d{4}-\d\d-\d\d; runs renew it from \d{4}-\d\d-\d\d\n[^\n]+ in \d+\.\d s\n$/,
    )
  })

  test('says that nothing changed where everything is fresh; for scripts the date is there all the same', async () => {
    const { stdout } = await harderway(place, 'bootstrap')
    assert.match(stdout, /^Changed {4}nothing; inspected auth\/[^\n]*\nNext {7}/m)
    assert.doesNotMatch(stdout, /replaced|To do/)
    const { status, advice, nextToExpire } = await closing('bootstrap')
    assert.deepEqual([status, advice], [0, []])
    const { name, expires: at } = nextToExpire as { name: string; expires: string }
    // Every certificate but the CA has a year: of the run's own the CA is not the first.
    assert.ok(name !== 'ca' && Date.parse(at) < Date.now() + 366 * 86_400_000, `${name} ${at}`)
    assert.equal(((await closing('ca')).nextToExpire as { name: string }).name, 'ca')
    assert.equal((await closing('encryption-key')).nextToExpire, undefined)
  })

  test('says for each kind of node what was replaced and has to be copied, with --quiet too', async () => {
    write(moreResources, moreNames)
    const { status, advice } = await closing('bootstrap')
    const worker0 = { nodes: ['worker0'], files: ['worker0.pem', 'worker0.kubeconfig'], restart: [] }
    const control0 = { nodes: ['control0'], files: ['encryption-config.yaml'], restart: [] }
    assert.deepEqual([status, advice], [0, [control0, worker0]])
    write(moreResources)
    const { stdout } = await harderway(place, 'bootstrap', '--quiet')
    assert.match(
      stdout,
      /^To do {6}on worker0, copy the new worker0.pem, worker0.kubeconfig to .*, then restart what reads them \(docs\/install\.md, "What a unit reads"\)\n$/,
    )
    assert.deepEqual((await harderway(place, 'bootstrap', '--quiet')).stdout, '')
  })
})
