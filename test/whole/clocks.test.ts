/** Certificates and clocks. */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { after, before, describe, type TestContext, test } from 'node:test'
import { certificateIn } from '../support/certificates.ts'
import { stateOf } from '../support/files.ts'
import {
  copyPlace,
  type Edit,
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
import { clock, start } from '../support/process.ts'
import { needs } from '../support/programs.ts'

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

  const copied = (t: TestContext, more: readonly Edit[] = []) => copyPlace(t, origin, [...edits, ...more])

  describe('on the day of renewal', () => {
    /** The leaves' end less renewBefore. */
    const renewal = made.getTime() + (365 - 30) * day

    test('a day before it everything is fresh; a day after it every leaf is issued again, and the CA is not', async (t) => {
      const { place, auth } = copied(t)
      const state = stateOf(auth)
      const fresh = await withStatus(0, runAt(place, new Date(renewal - day)))
      assert.deepEqual(idsOf(fresh, 'built'), [])
      assert.ok(!fresh.stdout.includes('"warning"'))
      assert.deepEqual(stateOf(auth), state)
      const then = new Date(renewal + day)
      const isCa = (name: string) => name.startsWith('ca')
      const ca = stateOf(auth, isCa)
      const ran = await withStatus(0, runAt(place, then))
      assert.equal(idsOf(ran, 'built').filter((id) => id.includes('cert')).length, leaves.length)
      assert.equal(messageOf(ran, 'cluster-cert'), 'changed; expires 2028-02-28')
      assert.deepEqual(stateOf(auth, isCa), ca)
      for (const name of leaves)
        assert.ok(certificateIn(auth, name).notAfter.getTime() > then.getTime() + 364 * day, name)
      assert.deepEqual(idsOf(await runAt(place, then), 'built'), [])
    })

    test('renewBefore of cluster.yaml moves it', async (t) => {
      const { place } = copied(t, [[['certificates', 'renewBefore'], '90d']])
      const staleAfter = async (days: number) =>
        idsOf(await runAt(place, new Date(made.getTime() + days * day), '--dry-run'), 'stale')
      assert.deepEqual(await staleAfter(274), [])
      assert.equal((await staleAfter(276)).filter((id) => id.includes('cert')).length, leaves.length)
    })
  })

  test('that was ahead: a CA that is not yet valid is refused, with both times, and is reissued where the clock is right', async (t) => {
    const { place, auth } = copied(t)
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
    assert.equal(messageOf(ran, 'cluster-cert'), 'changed; not valid before 2027-02-28T23:55Z')
    assert.ok(certificateIn(auth, 'ca').notBefore < before)
  })

  test('what has expired is left to do for a run of other targets: 4, until a run over everything', async (t) => {
    const { place } = copied(t, [[['localKubeconfig'], false]])
    const now = new Date(made.getTime() + 400 * day)
    const left = /^To do +8 of 9 certificates in \S+ have expired \(.*\); reissue and deploy: npm run bootstrap$/m
    const textOf = async (status: number, ...args: string[]) =>
      (await exits(status, { place, now }, ...args)).stdout.replace(/\n +/g, ' ')
    const idle = await textOf(4, 'encryption-key')
    assert.match(idle, left)
    assert.match(idle, /^To do/m)
    assert.match(await textOf(4, 'encryption-key', '--dry-run'), left)
    assert.match(await textOf(4, 'node-certs/worker0'), /^To do +7 of 9 certificates in /m)
    // What a plan would reissue is none of them.
    assert.doesNotMatch(await textOf(4, ...phases, '--dry-run'), /certificates in \S+ have expired/)
    assert.doesNotMatch(await textOf(0, ...phases), /have expired/)
    assert.doesNotMatch(await textOf(0, 'encryption-key'), /have expired/)
  })

  describe('near the end of the CA', () => {
    const caEnd = made.getTime() + 3650 * day

    const adviceOf = ({ events }: Ran) => (events.at(-1)?.advice ?? []) as unknown[]

    test('from renewBefore on runs exit with 4 and say what to do, and leaves are cut to it once', async (t) => {
      const { place, auth } = copied(t)
      const early = await withStatus(0, runAt(place, new Date(caEnd - 31 * day)))
      assert.ok(!early.stdout.includes('"warning"'))
      const then = new Date(caEnd - 29 * day)
      const ran = await withStatus(4, runAt(place, then))
      const commands = ['npm run task -- ca --renew', 'npm run bootstrap']
      assert.deepEqual(adviceOf(ran), [{ expires: '2037-02-25T23:55:00Z', days: 28, commands }])
      for (const name of leaves)
        assert.deepEqual(certificateIn(auth, name).notAfter, certificateIn(auth, 'ca').notAfter, name)
      const state = stateOf(auth)
      for (const days of [29, 20, 1]) {
        const again = await withStatus(4, runAt(place, new Date(caEnd - days * day)))
        assert.deepEqual(idsOf(again, 'built'), [])
        assert.equal((adviceOf(again)[0] as { days: number }).days, days - 1)
      }
      await withStatus(4, runAt(place, then, '--dry-run'))
      assert.deepEqual(stateOf(auth), state)
    })

    test('a run that renews it, or has nothing to do with it, exits with 0', async (t) => {
      const { place } = copied(t)
      const now = new Date(caEnd - 19 * day)
      const plan = await harderway({ place, now }, 'ca', '--renew', '--dry-run')
      assert.doesNotMatch(plan.stdout, /certificates with it/)
      // What it issued has expired by then.
      await exits(4, { place, now }, ...phases)
      for (const args of [['encryption-key'], ['ca', '--renew'], phases]) {
        const ran = await exits(0, { place, now }, ...args)
        assert.doesNotMatch(ran.stdout, /certificates with it/)
      }
    })
  })

  test('a CA that was renewed for a shorter time ends what it has issued: that date is shown everywhere', async (t) => {
    const shorter: readonly Edit[] = [
      [['certificates', 'validity'], '90d'],
      [['certificates', 'caValidity'], '180d'],
    ]
    const jane = (...groups: readonly string[]): Edit => [['users'], [{ name: 'jane', groups }]]
    const { place, auth } = copied(t, [jane('ops', 'devs')])
    const run = (...args: string[]) => harderway({ place, now: made }, ...args)
    await withStatus(0, run('user-certs', '--json'))
    writeCluster(place, [...edits, ...shorter, jane('ops', 'devs')])
    await withStatus(0, run('ca', '--renew', '--json'))
    const end = certificateIn(auth, 'ca').notAfter
    assert.equal(end.toISOString(), '2027-08-27T23:55:00.000Z')

    const isLeaf = ({ id, type }: Record<string, unknown>) => type === 'fresh' && /-cert/.test(String(id))
    const fresh = (await runAt(place, made)).events.filter(isLeaf)
    assert.equal(fresh.length, leaves.length + 1)
    for (const { id, until, message } of fresh)
      assert.deepEqual([id, until, message], [id, '2027-08-27T23:55:00Z', 'expires 2027-08-27 (with the CA)'])
    const { events } = await run('status', '--json')
    const ends = events.flatMap(({ type, end }) => (type === 'item' && end !== undefined ? [end] : []))
    assert.deepEqual([...new Set(ends)], ['2027-08-27T23:55:00Z'])
    const former = async () => {
      writeCluster(place, [...edits, ...shorter])
      return (await run('status')).stdout.replace(/\s+/g, ' ')
    }
    assert.match(await former(), /certificates of jane \(until 2027-08-27\)/)
    assert.match((await run('cluster-cert', '--force', '--dry-run')).stdout, /expires 2027-05-29 \(was 2027-08-27\)/)
    writeCluster(place, [...edits, ...shorter, jane('devs')])
    assert.match((await run('user-certs')).stdout, /jane's certificate in ops is accepted until 2027-08-27/)
  })

  test('of the computer, in another time zone: the days told are those of UTC', {
    skip: needs('faketime'),
  }, async (t) => {
    const { place } = copied(t)
    const ran = await start(place, phases, { by: ['env', 'TZ=Pacific/Kiritimati', ...clock(made)] }).ended
    assert.match(ran.stdout, /^Cluster certificate: renews from 2028-01-29$/m)
  })
})

function runAt(place: string, time: Date, ...args: string[]): Promise<Ran> {
  return harderway({ place, now: time }, ...phases, ...args, '--json')
}
