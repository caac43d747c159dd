import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { takeLock, thisProcess } from '../../lib/files/lock.ts'
import { scratch } from '../support/files.ts'
import { harderway, readJsonLine } from '../support/harderway.ts'
import { type Start, start as startProcess } from '../support/process.ts'

/** As much of a terminal as the tree uses: what a user would see, and what has scrolled off the top. */
interface Terminal {
  /** Every line, without the blanks at its end. */
  readonly lines: readonly string[]
  readonly isCursorShown: boolean
  /** Colours and other styles. */
  readonly isStyled: boolean
}

/** Throws where there is a control sequence that it does not know. */
function showOn({ rows, columns }: { rows: number; columns: number }, output: string): Terminal {
  const lines: string[][] = [[]]
  let [row, column, isCursorShown, isStyled] = [0, 0, true, false]
  const down = (count: number) => {
    for (row += count; lines.length <= row; ) lines.push([])
  }
  const obey = (command: string, parameters: string) => {
    const count = Number(parameters || 1)
    if (command === 'A') row = Math.max(row - count, lines.length - rows, 0)
    else if (command === 'B') down(Math.min(count, lines.length - 1 - row))
    else if (command === 'G') column = count - 1
    else if (command === 'K') lines[row] = parameters === '2' ? [] : (lines[row] ?? []).slice(0, column)
    else if (command === 'J') {
      lines[row] = (lines[row] ?? []).slice(0, column)
      lines.length = row + 1
    } else if (command === 'm') isStyled = true
    else if (parameters === '?25') isCursorShown = command === 'h'
    else if (parameters !== '?2026') throw new Error(`unknown: ${parameters}${command}`)
  }
  for (const [text, parameters, command] of output.matchAll(/\x1b\[([?\d;]*)([A-Za-z])|[\s\S]/gu)) {
    if (command !== undefined) obey(command, parameters ?? '')
    else if (text === '\n') down(1)
    else if (text === '\r') column = 0
    else if (/\p{Cc}/u.test(text)) throw new Error(`unknown: ${JSON.stringify(text)}`)
    else {
      if (column === columns) {
        down(1)
        column = 0
      }
      const line = lines[row] ?? []
      while (line.length < column) line.push(' ')
      line[column++] = text
    }
  }
  return { lines: lines.map((line) => line.join('').trimEnd()), isCursorShown, isStyled }
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
/** How many targets the local phases have for one control node and one worker. */
const localTargets = 9 + 6 + 1

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

/** A run that has made the CA and the admin's certificate, and waits for a kubeconfig that another program has locked. */
async function startAndStop(t: TestContext, args: readonly string[] = []) {
  const folder = place(t)
  const lock = lockKubeconfig(folder)
  const stopped = start(folder, ['local-kubeconfig', '--json', ...args])
  await stopped.told('"type":"building","id":"local-kubeconfig"')
  return { folder, lock, stopped, auth: join(folder, 'auth') }
}

/** As a run that lives does, and so for longer than another program's lock is waited for. */
function lockKubeconfig(folder: string): string {
  mkdirSync(join(folder, '.kube'))
  const lock = join(folder, '.kube', 'config.lock')
  writeFileSync(lock, JSON.stringify({ ...thisProcess, token: randomUUID(), since: '' }))
  return lock
}

/** Holds auth/ as another run would. */
async function holdAuth(folder: string): Promise<() => void> {
  mkdirSync(join(folder, 'auth'), { recursive: true })
  const { signal } = new AbortController()
  const options = { signal, wait: 0, onWait: () => {} }
  return (await takeLock(join(folder, 'auth', '.lock'), options)).release
}

const made = ['.gitignore', 'admin-key.pem', 'admin.pem', 'ca-key.pem', 'ca.pem']

/** The next run after one that was ended finds what that one made, and makes the rest. */
async function assertCompletes(folder: string): Promise<void> {
  const { status, stdout } = await run(folder, ['local-kubeconfig'])
  assert.equal(status, 0, stdout)
  assert.match(stdout, /^3 targets: 1 made, 2 fresh, 0 failed/m)
  assert.deepEqual(readdirSync(join(folder, 'auth')).sort(), made)
  assert.deepEqual(readdirSync(join(folder, '.kube')), ['config'])
}

test('the local phases make their files, and exit with 0; a second run makes nothing, and says so', async (t) => {
  const folder = place(t)
  const first = await run(folder, local)
  assert.equal(first.status, 0, first.stderr)
  assert.match(
    first.stdout,
    new RegExp(`^${localTargets} targets: ${localTargets} made, 0 fresh, 0 failed in .* s$`, 'm'),
  )
  const files = readdirSync(join(folder, 'auth')).sort()
  assert.equal(files.length, 2 * 9 + 6 + 1 + 1)
  assert.ok(files.includes('.gitignore'))
  const bytes = () => files.map((name) => readFileSync(join(folder, 'auth', name), 'utf8'))
  const before = bytes()
  const second = await run(folder, local)
  assert.equal(second.status, 0)
  assert.match(second.stdout, new RegExp(`^${localTargets} targets: 0 made, ${localTargets} fresh, 0 failed`, 'm'))
  assert.deepEqual(bytes(), before)
  assert.deepEqual(readdirSync(join(folder, 'auth')).sort(), files)
  assert.equal((await run(folder, [...local, '--dry-run'])).status, 0)
})

test('a pipe in the place of a key blocks nobody: --force reports it, and replaces nothing', async (t) => {
  const folder = place(t)
  assert.equal((await run(folder, ['certs'])).status, 0)
  const [auth, key] = [join(folder, 'auth'), join(folder, 'auth/ca-key.pem')]
  rmSync(key)
  execFileSync('mkfifo', [key])
  const before = readFileSync(join(auth, 'ca.pem'))
  const { status, stdout } = await run(folder, ['ca', '--force'])
  assert.equal(status, 1)
  assert.match(stdout, /ca-key\.pem is not a plain file\n +move it away, then run the same command again/)
  assert.ok(statSync(key).isFIFO())
  assert.deepEqual(readFileSync(join(auth, 'ca.pem')), before)
  assert.ok(!existsSync(join(auth, 'backup')))
})

test('a target that fails exits with 1, is named, and the others run', async (t) => {
  const folder = place(t)
  await run(folder, ['certs'])
  mkdirSync(join(folder, 'auth', 'admin.kubeconfig'))
  writeFileSync(join(folder, 'auth', 'admin.kubeconfig', 'theirs'), '')
  const failed = await run(folder, local)
  assert.equal(failed.status, 1)
  assert.match(failed.stdout, /^kubeconfigs\/admin: failed: .*admin\.kubeconfig/m)
  assert.match(failed.stdout, /: 6 made, 9 fresh, 1 failed/)
  assert.ok(existsSync(join(folder, 'auth', 'worker0.kubeconfig')))
  const quiet = await run(folder, [...local, '--quiet'])
  assert.equal(quiet.status, 1)
  assert.match(quiet.stdout, /^kubeconfigs\/admin: [^\n]*\n {4}move it away[^\n]*\n$/)
})

test('a folder in the place of a certificate exits with 1 and is named, by a dry run and by status as by the run', async (t) => {
  const folder = place(t)
  await run(folder, local)
  const file = join(folder, 'auth', 'kubernetes.pem')
  rmSync(file)
  mkdirSync(join(file, 'theirs'), { recursive: true })
  for (const args of [[...local, '--dry-run'], ['status'], local]) {
    const { status, stdout } = await run(folder, [...args, '--json'])
    assert.equal(status, 1, stdout)
    const told = parse(stdout).find(({ id, message }) => id === 'cluster-cert' && message !== undefined)
    assert.equal(told?.message, `a folder is in the place of ${file}`)
  }
  assert.deepEqual(readdirSync(file), ['theirs'])
})

test('bad usage exits with 2 and does nothing', async (t) => {
  const folder = place(t)
  for (const [line, message] of [
    ['certz', /unknown phase or target "certz": did you mean certs\?/],
    ['certs --dryrun', /unknown option --dryrun: did you mean --dry-run\?/],
    ['deploy --node worker9', /--node worker9: cluster\.yaml has no such node: did you mean worker0\?/],
    ['__proto__', /unknown phase or target "__proto__"/],
    ['', /no phase or target given/],
  ] as const) {
    const { status, stdout, stderr } = await run(folder, line.split(' ').filter(Boolean))
    assert.deepEqual([status, stdout], [2, ''])
    assert.match(stderr, message)
    assert.doesNotMatch(stderr, /\bat .*:\d+:\d+/)
  }
  assert.deepEqual(readdirSync(folder), ['cluster.yaml'])
})

test('without a cluster.yaml, the message names it and init', async (t) => {
  const folder = scratch(t)
  const { stderr } = await run(folder, ['certs', '--config', 'lab/cluster.yaml'])
  assert.match(stderr, /^there is no \S+\/lab\/cluster\.yaml\n +make one, with its folder: npm run task -- init DIR$/m)
})

test('a bad cluster.yaml exits with 2, shows each place in it with a caret, and nothing is written', async (t) => {
  const folder = place(
    t,
    clusterOf(1).replace('virtualIP: 192.168.1.21', 'virtualIP: 192.168.1.321').concat('nodez: 1\n'),
  )
  const file = join(folder, 'cluster.yaml')
  const virtualIP = 'api.virtualIP "192.168.1.321" is not an IP address, such as 192.168.1.11'
  const nodez = 'nodez is an unknown key in cluster.yaml'
  const shown = [
    ...[`${file}:3:18: ${virtualIP}`, '    api: {virtualIP: 192.168.1.321}', '                     ^'],
    ...[`${file}:7:1: ${nodez}: did you mean nodes?`, '    nodez: 1', '    ^', ''],
  ]
  for (const args of [['certs'], ['certs', '--dry-run']])
    assert.deepEqual(await run(folder, args), { status: 2, stdout: '', stderr: shown.join('\n') })
  const json = await run(folder, ['certs', '--json'])
  assert.deepEqual([json.status, json.stderr], [2, ''])
  assert.deepEqual(parse(json.stdout), [
    { type: 'error', file, line: 3, column: 18, message: virtualIP },
    { type: 'error', file, line: 7, column: 1, message: nodez, remedy: 'did you mean nodes?' },
  ])
  assert.deepEqual(readdirSync(folder), ['cluster.yaml'])
})

test('what is no plain file, or no cluster.yaml, is not waited for, and nothing of it is shown', async (t) => {
  const folder = place(t)
  execFileSync('mkfifo', [join(folder, 'pipe')])
  mkdirSync(join(folder, 'folder'))
  for (const file of ['pipe', 'folder', '/dev/zero']) {
    const { status, stderr } = await run(folder, ['certs', '--config', file])
    assert.deepEqual(
      [status, stderr],
      [2, `${resolve(folder, file)} is not a plain file\n    give the cluster.yaml itself: --config FILE\n`],
    )
  }
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'sec1', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  const secret = privateKey.split('\n')[1] ?? ''
  for (const text of [privateKey, secret, `- ${secret}`, `{"users": [{"user": {"client-key-data": "${secret}"}}]}`]) {
    writeFileSync(join(folder, 'secret'), text)
    const { status, stderr } = await run(folder, ['certs', '--config', 'secret'])
    assert.equal(status, 2)
    assert.match(stderr, /^\S+secret:1:1: /)
    assert.ok(!stderr.includes(secret.slice(0, 16)), stderr)
  }
})

test('problems at one place of cluster.yaml have one caret, and what is in the line can not move the cursor', async (t) => {
  const folder = place(t, 'a: "\x1b[2J\u202e"\n')
  const { status, stderr } = await run(folder, ['certs'])
  assert.equal(status, 2)
  assert.equal(stderr.match(/cluster\.yaml:1:1: /g)?.length, 4)
  assert.ok(stderr.endsWith('\n    a: "\uFFFD[2J\uFFFD"\n    ^\n'), stderr)
})

test('what would be replaced and may not be exits with 3, is reported with each way out, and nothing is built', async (t) => {
  const folder = place(t)
  mkdirSync(join(folder, 'auth'), { recursive: true })
  writeFileSync(join(folder, 'auth', 'worker0.pem'), 'issued by a previous CA')
  for (const args of [local, [...local, '--json'], [...local, '--dry-run'], [...local, '--force']]) {
    const { status, stdout, stderr } = await run(folder, args)
    assert.equal(status, 3, stdout)
    assert.match(stdout + stderr, /worker0\.pem, issued by a previous CA/)
    assert.match(stdout + stderr, /npm run task -- ca --force/)
    assert.deepEqual(readdirSync(join(folder, 'auth')), ['worker0.pem'])
  }
})

test('a dry run of an empty folder exits with 4, has an entry for each target in its phase, and makes nothing', async (t) => {
  const folder = place(t)
  const { status, stdout } = await run(folder, [...local, '--dry-run'])
  assert.equal(status, 4)
  const lines = stdout.slice(0, stdout.indexOf('\n\n')).split('\n')
  assert.deepEqual(
    lines.slice(1).filter((line) => !line.startsWith(' ')),
    titles,
  )
  const planned = parse((await run(folder, [...local, '--dry-run', '--json'])).stdout)
  assert.equal(new Set(planned.flatMap(({ type, ids }) => (type === 'planned' ? ids : []))).size, localTargets)
  assert.deepEqual(readdirSync(folder), ['cluster.yaml'])
})

test("a run and a plan begin with the cluster's name, its file and its nodes, unless they are quiet or find bad usage", async (t) => {
  const folder = place(t)
  const file = join(folder, 'cluster.yaml')
  for (const args of [['certs', '--dry-run'], ['certs'], ['recover', '--from', 'auth']]) {
    const { stdout } = await run(folder, args)
    assert.equal(stdout.split('\n')[0], `kubenet: ${file}, 2 nodes`, args.join(' '))
    const json = await run(folder, [...args, '--json', '--quiet'])
    assert.deepEqual(parse(json.stdout)[0], { type: 'cluster', name: 'kubenet', file, nodes: 2 })
    assert.doesNotMatch((await run(folder, [...args, '--quiet'])).stdout, /kubenet: /)
  }
  assert.equal((await run(folder, ['deploy', '--node', 'worker9'])).stdout, '')
  for (const look of ['status', 'verify', 'report', 'graph'])
    assert.doesNotMatch((await run(folder, [look])).stdout, /kubenet: /, look)
})

test('the plan of a replaced or renewed part names the run that makes what depends on it, unless this one does', async (t) => {
  const folder = place(t)
  assert.equal((await run(folder, local)).status, 0)
  const notesOf = async (...args: string[]) => {
    const { status, stdout } = await run(folder, [...args, '--dry-run', '--json'])
    assert.equal(status, 4)
    return parse(stdout).flatMap(({ type, message }) => (type === 'note' ? [message] : []))
  }
  const rotation = 'what was made with the present ca stops working then; without an outage: npm run task -- rotate ca'
  const next = 'kubeconfigs and nodes keep the old files until you run: npm run bootstrap'
  assert.deepEqual(await notesOf('ca', '--force'), [rotation, `${next} -- --replace-identity`])
  assert.deepEqual(await notesOf('ca', '--force', '--offline'), [rotation, `${next} -- --replace-identity`])
  assert.deepEqual(await notesOf('ca', '--renew'), [next])
  assert.deepEqual((await notesOf('ca', 'bootstrap', '--force', '--offline')).slice(1), [rotation])
})

test("nothing that a file says becomes a command of GitHub's runner", async (t) => {
  const folder = join(place(t), 'a\n::add-mask::x\n##[group]y ##[add-mask]z')
  mkdirSync(folder)
  copyFileSync(join(folder, '../cluster.yaml'), join(folder, 'cluster.yaml'))
  assert.equal((await run(folder, ['ca'])).status, 0)
  mkdirSync(join(folder, 'auth/kubernetes.pem'))
  for (const args of [[], ['--json']]) {
    const { status, stdout, stderr } = await run(folder, ['cluster-cert', ...args])
    assert.equal(status, 1)
    assert.match(stdout, args.length > 0 ? /\\n::add-mask::x\\n\\u0023#\[group\]y/ : /^\| ::add-mask::x$/m)
    assert.doesNotMatch(stdout + stderr, /^\s*::|##\[/m)
  }
})

test('--list shows every phase and command, --help the options of all, without a cluster.yaml', async (t) => {
  const folder = scratch(t)
  const list = await run(folder, ['--list'])
  assert.equal(list.status, 0)
  assert.match(list.stdout, /^Phases\n {2}ca +the CA certificate and its key\n[\s\S]*\n\nCommands\n {2}verify +\w/)
  const json = parse((await run(folder, ['--list', '--json'])).stdout)
  assert.deepEqual(
    [...Map.groupBy(json, ({ type }) => type)].map(([type, some]) => [type, some.length, some[0]?.name]),
    [
      ['phase', 10, 'ca'],
      ['command', 9, 'verify'],
    ],
  )
  for (const flag of ['--help', '-h']) {
    const help = await run(folder, [flag])
    assert.equal(help.status, 0)
    for (const option of ['--config FILE', '--json']) assert.ok(help.stdout.includes(option))
  }
  assert.match((await run(folder, ['status', '--help'])).stdout, /^ {2}npm run task -- status [\s\S]*--on-nodes/)
  assert.deepEqual(readdirSync(folder), [])
})

test('--json prints an object on every line, the summary last, with the exit status in it', async (t) => {
  const folder = place(t)
  for (const [args, exit] of [
    [['certs', '--dry-run'], 4],
    [['certs'], 0],
    [['certs', '--verbose'], 0],
  ] as const) {
    const { status, stdout, stderr } = await run(folder, [...args, '--json'])
    assert.deepEqual([status, stderr], [exit, ''])
    const values = parse(stdout)
    const { type, targets, exit: told } = values.at(-1) ?? {}
    assert.deepEqual([type, targets, told], ['summary', 9, exit])
    assert.equal(values.filter(({ type }) => type === 'summary').length, 1)
    const ends = values.filter(({ type }) => ['fresh', 'built', 'stale'].includes(String(type)))
    assert.equal(ends.length, 9)
  }
})

test('--quiet prints nothing if everything is in order, and the first time what is left to do', async (t) => {
  const folder = place(t)
  const first = await run(folder, [...local, '--quiet'])
  assert.match(first.stdout, /^(To do .*\n){2}$/)
  assert.deepEqual(await run(folder, [...local, '--quiet']), { status: 0, stdout: '', stderr: '' })
})

test('--config is looked for where npm was called from, and auth/ is beside it', async (t) => {
  const elsewhere = scratch(t)
  const folder = scratch(t)
  mkdirSync(join(folder, 'sub'))
  writeFileSync(join(folder, 'sub', 'other.yaml'), clusterOf(0))
  const { status, stderr } = await run(elsewhere, ['ca', '--config', 'sub/other.yaml'], { INIT_CWD: folder })
  assert.equal(status, 0, stderr)
  assert.deepEqual(readdirSync(join(folder, 'sub')).sort(), ['auth', 'other.yaml'])
  assert.deepEqual(readdirSync(elsewhere), [])
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
  const planned = await ran('ca', '--force', '--dry-run', ...config)
  assert.ok(planned.replace(/\s+/g, ' ').includes(`${npm} --replace-identity --config other.yaml`), planned)
})

test('without --config the cluster.yaml is the one of the folder that the command runs in', async (t) => {
  const folder = place(t)
  const { status } = await run(folder, ['ca'], { INIT_CWD: scratch(t) })
  assert.equal(status, 0)
  assert.ok(existsSync(join(folder, 'auth', 'ca.pem')))
})

test('a phase alone that makes something again reports that it is in use elsewhere', async (t) => {
  const folder = place(t)
  const first = await run(folder, ['certs'])
  assert.doesNotMatch(first.stdout, /^To do.*old files/m)
  const { stdout } = await run(folder, ['certs', '--force'])
  assert.match(stdout, /^To do +npm run bootstrap: kubeconfigs or nodes have the old files until then$/m)
  assert.doesNotMatch((await run(folder, ['certs'])).stdout, /^To do/m)
  assert.doesNotMatch((await run(folder, ['ca', '--force'])).stdout, /^To do/m, 'its warning names another command')
})

test('an auth/ that git made, without a file of ours, is closed and nothing is said of it', async (t) => {
  const folder = place(t)
  mkdirSync(join(folder, 'auth'), { mode: 0o755 })
  writeFileSync(join(folder, 'auth/.gitkeep'), '')
  assert.doesNotMatch((await run(folder, ['ca'])).stdout, /accessible/)
  assert.equal(statSync(join(folder, 'auth')).mode & 0o777, 0o700)
})

test('auth/ is made private, and an open one is closed and said to be', async (t) => {
  const folder = place(t)
  await run(folder, ['ca'])
  assert.equal(statSync(join(folder, 'auth')).mode & 0o777, 0o700)
  spawnSync('chmod', ['755', join(folder, 'auth')])
  for (const look of [['ca', '--dry-run'], ['status'], ['status', '--quiet'], ['status', '--json']])
    assert.match((await run(folder, look)).stdout, /is\s+accessible\s+to\s+others/)
  assert.match((await run(folder, ['ca', '--dry-run'])).stdout, /^Nothing else to do\.$/m)
  assert.equal(statSync(join(folder, 'auth')).mode & 0o777, 0o755)
  const { stdout } = await run(folder, ['ca'])
  assert.match(stdout, /was accessible to others: its mode is now 0700/)
  assert.equal(statSync(join(folder, 'auth')).mode & 0o777, 0o700)
  assert.doesNotMatch((await run(folder, ['status'])).stdout, /accessible/)
})

for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  test(`${signal} during a build exits with ${status}, leaves no lock, and the next run completes`, async (t) => {
    const { folder, lock, stopped, auth } = await startAndStop(t)
    stopped.child.kill(signal)
    const ended = await stopped.ended
    assert.deepEqual([ended.status, ended.stderr], [status, ''])
    const ends = parse(ended.stdout).map(({ type, id }) => `${type} ${id ?? ''}`.trim())
    assert.deepEqual(ends.slice(-2), ['cancelled local-kubeconfig', 'summary'])
    assert.deepEqual(readdirSync(auth).sort(), made)
    rmSync(lock)
    await assertCompletes(folder)
  })

  test(`${signal} during the wait for another run exits with ${status}, and leaves that run its lock`, async (t) => {
    const folder = place(t)
    const release = await holdAuth(folder)
    const waiting = start(folder, ['certs'])
    await waiting.told(`waiting for process ${process.pid}`)
    waiting.child.kill(signal)
    assert.equal((await waiting.ended).status, status)
    assert.deepEqual(readdirSync(join(folder, 'auth')), ['.lock'])
    release()
    assert.equal((await run(folder, ['certs'])).status, 0)
  })
}

test('a killed run is completed by the next, which leaves nothing of it', async (t) => {
  const { folder, lock, stopped, auth } = await startAndStop(t)
  writeFileSync(join(auth, `.tmp-${stopped.child.pid}-admin-key.pem`), 'half')
  stopped.child.kill('SIGKILL')
  assert.equal((await stopped.ended).status, null)
  assert.ok(existsSync(join(auth, '.lock')))
  rmSync(lock)
  await assertCompletes(folder)
})

test('a second run waits for the first, and finds everything made', async (t) => {
  const { folder, lock, stopped } = await startAndStop(t)
  const second = start(folder, ['local-kubeconfig'])
  await second.told(`waiting for process ${stopped.child.pid}`)
  rmSync(lock)
  assert.equal((await stopped.ended).status, 0)
  const { status, stdout } = await second.ended
  assert.equal(status, 0)
  assert.match(stdout, /^3 targets: 0 made, 3 fresh/m)
})

test('with --no-lock-wait a second run stops at once, naming the first, and so does a dry run', async (t) => {
  const { folder, lock, stopped } = await startAndStop(t)
  for (const args of [[], ['--dry-run']]) {
    const { status, stdout, stderr } = await run(folder, ['certs', '--no-lock-wait', ...args])
    assert.deepEqual([status, stdout], [1, `kubenet: ${join(folder, 'cluster.yaml')}, 2 nodes\n`])
    assert.match(stderr, new RegExp(`auth/\\.lock is held by process ${stopped.child.pid} on `))
  }
  rmSync(lock)
  assert.equal((await stopped.ended).status, 0)
})

test('SIGTERM to npm ends the run that it started', async (t) => {
  const folder = place(t)
  lockKubeconfig(folder)
  const config = ['--config', join(folder, 'cluster.yaml')]
  const clone = fileURLToPath(new URL('../../', import.meta.url))
  const args = ['--prefix', clone, 'run', '-s', 'task', '--', 'local-kubeconfig', '--json', ...config]
  const npm = start(folder, [], {}, () => ['npm', ...args])
  await npm.told('"type":"building","id":"local-kubeconfig"')
  npm.child.kill('SIGTERM')
  assert.match((await npm.ended).stdout, /"exit":143[^\n]*\n$/)
  assert.ok(!existsSync(join(folder, 'auth', '.lock')))
})

for (const [args, goOn] of [
  ['ca --renew', / ca$/],
  ['certs --force --prune', / certs --force --prune$/],
  ['certs ca --force', / certs ca$/],
] as const)
  test(`after Ctrl-C "${args}" is advised as ${goOn}: nothing is replaced or renewed twice`, async (t) => {
    const folder = place(t)
    assert.equal((await run(folder, ['ca'])).status, 0)
    const release = await holdAuth(folder)
    const stopped = start(folder, [...args.split(' '), '--json'])
    await stopped.told('waiting for')
    stopped.child.kill('SIGINT')
    assert.match(String(parse((await stopped.ended).stdout).at(-1)?.goOn), goOn)
    release()
  })

test('a stdout that is closed in the middle of a run ends it as SIGPIPE would, and the next run completes', async (t) => {
  const folder = place(t)
  const release = await holdAuth(folder)
  const { child, told, ended } = start(folder, ['certs'])
  await told('waiting for')
  child.stdout.destroy()
  await once(child.stdout, 'close')
  release()
  assert.equal((await ended).status, 141)
  const next = await run(folder, ['certs'])
  assert.equal(next.status, 0)
  assert.match(next.stdout, /^9 targets: /m)
})

const hasFull = process.platform === 'linux' ? {} : { skip: 'only Linux has a /dev/full' }

for (const args of [['certs'], ['status'], ['certs', '--json'], ['--help']])
  test(
    `"${args.join(' ')}" into a full disk exits with 1, and says on stderr what could not be written`,
    hasFull,
    async (t) => {
      const folder = place(t)
      const { status, stderr } = await start(folder, args, {}, (run) => ['sh', '-c', `${run} > /dev/full`]).ended
      assert.equal(status, 1, stderr)
      assert.match(stderr, /^can't write to stdout: no space left on device\n {4}free some space there, [^\n]*\n$/)
    },
  )

test('bad usage is 2, even where its words can not be written', hasFull, async (t) => {
  const { status } = await start(place(t), ['certs', '--forse'], {}, (run) => ['sh', '-c', `${run} 2> /dev/full`]).ended
  assert.equal(status, 2)
})

test('--version prints the version in package.json, and needs no cluster.yaml', async (t) => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  assert.deepEqual(await run(scratch(t), ['--version']), { status: 0, stdout: `${version}\n`, stderr: '' })
  assert.deepEqual(parse((await run(scratch(t), ['--version', '--json'])).stdout), [{ type: 'version', version }])
})

test('without a terminal there is no escape sequence, whatever TERM says', async (t) => {
  const folder = place(t)
  const { stdout, stderr } = await run(folder, local)
  assert.ok(!`${stdout}${stderr}`.includes('\x1b'))
})

const hasScript = process.platform === 'linux' && spawnSync('script', ['--version']).status === 0
const onTerminal = hasScript ? {} : { skip: 'needs the script of util-linux' }
const size = { rows: 24, columns: 80 }

/** In a terminal of 24 rows and 80 columns, where no other size is given. */
function startOnTerminal(folder: string, args: readonly string[], env?: Env, { rows, columns } = size) {
  const sized = `stty rows ${rows} cols ${columns} && exec`
  return start(folder, args, env, (run) => ['script', '-qec', `${sized} ${run}`, '/dev/null'])
}

for (const [workers, given] of [
  [1, size],
  [50, size],
  // As a pseudo-terminal without a size says.
  [1, { rows: 0, columns: 0 }],
] as const)
  test(
    `on a terminal of ${given.rows} rows the tree of ${workers + 1} nodes ends with a whole last frame, drawn once`,
    onTerminal,
    async (t) => {
      const { status, stdout } = await startOnTerminal(place(t, clusterOf(workers)), local, {}, given).ended
      assert.equal(status, 0)
      const { lines, isCursorShown, isStyled } = showOn(size, stdout)
      const phases = lines.filter((line) => /^\S /.test(line))
      assert.deepEqual(
        phases.map((line) => line.split('  ')[0]),
        titles.map((title) => `✔ ${title}`),
      )
      assert.ok(lines.length <= size.rows, lines.join('\n'))
      assert.match(lines.findLast(Boolean) ?? '', /^\d+ targets: \d+ made, 0 fresh, 0 failed in .* s$/)
      assert.deepEqual([isCursorShown, isStyled], [true, true])
    },
  )

test('on a terminal a failure, with what to do, and a warning are reported below the tree', onTerminal, async (t) => {
  const folder = place(t)
  await run(folder, ['certs'])
  mkdirSync(join(folder, 'auth/admin.kubeconfig/theirs'), { recursive: true })
  const args = ['component-certs/service-account', 'kubeconfigs', '--force']
  const { status, stdout } = await startOnTerminal(folder, args).ended
  assert.equal(status, 1)
  const { lines } = showOn({ rows: 24, columns: 1000 }, stdout)
  for (const begin of [
    '✖ Kubeconfigs  ',
    '  ✖ admin  ',
    'kubeconfigs/admin: ',
    'component-certs/service-account: the old key is in',
  ])
    assert.ok(
      lines.some((line) => line.startsWith(begin)),
      `${begin}\n${lines.join('\n')}`,
    )
})

test('on a terminal a dry run leaves the plan, and nothing of a tree', onTerminal, async (t) => {
  const folder = place(t)
  await run(folder, local)
  rmSync(join(folder, 'auth', 'admin.kubeconfig'))
  const { status, stdout } = await startOnTerminal(folder, [...local, '--dry-run']).ended
  assert.equal(status, 4)
  const { lines, isCursorShown, isStyled } = showOn(size, stdout)
  assert.match(
    // Rows in which a tree was, on a machine so slow that there was time to draw it, are blank.
    lines.join('\n').trimEnd(),
    /^kubenet: \S+, 2 nodes\nKubeconfigs\n {2}\+ admin\.kubeconfig\n\nPlan: \+ 1 new\n16 targets: 1 to make, 15 fresh, 0 failed in .* s\nPlan hash: \w+$/,
  )
  assert.deepEqual([isCursorShown, isStyled], [true, true])
})

test(
  'on a terminal status leaves the table alone, with a colour for what is not well and for nothing else',
  onTerminal,
  async (t) => {
    const folder = place(t)
    await run(folder, local)
    rmSync(join(folder, 'auth', 'admin.kubeconfig'))
    const { status, stdout } = await startOnTerminal(folder, ['status']).ended
    assert.equal(status, 4)
    const { lines, isCursorShown } = showOn(size, stdout)
    assert.match(
      lines.join(' '),
      /^1 of 16 items differs from cluster\.yaml .*, in\s+\d+d\s+NAME +FOR +ISSUER +EXPIRES +LEFT /,
    )
    assert.equal(isCursorShown, true)
    const [, table = ''] = stdout.split('NAME')
    assert.deepEqual(
      table.match(/\x1b\[3\dm[✔●✖] \S+/g),
      ['● admin', '● local-kubeconfig'].map((row) => `\x1b[33m${row}`),
    )
  },
)

test('NO_COLOR leaves the tree without a colour', onTerminal, async (t) => {
  const { status, stdout } = await startOnTerminal(place(t), local, { NO_COLOR: '1' }).ended
  assert.equal(status, 0)
  const { lines, isStyled, isCursorShown } = showOn(size, stdout)
  assert.ok(
    lines.some((line) => line.startsWith('✔ Kubeconfigs  6 new')),
    lines.join('\n'),
  )
  assert.deepEqual([isStyled, isCursorShown], [false, true])
})

for (const [args, env] of [
  [['--json'], {}],
  [['--quiet'], {}],
  [[], { TERM: 'dumb' }],
] as const)
  test(`no tree on a terminal with ${[...args, ...Object.keys(env)].join('')}`, onTerminal, async (t) => {
    const { status, stdout } = await startOnTerminal(place(t), [...local, ...args], env).ended
    assert.equal(status, 0)
    // What is left to do may be in bold: nothing moves the cursor.
    assert.doesNotMatch(stdout, /\x1b(?!\[\d+m)/)
  })

test('SIGINT in the middle of the tree exits with 130 and gives the cursor back', onTerminal, async (t) => {
  const folder = place(t)
  mkdirSync(join(folder, '.kube'))
  writeFileSync(join(folder, '.kube', 'config.lock'), '')
  const stopped = startOnTerminal(folder, ['local-kubeconfig'])
  await stopped.told('Local kubeconfig  \x1b[2mmaking')
  const { pid } = JSON.parse(readFileSync(join(folder, 'auth', '.lock'), 'utf8'))
  process.kill(pid, 'SIGINT')
  const { status, stdout } = await stopped.ended
  assert.equal(status, 130)
  const { lines, isCursorShown } = showOn(size, stdout)
  assert.equal(isCursorShown, true)
  assert.ok(
    lines.some((line) => line.startsWith('⊘ Local kubeconfig  interrupted: the next run')),
    lines.join('\n'),
  )
  assert.ok(!existsSync(join(folder, 'auth', '.lock')))
})
