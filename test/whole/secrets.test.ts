/** No secret is ever readable by another user: in no list of processes, in no file, in no output. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Lab, startLab } from '../lab/lab.ts'
import { secretsIn } from '../support/files.ts'
import {
  assertShowsNone,
  copyPlace,
  oneOfEach as edits,
  exits,
  harderway,
  labEdits,
  madePlace,
  makePlace,
  type Ran,
  writeCluster,
} from '../support/harderway.ts'
import { start } from '../support/process.ts'
import { needs } from '../support/programs.ts'

const calls = 'execve,openat,open,creat,mkdir,mkdirat,chmod,fchmod,fchmodat,fchmodat2,rename,renameat,renameat2'

/** A file a process, at `prefix`, so that no call is cut in two; file descriptors with their paths. */
function straceArgs(prefix: string): string[] {
  return ['-ff', '-qq', '-y', '-v', '-s', '65536', '-e', `trace=${calls}`, '-e', 'signal=none', '-o', prefix]
}

/** Resolves when every process is watched; what it returns ends the watch. */
async function watch(prefix: string, pids: readonly number[]): Promise<() => Promise<void>> {
  // Without -qq, strace says when it is attached.
  const args = straceArgs(prefix).filter((arg) => arg !== '-qq')
  const child: ChildProcess = spawn('strace', [...args, ...pids.flatMap((pid) => ['-p', String(pid)])], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const exited = once(child, 'exit')
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (pids.every((pid) => said.includes(`Process ${pid} attached`))) resolve()
    })
    exited.then(() => reject(new Error(`strace ended: ${said}`)))
  })
  return async () => {
    child.kill('SIGINT')
    await exited
  }
}

interface Traced {
  readonly text: string
  /**
   * Every file and folder made, and every mode set, that succeeded; a file that is not whole yet under the name that it
   * gets.
   */
  readonly modes: readonly { readonly call: string; readonly path: string; readonly mode: number }[]
}

function readTrace(prefix: string): Traced {
  const names = readdirSync(dirname(prefix)).filter((name) => name.startsWith(`${basename(prefix)}.`))
  const text = names.map((name) => readFileSync(join(dirname(prefix), name), 'utf8')).join('')
  return { text, modes: text.split('\n').flatMap(modeOf) }
}

function modeOf(line: string): { call: string; path: string; mode: number }[] {
  const [, call = '', args = ''] = /^(\w+)\((.*)\) += \d/.exec(line) ?? []
  if (!/^(open|openat|creat|mkdir|mkdirat|chmod|fchmod|fchmodat|fchmodat2)$/.test(call)) return []
  if (call.startsWith('open') && !args.includes('O_CREAT')) return []
  const mode = /, (0[0-7]*)(, 0|, AT_\w+)?$/.exec(args)?.[1]
  if (mode === undefined) throw new Error(`no mode in ${line.slice(0, 300)}`)
  const [, folder = '', , quoted] = /^(?:(?:AT_FDCWD|\d+)<([^>]*)>)?(, )?(?:"((?:[^"\\]|\\.)*)")?/.exec(args) ?? []
  const path = quoted === undefined ? folder : quoted.startsWith('/') ? quoted : join(folder, quoted)
  return [{ call, path: path.replace(/~$/, ''), mode: Number.parseInt(mode, 8) }]
}

const names = ['control0', 'worker0', 'gateway']
const isPublic = (path: string) => /(?<!-key)\.pem(\.harderway-new)?$/.test(path)

/** Outside of the folders where it belongs, or by its name in one of them. */
const onItsWay = /\/harderway-\d+-/
const isRoot = process.getuid?.() === 0

describe('a bootstrap, watched call by call under a umask of 000', {
  skip: needs('sshd', 'ssh', 'scp', 'strace'),
}, () => {
  let place: string
  let lab: Lab
  let ran: Ran
  let here: Traced
  let there: Traced
  let secrets: string[]

  before(async () => {
    place = makePlace()
    mkdirSync(join(place, 'traces'))
    // Of this process: the tool and every sshd get it too.
    const umask = process.umask(0)
    lab = await startLab({ dir: join(place, 'lab'), nodes: names.map((name) => ({ name })) })
    const unwatch = await watch(
      join(place, 'traces/sshd'),
      lab.nodes.flatMap(({ pid }) => pid ?? []),
    )
    writeCluster(place, [...edits, ...labEdits(lab)])
    ran = await start(place, ['bootstrap', '--json'], { by: ['strace', ...straceArgs(join(place, 'traces/tool'))] })
      .ended
    await unwatch()
    process.umask(umask)
    here = readTrace(join(place, 'traces/tool'))
    there = readTrace(join(place, 'traces/sshd'))
    secrets = [...secretsIn(join(place, 'auth')), ...secretsIn(join(place, 'home'))]
  })
  after(async () => {
    await lab.stop()
    rmSync(place, { recursive: true, force: true })
  })

  test('goes well, and both sides are seen', () => {
    assert.equal(ran.status, 0, ran.stdout + ran.stderr)
    assert.equal(ran.events.at(-1)?.made, 20)
    for (const program of ['ssh', 'scp'])
      assert.match(here.text, new RegExp(`^execve\\("[^"]*/${program}", .*"HOME=`, 'm'))
    for (const program of ['tar', 'mv', 'sha256sum'])
      assert.match(there.text, new RegExp(`^execve\\("[^"]*/${program}", `, 'm'))
    assert.ok(secrets.length > 30)
  })

  test('no key is in any argument list, environment or name of a file, here or on a node', () => {
    for (const secret of secrets) assert.ok(!here.text.includes(secret) && !there.text.includes(secret))
  })

  const inFolder = (path: string, ...folders: string[]) =>
    folders.some((folder) => path === folder || path.startsWith(`${folder}/`))

  /** Of what is made in these folders, or on its way to them; what the patterns name is among it. */
  function assertNarrow(modes: Traced['modes'], folders: readonly string[], ...patterns: readonly RegExp[]): void {
    const ours = modes.filter(({ path }) => inFolder(path, ...folders) || onItsWay.test(path))
    const isWide = ({ path, mode }: Traced['modes'][number]) => (mode & (isPublic(path) ? 0o133 : 0o077)) !== 0
    assert.deepEqual(ours.filter(isWide), [])
    for (const pattern of patterns)
      assert.ok(
        ours.some(({ path }) => pattern.test(path)),
        String(pattern),
      )
  }
  const critical = [/ca-key\.pem/, /encryption-config\.yaml/]

  test('every file that is or becomes a secret is made 0600 or narrower, every folder 0700: here', () => {
    const folders = ['auth', 'home'].map((name) => join(place, name))
    assertNarrow(here.modes, folders, ...critical, /admin\.kubeconfig$/, /\.tar$/, /\.kube\/.*config$/, /auth$/)
  })

  test('and on a node', { skip: !isRoot && 'only root sees what sftp-server does' }, () => {
    const folders = lab.nodes.map(({ home }) => home)
    const staged = [/\.harderway-[-\w]+[0-9a-f]$/, /-key\.pem\.harderway-new$/]
    assertNarrow(there.modes, folders, ...critical, /admin\.kubeconfig/, ...staged)
  })

  test('recover writes every secret 0600 or narrower from its first byte, and passes none on', async () => {
    const auth = join(place, 'auth')
    renameSync(auth, join(place, 'lost'))
    const umask = process.umask(0)
    const strace = ['strace', ...straceArgs(join(place, 'traces/recover'))]
    const recovered = await start(place, ['recover', '--node', 'control0'], { by: strace }).ended
    process.umask(umask)
    assert.equal(recovered.status, 0, recovered.stdout + recovered.stderr)
    const { modes, text } = readTrace(join(place, 'traces/recover'))
    assertNarrow(modes, [auth], ...critical, /service-account-key\.pem$/, /auth$/)
    assertShowsNone(recovered, secrets)
    for (const secret of secrets) assert.ok(!text.includes(secret), 'a process or a file name shows a secret')
  })

  test('no output shows one, in any format', async () => {
    assertShowsNone(ran, secrets)
    for (const args of [
      ...[['--verbose'], ['--json'], ['--dry-run', '--verbose'], ['--force', '--verbose']].map((options) => [
        ...['deploy', 'local-kubeconfig'],
        ...options,
      ]),
      ['status', '--on-nodes'],
      ['status', '--on-nodes', '--json'],
    ]) {
      const told = await exits(0, place, ...args)
      assertShowsNone(told, secrets)
    }
  })

  test('a node whose programs print keys in their complaints gives none of them away', async () => {
    const bin = join(place, 'bin')
    mkdirSync(bin)
    const complain =
      '#!/bin/sh\ncat ~/*.kubeconfig ~/*-key.pem ~/encryption-config.yaml | grep -E "secret:|[A-Za-z0-9+/]{64}" >&2\nexit 1\n'
    writeFileSync(join(bin, 'sha256sum'), complain, { mode: 0o755 })
    await lab.node('control0').restart({ env: { PATH: `${bin}:${process.env.PATH}` } })
    for (const args of [
      ...['--json', '--verbose', '--quiet', '--dry-run'].map((option) => ['deploy', option]),
      ...[[], ['--json']].map((options) => ['status', '--on-nodes', ...options]),
    ]) {
      const failed = await exits(1, place, ...args)
      if (args[0] === 'deploy') assert.match(failed.stdout, /control0: .*…/)
      assertShowsNone(failed, secrets)
    }
    await lab.node('control0').restart({ env: {} })
  })
})

const origin = madePlace(edits, 'certs', 'kubeconfigs', 'encryption-key', 'local-kubeconfig')
const halve = (path: string) => writeFileSync(path, readFileSync(path).subarray(0, lstatSync(path).size - 30))
const unquote = (path: string) =>
  writeFileSync(path, readFileSync(path, 'utf8').replace(/(client-key-data|secret): /, '$1: : {'))
for (const [name, spoil] of [
  ['ca-key.pem', halve],
  ['worker0-key.pem', halve],
  ['worker0.kubeconfig', unquote],
  ['encryption-config.yaml', unquote],
  ['../home/.kube/config', unquote],
] as const)
  test(`a ${name.replace(/.*\//, '')} that is damaged is not shown (${spoil === halve ? 'truncated' : 'no YAML'})`, async (t) => {
    const { place, auth } = copyPlace(t, origin, edits)
    spoil(join(auth, name))
    const secrets = [...secretsIn(auth), ...secretsIn(join(origin, 'auth')), ...secretsIn(join(place, 'home'))]
    const run = ['certs', 'kubeconfigs', 'encryption-key', 'local-kubeconfig']
    for (const args of [[...run, '--dry-run', '--json'], [...run, '--verbose'], ['status'], ['status', '--json']])
      assertShowsNone(await harderway(place, ...args), secrets)
  })
