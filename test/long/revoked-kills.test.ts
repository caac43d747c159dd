/**
 * A key that is revoked while the CA is being rotated, and by runs that are killed at each file that they write: at no
 * moment is anybody cut off who goes on with the new key, and the next run finishes.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import { eventually } from '../support/programs.ts'
import {
  assertNothingLeft,
  fingerprint,
  mustRun,
  readStarts,
  runAt,
  running,
  setFlags,
  skip,
  startedSince,
  startRunning,
  statusOf,
  unnoticed,
} from '../support/running.ts'

const controls = ['control0', 'control1', 'control2']
const command = ['bootstrap']

describe('a key that is revoked', { skip }, () => {
  let lab: Machines
  const keys: string[] = []
  const answers = (pair: string, ca?: string) =>
    Promise.all(controls.map((each) => statusOf(lab, `https://${lab.machine(each).ip}:6443/healthz`, pair, ca)))
  const all = (status: number) => controls.map(() => String(status))
  const write = () => lab.write(...running({}, [['revoked'], keys]))
  /** The present key of worker0 is to be cut off. Returns the pair. */
  const revoke = async () => {
    const pair = `old/worker0-${keys.length}`
    await lab.exec(`mkdir -p old; cp auth/worker0.pem ${pair}.pem; cp auth/worker0-key.pem ${pair}-key.pem`)
    keys.push((await fingerprint(lab, 'worker0')).trim())
    write()
    return pair
  }
  before(async () => {
    lab = await startRunning()
    write()
    await setFlags(lab, await mustRun(lab, 4, 'bootstrap'), controls)
    await mustRun(lab, 0, 'bootstrap')
  })
  after(() => lab?.stop())

  test('during a rotation of the CA it gets its new key from the next one, and no request fails', async () => {
    await mustRun(lab, 0, 'rotate', 'ca')
    const old = await revoke()
    const starts = await readStarts(lab)
    await unnoticed(lab, async () => void (await mustRun(lab, 4, 'bootstrap')))
    assert.deepEqual(await startedSince(lab, starts), ['worker0 kubelet'])
    assert.deepEqual(await answers(old), all(500))
    assert.deepEqual(await answers('auth/worker0'), all(200))
    await lab.exec('openssl verify -CAfile auth/ca-next.pem auth/worker0.pem')
    await mustRun(lab, 0, 'rotate', 'ca', '--finish')
    assert.deepEqual(await answers('auth/worker0'), all(200))
  })

  test('a run that is killed is finished by the next, and worker0 is never cut off with the key that it has', async () => {
    await revoke()
    const eventsTo = join(lab.place, 'events')
    const { status, stdout, stderr } = await runAt(lab, command, { eventsTo })
    assert.equal(status, 4, stdout + stderr)
    const events = readFileSync(eventsTo, 'utf8').split('\n')
    const written = events.filter((event) => /^rename .*(worker0|authorization-)/.test(event))
    assert.ok(written.length >= 4, written.join())
    for (const event of written) {
      const old = await revoke()
      const starts = await readStarts(lab)
      const killed = await runAt(lab, command, { event, do: 'kill' })
      assert.ok(killed.status === 137 || killed.signal === 'SIGKILL', `${event}: ${killed.status} ${killed.stdout}`)
      // Nobody refuses the old key before the kubelet has been restarted with the new one.
      if (!(await startedSince(lab, starts)).includes('worker0 kubelet'))
        assert.deepEqual(await answers(old), all(200), event)
      await eventually(() => mustRun(lab, 4, 'bootstrap'))
      assert.deepEqual(await answers(old), all(500), event)
      assert.deepEqual(await answers('auth/worker0'), all(200), event)
      await assertNothingLeft(lab)
    }
  })

  test('a pinned name is renewed as often as one likes; a control node that is down holds that, and nobody is refused', async () => {
    const renew = (san: string) => {
      const nodes = lab.all.map(({ name, role, ip }) => ({
        name,
        role,
        ip,
        ...(name === 'worker0' && { sans: [san] }),
      }))
      lab.write(...running({}, [['revoked'], keys], [['nodes'], nodes]))
    }
    const installed = () => lab.machine('worker0').exec('sha256sum </var/lib/kubelet/worker0.pem')
    const starts = await readStarts(lab)
    for (const san of ['one.example.org', 'two.example.org']) {
      renew(san)
      await unnoticed(lab, async () => void (await mustRun(lab, 4, 'bootstrap')))
      assert.deepEqual(await answers('auth/worker0'), all(200), san)
    }
    assert.deepEqual(await startedSince(lab, starts), [])
    await lab.machine('control2').stop()
    renew('three.example.org')
    const before = await installed()
    const held = await mustRun(lab, 1, 'bootstrap', '--json')
    const skipped = held.events.find(({ id, type }) => id === 'install/worker0' && type === 'cancelled')
    assert.deepEqual(skipped?.because, ['revoked/control2'])
    assert.equal(await installed(), before)
  })
})
