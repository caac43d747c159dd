/**
 * auth/ is lost, in three ways: a backup, a control node, and a backup that is too old bring the cluster back. No
 * client notices.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../../lab/machines/machines.ts'
import { linesUnder } from '../../support/recipe.ts'
import { skip } from '../../support/running.ts'
import { answers, everyone, live, startNights, type, writeNight } from './night.ts'

const identity = ['ca.pem', 'ca-key.pem', 'service-account-key.pem', 'encryption-config.yaml']

describe('nights without auth/', { skip }, () => {
  let lab: Machines
  /** Clients have what they were given, wherever auth/ is. */
  const clients = { folder: 'clients' }
  const handOut = () =>
    lab.exec(
      'mkdir -p clients && new=$(mktemp -d clients/XXXXXX) && cp -r auth/. $new && ln -s ../$new clients/next && mv -T clients/next clients/auth',
    )
  const sums = () => lab.exec(`cd auth && sha256sum ${identity.join(' ')}`)
  const typeAll = async (lines: readonly string[]) => {
    for (const line of lines) await type(lab, line)
  }
  const encrypt = async () => {
    await typeAll(linesUnder('Back up auth/', 'Encrypt a backup'))
  }
  const restore = () => lab.exec('rm -rf home/restored home/checked')
  const assertIn = async () => {
    for (const pair of ['clients/auth/jane', 'clients/auth/admin', 'auth/jane', 'auth/admin'])
      assert.deepEqual(await answers(lab, pair), everyone('200'), pair)
  }

  before(async () => {
    lab = await startNights()
    writeNight(lab, {})
    await type(lab, 'harderway bootstrap')
    await lab.exec('age-keygen -o home/key.txt 2>/dev/null && age-keygen -y home/key.txt >recipients.txt')
  })
  after(() => lab?.stop())

  test('auth/ is lost, with a backup that is older than a renewal', async (t) => {
    await handOut()
    await live(
      t,
      lab,
      async () => {
        const before = await sums()
        await encrypt()
        await typeAll(['harderway cluster-cert --force', 'harderway bootstrap'])
        await lab.exec('rm -rf auth')
        await type(lab, 'harderway bootstrap', 3)
        const [recover = ''] = linesUnder('From a backup', 'Restore a backup')
        await type(lab, recover)
        assert.match(await type(lab, 'harderway bootstrap', 1), /newer than in/)
        await typeAll(['harderway certs --force', 'harderway bootstrap'])
        assert.equal(await sums(), before)
        await assertIn()
        await restore()
      },
      clients,
    )
  })

  test('auth/ is lost, without a backup', async (t) => {
    await handOut()
    await live(
      t,
      lab,
      async () => {
        const before = await sums()
        await lab.exec('rm -rf auth')
        await type(lab, 'harderway bootstrap', 3)
        const [recover = ''] = linesUnder('Without a backup')
        await typeAll([recover, 'harderway bootstrap'])
        assert.equal(await sums(), before)
        await assertIn()
      },
      clients,
    )
  })

  test('auth/ is lost, and the backup is from before a rotation', async (t) => {
    await handOut()
    await live(
      t,
      lab,
      async () => {
        await encrypt()
        await type(lab, 'harderway rotate ca')
        await handOut()
        await type(lab, 'harderway rotate ca --finish')
        const before = await sums()
        await lab.exec('rm -r auth')
        const [verify = ''] = linesUnder('Try a backup', 'Backup and recovery')
        await type(lab, verify, 3)
        const [recover = ''] = linesUnder('From a backup', 'Restore a backup')
        await type(lab, recover)
        const refused = await type(lab, 'harderway bootstrap', 3)
        const [, again = ''] = /:\n +(\S.*recover --node control0.*)$/m.exec(refused) ?? assert.fail(refused)
        const told = await type(lab, again, 3)
        const [, aside = ''] = /:\n +(mv .*recover --node control0.*)$/m.exec(told) ?? assert.fail(told)
        await typeAll([aside, 'harderway bootstrap'])
        assert.equal(await sums(), before)
        await assertIn()
        // What the backup had is out.
        assert.deepEqual(await answers(lab, 'home/checked/auth/admin'), everyone('401'))
        await restore()
      },
      clients,
    )
  })
})
