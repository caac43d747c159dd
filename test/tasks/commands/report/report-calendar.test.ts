/** `report --format ics`, read by ical.js, beside what openssl says of the files. */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import ICAL from 'ical.js'
import { type Edit, gateway, harderway, writeCluster } from '../../../support/harderway.ts'
import { openssl } from '../../../support/openssl.ts'
import { needs } from '../../../support/parts.ts'
import { scratch } from '../../../support/scratch.ts'

const edits: readonly Edit[] = [[['certificates', 'key'], 'ecdsa-p256'], gateway]
const renewBefore = (value: string): Edit => [['certificates', 'renewBefore'], value]
const day = 86_400

describe('the calendar', { skip: needs('openssl') }, () => {
  const disposals: (() => void)[] = []
  let place: string
  let auth: string

  /** Certificates that end on three days, in a folder whose name is not ASCII. */
  before(async () => {
    const path = scratch({ after: (work) => disposals.push(work) })
    place = join(path, 'größer-日本語-日本語-日本語-日本語')
    auth = join(place, 'auth')
    mkdirSync(join(path, 'home'))
    mkdirSync(join(place, 'home'), { recursive: true })
    writeCluster(place, edits)
    await run('certs', 'kubeconfigs', 'encryption-key')
    for (const [validity, ...names] of [
      ['90d', 'cluster-cert', 'node-certs/worker1'],
      ['400d', 'node-certs/worker2', 'component-certs/admin'],
    ] as const) {
      writeCluster(place, [...edits, [['certificates', 'validity'], validity]])
      await run(...names, '--force')
    }
    writeCluster(place, edits)
    await run('kubeconfigs')
  })
  after(() => {
    for (const dispose of disposals) dispose()
  })

  const run = async (...args: string[]) => {
    const ran = await harderway(place, ...args)
    assert.equal(ran.status, 0, ran.stdout + ran.stderr)
  }
  const text = () => readFileSync(join(auth, 'report.ics'), 'utf8')
  const events = () => {
    const calendar = ICAL.Component.fromString(text())
    return calendar.getAllSubcomponents('vevent').map((component) => ({ component, event: new ICAL.Event(component) }))
  }
  const endDay = (file: string) => {
    const end = openssl('x509', '-in', join(auth, file), '-noout', '-enddate', '-dateopt', 'iso_8601')
    return /\d{4}-\d\d-\d\d/.exec(end)?.[0] ?? ''
  }
  const phaseOf = (name: string) => {
    if (name === 'ca') return 'ca'
    if (name === 'kubernetes') return 'cluster-cert'
    return /^(control|worker)\d$/.test(name) ? 'node-certs' : 'component-certs'
  }

  test('has the day on which each certificate expires by openssl, in any time zone', async (t) => {
    const files = readdirSync(auth).filter((name) => name.endsWith('.pem') && !name.endsWith('-key.pem'))
    const expected = new Set(files.map((file) => `${endDay(file)} kubenet: ${phaseOf(file.replace('.pem', ''))}`))
    assert.equal(new Set([...expected].map((entry) => entry.slice(0, 10))).size, 3)
    const zone = process.env.TZ
    t.after(() => {
      if (zone === undefined) delete process.env.TZ
      else process.env.TZ = zone
    })
    for (const TZ of ['UTC', 'Pacific/Kiritimati', 'Pacific/Pago_Pago']) {
      process.env.TZ = TZ
      await run('report', '--format', 'ics')
      const seen = events().flatMap(({ event }) => {
        const [, about = ''] = /^(kubenet: \S+) expires? \(/.exec(event.summary) ?? []
        return about === 'kubenet: kubeconfigs' ? [] : [`${event.startDate} ${about}`]
      })
      assert.deepEqual(seen.toSorted(), [...expected].toSorted(), TZ)
    }
  })

  test('names up to four that expire on a day, and counts the rest', async () => {
    await run('report', '--format', 'ics')
    const summaries = events().map(({ event }) => event.summary)
    for (const summary of [
      'kubenet: cluster-cert expires (kubernetes)',
      'kubenet: node-certs expires (worker1)',
      'kubenet: node-certs expire (control0, control1, control2, worker0)',
      'kubenet: kubeconfigs expire (kube-scheduler, kube-controller-manager, kube-proxy and 4 more)',
    ])
      assert.ok(summaries.includes(summary), `${summary} in\n${summaries.join('\n')}`)
  })

  for (const [value, seconds] of [
    ['30d', 30 * day],
    ['36h', 1.5 * day],
  ] as const)
    test(`has events of a whole day, each with one alarm ${value} before, as renewBefore says`, async () => {
      writeCluster(place, [...edits, renewBefore(value)])
      await run('report', '--format', 'ics')
      assert.ok(events().length > 3)
      for (const { component, event } of events()) {
        assert.ok(event.startDate.isDate)
        assert.equal(event.duration.toSeconds(), day)
        const alarms = component.getAllSubcomponents('valarm')
        const trigger = alarms[0]?.getFirstPropertyValue('trigger')
        assert.ok(alarms.length === 1 && trigger instanceof ICAL.Duration)
        assert.equal(trigger.toSeconds(), -seconds)
      }
    })

  test('names each event once, and by the same name in the next report', async () => {
    const ids = () => events().map(({ event }) => event.uid)
    await run('report', '--format', 'ics')
    const first = ids()
    assert.equal(new Set(first).size, first.length)
    await run('report', '--format', 'ics')
    assert.deepEqual(ids(), first)
  })

  test('has lines of 75 octets at most, none of them with half a character, ended as RFC 5545 asks', async () => {
    const config = join(place, 'cluster.yaml')
    await run('report', '--format', 'ics', '--config', config)
    const lines = readFileSync(join(auth, 'report.ics'), 'latin1').split('\r\n')
    for (const line of lines) {
      assert.ok(line.length <= 75, line)
      assert.ok(!/[\r\n]/.test(line))
      assert.ok(!Buffer.from(line, 'latin1').toString().includes('\uFFFD'), line)
    }
    assert.ok(lines.some((line) => line.length === 75))
    for (const { event } of events()) assert.ok(event.description.includes(config.slice(config.indexOf('größer'))))
  })
})
