/** Rotations of a live cluster, on real machines, with somebody asking all the time: nothing that is asked fails. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { allWell, installAll } from '../lab/machines/components.ts'
import { type Machines, startMachines } from '../lab/machines/machines.ts'
import type { Ran } from '../support/harderway.ts'
import { assertNothingLeft, everywhere, probe, readStarts, running, skip, startedSince } from '../support/running.ts'

/** Without what is fresh. */
const toldOf = ({ stdout, stderr }: Ran) =>
  stdout.replaceAll(/^.*(up to date|as in auth|fresh until).*$\n/gm, '') + stderr

describe('rotations on six machines', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  const must = async (status: number, ...args: string[]) => {
    const ran = await lab.run(...args)
    assert.equal(ran.status, status, toldOf(ran))
    return ran
  }

  before(async () => {
    lab = await startMachines()
    lab.write(...running())
    await must(0, 'bootstrap')
    await installAll(lab)
    const delay = `sed -i 's/--v=2/--shutdown-delay-duration=3s/' /etc/systemd/system/kube-apiserver.service; systemctl daemon-reload; systemctl restart kube-apiserver`
    for (const { name } of lab.of('control')) {
      await on(name, delay)
      await allWell(lab)
    }
    await must(0, 'bootstrap')
  })
  after(() => lab?.stop())

  test('the CA goes over to the next by a cross certificate, and every unit starts as often as is said', async () => {
    await using probing = probe(lab)
    const starts = await readStarts(lab)
    console.log(toldOf(await must(0, 'rotate', 'ca')))
    assert.deepEqual(
      await startedSince(lab, starts),
      [
        ...['kube-controller-manager', 'kube-scheduler', 'kubelet', 'kube-proxy'].flatMap((unit) => everywhere(unit)),
        ...['kubelet', 'kube-proxy'].flatMap((unit) => everywhere(unit, 'worker')),
      ].toSorted(),
    )
    console.log(toldOf(await must(0, 'rotate', 'ca', '--finish')))
    const { counts, failures } = await probing.end()
    assert.deepEqual(failures, [])
    console.log(counts)
    await assertNothingLeft(lab)
  })
})
