import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratch } from '../support/files.ts'
import { needs } from '../support/programs.ts'
import { startLab } from './lab.ts'
import { descendants, readProcesses } from './processes.ts'

const options = { skip: needs('sshd') }

test('stop leaves no process, not even of a session', options, async (t) => {
  await using lab = await startLab({ dir: scratch(t), nodes: [{ name: 'a' }] })
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

test('a node that cannot start says why, and the others are ended', options, async (t) => {
  const dir = scratch(t)
  const nodes = [{ name: 'a' }, { name: 'b', config: ['NoSuchOption yes'] }]
  await assert.rejects(startLab({ dir, nodes }), /sshd of b did not start:.*NoSuchOption/s)
  const port = /^Port (\d+)$/m.exec(await readFile(join(dir, 'a', 'sshd_config'), 'utf8'))?.[1]
  await assert.rejects(once(connect(Number(port), '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' })
})
