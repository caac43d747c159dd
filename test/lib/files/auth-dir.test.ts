import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { Failure } from '../../../lib/failure.ts'
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import { thisBoot } from '../../../lib/files/lock.ts'
import { once, publicMode, secretMode } from '../../../lib/files/plain-file.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { needs } from '../../support/parts.ts'
import { scratch } from '../../support/scratch.ts'

const isRoot = process.getuid?.() === 0
const canMount =
  isRoot && spawnSync('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs tmpfs /mnt'], { stdio: 'ignore' }).status === 0
const withMounts = canMount ? {} : { skip: 'needs root, and leave to mount' }

const folder = (t: TestContext) => new AuthDir(scratch(t), harderWay.files)

const mode = (path: string) => statSync(path).mode & 0o7777

/** A Failure that names the path. */
const naming = (path: string, pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Failure, String(error))
  assert.ok(error.message.includes(path), error.message)
  assert.match(error.message, pattern)
  return true
}

/** The code is run in a process of its own, with AuthDir and the folder as `auth`; what it prints. */
function runApart(auth: AuthDir, code: string, before = ''): string {
  const module = (name: string) =>
    JSON.stringify(pathToFileURL(join(import.meta.dirname, '../../../lib/files', name)).href)
  const script = `import { AuthDir } from ${module('auth-dir.ts')}
import { backUp } from ${module('auth-dir.ts')}
import { harderWay } from ${module('../../tasks/layouts/harder-way.ts')}
const auth = new AuthDir(${JSON.stringify(auth.path)}, harderWay.files)
const attempt = (work) => { try { work(); return 'done' } catch (error) { return error.name + ': ' + error.message } }
${code}`
  const node = ['--input-type=module', '-e', script]
  const { status, stdout, stderr } = before
    ? spawnSync('unshare', ['-m', 'sh', '-ec', `${before}\nexec "$@"`, 'sh', process.execPath, ...node], {
        encoding: 'utf8',
        cwd: auth.path,
      })
    : spawnSync(process.execPath, node, { encoding: 'utf8', timeout: 60_000, killSignal: 'SIGKILL' })
  assert.equal(status, 0, stderr)
  return stdout.trim()
}

test('what is written is read again, with its mode', (t) => {
  const auth = folder(t)
  auth.write('ca.pem', 'public', publicMode)
  auth.write('ca-key.pem', Buffer.from('secret'), secretMode, { durable: true })
  const modified = statSync(join(auth.path, 'ca.pem')).mtimeMs
  assert.deepEqual(auth.read('ca.pem'), { kind: 'file', bytes: Buffer.from('public'), mode: 0o644, modified })
  assert.partialDeepStrictEqual(auth.read('ca-key.pem'), { bytes: Buffer.from('secret'), mode: 0o600 })
  assert.deepEqual(auth.names(), ['ca-key.pem', 'ca.pem'])
})

test('nothing where nothing stands, and no names where there is no folder', (t) => {
  const auth = new AuthDir(join(folder(t).path, 'gone'), harderWay.files)
  assert.equal(auth.read('ca.pem'), undefined)
  assert.deepEqual(auth.names(), [])
  assert.throws(() => auth.bytes('ca.pem'), naming(join(auth.path, 'ca.pem'), /was removed during the run/))
})

for (const durable of [false, true])
  test(`a file is replaced as a whole, never written into${durable ? ', durably' : ''}`, (t) => {
    const auth = folder(t)
    const path = join(auth.path, 'key')
    auth.write('key', 'old and longer', secretMode)
    linkSync(path, join(auth.path, 'old'))
    auth.write('key', 'new', secretMode, { durable })
    assert.equal(readFileSync(path, 'utf8'), 'new')
    assert.equal(readFileSync(join(auth.path, 'old'), 'utf8'), 'old and longer')
    assert.deepEqual(auth.names(), ['key', 'old'])
  })

test('a file that was open to others is private after it is replaced', (t) => {
  const auth = folder(t)
  writeFileSync(join(auth.path, 'key'), 'old')
  chmodSync(join(auth.path, 'key'), 0o666)
  auth.write('key', 'new', secretMode)
  assert.equal(mode(join(auth.path, 'key')), 0o600)
})

for (const umask of [0, 0o077, 0o777])
  test(`files have the wanted modes under umask ${umask.toString(8)}`, (t) => {
    const auth = folder(t)
    runApart(
      auth,
      `process.umask(${umask}); auth.write('public', 'x', ${publicMode}); auth.write('secret', 'x', ${secretMode}, { durable: true })`,
    )
    assert.equal(mode(join(auth.path, 'public')), 0o644)
    assert.equal(mode(join(auth.path, 'secret')), 0o600)
  })

test('folders are private under umask 0', (t) => {
  const auth = new AuthDir(join(folder(t).path, 'deep', 'auth'), harderWay.files)
  const made = runApart(
    auth,
    `process.umask(0); auth.make(); console.log(auth.makeTemporaryFolder('x')); auth.makeFolder('backup')`,
  )
  for (const path of [auth.path, join(auth.path, 'backup'), made]) assert.equal(mode(path), 0o700)
})

test('a folder that is there already stays as it is, until it is tightened', (t) => {
  const auth = folder(t)
  chmodSync(auth.path, 0o755)
  auth.make()
  assert.equal(mode(auth.path), 0o755)
  assert.equal(auth.tightenFolder(), true)
  assert.equal(mode(auth.path), 0o700)
  assert.equal(auth.tightenFolder(), false)
})

test('a folder that gives its owner less than everything is not widened', (t) => {
  const auth = folder(t)
  chmodSync(auth.path, 0o500)
  assert.equal(auth.tightenFolder(), false)
  assert.equal(mode(auth.path), 0o500)
  chmodSync(auth.path, 0o700)
})

test('a symbolic link is something else, whether or not it leads anywhere', (t) => {
  const auth = folder(t)
  writeFileSync(join(auth.path, 'elsewhere'), 'secret')
  symlinkSync('elsewhere', join(auth.path, 'link'))
  symlinkSync('nowhere', join(auth.path, 'dangling'))
  assert.deepEqual(auth.read('link'), { kind: 'other' })
  assert.deepEqual(auth.read('dangling'), { kind: 'other' })
})

test('a symbolic link is replaced, and what it led to is left alone', (t) => {
  const auth = folder(t)
  const outside = folder(t)
  writeFileSync(join(outside.path, 'theirs'), 'theirs', { mode: 0o644 })
  symlinkSync(join(outside.path, 'theirs'), join(auth.path, 'key'))
  symlinkSync(join(outside.path, 'not-there'), join(auth.path, 'other'))
  auth.write('key', 'ours', secretMode)
  auth.write('other', 'ours', secretMode)
  assert.ok(lstatSync(join(auth.path, 'key')).isFile())
  assert.equal(readFileSync(join(outside.path, 'theirs'), 'utf8'), 'theirs')
  assert.equal(mode(join(outside.path, 'theirs')), 0o644)
  assert.deepEqual(outside.names(), ['theirs'])
})

test('a symbolic link where the temporary file goes is not followed', (t) => {
  const auth = folder(t)
  const outside = folder(t)
  writeFileSync(join(outside.path, 'theirs'), 'theirs')
  symlinkSync(join(outside.path, 'theirs'), join(auth.path, '.tmp-key~'))
  auth.write('key', 'ours', secretMode)
  assert.equal(readFileSync(join(outside.path, 'theirs'), 'utf8'), 'theirs')
  assert.deepEqual(auth.names(), ['key'])
})

test('the mode of what a symbolic link leads to is not changed', (t) => {
  const auth = folder(t)
  writeFileSync(join(auth.path, 'theirs'), '', { mode: 0o644 })
  symlinkSync('theirs', join(auth.path, 'link'))
  assert.throws(() => auth.setMode('link', 0o600), naming(join(auth.path, 'link'), /symbolic link/))
  assert.equal(mode(join(auth.path, 'theirs')), 0o644)
  auth.setMode('theirs', 0o600)
  assert.equal(mode(join(auth.path, 'theirs')), 0o600)
})

test('a folder inside is not made where a symbolic link stands', (t) => {
  const auth = folder(t)
  const outside = folder(t)
  symlinkSync(outside.path, join(auth.path, 'backup'))
  assert.throws(() => auth.makeFolder('backup'), naming(join(auth.path, 'backup'), /can't make the folder/))
  assert.equal(readlinkSync(join(auth.path, 'backup')), outside.path)
  assert.equal(auth.makeFolder('well'), join(auth.path, 'well'))
  assert.equal(auth.makeFolder('well'), join(auth.path, 'well'))
})

test('a folder, a FIFO and a socket are something else, and nobody waits for them', async (t) => {
  const auth = folder(t)
  mkdirSync(join(auth.path, 'folder'))
  assert.equal(spawnSync('mkfifo', [join(auth.path, 'fifo')]).status, 0)
  const server = createServer().listen(join(auth.path, 'socket'))
  t.after(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  for (const name of ['fifo', 'socket']) assert.deepEqual(auth.read(name), { kind: 'other' }, name)
  assert.deepEqual(auth.read('folder'), { kind: 'folder' })
})

test('a folder in the way of a file stays, with what it holds, and a Failure names it', (t) => {
  const auth = folder(t)
  mkdirSync(join(auth.path, 'key'))
  writeFileSync(join(auth.path, 'key', 'inside'), '')
  assert.throws(
    () => auth.write('key', 'x', secretMode),
    naming(join(auth.path, 'key'), /illegal operation on a directory/),
  )
  // fs.rmSync gives the error's number without its sign.
  assert.throws(() => auth.remove('key'), naming(join(auth.path, 'key'), /illegal operation on a directory/))
  assert.deepEqual(readdirSync(auth.path, { recursive: true }).map(String).sort(), ['key', 'key/inside'])
})

test('a full disk leaves the old file whole and nothing beside it, and a Failure names the path', withMounts, (t) => {
  const auth = folder(t)
  const found = runApart(
    auth,
    `auth.write('key', 'old', 0o600)
const failed = attempt(() => auth.write('key', Buffer.alloc(1 << 20, 'x'), 0o600, { durable: true }))
console.log(JSON.stringify({ failed, names: auth.names(), old: auth.bytes('key').toString() }))`,
    'mount -t tmpfs -o size=64k,mode=700 tmpfs "$PWD"',
  )
  assert.deepEqual(JSON.parse(found), {
    failed: `Failure: can't write ${join(auth.path, 'key')}: no space left on device`,
    names: ['key'],
    old: 'old',
  })
})

test('a read-only disk leaves the old file whole, and a Failure names the path', withMounts, (t) => {
  const auth = folder(t)
  const found = runApart(
    auth,
    `const failed = attempt(() => auth.write('key', 'new', 0o600))
console.log(JSON.stringify({ failed, names: auth.names(), old: auth.bytes('key').toString() }))`,
    'mount -t tmpfs tmpfs "$PWD"; cd "$PWD"; printf old > key; mount -o remount,ro "$PWD"',
  )
  assert.deepEqual(JSON.parse(found), {
    failed: `Failure: can't write ${join(auth.path, 'key')}: read-only file system`,
    names: ['key'],
    old: 'old',
  })
})

test('a folder without leave to write leaves the old file whole, and a Failure names the path', (t) => {
  const auth = folder(t)
  auth.write('key', 'old', secretMode)
  chmodSync(auth.path, 0o500)
  // Root may write everywhere.
  if (isRoot) {
    const somebody = 54321
    for (const path of [auth.path, join(auth.path, 'key')]) chownSync(path, somebody, somebody)
    process.seteuid?.(somebody)
  }
  try {
    assert.throws(() => auth.write('key', 'new', secretMode), naming(join(auth.path, 'key'), /permission denied/))
  } finally {
    if (isRoot) process.seteuid?.(0)
  }
  chmodSync(auth.path, 0o700)
  assert.equal(auth.bytes('key').toString(), 'old')
  assert.deepEqual(auth.names(), ['key'])
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

test('git adds nothing of it to the repository around it', { skip: needs('git') }, (t) => {
  const repository = scratch(t)
  const auth = new AuthDir(join(repository, 'clusters/one/auth'), harderWay.files)
  auth.make()
  auth.write('ca-key.pem', 'secret', secretMode)
  execFileSync('git', ['init', '-q'], { cwd: repository })
  const added = () => execFileSync('git', ['add', '-A', '--dry-run'], { cwd: repository, encoding: 'utf8' })
  assert.match(added(), /ca-key\.pem/)
  auth.keepOutOfGit()
  assert.equal(added(), '')
})

test('nobody waits for what would be written into a pipe: it is neither copied nor opened to others', (t) => {
  const auth = folder(t)
  assert.equal(spawnSync('mkfifo', ['-m', '644', join(auth.path, 'pipe')]).status, 0)
  symlinkSync('pipe', join(auth.path, 'link'))
  const code = `const now = new Date(0)
console.log(attempt(() => backUp(auth, ['pipe'], now)), attempt(() => backUp(auth, ['link'], now)), attempt(() => auth.setMode('pipe', 0o600)))`
  const said = runApart(auth, code).match(/Failure: \S+ is not a plain file/g)
  assert.deepEqual(
    said,
    ['pipe', 'link', 'pipe'].map((name) => `Failure: ${join(auth.path, name)} is not a plain file`),
  )
  assert.equal(mode(join(auth.path, 'pipe')), 0o644)
  assert.deepEqual(auth.names(), ['link', 'pipe'])
})

test('a file is read once, and again when it has been written or removed', (t) => {
  const auth = folder(t)
  auth.write('a', '1', publicMode)
  const first = auth.bytes('a')
  writeFileSync(join(auth.path, 'a'), 'changed by somebody else')
  assert.equal(auth.bytes('a'), first)
  auth.write('a', '2', publicMode)
  assert.equal(auth.bytes('a').toString(), '2')
  auth.remove('a')
  assert.equal(auth.read('a'), undefined)
})

test('what is worked out from bytes is worked out once', () => {
  let works = 0
  const size = once((bytes) => {
    works++
    return bytes.length
  })
  const bytes = Buffer.from('abc')
  assert.deepEqual([size(bytes), size(bytes), size(Buffer.from('abc')), works], [3, 3, 3, 2])
})

test('the folder is known for the same by every path to it, and a copy is another', (t) => {
  const folder = scratch(t)
  const auth = new AuthDir(join(folder, 'auth'), harderWay.files)
  assert.equal(auth.id(), '')
  auth.make()
  auth.write('ca.pem', 'x', publicMode)
  symlinkSync('auth', join(folder, 'link'))
  const id = auth.id()
  // A clone of a disk has the same inode and times, on a machine of its own.
  assert.match(id, /^\S+ \d+ \d+ \d+$/)
  assert.ok(id.startsWith(thisBoot))
  assert.equal(new AuthDir(join(folder, 'link'), harderWay.files).id(), id)
  cpSync(auth.path, join(folder, 'copy'), { recursive: true, preserveTimestamps: true })
  assert.notEqual(new AuthDir(join(folder, 'copy'), harderWay.files).id(), id)
  renameSync(auth.path, join(folder, 'moved'))
  assert.equal(new AuthDir(join(folder, 'moved'), harderWay.files).id(), id)
})
