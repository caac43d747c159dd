/**
 * On a bad day too a plan says what the run does: of every target what is refused, what fails and what is made, and the
 * exit status.
 */
import assert from 'node:assert/strict'
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, beforeEach, describe, type TestContext, test } from 'node:test'
import { readCertificate } from '../../lib/pki/certificate.ts'
import { generatePrivateKey, privateKeyPem } from '../../lib/pki/x509.ts'
import {
  copyPlace,
  type Edit,
  exits,
  harderway,
  idsOf,
  labEdits,
  madePlace,
  oneOfEach,
  type Ran,
  writeCluster,
} from '../support/harderway.ts'
import { localPlace, setClocks } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const day = 86_400_000
const certificateAt = (auth: string, name: string) => readCertificate(readFileSync(join(auth, name)))

/** What is done with each target: why, its files, and what is restarted. */
function worksOf({ events }: Ran, type: string) {
  const works = events.flatMap(({ id, diffs, ...event }) => (event.type === type ? [{ id: String(id), diffs }] : []))
  return works.toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

/** Returns the exit status of the run, and the events of the plan. */
async function assertAgreeAt(call: { readonly place: string; readonly now: Date }, ...names: string[]) {
  const planned = await harderway(call, ...names, '--dry-run', '--json')
  const ran = await harderway(call, ...names, '--json')
  const said = JSON.stringify([planned.events, ran.events])
  for (const type of ['refused', 'failed']) assert.deepEqual(idsOf(ran, type), idsOf(planned, type), said)
  assert.deepEqual(worksOf(ran, 'built'), worksOf(planned, 'stale'), said)
  assert.equal(planned.status, ran.status === 0 && idsOf(ran, 'built').length > 0 ? 4 : ran.status, said)
  return { ran, status: ran.status, said: JSON.stringify(planned.events), built: idsOf(ran, 'built').length }
}

describe('a plan is the run', { skip: needs('ssh') }, () => {
  const suite = localPlace('control0', 'worker0', 'gateway')
  const { place } = suite
  let made: string
  const auth = () => join(place, 'auth')
  const edits = (...more: Edit[]) => writeCluster(place, [...oneOfEach, ...labEdits(suite.lab), ...more])
  const certificate = (name: string) => certificateAt(auth(), name)
  const assertAgree = (now: Date, ...names: string[]) => assertAgreeAt({ place, now }, ...names)
  const setDays = (days: number) => setClocks(suite.lab, place, days * 86_400)
  const whole = { recursive: true, preserveTimestamps: true }
  const restore = () => {
    rmSync(auth(), { recursive: true, force: true })
    cpSync(made, auth(), whole)
  }
  const homes = () => suite.lab.nodes.map(({ name, home }) => [home, join(place, `made-${name}`)] as const)

  before(async () => {
    made = join(place, 'made')
    edits()
    // A CA that is older than what is tried below.
    await exits(0, { place, now: new Date(Date.now() - 100 * day) }, 'ca')
    await exits(0, place, 'bootstrap')
    cpSync(auth(), made, whole)
    for (const [home, kept] of homes()) cpSync(home, kept, whole)
  })
  beforeEach(async () => {
    await setDays(0)
    restore()
    for (const [home, kept] of homes()) {
      rmSync(home, { recursive: true })
      cpSync(kept, home, whole)
    }
    edits()
  })

  test('where all clocks were ahead when certificates were issued', async () => {
    await setDays(2)
    const ahead = new Date(Date.now() + 2 * day)
    await exits(0, { place, now: ahead }, 'certs', 'bootstrap', '--force')
    await setDays(0)
    const key = readFileSync(join(auth(), 'kubernetes-key.pem'), 'utf8')
    const { status, said } = await assertAgree(new Date(), 'bootstrap')
    assert.equal(status, 0, said)
    assert.doesNotMatch(said, /from the future/)
    // What was issued again keeps its key, so nobody loads a pair that does not match.
    assert.equal(readFileSync(join(auth(), 'kubernetes-key.pem'), 'utf8'), key)
    assert.ok(Number(certificate('kubernetes.pem')?.notBefore) < Date.now())
  })

  test('where this clock was three hours ahead when certificates were issued that no node has yet', async () => {
    edits([['install'], true])
    await exits(0, { place, now: new Date(Date.now() + day / 8) }, 'certs', '--force')
    const seen = await harderway(place, 'status', '--on-nodes', '--json')
    assert.deepEqual([seen.status, seen.events.filter(({ type }) => type === 'failed')], [4, []], seen.stdout)
    assert.match(seen.stdout, /not valid before/)
    const { status, said, built } = await assertAgree(new Date(), 'bootstrap')
    assert.equal(status, 0, said)
    assert.ok(built > 10)
    assert.ok(Number(certificate('kubernetes.pem')?.notBefore) < Date.now())
  })

  test("where this machine's clock is two years ahead", async () => {
    edits([['install'], true])
    const { status, said } = await assertAgree(new Date(Date.now() + 730 * day), 'bootstrap')
    assert.equal(status, 1)
    for (const name of ['control0', 'worker0'])
      assert.match(said, new RegExp(`clocks differ \\(\\S+ here, \\S+ on ${name}\\)`))
  })

  test('where the clock of one worker is wrong: that worker alone is stopped, by each run that would copy a file to it', async () => {
    await setClocks({ nodes: [suite.lab.node('worker0')] }, place, 10_800)
    for (const [force, built] of [
      [['--force'], 'deploy/control0'],
      [[], undefined],
    ] as const) {
      const ran = await harderway(place, 'bootstrap', ...force, '--json')
      assert.deepEqual([ran.status, idsOf(ran, 'failed')], [1, ['deploy/worker0']], JSON.stringify(ran.events))
      assert.ok(built === undefined || idsOf(ran, 'built').includes(built))
      const { status, said } = await assertAgree(new Date(), 'bootstrap', ...force)
      assert.equal(status, 1)
      assert.match(said, /worker0: clocks differ \(\S+ here, \S+ on worker0\)/)
    }
    await setDays(0)
    await exits(0, place, 'bootstrap')
  })

  test("where a rotation of the CA was killed once it had written the next CA's key", async () => {
    const key = await generatePrivateKey('ecdsa-p256')
    writeFileSync(join(auth(), 'ca-next-key.pem'), privateKeyPem(key), { mode: 0o600 })
    const { stdout } = await exits(4, place, 'bootstrap', '--dry-run')
    assert.match(stdout, /^ {2}\+ ca-next\.pem {2}expires /m)
    assert.match(stdout, /^ {2}~ kubernetes\.pem {2}not issued by the current CA; certificate chain differs; expires /m)
    assert.doesNotMatch(stdout, /\bca\.pem|service-account|gateway|restart: .*\betcd\b/)
    const { status, said } = await assertAgree(new Date(), 'bootstrap')
    assert.equal(status, 0, said)
    const { stdout: told } = await exits(0, place, 'bootstrap')
    assert.match(told, /rotation of the CA in progress, stage 1 of 2/)
  })

  test('where auth/ is an old backup whose certificates are to be issued again', async () => {
    await exits(0, place, 'certs', 'bootstrap', '--force')
    restore()
    edits([['certificates', 'renewBefore'], '365d'], [['certificates', 'validity'], '400d'])
    const { status, built } = await assertAgree(new Date(Date.now() + 600_000 / 4), 'bootstrap')
    assert.equal(status, 0)
    assert.ok(built > 10)
  })

  test('where it is one whose certificates would stay', async () => {
    await setDays(1)
    const tomorrow = new Date(Date.now() + day)
    await exits(0, { place, now: tomorrow }, 'certs', 'bootstrap', '--force')
    restore()
    const { status, said } = await assertAgree(tomorrow, 'bootstrap')
    assert.equal(status, 1)
    assert.match(
      said,
      /newer than in.*issue newer certificates:(\\n| )+npm run task -- certs --force(\\n| )+npm run bootstrap/,
    )
    await exits(0, { place, now: tomorrow }, 'deploy', '--force')
  })

  test('where all is forced, on nodes without units: nothing is done to them, and nothing is to be restarted for files that are copied again', async () => {
    edits([['install'], true])
    const { status, built, ran } = await assertAgree(new Date(), 'bootstrap', '--force')
    assert.deepEqual([status, built], [0, 18])
    const { events, stdout } = ran
    for (const name of ['control0', 'worker0', 'gateway']) {
      const { type, note } = events.find(({ type, id }) => id === `install/${name}` && type !== 'started') ?? {}
      assert.deepEqual([type, note], ['fresh', 'not installed yet'], stdout)
    }
    assert.match((await exits(0, place, 'bootstrap', '--force')).stdout, /^Install on nodes: 3 not installed yet$/m)
    edits()
    assert.doesNotMatch((await exits(4, place, 'deploy', '--force', '--dry-run')).stdout, /restart/)
    assert.doesNotMatch((await exits(0, place, 'deploy', '--force')).stdout, /restart/)
  })
})

describe('the API certificate loses nothing that may be dialled, as the plan says', () => {
  const origin = madePlace(oneOfEach, 'certs')
  const placeOf = (t: TestContext) => {
    const { place, auth } = copyPlace(t, origin, oneOfEach)
    return {
      place,
      edits: (...more: Edit[]) => writeCluster(place, [...oneOfEach, ...more]),
      kept: () => certificateAt(auth, 'kubernetes.pem')?.sans ?? [],
      agree: () => assertAgreeAt({ place, now: new Date() }, 'certs'),
    }
  }

  for (const [title, part, edit, ...before] of [
    ['service address', '10.32.0.1', [['network', 'serviceCIDR'], '10.23.0.0/16']],
    ['virtual IP', '192.168.1.21', [['api', 'virtualIP'], '192.168.1.77']],
    ['host of the API', 'api.old.example', [['api', 'host'], 'api.example.com'], [['api', 'host'], 'api.old.example']],
    ['domain of the nodes', '.kubenet', [['domain'], 'prod.example']],
    ['domain of the nodes, which is the name', '.kubenet', [['name'], 'prod'], [['domain'], undefined]],
    ['domain of Services', '.cluster.local', [['network', 'clusterDomain'], 'prod.local']],
  ] as const satisfies readonly [string, string, ...Edit[]][])
    test(`by another ${title}`, async (t) => {
      const { place, edits, kept, agree } = placeOf(t)
      const ofOld = () => kept().filter((name) => name.includes(part))
      edits(...before)
      await exits(0, place, 'cluster-cert')
      const old = ofOld()
      assert.ok(old.length > 0, kept().join(' '))
      edits(...before, edit)
      const { status, said } = await agree()
      assert.equal(status, 3)
      for (const each of old) assert.ok(said.includes(each), said)
      assert.deepEqual(ofOld(), old)
      edits(...before, edit, [['api', 'extraSANs'], old])
      assert.equal((await agree()).status, 0)
      edits(...before, edit)
      await exits(0, place, 'cluster-cert')
      assert.deepEqual(ofOld(), [])
    })

  test('and the names of a control node that has left may go: the plan has each', async (t) => {
    const { place, edits, kept, agree } = placeOf(t)
    const [, nodes] = oneOfEach.find(([[key]]) => key === 'nodes') ?? []
    const control1 = { name: 'control1', role: 'control', ip: '192.168.1.12', host: 'control0', directory: '~/other' }
    edits([['nodes'], [...(nodes as object[]), control1]])
    await exits(0, place, 'certs')
    assert.ok(kept().includes('192.168.1.12'))
    edits()
    const { status, said } = await agree()
    assert.equal(status, 0)
    for (const name of ['control1', '192.168.1.12']) assert.ok(said.includes(name), said)
    assert.ok(!kept().includes('192.168.1.12'))
  })
})
