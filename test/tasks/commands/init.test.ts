/** `init` from names: what it finds by /etc/hosts and DNS, what it leaves open, and what it refuses. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { scratch } from '../../support/files.ts'
import { callInit, entry, harderway, readCluster } from '../../support/harderway.ts'

async function make(t: TestContext, ...args: string[]) {
  const folder = scratch(t)
  const inited = await callInit(folder, ['kubenet', ...args])
  const file = join(folder, 'kubenet/cluster.yaml')
  const bytes = readFileSync(file)
  return { ...inited, file, text: bytes.toString(), folder, cluster: () => readCluster(bytes) }
}

test('names with addresses make all that cluster.yaml needs, and no other file', async (t) => {
  const nodes = [
    '--worker',
    'worker0=FD00:0:0::12',
    '--control',
    'control0=10.0.0.11',
    '--gateway',
    'gateway=10.0.0.13',
  ]
  const { status, printed, text, cluster, folder } = await make(t, ...nodes, '--virtual-ip', '10.0.0.21')
  const { name, domain, api, ssh, localKubeconfig, nodes: found } = cluster()
  assert.deepEqual([status, name, domain, api.virtualIP], [0, 'kubenet', 'kubenet', '10.0.0.21'])
  // kubectl has one user of a name, and there may be a second cluster.
  const inKubeconfig = { as: undefined, path: undefined, context: 'kubenet', user: 'admin-kubenet' }
  assert.deepEqual([ssh.user, localKubeconfig], ['ubuntu', inKubeconfig])
  assert.deepEqual(
    found.map(({ name, role, ips }) => [name, role, ips]),
    [
      ['control0', 'control', ['10.0.0.11']],
      ['worker0', 'worker', ['fd00::12']],
      ['gateway', 'gateway', ['10.0.0.13']],
    ],
  )
  const made = join(folder, 'kubenet')
  assert.deepEqual(printed, [
    `wrote ${made}/cluster.yaml`,
    'now run:',
    '    npm run bootstrap -- --dry-run --config kubenet/cluster.yaml',
  ])
  assert.deepEqual(readdirSync(made), ['cluster.yaml'])
  const [, schema = ''] = /^# yaml-language-server: \$schema=(\S+)\n/.exec(text) ?? []
  assert.equal(JSON.parse(readFileSync(join(made, schema), 'utf8')).type, 'object')
})

test('a single control node needs no load balancer, and a cluster of the other guide has none', async (t) => {
  assert.equal((await make(t, '--control', 'c=10.0.0.1')).cluster().api.virtualIP, '10.0.0.1')
  const { cluster } = await make(t, '--layout', 'hard-way', '--control', 'c=10.0.0.1', '--worker', 'w=10.0.0.2')
  const { layout, domain, api, ssh } = cluster()
  assert.deepEqual([layout, domain, api.virtualIP, ssh.user], ['hard-way', 'kubernetes.local', undefined, 'root'])
})

test('what is not found is left open, named, and what every other command then says', async (t) => {
  const { status, file, text, printed, folder } = await make(t, '--control', 'c0.invalid,localhost')
  assert.equal(status, 4)
  const lineOf = (start: string) => text.split('\n').findIndex((line) => line.startsWith(start)) + 1
  assert.deepEqual(
    printed.filter((line) => line.includes('fill in')),
    [
      `${file}:${lineOf('  virtualIP:')}: fill in the address of the load balancer`,
      ...['c0.invalid', 'localhost'].map(
        (name) => `${file}:${lineOf(`  - { name: ${name},`)}: fill in the address of ${name}`,
      ),
    ],
  )
  assert.match(text, /^ {2}- \{ name: localhost, role: control, ip: \} # MISSING: the address of localhost$/m)
  const next = await harderway(folder, 'bootstrap', '--dry-run', '--config', file)
  assert.equal(next.status, 2)
  assert.match(next.stderr, /api\.virtualIP is missing[\s\S]*nodes\[1\] needs either ip or/)
})

const canMount = process.getuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0

test('addresses are those of /etc/hosts, both families of a name that has both', {
  skip: !canMount && 'no leave to mount',
}, (t) => {
  const folder = scratch(t)
  writeFileSync(join(folder, 'hosts'), '10.0.0.1 c0.lan c0\nfd00::1 c0\n10.0.0.2 w0\n127.0.1.1 w1\n')
  const script = 'mount --bind hosts /etc/hosts && exec "$0" "$@"'
  const args = ['init', 'new', '--control', 'c0', '--worker', 'w0,w1']
  const ran = spawnSync('unshare', ['-m', 'sh', '-ec', script, process.execPath, entry, ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: folder },
  })
  assert.equal(ran.status, 4, ran.stderr)
  const text = readFileSync(join(folder, 'new/cluster.yaml'), 'utf8')
  assert.match(text, /name: c0, role: control, ips: \[ (10\.0\.0\.1, fd00::1|fd00::1, 10\.0\.0\.1) \]/)
  assert.match(text, /name: w0, role: worker, ip: 10\.0\.0\.2 \}\n.*w1, role: worker, ip: \} # MISSING/)
})

async function refused(folder: string, args: readonly string[]): Promise<string> {
  const { status, printed, stderr } = await callInit(folder, args)
  assert.deepEqual([status, printed], [2, []])
  return stderr
}

const rest = ['--control', 'control0=10.0.0.11', '--virtual-ip', '10.0.0.21']

for (const [what, args, said] of [
  ['no directory', rest, /^init needs one directory for the new cluster\.yaml/],
  ['--config', ['a', '--config', 'x.yaml', ...rest], /^--config can't be used with init/],
  ['no control node', ['a', '--worker', 'w=10.0.0.1'], /^no control node: /],
  [
    'every mistake',
    ['a', '--control', 'A=1,b=x', '--virtual-ip', 'x'],
    /^api\.virtualIP [\s\S]*^nodes\[0\]\.name [\s\S]*^nodes\[1\]\.ip /m,
  ],
  ['a layout that is none', ['a', '--layout', 'hard', ...rest], /^--layout hard: /],
  ['a --from without a CA', ['a', '--from', '.', ...rest], /^--from \. has no readable ca\.pem$/m],
] as const)
  test(`${what} is refused, and nothing is written`, async (t) => {
    const folder = scratch(t)
    assert.match(await refused(folder, args), said)
    assert.deepEqual(readdirSync(folder), [])
  })

test('where there is a cluster.yaml already, nothing is written', async (t) => {
  const folder = scratch(t)
  writeFileSync(join(folder, 'cluster.yaml'), 'theirs')
  const text = await refused(folder, ['.', ...rest])
  assert.match(text, /^nothing was written: .*\/cluster\.yaml already exists\n +to start over, move it aside\n$/)
  assert.equal(readFileSync(join(folder, 'cluster.yaml'), 'utf8'), 'theirs')
})

for (const [what, file] of [
  ['beside a cluster.yaml', 'cluster.yaml'],
  ['with a CA', 'auth/ca.pem'],
  ['with a CA of the other guide', 'auth/ca.crt'],
] as const)
  test(`an auth/ ${what} is no place for another cluster, from any directory in it or outside`, async (t) => {
    const folder = scratch(t)
    const auth = join(folder, 'auth')
    mkdirSync(join(auth, 'backup'), { recursive: true })
    writeFileSync(join(folder, file), '')
    const before = readdirSync(folder, { recursive: true })
    for (const [at, dir] of [
      [auth, '.'],
      [auth, '../../new'],
      [join(auth, 'backup'), '.'],
      [folder, 'auth/new'],
    ] as const)
      assert.match(await refused(at, [dir, ...rest]), new RegExp(`whose directory is ${folder}\n$`))
    assert.deepEqual(readdirSync(folder, { recursive: true }), before)
  })
