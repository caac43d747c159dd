/** What init finds out about the nodes that are named: by ssh's configuration, /etc/hosts and DNS. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import { scratch } from '../../support/files.ts'
import { callInit, entry, type Inited, readCluster, readJsonLine } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

const skip = needs('ssh')

interface Made extends Inited {
  readonly text: string
  readonly folder: string
  cluster(): Cluster
}

async function make(t: TestContext, args: readonly string[], config = ''): Promise<Made> {
  const folder = scratch(t)
  const inited = await callInit(folder, ['kubenet', ...args], config)
  const bytes = readFileSync(join(folder, 'kubenet/cluster.yaml'))
  return { ...inited, text: bytes.toString(), folder, cluster: () => readCluster(bytes) }
}

test('aliases behind a jump host: all that cluster.yaml needs, nothing that ssh knows itself, and no other file', {
  skip,
}, async (t) => {
  const config = `Host jump
  HostName jump.example.org
  User me
Host control? worker? gateway
  User admin
  ProxyJump jump
  Port 2222
${['control0', 'worker0', 'gateway'].map((name, i) => `Host ${name}\n  HostName 10.0.0.${11 + i}\n`).join('')}`
  const all = ['--control', 'control0', '--worker', 'worker0', '--gateway', 'gateway', '--virtual-ip', '10.0.0.21']
  const { status, printed, text, cluster, folder } = await make(t, all, config)
  const { name, domain, api, ssh, nodes } = cluster()
  assert.deepEqual([status, name, domain, api.virtualIP], [0, 'kubenet', 'kubenet', '10.0.0.21'])
  assert.deepEqual([ssh.user, ssh.configFile], ['admin', join(folder, 'cfg')])
  assert.deepEqual(
    nodes.map(({ name, role, ips, host, port }) => [name, role, ips[0], host, port]),
    [
      ['control0', 'control', '10.0.0.11', 'control0', undefined],
      ['worker0', 'worker', '10.0.0.12', 'worker0', undefined],
      ['gateway', 'gateway', '10.0.0.13', 'gateway', undefined],
    ],
  )
  const made = join(folder, 'kubenet')
  assert.deepEqual(printed.slice(-2), [
    `wrote ${made}/cluster.yaml for Kubernetes the Harder Way (ssh user: admin)`,
    'now run npm run bootstrap -- --dry-run --config kubenet/cluster.yaml',
  ])
  assert.deepEqual(readdirSync(made).toSorted(), ['.gitignore', 'cluster.yaml'])
  assert.equal(readFileSync(join(made, '.gitignore'), 'utf8'), 'auth/\n')
  const [, schema = ''] = /^# yaml-language-server: \$schema=(\S+)\n/.exec(text) ?? []
  assert.equal(JSON.parse(readFileSync(join(made, schema), 'utf8')).type, 'object')
})

test("kubectl's user has the name of the cluster, so that there may be a second one, unless there is an entry already", {
  skip,
}, async (t) => {
  const args = ['--control', 'c0=10.0.0.2', '--virtual-ip', '10.0.0.21']
  assert.deepEqual((await make(t, args)).cluster().localKubeconfig, {
    as: undefined,
    path: undefined,
    context: 'kubenet',
    user: 'admin-kubenet',
  })
  const folder = scratch(t)
  mkdirSync(join(folder, 'home/.kube'), { recursive: true })
  const contexts = [{ name: 'kubenet', context: { cluster: 'kubenet', user: 'admin' } }]
  writeFileSync(join(folder, 'home/.kube/config'), JSON.stringify({ contexts }))
  await callInit(folder, ['kubenet', ...args])
  assert.doesNotMatch(readFileSync(join(folder, 'kubenet/cluster.yaml'), 'utf8'), /^localKubeconfig/m)
})

test('of nodes whose role is not given, it is to be filled in', { skip }, async (t) => {
  const config = 'Host a\n  HostName 10.0.0.11\nHost b\n  HostName 10.0.0.12\n'
  const { status, printed, text } = await make(t, ['--node', 'a,b', '--virtual-ip', '10.0.0.21', '--user', 'u'], config)
  assert.equal(status, 4)
  for (const [name, ip] of [
    ['a', '10.0.0.11'],
    ['b', '10.0.0.12'],
  ]) {
    const role = `the role of ${name} (control, worker or gateway)`
    assert.ok(text.includes(`  - { name: ${name}, role: , ip: ${ip} } # MISSING: ${role}\n`), text)
    assert.ok(printed.some((line) => line.endsWith(`: fill in ${role}`)))
  }
})

test('a node that ssh knows by another name keeps that as its host; IPv6 is written in one spelling', {
  skip,
}, async (t) => {
  const config = 'Host k8s_C.0\n  HostName FD00:0:0::11\n'
  const args = ['--control', 'c0=k8s_C.0', '--worker', 'w0=10.0.0.2', '--virtual-ip', 'FD00::21', '--user', 'u']
  const { api, nodes } = (await make(t, args, config)).cluster()
  assert.deepEqual(
    [api.virtualIP, nodes.map(({ name, host, ips }) => [name, host, ips])],
    [
      'fd00::21',
      [
        ['c0', 'k8s_C.0', ['fd00::11']],
        ['w0', '10.0.0.2', ['10.0.0.2']],
      ],
    ],
  )
})

test('what is not found is left open, named, and what every other command then says', { skip }, async (t) => {
  const config =
    'Host c0\n  HostName no-such-host.invalid\nHost c1\n  HostName 127.0.0.1\nHost w0\n  HostName fe80::1\n'
  const made = await make(t, ['--control', 'c0,c1', '--worker', 'w0'], config)
  assert.equal(made.status, 4)
  const file = join(made.folder, 'kubenet/cluster.yaml')
  const lineOf = (start: string) => made.text.split('\n').findIndex((line) => line.startsWith(start)) + 1
  assert.deepEqual(
    made.printed.filter((line) => line.includes('fill in')),
    [
      `${file}:${lineOf('  virtualIP:')}: fill in the address of the load balancer`,
      ...['c0', 'c1', 'w0'].map((name) => `${file}:${lineOf(`  - { name: ${name},`)}: fill in the address of ${name}`),
    ],
  )
  assert.throws(made.cluster, {
    message: [
      'api.virtualIP is missing',
      ...[0, 1, 2].map((i) => `nodes[${i}] needs either ip or, for dual-stack, ips`),
    ].join('\n'),
  })
  assert.match(made.text, /^ {2}- \{ name: c0, role: control, ip: \} # MISSING: the address of c0$/m)
})

test('--quiet lists only what is missing, --json a line for each thing', { skip }, async (t) => {
  const args = ['--control', 'c=no-such-host.invalid', '--virtual-ip', '10.0.0.9']
  const quiet = await make(t, [...args, '--quiet'])
  assert.match(quiet.printed.join('\n'), /^\S+\/kubenet\/cluster\.yaml:\d+: fill in the address of c$/)
  const { printed } = await make(t, [...args, '--json'])
  const told = printed.map(readJsonLine)
  assert.deepEqual(
    told.map(({ type }) => type),
    ['note', 'file', 'note', 'note'],
  )
  assert.match(String(told[1]?.path), /\/kubenet\/cluster\.yaml$/)
})

test('who logs in is whom --user names, else whom ssh names, else ubuntu', { skip }, async (t) => {
  const config = 'Host a\n  HostName 10.0.0.1\n  User one\nHost b\n  HostName 10.0.0.2\n  User two\n'
  const { cluster } = await make(t, ['--control', 'a', '--worker', 'b', '--user', 'three'], config)
  assert.deepEqual([cluster().ssh.user, cluster().nodes.map(({ user }) => user)], ['three', ['three', 'three']])
  const one = await make(t, ['--control', 'a', '--worker', 'c=10.0.0.3'], config)
  assert.deepEqual([one.cluster().ssh.user, one.cluster().nodes.map(({ user }) => user)], ['one', ['one', 'one']])
  for (const host of ['10.0.0.1', 'FD00:0::1', 'No-Such-Host.Invalid'])
    assert.match((await make(t, ['--control', `a=${host}`])).text, /^ {2}user: ubuntu$/m, host)
})

test('where users differ, who logs in is left open', { skip }, async (t) => {
  const config = ['one', 'two'].map((user, i) => `Host ${'ab'[i]}\n  HostName 10.0.0.${i + 1}\n  User ${user}\n`)
  const { status, printed, text } = await make(t, ['--control', 'a', '--worker', 'b,c=10.0.0.5'], config.join(''))
  assert.equal(status, 4)
  assert.match(text, /^ {2}user: # MISSING: the user that ssh logs in as; a node may have a user of its own$/m)
  assert.match(printed.join('\n'), /^wrote .* \(ssh user: unknown\)\n\S+:\d+: fill in the user that ssh logs in as/m)
})

test('an ssh_config in the folder is named relative to it, so that both can be moved', { skip }, async (t) => {
  const folder = scratch(t)
  mkdirSync(join(folder, 'kubenet'))
  writeFileSync(join(folder, 'kubenet/ssh'), 'Host c\n  HostName 10.0.0.1\n')
  await callInit(folder, ['kubenet', '--control', 'c', '--ssh-config', 'kubenet/ssh'])
  assert.equal(readCluster(readFileSync(join(folder, 'kubenet/cluster.yaml'))).ssh.configFile, './ssh')
})

test('a .gitignore that is there stays as it is, and so does every other file', { skip }, async (t) => {
  const folder = scratch(t)
  writeFileSync(join(folder, '.gitignore'), 'theirs\n')
  await callInit(folder, ['.', '--name', 'x', '--control', 'c=10.0.0.1'])
  assert.equal(readFileSync(join(folder, '.gitignore'), 'utf8'), 'theirs\n')
  assert.deepEqual(readdirSync(folder).toSorted(), ['.gitignore', 'cfg', 'cluster.yaml'])
})

test('of two at once in one folder, one writes, and the other says that there is one', { skip }, async (t) => {
  const folder = scratch(t)
  const both = ['c', 'd'].map((name) => callInit(folder, ['new', '--control', `${name}=10.0.0.1`]))
  const ended = await Promise.all(both)
  assert.deepEqual(ended.map(({ status }) => status).toSorted(), [0, 2])
  const { nodes } = readCluster(readFileSync(join(folder, 'new/cluster.yaml')))
  assert.equal(nodes[0]?.name, ended[0]?.status === 0 ? 'c' : 'd')
  assert.deepEqual(readdirSync(join(folder, 'new')).toSorted(), ['.gitignore', 'cluster.yaml'])
})

const canMount = process.getuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0

test('names that ssh does not know are those of /etc/hosts, both families of one that has both', {
  skip: skip || (!canMount && 'no leave to mount'),
}, (t) => {
  const folder = scratch(t)
  writeFileSync(join(folder, 'empty'), '')
  writeFileSync(join(folder, 'hosts'), '10.0.0.1 c0.lan c0\nfd00::1 c0\n10.0.0.2 w0\n127.0.1.1 w1\n')
  const script = 'mount --bind hosts /etc/hosts && exec "$0" "$@"'
  const args = ['init', 'new', '--control', 'c0', '--worker', 'w0,w1', '--ssh-config', 'empty']
  const ran = spawnSync('unshare', ['-m', 'sh', '-ec', script, process.execPath, entry, ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: folder },
  })
  assert.equal(ran.status, 4, ran.stderr)
  assert.match(
    ran.stdout,
    /^c0 +control +(10\.0\.0\.1, fd00::1|fd00::1, 10\.0\.0\.1)\nw0 +worker +10\.0\.0\.2\nw1 +worker +address unknown$/m,
  )
})
