/** A rotation of the service-account key of a live cluster, on real machines, while a client sends requests all the time. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import {
  everywhere,
  getObject,
  mustRun,
  readStarts,
  shutdownDelay,
  skip,
  startedSince,
  startRunning,
  unnoticed,
} from '../support/running.ts'

const controls = ['control0', 'control1', 'control2']

describe('a rotation of the service-account key on six machines', { skip }, () => {
  let lab: Machines
  const ip = (name: string) => lab.machine(name).ip

  before(async () => {
    lab = await startRunning(shutdownDelay)
  })
  after(() => lab?.stop())

  test('the next service-account key is accepted before it signs; tokens of the old one are valid until --finish', async () => {
    const kidsOf = async (name: string) => (await getObject(lab, name, '/openid/v1/jwks')).keys.length
    const token = async () => {
      const { status } = await getObject(
        lab,
        'control1',
        '/api/v1/namespaces/default/serviceaccounts/default/token',
        '-X POST -d {}',
      )
      return status.token as string
    }
    const ask = async (name: string, bearer: string) =>
      lab.exec(
        `curl -s -o /dev/null -w '%{http_code}' --cacert auth/ca.pem -H 'authorization: Bearer ${bearer}' https://${ip(name)}:6443/openid/v1/jwks`,
      )
    const early = await token()
    await unnoticed(lab, async () => {
      const starts = await readStarts(lab)
      await mustRun(lab, 0, 'rotate', 'service-account')
      assert.deepEqual(
        await startedSince(lab, starts),
        [...everywhere('kube-apiserver'), ...everywhere('kube-controller-manager')].toSorted(),
      )
      for (const name of controls) assert.equal(await kidsOf(name), 2)
    })
    const late = await token()
    for (const name of controls) for (const each of [early, late]) assert.equal(await ask(name, each), '200')
    // What was signed by it stays good: only one step back can be made.
    await mustRun(lab, 0, 'rotate', 'service-account', '--undo')
    for (const name of controls) assert.equal(await ask(name, late), '200')
    assert.match((await mustRun(lab, 3, 'rotate', 'service-account', '--undo')).stderr, /has signed already/)
    await mustRun(lab, 0, 'rotate', 'service-account')
    const legacy = {
      metadata: { name: 'legacy', annotations: { 'kubernetes.io/service-account.name': 'default' } },
      type: 'kubernetes.io/service-account-token',
      data: { token: Buffer.from(early).toString('base64') },
    }
    await getObject(lab, 'control0', '/api/v1/namespaces/default/secrets', `-X POST -d '${JSON.stringify(legacy)}'`)
    assert.doesNotMatch((await mustRun(lab, 0, 'status')).stdout, /still used by/)
    const told = (await mustRun(lab, 0, 'status', '--on-nodes')).stdout.replace(/\s+/g, ' ')
    assert.match(told, /still used by the token in Secret default\/legacy.*not seen from here: processes that read/)
    const held = await mustRun(lab, 3, 'rotate', 'service-account', '--finish')
    assert.match(held.stderr, /Secret default\/legacy.*has signed with the next key for/s)
    await mustRun(lab, 0, 'rotate', 'service-account', '--finish', '--force')
    for (const name of controls) {
      assert.equal(await kidsOf(name), 1)
      assert.equal(await ask(name, early), '401')
      assert.equal(await ask(name, late), '200')
    }
    await mustRun(lab, 0, 'bootstrap', '--dry-run')
  })
})
