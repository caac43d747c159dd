import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { needs } from '../support/programs.ts'
import { type LabNodeOptions, startLab } from './lab.ts'
import { descendants, readProcesses } from './processes.ts'

const options = { skip: needs('sshd') }

async function openLab(t: TestContext, ...nodes: LabNodeOptions[]) {
  const dir = await mkdtemp(join(tmpdir(), 'lab-'))
  const lab = await startLab({ dir, nodes })
  // In this order: a sshd that still runs writes its log, and a hook that fails leaves out those behind it.
  t.after(() => lab.stop())
  t.after(() => rm(dir, { recursive: true }))
  const run = (program: 'ssh' | 'scp') => async (args: readonly string[]) => {
    const all = ['-F', lab.sshConfig, '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=5', ...args]
    return (await promisify(execFile)(program, all)).stdout
  }
  return { dir, lab, ssh: run('ssh'), scp: run('scp') }
}

test('one ssh command counts as one connection, one authentication and one session', options, async (t) => {
  const { lab, ssh } = await openLab(t, { name: 'a' })
  assert.deepEqual(await lab.node('a').counts(), { connections: 0, authentications: 0, sessions: 0 })
  await ssh(['a', 'true'])
  assert.deepEqual(await lab.node('a').counts(), { connections: 1, authentications: 1, sessions: 1 })
})

test('stop leaves no process, not even of a session', options, async (t) => {
  const { lab } = await openLab(t, { name: 'a' })
  const client = spawn('ssh', ['-F', lab.sshConfig, 'a', 'echo up; sleep 1000; true'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  await once(client.stdout, 'data')
  const listener = lab.node('a').pid ?? 0
  const all = [listener, ...descendants([listener], await readProcesses())]
  assert.ok(all.length >= 4, 'the listener, two of the session, its shell')
  const exited = once(client, 'exit')
  await lab.stop()
  const left = (await readProcesses()).filter(({ pid }) => all.includes(pid))
  assert.deepEqual(left, [])
  assert.deepEqual(await exited, [255, null])
})

test('a node that cannot start says why, and the others are ended', options, async () => {
  const dir = await mkdtemp(join(tmpdir(), 'lab-'))
  const nodes = [{ name: 'a' }, { name: 'b', config: ['NoSuchOption yes'] }]
  await assert.rejects(startLab({ dir, nodes }), /sshd of b did not start:.*NoSuchOption/s)
  const port = /^Port (\d+)$/m.exec(await readFile(join(dir, 'a', 'sshd_config'), 'utf8'))?.[1]
  await assert.rejects(once(connect(Number(port), '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' })
  await rm(dir, { recursive: true })
})
