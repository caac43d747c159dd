/**
 * What stops a run half-way, and is undone or continued: a kill, a full disk, a wrong clock, two admins. No client
 * notices.
 */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../../lab/machines/machines.ts'
import { mustRun, runAt, skip, toldOf } from '../../support/running.ts'
import { answers, everyone, live, startNights, type, writeNight } from './night.ts'

describe('nights of runs that stop', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  const ca = () => lab.exec('sha256sum auth/ca.pem auth/ca-key.pem')

  before(async () => {
    lab = await startNights()
    writeNight(lab, {})
    await type(lab, 'harderway bootstrap')
  })
  after(() => lab?.stop())

  test('a rotation, killed at a random event, is undone', async (t) => {
    await live(t, lab, async () => {
      const before = await ca()
      const event = randomInt(20, 400)
      t.diagnostic(`killed at event ${event}`)
      const killed = await runAt(lab, ['rotate', 'ca'], { event: `#${event}`, do: 'kill' })
      assert.notEqual(killed.status, 0, toldOf(killed))
      // It may have been killed before it began.
      const isBegun = (await lab.exec('ls auth')).includes('next')
      await type(lab, 'harderway rotate ca --undo', isBegun ? 0 : 3)
      await type(lab, 'harderway bootstrap')
      assert.equal(await ca(), before)
      assert.deepEqual(await answers(lab, 'auth/jane'), everyone('200'))
    })
  })

  test('a clock that is wrong on a control node', async (t) => {
    await live(t, lab, async () => {
      // All machines have one clock: what tells the time there tells another.
      await on(
        'control1',
        `printf '#!/bin/sh\\nexec /usr/bin/date -d "+3 hours" "$@"\\n' >/usr/local/bin/date && chmod 755 /usr/local/bin/date`,
      )
      const told = await type(lab, 'harderway certs deploy install --force', 1)
      assert.match(told, /control1.*clock|clocks? .*control1/s)
      await on('control1', 'rm /usr/local/bin/date')
      await type(lab, 'harderway bootstrap')
    })
  })

  test('a full disk on this machine, and on a node', async (t) => {
    await lab.exec('rm -rf clients && mkdir clients && cp -a auth clients/auth')
    await live(
      t,
      lab,
      async () => {
        await lab.exec(
          'cp -a auth kept && mount -t tmpfs -o size=1m,mode=700 tmpfs auth && cp -a kept/. auth/ && ! cat /dev/zero >auth/full 2>/dev/null',
        )
        // There is no room for a lock; then there is some for it, and for little else.
        for (const room of ['0', '16k']) {
          await lab.exec(`truncate -s -${room} auth/full`)
          assert.match(await type(lab, 'harderway certs --force', 1), /no space left on device/)
        }
        for (const file of ['ca.pem', 'ca-key.pem', 'service-account-key.pem'])
          await lab.exec(`cmp auth/${file} kept/${file}`)
        await lab.exec('rm auth/full')
        await type(lab, 'harderway certs --force')
        await lab.exec('cp -a auth full && umount auth && rm -r auth && mv full auth')
        const disk = '/var/lib/kube-proxy'
        await on(
          'worker1',
          `cp -a ${disk} /root/disk; mount -t tmpfs -o size=32k tmpfs ${disk}; cp -a /root/disk/. ${disk}/; cat /dev/zero >${disk}/full 2>/dev/null || true`,
        )
        assert.match(await type(lab, 'harderway bootstrap', 1), /worker1.*No space left on device/s)
        await on('worker1', `rm ${disk}/full`)
        await type(lab, 'harderway bootstrap')
        await on('worker1', `cp -a ${disk} /root/full; umount -l ${disk}; rm -r ${disk}; mv /root/full ${disk}`)
        await type(lab, 'harderway bootstrap')
      },
      { folder: 'clients' },
    )
  })

  test('two admins at once, each with a copy of auth/', async (t) => {
    await live(t, lab, async () => {
      await lab.exec('rm -rf theirs && mkdir theirs && cp -r auth cluster.yaml theirs')
      const [mine, theirs] = await Promise.all([
        lab.run('certs', 'kubeconfigs', 'deploy', 'install', '--force'),
        lab.run('certs', 'kubeconfigs', 'deploy', 'install', '--force', '--config', 'theirs/cluster.yaml'),
      ])
      t.diagnostic(`ended with ${mine.status} and ${theirs.status}`)
      // Whichever is the newer: the other is told so.
      await mustRun(lab, 0, 'certs', '--force')
      await mustRun(lab, 0, 'bootstrap')
      assert.match(toldOf(await mustRun(lab, 1, 'bootstrap', '--config', 'theirs/cluster.yaml')), /newer than in/)
    })
  })
})
