/** `init` from outside: who is asked on a terminal, and a cluster behind a jump host from its names to what is deployed. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { type Lab, startLab } from '../lab/lab.ts'
import { harderway, makePlace } from '../support/harderway.ts'
import { readCluster } from '../support/init-call.ts'
import { needs } from '../support/parts.ts'
import { start } from '../support/process.ts'

const hasScript = process.platform === 'linux' && spawnSync('script', ['--version']).status === 0
const onTerminal = (command: string): [string, ...string[]] => ['script', '-qec', command, '/dev/null']

describe('on a terminal', { skip: hasScript ? needs('ssh') : 'needs the script of util-linux' }, () => {
  let place: string
  beforeEach(() => {
    place = makePlace()
    writeFileSync(join(place, 'cfg'), 'Host c0\n  HostName 10.0.0.11\n')
  })
  afterEach(() => rmSync(place, { recursive: true, force: true }))
  const ask = (...nodes: readonly string[]) =>
    start(place, ['init', 'new', '--ssh-config', 'cfg', ...nodes], {
      through: onTerminal,
      env: { TERM: 'xterm-256color' },
    })

  test('what is not found is asked for, and asked again until it is an address', async () => {
    const run = ask('--control', 'c0,c1=c1.invalid')
    await run.told('Address of c1')
    run.child.stdin.write('10.0.0.12\r')
    await run.told('Address of the API')
    run.child.stdin.write('lb\r')
    await run.told('not an IP address')
    run.child.stdin.write('\x15FD00::21\r')
    const { status, stdout } = await run.ended
    assert.equal(status, 0, stdout)
    const { api, nodes } = readCluster(readFileSync(join(place, 'new/cluster.yaml')))
    assert.equal(api.virtualIP, 'fd00::21')
    assert.deepEqual(
      nodes.map(({ ips }) => ips),
      [['10.0.0.11'], ['10.0.0.12']],
    )
  })

  for (const [what, key] of [
    ['an empty answer', '\r'],
    ['Ctrl-D', '\x04'],
  ] as const)
    test(`${what} leaves it open in the file`, async () => {
      const run = ask('--control', 'c0', '--worker', 'w0=w0.invalid')
      await run.told('Address of w0')
      run.child.stdin.write(key)
      const { status, stdout } = await run.ended
      assert.equal(status, 4)
      assert.match(stdout, /^missing in \S+\/new\/cluster\.yaml: the address of w0\r$/m)
      assert.match(readFileSync(join(place, 'new/cluster.yaml'), 'utf8'), /name: w0, .*# MISSING/)
    })

  test('the address that is typed of the one control node is that of the API too', async () => {
    const run = ask('--control', 'c1=c1.invalid')
    await run.told('Address of c1')
    run.child.stdin.write('10.0.0.12\r')
    const { status, stdout } = await run.ended
    assert.equal(status, 0, stdout)
    assert.equal(readCluster(readFileSync(join(place, 'new/cluster.yaml'))).api.virtualIP, '10.0.0.12')
  })

  test('Ctrl-C at a question ends it with 130, and nothing is written', async () => {
    const run = ask('--control', 'c0', '--worker', 'w0=w0.invalid')
    await run.told('Address of w0')
    run.child.stdin.write('\x03')
    const { status, stdout } = await run.ended
    assert.equal(status, 130, stdout)
    assert.doesNotMatch(stdout, /mistake|Error/)
    assert.equal(existsSync(join(place, 'new')), false)
  })
})

describe('a cluster behind a jump host', { skip: needs('sshd', 'ssh', 'scp') }, () => {
  const names = ['control0', 'worker0', 'gateway'] as const
  let place: string
  let lab: Lab
  before(async () => {
    place = makePlace()
    lab = await startLab({ dir: join(place, 'lab'), nodes: [...names, 'jump'].map((name) => ({ name })) })
    const files = [
      `IdentityFile ${place}/lab/client_key`,
      `UserKnownHostsFile ${lab.knownHosts}`,
      `User ${userInfo().username}`,
    ]
    const stanza = (host: string, lines: readonly string[]) => [`Host ${host}`, ...lines].join('\n  ')
    // What a jump host reaches under the address is a port of this machine.
    const behind = (name: string, i: number) =>
      stanza(name, [
        `HostName 10.0.0.${11 + i}`,
        `HostKeyAlias [127.0.0.1]:${lab.node(name).port}`,
        `ProxyCommand ssh -F ${place}/cfg -W 127.0.0.1:${lab.node(name).port} jump`,
      ])
    const jump = stanza('jump', ['HostName 127.0.0.1', `Port ${lab.node('jump').port}`])
    writeFileSync(join(place, 'cfg'), [jump, ...names.map(behind), stanza('*', files), ''].join('\n'))
  })
  after(async () => {
    await lab?.stop()
    rmSync(place, { recursive: true, force: true })
  })

  test('is deployed to by the cluster.yaml that its names gave', async () => {
    const [control0, worker0, gateway] = names
    const nodes = ['--control', control0, '--worker', worker0, '--gateway', gateway]
    const made = await harderway(place, 'init', 'new', ...nodes, '--virtual-ip', '10.0.0.21', '--ssh-config', 'cfg')
    assert.equal(made.status, 0, made.stdout + made.stderr)
    const file = join(place, 'new/cluster.yaml')
    writeFileSync(file, readFileSync(file, 'utf8').replace('key: rsa-2048', 'key: ecdsa-p256'))
    const [, command = ''] = /^now: npm run bootstrap -- (.*)\n$/m.exec(made.stdout) ?? []
    const plan = await harderway(place, 'bootstrap', ...command.split(' '))
    assert.equal(plan.status, 4, plan.stdout + plan.stderr)
    const ran = await harderway(place, 'bootstrap', '--config', 'new/cluster.yaml')
    assert.equal(ran.status, 0, ran.stdout + ran.stderr)
    assert.deepEqual(
      names.map((name) => readdirSync(lab.node(name).home).filter((file) => !file.startsWith('.')).length),
      [14, 5, 1],
    )
    const again = await harderway(place, 'bootstrap', ...command.split(' '))
    assert.equal(again.status, 0, again.stdout + again.stderr)
  })
})
