/** On a real machine: a unit that does not stay up is not healthy. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { harderWay } from '../lab/machines/harder-way.ts'
import { type Machines, onlyMachines, startMachines } from '../lab/machines/machines.ts'
import { messageOf } from '../support/harderway.ts'
import { live, mustRun, running, skip } from '../support/running.ts'

describe('a unit that does not stay up', { skip }, () => {
  let lab: Machines
  const node = 'control0'
  const on = (command: string) => lab.machine(node).exec(command)
  const must = (status: number, ...args: string[]) => mustRun(lab, status, ...args, '--node', node, '--json')
  // What stands in for it is no kube-proxy by its name.
  const units = { 'kube-proxy': { files: { 'kube-proxy.kubeconfig': '/var/lib/kube-proxy/kubeconfig' } } }
  const write = (timeout: string) => lab.write(...running({ timeout, drain: '', undrain: '', units }))
  const path = '/var/lib/kube-proxy/kubeconfig'
  /** As a new change of the file. */
  const unload = () => on(`chmod 400 ${path} && chmod 600 ${path}`)

  before(async () => {
    lab = await startMachines(undefined, onlyMachines(harderWay, node))
    write('1s')
    await mustRun(lab, 0, 'bootstrap')
    await live(lab.machine(node), 86_400, 1)
  })
  after(() => lab?.stop())

  test('one that stays up is up to date after the first look, and the second', async () => {
    write('30s')
    await must(0, 'install')
    await must(0, 'install', '--dry-run')
    await unload()
    const ran = await must(0, 'install')
    assert.match(ran.stdout, /"verb":"restart","names":\["kube-proxy"\]/)
    // systemd counts from a restart of ours.
    await must(0, 'install', '--dry-run')
    write('1s')
  })

  test('one that is healthy after our restart, and dead six seconds later, stops the run', async () => {
    await live(lab.machine(node), 6, 1)
    await unload()
    const ran = await must(1, 'install')
    assert.match(String(messageOf(ran, `install/${node}`)), /kube-proxy is not healthy; /)
  })

  test('one that does not serve yet is not up to date', async () => {
    await live(lab.machine(node), 'slow', 1)
    const planned = await must(4, 'install', '--dry-run')
    assert.match(String(messageOf(planned, `install/${node}`)), /kube-proxy( again)?: \/healthz does not answer/)
  })
})
