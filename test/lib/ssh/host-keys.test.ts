import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { fill } from '../../support/full-disk.ts'
import { needs } from '../../support/parts.ts'
import { openSshLab, type SshLab } from '../../support/ssh-lab.ts'

const skip = needs('sshd', 'ssh', 'ssh-keygen')

const canMount = process.getuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0

function assertFails(result: string | Failure, code: string, message = /^/): Failure {
  assert.ok(result instanceof Failure, `a connection was made: ${result}`)
  assert.equal(result.code, code, result.message)
  assert.match(result.message, message)
  return result
}

describe('an impostor with another host key is given nothing', { skip }, () => {
  let at: SshLab
  let impostor: string
  after(() => at[Symbol.asyncDispose]())
  before(async () => {
    at = await openSshLab({ name: 'node' }, { name: 'other' })
    impostor = `${await at.lab.node('other').hostKey()}`
    const port = at.lab.node('node').port
    // known_hosts has another machine's key for the node.
    writeFileSync(at.lab.knownHosts, `[127.0.0.1]:${port} ${impostor}\nnamed ${impostor}\n`)
  })

  const trusting: Readonly<Record<string, readonly string[]>> = {
    'StrictHostKeyChecking no': ['StrictHostKeyChecking no'],
    'StrictHostKeyChecking off in a Match block': ['Match originalhost node', 'StrictHostKeyChecking off'],
    'StrictHostKeyChecking no where a command is run': ['Match exec true', 'StrictHostKeyChecking no'],
    'StrictHostKeyChecking accept-new': ['StrictHostKeyChecking accept-new'],
    'NoHostAuthenticationForLocalhost yes': ['NoHostAuthenticationForLocalhost yes'],
    'CheckHostIP no and no checks': ['CheckHostIP no', 'StrictHostKeyChecking no'],
    'HostKeyAlias of a name that is known by another key': ['HostKeyAlias named', 'StrictHostKeyChecking no'],
    'VerifyHostKeyDNS yes': ['VerifyHostKeyDNS yes', 'StrictHostKeyChecking no'],
  }
  for (const [title, lines] of Object.entries(trusting))
    test(`with ${title}`, async () => {
      assertFails(await at.run('node', 'echo in', { config: at.host('node', ...lines) }), 'host-key-changed')
    })

  test('with a stanza that only a session with a command matches', { skip: atLeast(9, 10) }, async () => {
    const lines = ['Match sessiontype exec', 'StrictHostKeyChecking no']
    assertFails(await at.run('node', 'echo in', { config: at.host('node', ...lines) }), 'host-key-changed')
  })

  test('with an unknown name and StrictHostKeyChecking no', async () => {
    const config = at.host('node', 'HostKeyAlias nobody', 'StrictHostKeyChecking no', 'UserKnownHostsFile /dev/null')
    assertFails(await at.run('node', 'echo in', { config }), 'host-key-unknown')
  })

  test('with a KnownHostsCommand that is given the offered key', async () => {
    const config = at.host('node', 'HostKeyAlias nobody', 'KnownHostsCommand /bin/echo nobody %t %K')
    const failure = assertFails(await at.run('node', 'echo in', { config }), 'host-key-unchecked', /KnownHostsCommand/)
    assert.match(failure.remedy ?? '', /-G \S+@node true\) \| grep/)
  })
})

describe('keys that are learnt at the first meeting go into a file that stays', { skip }, () => {
  let at: SshLab
  after(() => at[Symbol.asyncDispose]())
  before(async () => {
    at = await openSshLab({ name: 'node' })
  })
  beforeEach(() => writeFileSync(at.lab.knownHosts, ''))

  test('named from where cluster.yaml is, and the next run refuses another key', async () => {
    const config = at.host('node', 'StrictHostKeyChecking accept-new', 'UserKnownHostsFile ./known')
    assert.equal(await at.run('node', 'echo in', { config }), 'in\n')
    assert.match(readFileSync(join(at.folder, 'known'), 'utf8'), /^\[127\.0\.0\.1\]:\d+ ssh-ed25519 /)
    await at.lab.node('node').rotateHostKey()
    assertFails(await at.run('node', 'echo in', { config }), 'host-key-changed')
  })

  for (const [title, lines, known] of [
    ['with a blank in its name', ['UserKnownHostsFile "./known by name"'], 'known by name'],
    ['that is the first of two', ['UserKnownHostsFile ./first ./second'], 'first'],
    ['where names are hashed', ['HashKnownHosts yes', 'UserKnownHostsFile ./hashed'], 'hashed'],
    ['where the name is in capitals', ['HostKeyAlias Node.Example', 'UserKnownHostsFile ./capitals'], 'capitals'],
  ] as const)
    test(`${title}, and is found in it`, async () => {
      const config = at.host('node', 'StrictHostKeyChecking accept-new', ...lines)
      assert.equal(await at.run('node', 'echo in', { config }), 'in\n')
      assert.ok(existsSync(join(at.folder, known)))
    })

  test('named in ssh.options likewise', async () => {
    const options = { StrictHostKeyChecking: 'accept-new', UserKnownHostsFile: './known_by_options' }
    assert.equal(await at.run('node', 'echo in', { config: at.host('node'), options }), 'in\n')
    assert.ok(existsSync(join(at.folder, 'known_by_options')))
  })

  for (const [title, file] of [
    ['/dev/null', '/dev/null'],
    ['none', 'none'],
    ['a link to /dev/null', './link'],
    ['a folder', './out'],
    ['a file in a folder that does not exist', './nowhere/known_hosts'],
    ['/dev/stdout', '/dev/stdout'],
  ] as const)
    test(`which is not ${title}`, async () => {
      if (file === './link') symlinkSync('/dev/null', join(at.folder, 'link'))
      const config = at.host('node', 'StrictHostKeyChecking accept-new', `UserKnownHostsFile ${file}`)
      const message =
        /^node: the host key would not be checked: StrictHostKeyChecking accept-new, but UserKnownHostsFile/
      assertFails(await at.run('node', 'echo in', { config }), 'host-key-unchecked', message)
      const options = { UserKnownHostsFile: file }
      const trusting = at.host('node', 'StrictHostKeyChecking accept-new')
      if (/^\./.test(file))
        assertFails(await at.run('node', 'echo in', { config: trusting, options }), 'host-key-unchecked')
    })

  test('and a disk that is too full for them is an error, not a node that is trusted again and again', {
    skip: !canMount && 'only root may mount a small disk',
  }, async () => {
    const known = join(at.folder, 'small/known_hosts')
    mkdirSync(join(at.folder, 'small'))
    execFileSync('/bin/sh', ['-c', `mount -t tmpfs -o size=64k tmpfs ${join(at.folder, 'small')}`])
    try {
      fill(join(at.folder, 'small/full'), 0)
      for (const options of [{}, { HashKnownHosts: 'yes' }]) {
        const config = at.host('node', 'StrictHostKeyChecking accept-new', 'UserKnownHostsFile ./small/known_hosts')
        const message =
          /^node: host keys are not kept in \S+small\/known_hosts: that of \[127\.0\.0\.1\]:\d+ was trusted/
        assertFails(await at.run('node', 'echo in', { config, options }), 'host-key-not-kept', message)
        const hop = at.host('node', 'ProxyJump hop') + config.replace('Host node', 'Host hop')
        writeFileSync(
          at.lab.knownHosts,
          `[127.0.0.1]:${at.lab.node('node').port} ${await at.lab.node('node').hostKey()}\n`,
        )
        assertFails(await at.run('node', 'echo in', { config: hop, options }), 'host-key-not-kept', message)
      }
      rmSync(join(at.folder, 'small/full'))
      const config = at.host('node', 'StrictHostKeyChecking accept-new', 'UserKnownHostsFile ./small/known_hosts')
      for (const options of [{}, { HashKnownHosts: 'yes' }]) {
        rmSync(known, { force: true })
        for (let i = 0; i < 2; i++) assert.equal(await at.run('node', 'echo in', { config, options }), 'in\n')
      }
    } finally {
      execFileSync('/bin/sh', ['-c', `umount ${join(at.folder, 'small')}`])
    }
  })

  test('nothing is learnt of a node that is known: known_hosts stays as it is', async () => {
    const node = at.lab.node('node')
    const known = `[127.0.0.1]:${node.port} ${await node.hostKey()}\n`
    writeFileSync(at.lab.knownHosts, known)
    execFileSync('ssh-keygen', ['-q', '-t', 'ecdsa', '-N', '', '-f', join(at.folder, 'second_key')])
    await node.restart({ config: [`HostKey ${join(at.folder, 'second_key')}`] })
    const config = at.host('node', 'UpdateHostKeys yes')
    assert.equal(await at.run('node', 'echo in', { config }), 'in\n')
    assert.equal(readFileSync(at.lab.knownHosts, 'utf8'), known)
  })
})

describe('a jump host is checked as a node is', { skip }, () => {
  let at: SshLab
  after(() => at[Symbol.asyncDispose]())
  before(async () => {
    at = await openSshLab({ name: 'node' }, { name: 'hop' }, { name: 'first' })
  })
  const by = (...hop: readonly string[]) => at.host('node', 'ProxyJump hop') + at.host('hop', ...hop)

  test('and jumped over where its key is known', async () => {
    assert.equal(await at.run('node', 'echo in', { config: by() }), 'in\n')
    const two = at.host('node', 'ProxyJump first,hop') + at.host('hop') + at.host('first')
    assert.equal(await at.run('node', 'echo in', { config: two }), 'in\n')
    const chained = at.host('node', 'ProxyJump hop') + at.host('hop', 'ProxyJump first') + at.host('first')
    assert.equal(await at.run('node', 'echo in', { config: chained }), 'in\n')
    assert.equal(
      await at.run('node', 'echo in', {
        config: at.host('node') + at.host('hop'),
        options: { ProxyJump: `hop:${at.lab.node('hop').port}` },
      }),
      'in\n',
    )
  })

  for (const [title, hop] of [
    ['StrictHostKeyChecking no', ['StrictHostKeyChecking no']],
    ['NoHostAuthenticationForLocalhost yes', ['NoHostAuthenticationForLocalhost yes']],
    ['StrictHostKeyChecking accept-new', ['StrictHostKeyChecking accept-new', 'UserKnownHostsFile /dev/null']],
  ] as const)
    test(`which is refused with ${title}: what our command line says does not reach it`, async () => {
      const message = new RegExp(`^node: jump host hop: the host key would not be checked: ${title}`)
      const failure = assertFails(
        await at.run('node', 'echo in', { config: by(...hop) }),
        'host-key-unchecked',
        message,
      )
      // The advice shows what is in force for the jump host.
      const command = failure.remedy?.split('\n').find((line) => line.startsWith('(cd ')) ?? ''
      assert.match(execFileSync('sh', ['-c', command], { encoding: 'utf8', stdio: 'pipe' }), /^stricthostkeychecking /m)
    })

  test('anywhere in a chain', async () => {
    const before = (await at.lab.node('first').counts()).connections
    const first = at.host('first', 'StrictHostKeyChecking no')
    for (const config of [
      at.host('node', 'ProxyJump first,hop') + at.host('hop') + first,
      at.host('node', 'ProxyJump hop') + at.host('hop', 'ProxyJump first') + first,
    ])
      assertFails(await at.run('node', 'echo in', { config }), 'host-key-unchecked', /jump host first/)
    assert.equal((await at.lab.node('first').counts()).connections, before)
  })

  test('and two that lead to each other are reported, not followed', async () => {
    const config =
      at.host('node', 'ProxyJump hop') + at.host('hop', 'ProxyJump first') + at.host('first', 'ProxyJump hop')
    assertFails(await at.run('node', 'echo in', { config }), 'ssh-unusable', /jump hosts/)
  })
})

/** For what only newer ones know. */
function atLeast(major: number, minor: number): false | string {
  const said = skip === false ? execFileSync('sh', ['-c', 'ssh -V 2>&1'], { encoding: 'utf8' }) : ''
  const [, a = '0', b = '0'] = /OpenSSH_(\d+)\.(\d+)/.exec(said) ?? []
  const isNew = Number(a) > major || (Number(a) === major && Number(b) >= minor)
  return isNew ? false : `needs OpenSSH ${major}.${minor}`
}
