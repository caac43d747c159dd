import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import xterm from '@xterm/headless'
import { takeLock } from '../../lib/files/lock.ts'
import { scratch } from '../support/files.ts'
import { harderway, holdAuth, readJsonLine, withStatus } from '../support/harderway.ts'
import { type Start, start as startProcess } from '../support/process.ts'

/** What a user would see, and what has scrolled off the top. */
async function showOn({ rows, columns }: { rows: number; columns: number }, output: string) {
  const terminal = new xterm.Terminal({ rows, cols: columns, allowProposedApi: true })
  await new Promise<void>((resolve) => terminal.write(output, resolve))
  const { active } = terminal.buffer
  const lines = Array.from({ length: active.length }, (_, row) => active.getLine(row)?.translateToString(true) ?? '')
  return {
    lines: lines.slice(0, lines.findLastIndex(Boolean) + 1),
    isCursorShown: output.lastIndexOf('\x1b[?25h') >= output.lastIndexOf('\x1b[?25l'),
  }
}

const local = ['certs', 'kubeconfigs', 'encryption-key']
const clusterOf = (workers: number) => `name: kubenet
certificates: {key: ecdsa-p256}
api: {virtualIP: 192.168.1.21}
nodes:
  - {name: control0, role: control, ip: 192.168.1.11}
${Array.from({ length: workers }, (_, i) => `  - {name: worker${i}, role: worker, ip: 192.168.2.${i}}`).join('\n')}
`
const titles = [
  'Certificate authority',
  'Cluster certificate',
  'Component certificates',
  'Node certificates',
  'Kubeconfigs',
  'Encryption key',
]

function place(t: TestContext, cluster = clusterOf(1)): string {
  const folder = scratch(t)
  writeFileSync(join(folder, 'cluster.yaml'), cluster)
  return folder
}

type Env = Readonly<Record<string, string | undefined>>

const envOf = (folder: string, env: Env = {}) => ({ HOME: folder, TERM: 'xterm-256color', ...env })

async function run(folder: string, args: readonly string[], env?: Env) {
  const { status, stdout, stderr } = await harderway({ place: folder, env: envOf(folder, env) }, ...args)
  return { status, stdout, stderr }
}

function start(folder: string, args: readonly string[], env?: Env, through?: Start['through']) {
  return startProcess(folder, args, { env: envOf(folder, env), ...(through && { through }) })
}

const parse = (stdout: string): Record<string, unknown>[] => stdout.split('\n').slice(0, -1).map(readJsonLine)

/** As a run that lives does, and so for longer than another program's lock is waited for. */
async function lockKubeconfig(folder: string): Promise<void> {
  mkdirSync(join(folder, '.kube'))
  const lock = join(folder, '.kube', 'config.lock')
  await takeLock(lock, { signal: new AbortController().signal, wait: 0, onWait: () => {} })
}

test('bad usage exits with 2 and does nothing', async (t) => {
  const folder = place(t)
  for (const [line, message] of [
    ['certz', /unknown command "certz"; did you mean certs\?/],
    ['', /no phase or target given/],
    [
      'certs --config lab/cluster.yaml',
      /^\S+\/lab\/cluster\.yaml does not exist\n +create one:\s+npm run task -- init DIR$/m,
    ],
  ] as const) {
    const { status, stdout, stderr } = await run(folder, line.split(' ').filter(Boolean))
    assert.deepEqual([status, stdout], [2, ''])
    assert.match(stderr, message)
    assert.doesNotMatch(stderr, /\bat .*:\d+:\d+/)
  }
  assert.deepEqual(readdirSync(folder), ['cluster.yaml'])
})

test('a bad cluster.yaml exits with 2, names each place in it, and nothing is written', async (t) => {
  const folder = place(
    t,
    clusterOf(1).replace('virtualIP: 192.168.1.21', 'virtualIP: 192.168.1.321').concat('nodez: 1\n'),
  )
  const file = join(folder, 'cluster.yaml')
  const virtualIP = 'api.virtualIP "192.168.1.321" is not an IP address, such as 192.168.1.11'
  const nodez = 'nodez is an unknown key in cluster.yaml'
  const shown = [`${file}:3:18: ${virtualIP}`, `${file}:7:1: ${nodez}; did you mean nodes?\n`]
  for (const args of [['certs'], ['certs', '--dry-run']])
    assert.deepEqual(await run(folder, args), { status: 2, stdout: '', stderr: shown.join('\n') })
  assert.deepEqual(readdirSync(folder), ['cluster.yaml'])
})

test('of a file that is no cluster.yaml, such as a key, nothing is shown', async (t) => {
  const folder = place(t)
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'sec1', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  const secret = privateKey.split('\n')[1] ?? ''
  for (const text of [privateKey, `{"users": [{"user": {"client-key-data": "${secret}"}}]}`]) {
    writeFileSync(join(folder, 'secret'), text)
    const { stderr } = await withStatus(2, run(folder, ['certs', '--config', 'secret']))
    assert.match(stderr, /^\S+secret:1:1: /)
    assert.ok(!stderr.includes(secret.slice(0, 16)), stderr)
  }
})

test('a command that is printed works where npm was called from', async (t) => {
  const [elsewhere, folder] = [scratch(t), scratch(t)]
  const ran = async (...args: string[]) => (await start(elsewhere, args, { INIT_CWD: folder }).ended).stdout
  const npm = `npm --prefix ${join(import.meta.dirname, '../..')} run bootstrap --`
  const begun = await ran('init', 'mine', '--control', 'control0', '--worker', 'worker0')
  assert.ok(begun.includes(`${npm} --dry-run --config mine/cluster.yaml`), begun)
  writeFileSync(join(folder, 'other.yaml'), clusterOf(1))
  const config = ['--config', 'other.yaml']
  await ran('certs', ...config)
  const renewed = await ran('ca', '--renew', ...config)
  assert.ok(renewed.replace(/\s+/g, ' ').includes(`until you run: ${npm} --config other.yaml`), renewed)
})

test('SIGTERM to npm ends the run that it started', async (t) => {
  const folder = place(t)
  await lockKubeconfig(folder)
  const config = ['--config', join(folder, 'cluster.yaml')]
  const clone = fileURLToPath(new URL('../../', import.meta.url))
  const args = ['--prefix', clone, 'run', '-s', 'task', '--', 'certs', 'local-kubeconfig', '--json', ...config]
  const npm = start(folder, [], {}, () => ['npm', ...args])
  await npm.told('"type":"building","id":"local-kubeconfig"')
  npm.child.kill('SIGTERM')
  assert.match((await npm.ended).stdout, /"exit":143[^\n]*\n$/)
  assert.ok(!existsSync(join(folder, 'auth', '.lock')))
})

test('SIGINT during the wait for another run exits with 130, leaves that run its lock, and the whole command is advised: all of it is left', async (t) => {
  const folder = place(t)
  await withStatus(0, run(folder, ['ca']))
  const release = await holdAuth(join(folder, 'auth'))
  const stopped = start(folder, ['certs', 'ca', '--force', '--yes', '--json'])
  await stopped.told('waiting for')
  stopped.child.kill('SIGINT')
  const ended = await stopped.ended
  assert.equal(ended.status, 130)
  assert.match(String(parse(ended.stdout).at(-1)?.goOn), / certs ca --force --yes$/)
  assert.ok(existsSync(join(folder, 'auth/.lock')))
  release()
})

const hasScript = process.platform === 'linux' && spawnSync('script', ['--version']).status === 0
const onTerminal = hasScript ? {} : { skip: 'needs the script of util-linux' }
const size = { rows: 24, columns: 80 }

function startOnTerminal(folder: string, args: readonly string[], env?: Env) {
  const sized = `stty rows ${size.rows} cols ${size.columns} && exec`
  return start(folder, args, env, (run) => ['script', '-qec', `${sized} ${run}`, '/dev/null'])
}

test('on a terminal the tree of 51 nodes ends with a whole last frame, drawn once', onTerminal, async (t) => {
  const { status, stdout } = await startOnTerminal(place(t, clusterOf(50)), local).ended
  assert.equal(status, 0)
  const { lines, isCursorShown } = await showOn(size, stdout)
  const phases = lines.filter((line) => /^[^\w\s] /.test(line))
  assert.deepEqual(
    phases.map((line) => line.split('  ')[0]),
    titles.map((title) => `✔ ${title}`),
  )
  assert.ok(lines.length <= size.rows, lines.join('\n'))
  assert.match(lines.findLast(Boolean) ?? '', /^\d+ targets: \d+ changed, 0 up to date, 0 failed in .* s$/)
  assert.ok(isCursorShown)
})

for (const [args, env] of [
  [['--quiet'], {}],
  [[], { TERM: 'dumb' }],
] as const)
  test(`no tree on a terminal with ${[...args, ...Object.keys(env)].join('')}`, onTerminal, async (t) => {
    const { status, stdout } = await startOnTerminal(place(t), [...local, ...args], env).ended
    assert.equal(status, 0)
    // What is left to do may be in bold: nothing moves the cursor.
    assert.doesNotMatch(stdout, /\x1b(?!\[\d+m)/)
  })
