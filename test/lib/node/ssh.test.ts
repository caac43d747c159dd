import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { Failure, isUnreached } from '../../../lib/failure.ts'
import { closeConnections } from '../../../lib/node/connection.ts'
import { Node } from '../../../lib/node/node.ts'
import { openSshLab, type SshLab } from '../../support/labs.ts'
import { eventually, freePorts, needs } from '../../support/programs.ts'

const skip = needs('sshd', 'ssh', 'scp')

/** A program for ProxyCommand that is given a port. */
function wire({ folder }: SshLab): string {
  const script = join(folder, 'wire.js')
  writeFileSync(
    script,
    "const to = require('node:net').connect(process.argv[2], '127.0.0.1'); process.stdin.pipe(to).pipe(process.stdout)",
  )
  return `${process.execPath} ${script}`
}

/** What somebody's ssh_config may say of a session. */
const ofSession = [
  ...['StdinNull yes', 'SessionType none', 'ForkAfterAuthentication yes', 'RequestTTY force', 'RemoteCommand id'],
  ...['LocalForward 1 a:1', 'ExitOnForwardFailure yes'],
]

let at: SshLab
before(async () => {
  if (!skip) at = await openSshLab({ name: 'node', config: ['AcceptEnv *'] })
})
after(() => at?.[Symbol.asyncDispose]())

/** Of this process, for one test. */
const environment = { ...process.env }
afterEach(() => {
  for (const name of Object.keys(process.env)) if (!(name in environment)) delete process.env[name]
  Object.assign(process.env, environment)
})

describe('a node is given nothing of this machine, whatever ssh_config says', { skip }, () => {
  let agent: { SSH_AUTH_SOCK: string; SSH_AGENT_PID: string }
  before(() => {
    const socket = join(at.folder, 'agent')
    const said = execFileSync('ssh-agent', ['-s', '-a', socket], { encoding: 'utf8' })
    agent = { SSH_AUTH_SOCK: socket, SSH_AGENT_PID: /SSH_AGENT_PID=(\d+)/.exec(said)?.[1] ?? '' }
  })
  after(() => execFileSync('ssh-agent', ['-k'], { env: { ...environment, ...agent }, stdio: 'ignore' }))
  const environmentOnNode = async (...lines: readonly string[]) =>
    String(await at.run('node', 'env', { config: at.host('node', ...lines) })).split('\n')

  test('no agent with ForwardAgent yes, nor is a key added to it with AddKeysToAgent yes', async () => {
    Object.assign(process.env, agent)
    const lines = ['ForwardAgent yes', 'AddKeysToAgent yes', `IdentityAgent ${agent.SSH_AUTH_SOCK}`]
    const names = (await environmentOnNode(...lines)).map((line) => line.split('=')[0])
    assert.ok(names.includes('HOME'))
    assert.ok(!names.includes('SSH_AUTH_SOCK'))
    assert.match(spawnSync('ssh-add', ['-l'], { encoding: 'utf8' }).stdout, /no identities/)
  })

  test('no variable with SendEnv and SetEnv', async () => {
    Object.assign(process.env, { TOKEN_A: 'secret', TOKENB: 'secret', CLOUD: 'secret', LC_TOKEN: 'secret' })
    const lines = await environmentOnNode('SendEnv TOKEN_* LC_* CLOU?', 'SendEnv *B', 'SetEnv GIVEN=secret')
    assert.ok(lines.length > 3 && !lines.join().includes('secret'), lines.join())
  })

  test('no other user than its own, although ssh.user and ssh_config name others', async () => {
    const said = await at.run('node', 'id -un', { config: at.host('node', 'User somebody') })
    assert.equal(String(said).trim(), userInfo().username)
  })

  test('what a ProxyCommand needs of the environment is there all the same', async () => {
    process.env.AWS_PROFILE = 'a name'
    const proxy = `sh -c 'printf "%%s" "$AWS_PROFILE" > ${at.folder}/cloud; exec ${wire(at)} ${at.lab.node('node').port}'`
    await at.run('node', 'true', { config: at.host('node', `ProxyCommand ${proxy}`) })
    assert.equal(readFileSync(join(at.folder, 'cloud'), 'utf8'), 'a name')
  })

  test('and a script reaches it, whatever is said of a session', async () => {
    assert.equal(await at.run('node', 'echo in', { config: at.host('node', ...ofSession) }), 'in\n')
  })
})

test('a tunnel leads to a port as the node reaches it, whatever is said of a session, and ends where nothing listens', {
  skip,
}, async () => {
  const [silent = 0] = await freePorts(1)
  await at.connect('node', { config: at.host('node', ...ofSession) }, async (connection) => {
    await connection.run('true')
    const stream = await connection.tunnel('127.0.0.1', at.lab.node('node').port)
    const [chunk] = await once(stream, 'data')
    stream.on('error', () => {}).destroy()
    assert.match(String(chunk), /^SSH-2\.0-/)
    const none = (await connection.tunnel('127.0.0.1', silent)).on('error', () => {})
    none.resume()
    // It may end with an error or without.
    await new Promise((resolve) => none.once('close', resolve))
  })
})

test('ssh runs where cluster.yaml is: keys, known hosts and programs may be named from there', { skip }, async () => {
  for (const file of ['client_key', 'known_hosts'])
    writeFileSync(join(at.folder, file), readFileSync(join(at.folder, 'lab', file)), { mode: 0o600 })
  const proxy = join(at.folder, 'proxy')
  writeFileSync(proxy, `#!/bin/sh\nexec ${wire(at)} "$1"\n`, { mode: 0o755 })
  const config = `Host node\n  HostName 127.0.0.1\n  Port ${at.lab.node('node').port}\n  GlobalKnownHostsFile none\n`
  const own = { UserKnownHostsFile: './known_hosts', IdentityFile: './client_key', IdentityAgent: 'none' }
  const options = { ...own, ProxyCommand: './proxy %p' }
  assert.equal(await at.run('node', 'echo in', { config, options }), 'in\n')
})

test('a connection that ssh has closed is opened again, although dropped at first, and no script is sent twice', {
  skip,
}, async () => {
  const drop = join(at.folder, 'drop')
  const proxy = `sh -c 'rm ${drop} 2>/dev/null && exit; exec ${wire(at)} ${at.lab.node('node').port}'`
  await at.connect('node', { config: at.host('node', `ProxyCommand ${proxy}`) }, async (connection) => {
    await connection.run('true')
    await closeConnections([connection], { folder: at.folder, env: process.env })
    writeFileSync(drop, '')
    assert.equal(await connection.run('echo done'), 'done\n')
    await closeConnections([connection], { folder: at.folder, env: process.env })
    const stream = await connection.tunnel('127.0.0.1', at.lab.node('node').port)
    stream.on('error', () => {}).destroy()
    const told = join(at.folder, 'told')
    await assert.rejects(connection.run(`echo once >> ${told}; kill -9 $PPID`), { code: 'connection-lost' })
    assert.equal(readFileSync(told, 'utf8'), 'once\n')
  })
})

test('a command that takes too long hangs where the connection is up, which goes on', { skip }, async (t) => {
  const begun = join(at.folder, 'begun')
  const over = new AbortController()
  const timeout = AbortSignal.timeout.bind(AbortSignal)
  t.mock.method(AbortSignal, 'timeout', (limit: number) => (limit === 120_000 ? over.signal : timeout(limit)))
  await at.connect('node', { config: at.host('node') }, async (connection) => {
    const command = `echo $$ > ${begun}; exec sleep 1000`
    const running = new Node('node', connection).run({ sudo: '', command }).catch((error: Failure) => error)
    const [, id] = await eventually(() => /^(\d+)\n/.exec(readFileSync(begun, 'utf8')) ?? assert.fail())
    t.after(() => spawnSync('kill', [String(id)]))
    over.abort()
    const hung = await running
    assert.ok(hung instanceof Failure && hung.code === 'hung' && !isUnreached(hung))
    assert.equal(hung.message, `node: hung (${command} did not end within 120 s)`)
    t.mock.restoreAll()
    assert.equal(await connection.run('echo in'), 'in\n')
  })
})

test('a file is copied by SFTP, whatever ssh_config says of a session', { skip }, async () => {
  const [from, to] = [join(at.folder, 'from'), join(at.folder, 'out/session')]
  writeFileSync(from, 'bytes')
  await at.connect('node', { config: at.host('node', ...ofSession) }, async (connection) => {
    await connection.run('true')
    await connection.copyFile(from, to)
  })
  assert.equal(readFileSync(to, 'utf8'), 'bytes')
})
