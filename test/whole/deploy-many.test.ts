import assert from 'node:assert/strict'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startLab } from '../lab/lab.ts'
import { harderway, labEdits, makePlace, writeCluster } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

/** The most connections at once that sshd had not let in yet, by the order of its log. */
function mostHalfOpen(log: string): number {
  const open = new Set<string>()
  let most = 0
  for (const line of log.split('\n')) {
    const [, port = ''] = / port (\d+)/.exec(line) ?? []
    if (line.startsWith('Connection from ')) open.add(port)
    else if (/^(Accepted|Connection (closed|reset)|Disconnected|drop connection)/.test(line)) open.delete(port)
    most = Math.max(most, open.size)
  }
  return most
}

test('fourteen nodes behind one sshd are deployed, and it never has as many half-open connections as it would drop', {
  skip: needs('sshd', 'ssh', 'scp'),
}, async () => {
  const place = makePlace()
  const lab = await startLab({ dir: join(place, 'lab'), nodes: [{ name: 'many' }] })
  try {
    const names = Array.from({ length: 14 }, (_, i) => `node${i}`)
    const nodes = names.map((name, i) => {
      const role = i < 3 ? 'control' : 'worker'
      return { name, role, ip: `192.168.1.${100 + i}`, host: 'many', directory: `~/${name}` }
    })
    writeCluster(place, [...labEdits(lab), [['ssh', 'concurrency'], 16], [['nodes'], nodes]])
    const { status, stdout, stderr, events } = await harderway(place, 'deploy', '--json')
    assert.equal(status, 0, stdout + stderr)
    assert.equal(events.at(-1)?.failed, 0)
    const node = lab.node('many')
    for (const name of names) assert.ok(existsSync(join(node.home, name, `${name}.kubeconfig`)), name)
    const log = await node.log()
    // Where sshd's children are slow to tell that one was let in, one is dropped now and then, and tried again. On a
    // slow machine ssh also closes connections that wait for longer than ControlPersist.
    const dropped = log.match(/^drop connection/gm)?.length ?? 0
    assert.ok(dropped < 5, `${dropped} dropped`)
    const most = mostHalfOpen(log)
    // MaxStartups 10:30:100 of sshd_config(5). Eight are opened at once; the log may be one line late for each that was
    // let in.
    assert.ok(most > 1 && most < 10, `${most} half-open connections`)
  } finally {
    await lab.stop()
    rmSync(place, { recursive: true, force: true })
  }
})
