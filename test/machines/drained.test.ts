/** Marks of runs that have drained a node: what another run does that finds one, on real machines. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import {
  assertNothingLeft,
  mustRun,
  readStarts,
  running,
  skip,
  startedSince,
  startRunning,
  unload,
} from '../support/running.ts'

describe('a node that a run from elsewhere has drained', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  const must = (status: number, ...args: string[]) => mustRun(lab, status, ...args, '--json')
  /** Read by the API server alone. */
  const serving = '/var/lib/kubernetes/service-account.pem'
  const told = (word: string) => `echo ${word} "$NODE" >>told`
  const commands = { drain: told('drain'), undrain: told('undrain') }
  const mark = (since: string) =>
    `mkdir -p /var/lib/harderway/.harderway-${'a'.repeat(12)}-${'b'.repeat(8)}-${since}-${'c'.repeat(16)}`
  const now = '$(cut -c1-8 /proc/sys/kernel/random/boot_id)-$(cut -d. -f1 /proc/uptime)'
  const unmark = () => on('control0', 'rm -rf /var/lib/harderway/.harderway-*')
  const saidThere = () => on('gateway', 'cat /home/ubuntu/told 2>/dev/null || true')
  const saying = (...words: string[]) => words.map((word) => `${word} control0\n`).join('')
  before(async () => {
    lab = await startRunning()
  })
  after(() => lab?.stop())

  test('is neither undrained nor restarted while that run may be at work', async () => {
    lab.write(...running(commands))
    await on('control0', mark(now))
    const looked = await must(0, 'install', '--dry-run')
    assert.match(JSON.stringify(looked.events), /another run is restarting its units, or was killed meanwhile/)
    await must(0, 'install')
    await unload(lab, 'control0', serving)
    const starts = await readStarts(lab)
    const ran = await must(1, 'install')
    assert.match(JSON.stringify(ran.events), /run the same command again when that one has ended/)
    assert.deepEqual(await startedSince(lab, starts), [])
    assert.equal(await saidThere(), '')
    await unmark()
  })

  test('keeps its new files where that run comes in between: it may be installing the same', async () => {
    const etcd = { restart: `systemctl restart etcd; ${mark(now)}` }
    lab.write(...running({ ...commands, units: { etcd } }))
    const ran = await must(1, 'install', '--node', 'control0', '--force')
    assert.match(JSON.stringify(ran.events), /another run is restarting its units/)
    assert.doesNotMatch(JSON.stringify(ran.events), /the files are as they were/)
    assert.equal(await saidThere(), '')
    await unmark()
    lab.write(...running(commands))
    await must(0, 'install')
    await assertNothingLeft(lab)
  })

  test('is undrained if that run was killed: at once, or where the API server is not healthy when it is', async () => {
    await on('gateway', 'rm -f /home/ubuntu/told')
    await unload(lab, 'control0', serving)
    await on('control0', mark('00000000-1'))
    await must(0, 'install')
    assert.equal(await saidThere(), saying('undrain', 'drain', 'undrain'))
    await on('control0', `${mark('00000000-1')}; systemctl kill -s STOP --kill-whom=main kube-apiserver`)
    await unload(lab, 'control0', serving)
    await on('gateway', 'rm -f /home/ubuntu/told')
    await must(0, 'install')
    assert.equal(await saidThere(), saying('drain', 'undrain'))
    await assertNothingLeft(lab)
  })

  test('stays so where cluster.yaml has no command that undrains, which is said', async () => {
    await on('control0', mark('00000000-1'))
    lab.write(...running({ drain: '', undrain: '' }))
    const ran = await must(0, 'install')
    assert.match(JSON.stringify(ran.events), /control0 may be left drained, and cluster.yaml has no install.undrain/)
    assert.match(await on('control0', 'ls -A /var/lib/harderway'), /^\.harderway-a+-b+-00000000-1-c+\n$/)
    await unmark()
    lab.write(...running())
  })
})
