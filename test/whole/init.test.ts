/** `init` from outside: a cluster behind a jump host, from its names to what is deployed. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Lab, startLab } from '../lab/lab.ts'
import { exits, makePlace } from '../support/harderway.ts'
import { anybody, isRoot } from '../support/node-shells.ts'
import { needs } from '../support/programs.ts'

/** Whoever logs in is another user than root. */
const notRoot = isRoot
  ? [
      `ForceCommand exec setpriv --reuid=${anybody} --regid=${anybody} --clear-groups sh -c "$SSH_ORIGINAL_COMMAND"`,
      'Subsystem sftp /usr/lib/openssh/sftp-server',
    ]
  : []

describe('a cluster behind a jump host', { skip: needs('sshd', 'ssh', 'scp', ...(isRoot ? ['setpriv'] : [])) }, () => {
  const names = ['control0', 'worker0', 'gateway'] as const
  const roles = ['control', 'worker', 'gateway']
  let place: string
  let lab: Lab
  before(async () => {
    place = makePlace()
    chmodSync(place, 0o755)
    const programs = join(place, 'programs')
    mkdirSync(programs)
    writeFileSync(join(programs, 'sudo'), '#!/bin/sh\necho "$@" >>"$HOME/asked"\nexit 1\n', { mode: 0o755 })
    const login = { config: notRoot, sftp: !isRoot, env: { PATH: `${programs}:${process.env.PATH}` } }
    lab = await startLab({ dir: join(place, 'lab'), nodes: [...names, 'jump'].map((name) => ({ name, ...login })) })
    if (isRoot) for (const { home } of lab.nodes) chownSync(home, anybody, anybody)
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

  test('is deployed to by the cluster.yaml that its names gave, and where no unit runs nobody becomes root', async () => {
    const nodes = names.flatMap((name, i) => [`--${roles[i]}`, `${name}=10.0.0.${11 + i}`])
    const made = await exits(0, place, 'init', 'new', ...nodes, '--virtual-ip', '10.0.0.21')
    const file = join(place, 'new/cluster.yaml')
    const text = readFileSync(file, 'utf8').replace('key: rsa-2048', 'key: ecdsa-p256')
    assert.match(text, /^install: true /m)
    // As it is for a user who is not root.
    const edited = text
      .replace('install: true', 'install: { sudo: sudo -n }')
      .replace('user: ubuntu', `user: ${userInfo().username}`)
      .replace('# configFile: ./ssh_config', 'configFile: ../cfg')
    writeFileSync(file, edited)
    const [, command = ''] = /^now run:\s+npm run bootstrap -- (.*)\n$/m.exec(made.stdout) ?? []
    await exits(4, place, 'bootstrap', ...command.split(' '))
    await exits(0, place, 'bootstrap', '--config', 'new/cluster.yaml')
    assert.deepEqual(
      names.map((name) => readdirSync(lab.node(name).home).filter((file) => !file.startsWith('.')).length),
      [14, 5, 1],
    )
    await exits(0, place, 'bootstrap', ...command.split(' '))
    const asked = (name: string) => existsSync(join(lab.node(name).home, 'asked'))
    assert.deepEqual(names.filter(asked), [])
    // The one that was there to be asked leaves its mark, and whoever asks it is not root.
    const args = ['-F', join(place, 'cfg'), names[1], 'id -u; ! sudo -n true']
    assert.notEqual(execFileSync('ssh', args, { encoding: 'utf8' }), '0\n')
    assert.deepEqual(names.filter(asked), [names[1]])
  })
})
