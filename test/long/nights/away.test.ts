/**
 * A worker that comes back after its certificates have expired and a rotation has passed it by; and a CA that has
 * expired, with all down.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../../lab/machines/machines.ts'
import { linesUnder } from '../../support/recipe.ts'
import { skip } from '../../support/running.ts'
import { answers, controls, everyone, live, startNights, type, writeNight } from './night.ts'

const past = '-not_before 20250101000000Z -not_after 20250601000000Z'

describe('nights after a long time', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)

  before(async () => {
    lab = await startNights()
    writeNight(lab, {})
    await type(lab, 'harderway bootstrap')
  })
  after(() => lab?.stop())

  test('a worker that was down for two months', async (t) => {
    await live(t, lab, async () => {
      await lab.exec('rm -rf before && cp -a auth before')
      // What it has expires meanwhile.
      await lab.exec(
        `cd before && openssl x509 -in worker1.pem -CA ca.pem -CAkey ca-key.pem -set_serial 9 ${past} -copy_extensions copyall >expired.pem`,
      )
      const expired = await lab.exec('cat before/expired.pem')
      for (const file of ['/var/lib/kubelet/worker1.pem', '/home/ubuntu/worker1.pem'])
        await on('worker1', `cat >${file} <<'END'\n${expired}END`)
      await lab.machine('worker1').stop()
      // The daily run renews what is due for the others, and ends with 1 for this one alone.
      await type(lab, 'harderway certs --force')
      assert.match(await type(lab, 'harderway bootstrap', 1), /worker1/)
      writeNight(lab, { gone: ['worker1'] })
      for (const line of ['rotate ca', 'rotate ca --finish']) await type(lab, `harderway ${line}`)
      await lab.machine('worker1').start()
      writeNight(lab, {})
      const [daily = ''] = linesUnder('A node is down for weeks')
      await type(lab, daily)
      assert.deepEqual(await answers(lab, 'auth/worker1'), everyone('200'))
      // It goes on under its new certificate alone.
      assert.deepEqual(await answers(lab, 'before/worker1'), everyone('401'))
    })
  })

  test('the CA has expired, and all is down', async (t) => {
    await live(
      t,
      lab,
      async () => {
        await lab.exec(
          `cd auth && openssl x509 -in ca.pem -signkey ca-key.pem -set_serial 9 ${past} -copy_extensions copyall >expired && mv expired ca.pem
          openssl x509 -in kubernetes.pem -CA ca.pem -CAkey ca-key.pem -set_serial 9 ${past} -copy_extensions copyall >expired && mv expired kubernetes.pem`,
        )
        const [ca, kubernetes] = [await lab.exec('cat auth/ca.pem'), await lab.exec('cat auth/kubernetes.pem')]
        for (const name of controls)
          await on(
            name,
            `for folder in /etc/etcd /var/lib/kubernetes /home/ubuntu; do
cat >$folder/ca.pem <<'END'\n${ca}END
cat >$folder/kubernetes.pem <<'END'\n${kubernetes}END
done`,
          )
        for (const name of controls)
          await on(name, 'systemctl kill -s KILL etcd; systemctl restart --no-block etcd kube-apiserver')
        for (const line of linesUnder('The CA expires, or has expired')) await type(lab, line)
        for (const name of ['jane', 'admin']) assert.deepEqual(await answers(lab, `auth/${name}`), everyone('200'))
      },
      { isDown: true },
    )
  })
})
