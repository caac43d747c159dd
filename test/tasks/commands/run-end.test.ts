/** What a run tells at its end: what to copy and restart, what expires next, and where a mistake of ours was made. */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { exits, harderway, labEdits, oneOfEach, writeCluster } from '../../support/harderway.ts'
import { localPlace } from '../../support/labs.ts'
import { start } from '../../support/process.ts'
import { needs } from '../../support/programs.ts'

const nodes = [
  { name: 'control0', role: 'control', ip: '192.168.1.11' },
  { name: 'worker0', role: 'worker', ip: '192.168.1.14' },
]

describe('a run that replaces files on nodes', { skip: needs('ssh') }, () => {
  const suite = localPlace('control0', 'worker0')
  const { place } = suite

  const closing = async (...args: string[]) => {
    const { status, events } = await harderway(place, ...args, '--json')
    const { todo, nextToExpire } = events.at(-1) ?? {}
    return { status, todo, nextToExpire }
  }

  before(() => writeCluster(place, [...oneOfEach, [['nodes'], nodes], ...labEdits(suite.lab)]))

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

  test('says that nothing changed where everything is fresh; for scripts the date is there all the same', async () => {
    await exits(0, place, 'bootstrap')
    const { stdout } = await harderway(place, 'bootstrap')
    assert.match(stdout, /^Changed {4}nothing; inspected auth\/[^\n]*\nNext {7}/m)
    assert.doesNotMatch(stdout, /replaced|To do/)
    const { status, todo, nextToExpire } = await closing('bootstrap')
    assert.deepEqual([status, todo], [0, undefined])
    const { name, expires: at } = nextToExpire as { name: string; expires: string }
    // Every certificate but the CA has a year: of the run's own the CA is not the first.
    assert.ok(name !== 'ca' && Date.parse(at) < Date.now() + 366 * 86_400_000, `${name} ${at}`)
    assert.equal(((await closing('ca')).nextToExpire as { name: string }).name, 'ca')
    assert.equal((await closing('encryption-key')).nextToExpire, undefined)
  })
})
