import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, type TestContext, test } from 'node:test'
import { Failure, isUnreached } from '../../../lib/failure.ts'
import { closeConnections } from '../../../lib/node/connection.ts'
import { Node } from '../../../lib/node/node.ts'
import type { Ssh } from '../../../lib/node/ssh.ts'
import { openSshLab, type SshLab } from '../../support/labs.ts'
import { sshProcesses, temporaryFolder } from '../../support/process.ts'
import { eventually, eventuallyNone, freePorts, needs } from '../../support/programs.ts'

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

let at: SshLab
before(async () => {
  if (!skip) at = await openSshLab({ name: 'node', config: ['AcceptEnv *', 'X11Forwarding yes', 'PermitTunnel yes'] })
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
  const nameOf = (line: string) => line.split('=')[0]

  test('no agent with ForwardAgent yes', async () => {
    Object.assign(process.env, agent)
    const names = (await environmentOnNode('ForwardAgent yes', `IdentityAgent ${agent.SSH_AUTH_SOCK}`)).map(nameOf)
    assert.ok(names.includes('HOME'))
    assert.ok(!names.includes('SSH_AUTH_SOCK'))
  })

  test('no key is added to the agent with AddKeysToAgent yes', async () => {
    Object.assign(process.env, agent)
    await environmentOnNode('AddKeysToAgent yes', `IdentityAgent ${agent.SSH_AUTH_SOCK}`)
    assert.match(spawnSync('ssh-add', ['-l'], { encoding: 'utf8' }).stdout, /no identities/)
  })

  test('no display with ForwardX11 yes', async () => {
    process.env.DISPLAY = '127.0.0.1:99'
    const names = (await environmentOnNode('ForwardX11 yes', 'ForwardX11Trusted yes')).map(nameOf)
    assert.ok(!names.includes('DISPLAY'))
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

  test('no command of ours is run, and none of theirs, with LocalCommand and RemoteCommand', async () => {
    const local = ['PermitLocalCommand yes', `LocalCommand touch ${at.folder}/local`]
    const config = at.host('node', ...local, 'RemoteCommand id')
    assert.equal(await at.run('node', 'echo in', { config }), 'in\n')
    assert.ok(!existsSync(join(at.folder, 'local')))
  })

  test('no port with LocalForward and RemoteForward', async () => {
    const port = at.lab.node('node').port
    const config = at.host('node', `LocalForward ${at.folder}/local.sock 127.0.0.1:${port}`, 'ExitOnForwardFailure yes')
    assert.equal(await at.run('node', 'echo in', { config }), 'in\n')
    assert.ok(!existsSync(join(at.folder, 'local.sock')))
  })

  for (const line of ['StdinNull yes', 'SessionType none', 'ForkAfterAuthentication yes', 'RequestTTY force'])
    test(`and a script reaches it with ${line}`, async () => {
      assert.equal(await at.run('node', 'echo in', { config: at.host('node', line) }), 'in\n')
    })
})

describe('a tunnel leads to a port as the node reaches it', { skip }, () => {
  for (const line of ['SessionType none', 'StdinNull yes', 'LocalForward 1 a:1'])
    test(`whatever ssh_config says of a session: ${line}`, async () => {
      const said = await at.connect('node', { config: at.host('node', line) }, async (connection) => {
        await connection.run('true')
        const stream = await connection.tunnel('127.0.0.1', at.lab.node('node').port)
        const [chunk] = await once(stream, 'data')
        stream.on('error', () => {}).destroy()
        return String(chunk)
      })
      assert.match(said, /^SSH-2\.0-/)
    })

  test('ends where nothing listens, and is had again where the connection was lost', async () => {
    const [silent = 0] = await freePorts(1)
    await at.connect('node', { config: at.host('node') }, async (connection) => {
      await connection.run('true')
      const none = (await connection.tunnel('127.0.0.1', silent)).on('error', () => {})
      none.resume()
      // It may end with an error or without.
      await new Promise((resolve) => none.once('close', resolve))
      const open = async () => {
        const stream = await connection.tunnel('127.0.0.1', at.lab.node('node').port)
        return once(stream, 'data').finally(() => stream.on('error', () => {}).destroy())
      }
      await open()
      await closeConnections([connection], { folder: at.folder, env: process.env })
      await open()
    })
  })
})

describe('when a run closes its connections', { skip }, () => {
  let temporary: string
  beforeEach(() => {
    temporary = temporaryFolder(at.folder)
    mkdirSync(temporary, { recursive: true })
    process.env.TMPDIR = temporary
  })

  const skip = process.platform !== 'linux' && 'finds processes in /proc'
  test('no master stays behind, though Ctrl-C ends the ssh that is started for it', { skip }, async () => {
    const folder = join(at.folder, 'interrupted')
    mkdirSync(folder)
    const once = `case " $* " in *" -O exit "*) mkdir ${folder}/was 2>/dev/null && kill -INT $$ ;; esac`
    writeFileSync(join(folder, 'ssh'), `#!/bin/sh\n${once}\nPATH=$\{PATH#*:} exec ssh "$@"\n`, { mode: 0o755 })
    process.env.PATH = `${folder}:${environment.PATH}`
    await at.run('node', 'true', { config: at.host('node') })
    assert.ok(existsSync(join(folder, 'was')))
    await eventuallyNone(() => sshProcesses(at.folder))
  })
})

describe('ssh runs where cluster.yaml is', { skip }, () => {
  test('so that keys, known hosts and programs may be named from there', async () => {
    for (const file of ['client_key', 'known_hosts'])
      writeFileSync(join(at.folder, file), readFileSync(join(at.folder, 'lab', file)), { mode: 0o600 })
    const proxy = join(at.folder, 'proxy')
    writeFileSync(proxy, `#!/bin/sh\nexec ${wire(at)} "$1"\n`, { mode: 0o755 })
    const config = `Host node\n  HostName 127.0.0.1\n  Port ${at.lab.node('node').port}\n  GlobalKnownHostsFile none\n`
    const own = { UserKnownHostsFile: './known_hosts', IdentityFile: './client_key', IdentityAgent: 'none' }
    const options = { ...own, ProxyCommand: './proxy %p' }
    assert.equal(await at.run('node', 'echo in', { config, options }), 'in\n')
  })
})

test('a connection that ssh has closed is opened again, and no script is sent twice', { skip }, async () => {
  await at.connect('node', { config: at.host('node') }, async (connection) => {
    await connection.run('true')
    await closeConnections([connection], { folder: at.folder, env: process.env })
    assert.equal(await connection.run('echo done'), 'done\n')
    await closeConnections([connection], { folder: at.folder, env: process.env })
    const stream = await connection.tunnel('127.0.0.1', at.lab.node('node').port)
    stream.on('error', () => {}).destroy()
    const told = join(at.folder, 'told')
    await assert.rejects(connection.run(`echo once >> ${told}; kill -9 $PPID`), { code: 'connection-lost' })
    assert.equal(readFileSync(told, 'utf8'), 'once\n')
  })
})

describe('a command that takes too long', { skip }, () => {
  /** Its limit is over as soon as a process has written its id to the file, and so is that process afterwards. */
  async function endAt(t: TestContext, file: string): Promise<void> {
    const over = new AbortController()
    const timeout = AbortSignal.timeout.bind(AbortSignal)
    t.mock.method(AbortSignal, 'timeout', (limit: number) => (limit === 120_000 ? over.signal : timeout(limit)))
    const [, id] = await eventually(() => /^(\d+)\n/.exec(readFileSync(file, 'utf8')) ?? assert.fail())
    t.after(() => spawnSync('kill', [String(id)]))
    t.mock.restoreAll()
    rmSync(file)
    over.abort()
  }

  test('hangs where the connection is up, which goes on', async (t) => {
    const begun = join(at.folder, 'begun')
    await at.connect('node', { config: at.host('node') }, async (connection) => {
      const over = endAt(t, begun)
      const command = `echo $$ > ${begun}; exec sleep 1000`
      const hung = await new Node('node', connection).run({ sudo: '', command }).catch((error: Failure) => error)
      assert.ok(hung instanceof Failure && hung.code === 'hung' && !isUnreached(hung))
      assert.equal(hung.message, `node: hung (${command} did not end within 120 s)`)
      await over
      assert.equal(await connection.run('echo in'), 'in\n')
    })
  })
})

test('what a run has to tidy up is done after it was interrupted', { skip }, async () => {
  const interrupt = new AbortController()
  const tidied = join(at.folder, 'tidied')
  const work = async (connection: Awaited<ReturnType<Ssh['connection']>>) => {
    await connection.run('true')
    interrupt.abort()
    await assert.rejects(connection.run('true'))
    await connection.runLast(`touch ${tidied}`)
  }
  await at.connect('node', { config: at.host('node'), signal: interrupt.signal }, work)
  assert.ok(existsSync(tidied))
})

describe('a file is copied by SFTP', { skip }, () => {
  before(() => writeFileSync(join(at.folder, 'from'), 'bytes'))

  /** In front of the real program on the PATH, which the script has as $real. */
  function pretend(program: string, script: string): void {
    const real = execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8', env: environment }).trim()
    const folder = join(at.folder, 'bin')
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, program), `#!/bin/sh\nreal=${real}\n${script}\nexec $real "$@"\n`, { mode: 0o755 })
    process.env.PATH = `${folder}:${environment.PATH}`
  }
  const copy = async (to: string, ...lines: readonly string[]) => {
    rmSync(join(at.folder, to), { force: true })
    await at.connect('node', { config: at.host('node', ...lines) }, async (connection) => {
      await connection.run('true')
      await connection.copyFile(join(at.folder, 'from'), join(at.folder, to))
    })
    assert.equal(readFileSync(join(at.folder, to), 'utf8'), 'bytes')
  }

  test('whatever ssh_config says of a session', async () => {
    for (const line of ['StdinNull yes', 'SessionType none', 'ForkAfterAuthentication yes', 'RemoteCommand id'])
      await copy('out/session', line)
  })

  test('and not at all where scp can do no other than the old protocol: before OpenSSH 8.7', async () => {
    const refusal = "echo 'command-line: line 0: Bad configuration option: stdinnull' >&2; exit 255"
    pretend('ssh', `case " $* " in *" StdinNull="*) ${refusal} ;; esac`)
    await assert.rejects(copy('out/never'), { name: 'Failure', message: /^node: .*stdinnull$/ })
    assert.ok(!existsSync(join(at.folder, 'out/never')))
  })
})
