/** auth/ is lost, and the backup is from before a rotation: a control node brings the cluster back. No client notices. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../../lab/machines/machines.ts'
import { linesUnder } from '../../support/recipe.ts'
import { skip } from '../../support/running.ts'
import { answers, everyone, live, startNights, type, writeNight } from './night.ts'

describe('nights without auth/', { skip }, () => {
  let lab: Machines

  before(async () => {
    lab = await startNights()
    writeNight(lab, {})
    await type(lab, 'harderway bootstrap')
    await lab.exec('age-keygen -o home/key.txt 2>/dev/null && age-keygen -y home/key.txt >recipients.txt')
  })
  after(() => lab?.stop())

  test('auth/ is lost, and the backup is from before a rotation', async (t) => {
    /** Clients have what they were given, wherever auth/ is. */
    const handOut = () =>
      lab.exec(
        'mkdir -p clients && new=$(mktemp -d clients/XXXXXX) && cp -r auth/. $new && ln -s ../$new clients/next && mv -T clients/next clients/auth',
      )
    const sums = () => lab.exec('cd auth && sha256sum ca.pem ca-key.pem service-account-key.pem encryption-config.yaml')
    await handOut()
    await live(
      t,
      lab,
      async () => {
        for (const line of linesUnder('Back up auth/', 'Encrypt a backup')) await type(lab, line)
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
        for (const line of [aside, 'harderway bootstrap']) await type(lab, line)
        assert.equal(await sums(), before)
        for (const pair of ['clients/auth/jane', 'clients/auth/admin', 'auth/jane', 'auth/admin'])
          assert.deepEqual(await answers(lab, pair), everyone('200'), pair)
        // What the backup had is out.
        assert.deepEqual(await answers(lab, 'home/checked/auth/admin'), everyone('401'))
      },
      { folder: 'clients' },
    )
  })
})
