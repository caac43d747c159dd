import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { needs } from '../support/parts.ts'
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

test("each node's shell has a home of its own", options, async (t) => {
  const { dir, ssh } = await openLab(t, { name: 'a' }, { name: 'b' })
  const homes = await Promise.all(['a', 'b'].map((name) => ssh([name, 'echo $HOME ~'])))
  assert.deepEqual(
    homes,
    ['a', 'b'].map((name) => `${dir}/${name}/home ${dir}/${name}/home\n`),
  )
})

const movable = /\/(bash|zsh)$/.test(userInfo().shell ?? '')
const startsAtHome = { skip: options.skip || (!movable && 'the login shell reads no file when ssh starts it') }

test("each node's shell starts in that home", startsAtHome, async (t) => {
  const { dir, ssh } = await openLab(t, { name: 'a' }, { name: 'b' })
  const starts = await Promise.all(['a', 'b'].map((name) => ssh([name, 'pwd'])))
  assert.deepEqual(starts, [`${dir}/a/home\n`, `${dir}/b/home\n`])
})

test("scp writes to an absolute path, and to a relative one in the node's home", options, async (t) => {
  const { dir, lab, scp } = await openLab(t, { name: 'a' })
  const { home } = lab.node('a')
  await scp([lab.knownHosts, `a:${dir}/a/absolute`])
  await scp([lab.knownHosts, 'a:relative'])
  await scp([lab.knownHosts, 'a:~/tilde'])
  const copies = [`${dir}/a/absolute`, `${home}/relative`, `${home}/tilde`].map((path) => readFile(path, 'utf8'))
  const original = await readFile(lab.knownHosts, 'utf8')
  assert.deepEqual(await Promise.all(copies), [original, original, original])
})

test('a home that is passed in is used as it is', options, async (t) => {
  const home = await mkdtemp(join(tmpdir(), 'home-'))
  const { lab, ssh, scp } = await openLab(t, { name: 'a', home })
  t.after(() => rm(home, { recursive: true }))
  assert.equal(await ssh(['a', 'echo ~']), `${home}\n`)
  await scp([lab.knownHosts, 'a:x'])
  assert.deepEqual(await readdir(home), ['x'])
})

test('a host key that changed is refused', options, async (t) => {
  const { lab, ssh } = await openLab(t, { name: 'a' })
  await ssh(['a', 'true'])
  await lab.node('a').rotateHostKey()
  await assert.rejects(ssh(['a', 'true']), /Host key verification failed/)
})

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

test('a node that was stopped refuses, and comes back on its port', options, async (t) => {
  const { lab, ssh } = await openLab(t, { name: 'a' })
  const node = lab.node('a')
  const { port } = node
  await node.stop()
  assert.equal(node.pid, undefined)
  await assert.rejects(ssh(['a', 'true']), /Connection refused/)
  await node.start()
  assert.equal(node.port, port)
  await ssh(['a', 'true'])
})

test("faults are a node's own, and may be changed by a restart", options, async (t) => {
  const { lab, ssh, scp } = await openLab(t, { name: 'a', sftp: false }, { name: 'b', env: { LAB: 'two words' } })
  await assert.rejects(scp([lab.knownHosts, 'a:x']))
  await scp([lab.knownHosts, 'b:x'])
  assert.equal(await ssh(['b', 'echo "$LAB"']), 'two words\n')
  await lab.node('a').restart({ sftp: true, config: ['MaxSessions 0'] })
  await assert.rejects(scp([lab.knownHosts, 'a:x']), /open failed|Connection closed/)
  await lab.node('a').restart({ config: [] })
  await scp([lab.knownHosts, 'a:x'])
  assert.ok((await readdir(lab.node('a').home)).includes('x'))
})

test('a relay stands between the client and its node', options, async (t) => {
  const { lab, ssh } = await openLab(t, { name: 'a', relay: { delayMs: 20 } })
  await ssh(['a', 'true'])
  assert.equal(lab.relay('a').connections, 1)
  lab.relay('a').behave({ dropAfterBytes: 500 })
  await assert.rejects(ssh(['a', 'true']), { code: 255 })
})

test('a node that cannot start says why, and the others are ended', options, async () => {
  const dir = await mkdtemp(join(tmpdir(), 'lab-'))
  const nodes = [{ name: 'a' }, { name: 'b', config: ['NoSuchOption yes'] }]
  await assert.rejects(startLab({ dir, nodes }), /sshd of b did not start:.*NoSuchOption/s)
  const port = /^Port (\d+)$/m.exec(await readFile(join(dir, 'a', 'sshd_config'), 'utf8'))?.[1]
  await assert.rejects(once(connect(Number(port), '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' })
  await rm(dir, { recursive: true })
})
