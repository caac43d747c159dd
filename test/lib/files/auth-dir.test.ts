import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { AuthDir, type AuthFile, backUp, backups, copyBackups, MemoryAuthDir } from '../../../lib/files/auth-dir.ts'
import { publicMode, secretMode } from '../../../lib/files/plain-file.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { scratch, stateOf } from '../../support/files.ts'
import { needs } from '../../support/programs.ts'

const folder = (t: TestContext) => new AuthDir(scratch(t), harderWay.files)

const mode = (path: string) => statSync(path).mode & 0o7777

/** A Failure that names the path. */
const naming = (path: string, pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Failure, String(error))
  assert.ok(error.message.includes(path), error.message)
  assert.match(error.message, pattern)
  return true
}

/** The code is run in a process of its own, by another program if `by` says so, with the folder as `auth`; what it prints. */
function runApart(auth: AuthDir, code: string, by: readonly string[] = []): string {
  const moduleOf = (name: string) => JSON.stringify(new URL(`../../../${name}`, import.meta.url).href)
  const script = `import { AuthDir } from ${moduleOf('lib/files/auth-dir.ts')}
import { harderWay } from ${moduleOf('tasks/layouts/harder-way.ts')}
const auth = new AuthDir(${JSON.stringify(auth.path)}, harderWay.files)
${code}`
  const [program = '', ...args] = [...by, process.execPath, '--input-type=module', '-e', script]
  return execFileSync(program, args, { encoding: 'utf8' }).trim()
}

test('what is written is read again, with its mode', (t) => {
  const auth = folder(t)
  auth.write('ca.pem', 'public', publicMode)
  auth.writeDurably(['ca-key.pem', Buffer.from('secret'), secretMode])
  assert.deepEqual(auth.read('ca.pem'), { kind: 'file', bytes: Buffer.from('public'), mode: 0o644 })
  assert.partialDeepStrictEqual(auth.read('ca-key.pem'), { bytes: Buffer.from('secret'), mode: 0o600 })
  assert.deepEqual(auth.names(), ['ca-key.pem', 'ca.pem'])
})

for (const durable of [false, true])
  test(`a file is replaced as a whole, never written into, and private then${durable ? ', durably' : ''}`, (t) => {
    const auth = folder(t)
    const path = join(auth.path, 'key')
    writeFileSync(path, 'old and longer')
    chmodSync(path, 0o666)
    linkSync(path, join(auth.path, 'old'))
    if (durable) auth.writeDurably(['key', 'new', secretMode])
    else auth.write('key', 'new', secretMode)
    assert.equal(readFileSync(path, 'utf8'), 'new')
    assert.equal(mode(path), 0o600)
    assert.equal(readFileSync(join(auth.path, 'old'), 'utf8'), 'old and longer')
    assert.deepEqual(auth.names(), ['key', 'old'])
  })

test('files and folders have the desired modes under any umask', (t) => {
  const auth = folder(t)
  const made = runApart(
    auth,
    `process.umask(0); auth.write('public', 'x', ${publicMode}); auth.makeFolder('backup'); console.log(auth.makeTemporaryFolder('x'))
process.umask(0o777); auth.write('secret', 'x', ${secretMode}, { durable: true })`,
  )
  const paths = ['public', 'secret', 'backup'].map((name) => join(auth.path, name))
  assert.deepEqual([...paths, made].map(mode), [0o644, 0o600, 0o700, 0o700])
})

test('a symbolic link is never followed: it is something else, and replaced', (t) => {
  const [auth, outside] = [folder(t), folder(t)]
  const theirs = join(outside.path, 'theirs')
  writeFileSync(theirs, 'theirs', { mode: 0o644 })
  for (const name of ['key', '.tmp-key~', 'kept']) symlinkSync(theirs, join(auth.path, name))
  symlinkSync(join(outside.path, 'not-there'), join(auth.path, 'dangling'))
  symlinkSync(outside.path, join(auth.path, 'backup'))
  for (const name of ['key', 'dangling']) {
    assert.deepEqual(auth.read(name), { kind: 'other' })
    auth.write(name, 'ours', secretMode)
    assert.ok(lstatSync(join(auth.path, name)).isFile())
  }
  assert.throws(() => auth.setMode('kept', 0o600), naming(join(auth.path, 'kept'), /symbolic link/))
  assert.throws(() => auth.makeFolder('backup'), naming(join(auth.path, 'backup'), /can't create the directory/))
  assert.equal(readFileSync(theirs, 'utf8'), 'theirs')
  assert.equal(mode(theirs), 0o644)
  assert.deepEqual(outside.names(), ['theirs'])
  for (let i = 0; i < 2; i++) auth.makeFolder('well')
  assert.ok(statSync(join(auth.path, 'well')).isDirectory())
})

test('a folder and a FIFO are something else, and nobody waits for them', (t) => {
  const auth = folder(t)
  mkdirSync(join(auth.path, 'folder'))
  execFileSync('mkfifo', [join(auth.path, 'fifo')])
  assert.deepEqual(
    ['folder', 'fifo'].map((name) => auth.read(name)),
    [{ kind: 'folder' }, { kind: 'other' }],
  )
})

test('the holder of the lock removes what a killed run left, follows no link out of the folder, and reads anew', (t) => {
  const [auth, outside] = [folder(t), folder(t)]
  assert.equal(auth.read('ca.pem'), undefined)
  new AuthDir(auth.path, harderWay.files).write('ca.pem', 'of another run', publicMode)
  writeFileSync(join(outside.path, 'theirs'), '')
  writeFileSync(join(auth.path, '.gitignore'), '*')
  writeFileSync(join(auth.path, '.tmp-ca.pem~'), 'half')
  symlinkSync(outside.path, join(auth.path, '.tmp-link'))
  writeFileSync(join(auth.makeTemporaryFolder('worker0'), 'ca.pem'), 'x')
  mkdirSync(join(auth.path, 'backup/2026'), { recursive: true })
  for (const name of ['ca.pem', '.tmp-ca.pem~']) writeFileSync(join(auth.path, 'backup/2026', name), 'x')
  auth.removeLeftovers()
  assert.deepEqual(auth.names(), ['.gitignore', 'backup', 'ca.pem'])
  assert.deepEqual(auth.names('backup/2026'), ['ca.pem'])
  assert.deepEqual(outside.names(), ['theirs'])
  assert.equal(auth.bytes('ca.pem').toString(), 'of another run')
})

test('a .gitignore keeps git out of the folder, unless the user has one there', (t) => {
  const [auth, own, linked] = [folder(t), folder(t), folder(t)]
  writeFileSync(join(own.path, '.gitignore'), '')
  symlinkSync('nowhere', join(linked.path, '.gitignore'))
  for (const each of [auth, own, linked]) each.keepOutOfGit()
  assert.equal(readFileSync(join(auth.path, '.gitignore'), 'utf8'), '*\n')
  assert.equal(readFileSync(join(own.path, '.gitignore'), 'utf8'), '')
  assert.equal(readlinkSync(join(linked.path, '.gitignore')), 'nowhere')
})

test('in memory everything is written, moved to backup and removed as on disk, and nothing reaches a disk', (t) => {
  const place = scratch(t)
  const disk = new AuthDir(join(place, 'auth'), harderWay.files)
  disk.make()
  disk.write('ca.pem', 'old', publicMode)
  disk.write('ca-next-key.pem', 'next', secretMode)
  const before = stateOf(place)
  const [first, other] = [disk.inMemory(), disk.inMemory()]
  const kept = backUp(first, ['ca.pem', 'ca-key.pem'], new Date('2026-11-30T10:00:00Z'))
  assert.equal(kept, join(disk.path, 'backup', '2026-11-30T10-00-00-000Z'))
  first.writeDurably(['ca.pem', 'new', publicMode])
  first.remove('ca-next-key.pem')
  const second = first.inMemory()
  second.setMode('ca.pem', secretMode)
  assert.deepEqual(second.read('ca.pem'), { kind: 'file', bytes: Buffer.from('new'), mode: secretMode })
  assert.deepEqual(first.read('ca.pem'), { kind: 'file', bytes: Buffer.from('new'), mode: publicMode })
  assert.deepEqual([second.names(), second.read('ca-next-key.pem')], [['backup', 'ca.pem'], undefined])
  assert.deepEqual(backups(second, 'ca.pem').map(String), ['old'])
  assert.deepEqual([other.names(), String(other.bytes('ca.pem'))], [['ca-next-key.pem', 'ca.pem'], 'old'])
  for (const ofFolder of ['make', 'tightenFolder'] as const) assert.throws(() => first[ofFolder](), /is in memory/)
  assert.throws(() => first.makeTemporaryFolder('worker0'), /is in memory/)
  assert.deepEqual(stateOf(place), before)
})

test('what another folder has kept is copied by the next run where one was killed, after whichever write', () => {
  const [source, kept] = [new MemoryAuthDir('from', harderWay.files), new MemoryAuthDir('auth', harderWay.files)]
  const names = ['2026-11-28T22-33-13-114Z/ca.pem', '2026-11-28T22-33-13-114Z/ca-key.pem', 'worker0-2026/ca.pem']
  for (const name of names) source.write(join('backup', name), `${name}\n`, publicMode)
  for (const writes of names.keys()) {
    let left = writes
    class Killed extends MemoryAuthDir {
      override replace(files: readonly AuthFile[]) {
        for (const file of files) {
          if (left-- === 0) throw new Failure('killed')
          super.replace([file])
        }
      }
    }
    const auth = new Killed('auth', harderWay.files, kept)
    assert.throws(() => copyBackups(source, auth), { message: 'killed' })
    left = names.length
    assert.equal(copyBackups(source, auth), true)
    for (const name of names)
      assert.deepEqual(auth.read(join('backup', name)), {
        kind: 'file',
        bytes: Buffer.from(`${name}\n`),
        mode: secretMode,
      })
    assert.equal(copyBackups(source, auth), false)
  }
})

test('a list, a key and a pair are on the disk before they are in their places, and so are the places', {
  skip: needs('strace'),
}, (t) => {
  const auth = folder(t)
  const trace = join(scratch(t), 'trace')
  runApart(
    auth,
    `auth.writeDurably(['list', 'x', 0o600])
auth.writeDurably(['key', 'x', 0o600], ['certificate', 'x', 0o644])`,
    ['strace', '-f', '-y', '-e', 'trace=fsync,rename,renameat,renameat2', '-o', trace],
  )
  const calls = readFileSync(trace, 'utf8').matchAll(/fsync\(\d+<(.*?)>|rename\w*\([^\n]*"([^"\n]*)"/g)
  const names = [...calls].map(([, synced, renamed]) =>
    synced === undefined
      ? `rename ${relative(auth.path, renamed ?? '')}`
      : `fsync ${relative(auth.path, synced) || 'auth'}`,
  )
  // Node keeps what it has compiled, too.
  const own = names.filter((name) => !name.includes('/'))
  assert.deepEqual(own, [
    ...['fsync .tmp-list~', 'rename list', 'fsync auth'],
    ...['fsync .tmp-key~', 'rename key', 'fsync .tmp-certificate~', 'rename certificate', 'fsync auth'],
  ])
})
