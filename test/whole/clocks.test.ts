/** Certificates and clocks. */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { certificateIn } from '../support/certificates.ts'
import { stateOf } from '../support/files.ts'
import {
  copyPlace,
  oneOfEach as edits,
  exits,
  harderway,
  idsOf,
  makePlace,
  messageOf,
  type Ran,
  withStatus,
  writeCluster,
} from '../support/harderway.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const day = 86_400_000
/** When everything is made: the first moment of a day, so that a run that takes a second stays in it. */
const made = new Date('2027-03-01T00:00:00Z')
const leaves = [
  'kubernetes',
  'admin',
  'kube-scheduler',
  'kube-controller-manager',
  'kube-proxy',
  'service-account',
  'control0',
  'worker0',
]

describe('by a clock', { concurrency: 2 }, () => {
  let origin: string

  before(async () => {
    origin = makePlace()
    writeCluster(origin, edits)
    await withStatus(0, runAt(origin, made))
  })
  after(() => rmSync(origin, { recursive: true, force: true }))

  test('that was ahead: a CA that is not yet valid is refused, with both times, and is reissued where the clock is right', async (t) => {
    const { place, auth } = copyPlace(t, origin, edits)
    const state = stateOf(auth)
    const before = new Date(made.getTime() - day)
    for (const args of [[], ['--dry-run']]) {
      const ran = await withStatus(3, runAt(place, before, ...args))
      const [refused] = ran.events.filter(({ type, refused }) => type === 'refused' || refused)
      assert.equal(refused?.id, 'ca')
      assert.match(
        String(refused?.message),
        /is not valid before 2027-02-28T23:55\S*, and this machine has 2027-02-28T00:00/,
      )
      assert.match(String(refused?.remedy), /correct the clock of this machine[\s\S]*npm run task -- ca --renew/)
    }
    assert.deepEqual(stateOf(auth), state)
    await withStatus(0, runAt(place, made))
    await exits(0, { place, now: before }, 'ca', '--renew', '--json')
    const ran = await withStatus(0, runAt(place, before))
    assert.match(String(messageOf(ran, 'cluster-cert')), /^changed, .*; not valid before 2027-02-28T23:55Z$/)
    assert.ok(certificateIn(auth, 'ca').notBefore < before)
  })

  test('near the end of the CA: from renewBefore on runs exit with 4 and say what to do, and leaves are cut to it once', async (t) => {
    const caEnd = made.getTime() + 3650 * day
    const toDoOf = ({ events }: Ran) => String(events.at(-1)?.todo)
    const { place, auth } = copyPlace(t, origin, edits)
    const early = await withStatus(0, runAt(place, new Date(caEnd - 31 * day)))
    assert.ok(!early.stdout.includes('"warn"'))
    const then = new Date(caEnd - 29 * day)
    const ran = await withStatus(4, runAt(place, then))
    const toDo =
      'expires on 2037-02-25 (in 28 days), and its certificates with it; before that, run:\n    npm run task -- ca --renew\n'
    assert.ok(toDoOf(ran).includes(toDo), toDoOf(ran))
    for (const name of leaves)
      assert.deepEqual(certificateIn(auth, name).notAfter, certificateIn(auth, 'ca').notAfter, name)
    const state = stateOf(auth)
    for (const days of [29, 20, 1]) {
      const again = await withStatus(4, runAt(place, new Date(caEnd - days * day)))
      assert.deepEqual(idsOf(again, 'built'), [])
      assert.match(toDoOf(again), new RegExp(`\\(in ${days === 1 ? '23 hours' : `${days - 1} days`}\\)`))
    }
    await withStatus(4, runAt(place, then, '--dry-run'))
    assert.deepEqual(stateOf(auth), state)
  })
})

function runAt(place: string, time: Date, ...args: string[]): Promise<Ran> {
  return harderway({ place, now: time }, ...phases, ...args, '--json')
}
