import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import {
  archiveName,
  discardScript,
  type Look,
  lookScript,
  makeFolderScript,
  parseLook,
  type Swap,
  swapScript,
} from '../../../lib/nodes/scripts.ts'
import { buildTar } from '../../../lib/nodes/tar.ts'
import { needs } from '../../support/parts.ts'
import { scratch } from '../../support/scratch.ts'

interface Shell {
  /** Of busybox there is nothing but busybox on the PATH. */
  readonly command: readonly string[]
  readonly skip: false | string
  readonly onlyBusybox?: true
}

/** What a node may have as its sh. */
const shells: Readonly<Record<string, Shell>> = {
  sh: { command: ['sh'], skip: false },
  'bash --posix': { command: ['bash', '--posix'], skip: needs('bash') },
  'busybox sh': { command: ['busybox', 'sh'], skip: needs('busybox'), onlyBusybox: true },
}

const staging = '.harderway-0123456789abcdef'
const isRoot = process.getuid?.() === 0
/** nobody: root reads and writes whatever the mode is. */
const anybody = 65534
const asAnybody = isRoot ? { uid: anybody, gid: anybody } : {}

interface NewFile {
  readonly name: string
  readonly mode: number
  readonly bytes: Buffer
}

const newFiles: readonly NewFile[] = [
  { name: 'ca.pem', mode: 0o644, bytes: Buffer.from('the new CA\n') },
  { name: 'worker0-key.pem', mode: 0o600, bytes: Buffer.from('the new key\n') },
  { name: 'worker0.kubeconfig', mode: 0o600, bytes: Buffer.alloc(5000, 'x') },
]

function sha256(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function swapOf(folder: string, more: Partial<Swap> = {}): Swap {
  const copied = newFiles.map(({ name, mode, bytes }) => ({ name, mode, digest: sha256(bytes) }))
  return { folder, staging, copied, modes: [], removed: [], ...more }
}

/** As scp leaves it. */
function stage(folder: string, archive: Buffer = buildTar(newFiles)): void {
  mkdirSync(join(folder, staging), { mode: 0o700 })
  writeFileSync(join(folder, staging, archiveName), archive, { mode: 0o600 })
}

/** What stands in the folder: bytes, and inode, mode and times. */
function snapshot(folder: string): Record<string, unknown> {
  return Object.fromEntries(
    readdirSync(folder).map((name) => {
      const { ino, mode, mtimeMs } = lstatSync(join(folder, name))
      return [
        name,
        [ino, mode, mtimeMs, (mode & 0o170000) === 0o100000 ? readFileSync(join(folder, name), 'utf8') : ''],
      ]
    }),
  )
}

for (const [title, { command, skip, onlyBusybox }] of Object.entries(shells))
  describe(title, { skip }, () => {
    let busybox: string
    before(() => {
      busybox = mkdtempSync(join(tmpdir(), 'harderway-test-'))
      chmodSync(busybox, 0o755)
      if (!onlyBusybox) return
      execFileSync('busybox', ['--install', '-s', busybox])
    })
    after(() => rmSync(busybox, { recursive: true }))

    /** As ssh starts it. */
    const run = (home: string, script: string, who = {}) => {
      const path = onlyBusybox ? busybox : process.env.PATH
      const shell = onlyBusybox ? [join(busybox, 'sh')] : command
      const [program = '', ...args] = [...shell, '-s']
      return spawnSync(program, args, {
        input: script,
        cwd: home,
        encoding: 'utf8',
        timeout: 20_000,
        maxBuffer: 64 << 20,
        env: { PATH: path, HOME: home },
        ...who,
      })
    }
    const did = (home: string, script: string, who = {}): string => {
      const { status, stdout, stderr } = run(home, script, who)
      assert.deepEqual([status, stderr], [0, ''])
      return stdout
    }
    const look = (home: string, directory = '~', expected: Readonly<Record<string, string>> = {}): Look =>
      parseLook(did(home, lookScript(directory, new Map(Object.entries(expected)))))

    /** A home with an old set, and what is not ours. */
    const oldHome = (t: TestContext): string => {
      const home = scratch(t)
      for (const name of ['ca.pem', 'worker0-key.pem', 'worker0.kubeconfig', 'notes.txt'])
        writeFileSync(join(home, name), `old ${name}\n`, { mode: 0o640 })
      return home
    }

    describe('a look', () => {
      test('at a folder that is not there says so', (t) => {
        const { folder, uid, files, contents } = look(scratch(t), '~/not/there')
        assert.deepEqual([folder, uid, files.size, contents.size], [undefined, process.getuid?.(), 0, 0])
      })

      test('at an empty folder finds the folder, and nothing in it', (t) => {
        const home = scratch(t)
        const { folder, files } = look(home)
        assert.deepEqual([folder, files.size], [home, 0])
      })

      test('tells mode, owner and digest of certificates, kubeconfigs and the encryption config', (t) => {
        const home = scratch(t)
        const modes = { 'ca.pem': 0o644, 'a-key.pem': 0o600, 'a.kubeconfig': 0o777, 'encryption-config.yaml': 0o4755 }
        for (const [name, mode] of Object.entries(modes)) {
          writeFileSync(join(home, name), name)
          chmodSync(join(home, name), mode)
        }
        for (const name of ['notes.txt', 'pem', 'other.yaml', '.hidden.pem']) writeFileSync(join(home, name), 'x')
        mkdirSync(join(home, 'sub'))
        writeFileSync(join(home, 'sub/ca.pem'), 'x')
        assert.deepEqual(
          [...look(home).files].toSorted(),
          Object.entries(modes)
            .map(([name, mode]) => [
              name,
              { mode, uid: process.getuid?.(), isPlain: true, isFolder: false, digest: sha256(name) },
            ])
            .toSorted(),
        )
      })

      test('brings the content of files that are not as expected, and of no others', (t) => {
        const home = scratch(t)
        const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7) & 0xff))
        writeFileSync(join(home, 'ca.pem'), bytes)
        writeFileSync(join(home, 'service-account.pem'), 'as expected')
        writeFileSync(join(home, 'encryption-config.yaml'), '')
        writeFileSync(join(home, 'ca-key.pem'), 'nobody asked for it')
        const { contents } = look(home, '~', {
          'ca.pem': sha256('another'),
          'service-account.pem': sha256('as expected'),
          'encryption-config.yaml': '-',
          'missing.pem': '-',
        })
        assert.deepEqual(
          contents,
          new Map([
            ['ca.pem', bytes],
            ['encryption-config.yaml', Buffer.alloc(0)],
          ]),
        )
      })

      test('follows no symbolic link, and reads nothing behind it', (t) => {
        const home = scratch(t)
        writeFileSync(join(home, 'secret'), 'secret')
        symlinkSync('secret', join(home, 'ca.pem'))
        symlinkSync('/nowhere', join(home, 'admin.kubeconfig'))
        const { files, contents } = look(home, '~', { 'ca.pem': '-', 'admin.kubeconfig': '-' })
        assert.equal(contents.size, 0)
        for (const name of ['ca.pem', 'admin.kubeconfig'])
          assert.deepEqual(
            [files.get(name)?.isPlain, files.get(name)?.isFolder, files.get(name)?.digest],
            [false, false, undefined],
          )
      })

      test('is not held up by a pipe', (t) => {
        const home = scratch(t)
        execFileSync('mkfifo', [join(home, 'ca.pem')])
        writeFileSync(join(home, 'a.pem'), 'a')
        const { files, contents } = look(home, '~', { 'ca.pem': '-' })
        assert.deepEqual([files.get('ca.pem')?.isPlain, files.get('ca.pem')?.digest], [false, undefined])
        assert.equal(files.get('a.pem')?.digest, sha256('a'))
        assert.equal(contents.size, 0)
      })

      test('knows a folder for a folder', (t) => {
        const home = scratch(t)
        mkdirSync(join(home, 'ca.pem'))
        assert.deepEqual(
          [look(home).files.get('ca.pem')?.isPlain, look(home).files.get('ca.pem')?.isFolder],
          [false, true],
        )
      })

      test('takes names with blanks, quotes and dollars for names', (t) => {
        const home = scratch(t)
        const names = ['my old.pem', "it's.pem", '"q".kubeconfig', '$HOME.pem', '-rf.pem', 'a*b.pem', ' .pem', 'é.pem']
        for (const name of names) writeFileSync(join(home, name), name)
        const { files } = look(home)
        assert.deepEqual([...files.keys()].toSorted(), names.toSorted())
        for (const name of names) assert.equal(files.get(name)?.digest, sha256(name), name)
      })

      test('tells mode and owner of a file that can not be read, and sends nothing of it', (t) => {
        const home = scratch(t)
        chmodSync(home, 0o755)
        for (const name of ['ca.pem', 'a.pem']) writeFileSync(join(home, name), 'x')
        if (isRoot) for (const name of ['ca.pem', 'a.pem']) chownSync(join(home, name), anybody, anybody)
        chmodSync(join(home, 'ca.pem'), 0)
        const { files, contents } = parseLook(did(home, lookScript('~', new Map([['ca.pem', '-']])), asAnybody))
        assert.deepEqual([files.get('ca.pem')?.mode, files.get('ca.pem')?.digest], [0, undefined])
        assert.equal(files.get('a.pem')?.digest, sha256('x'))
        assert.equal(contents.size, 0)
      })

      test('tells whose a file is', { skip: !isRoot && 'only root gives a file away' }, (t) => {
        const home = scratch(t)
        writeFileSync(join(home, 'ca.pem'), 'x')
        chownSync(join(home, 'ca.pem'), 1234, 1234)
        const { uid, files } = look(home)
        assert.deepEqual([uid, files.get('ca.pem')?.uid], [0, 1234])
      })
    })

    describe('a folder', () => {
      const directories = [
        '~',
        '~/',
        '~/a',
        '~/a b/c',
        '~/it\'s "here"',
        '~/$HOME `id` $(id)',
        '~/-rf',
        '~/a*?[b]',
        '~/~',
        '~/é',
        '~/a;b&c|d',
      ]
      for (const directory of directories)
        test(`${directory} is made, looked at, filled and looked at again`, (t) => {
          const home = scratch(t)
          const folder = join(home, directory.slice(2))
          assert.equal(parseLook(did(home, makeFolderScript(directory))).folder, folder.replace(/(.)\/$/, '$1'))
          const found = look(home, directory).folder ?? assert.fail()
          stage(found)
          did(home, swapScript(swapOf(found)))
          const { files } = look(home, directory)
          assert.deepEqual(
            [...files.keys()],
            newFiles.map(({ name }) => name),
          )
          assert.deepEqual(readdirSync(folder).toSorted(), newFiles.map(({ name }) => name).toSorted())
        })

      test('may be absolute', (t) => {
        const [home, elsewhere] = [scratch(t), scratch(t)]
        const folder = join(elsewhere, 'a b/c')
        assert.equal(parseLook(did(home, makeFolderScript(folder))).folder, folder)
        assert.equal(look(home, folder).folder, folder)
        assert.deepEqual(readdirSync(home), [])
      })

      test('is for its user alone, and one that is there stays as it is', (t) => {
        const home = scratch(t)
        did(home, makeFolderScript('~/new/folder'))
        assert.equal(lstatSync(join(home, 'new/folder')).mode & 0o777, 0o700)
        chmodSync(join(home, 'new/folder'), 0o755)
        did(home, makeFolderScript('~/new/folder'))
        assert.equal(lstatSync(join(home, 'new/folder')).mode & 0o777, 0o755)
      })

      test('behind a symbolic link is told by its real path', (t) => {
        const home = scratch(t)
        mkdirSync(join(home, 'real'))
        symlinkSync('real', join(home, 'link'))
        assert.equal(look(home, '~/link').folder, join(home, 'real'))
      })

      test('where a file stands in the way is an error', (t) => {
        const home = scratch(t)
        writeFileSync(join(home, 'file'), '')
        assert.notEqual(run(home, makeFolderScript('~/file')).status, 0)
      })
    })

    describe('a swap', () => {
      test('puts every file in its place with its mode, and leaves nothing else behind', (t) => {
        const home = oldHome(t)
        stage(home)
        assert.equal(did(home, swapScript(swapOf(home))), '')
        for (const { name, mode, bytes } of newFiles) {
          assert.ok(readFileSync(join(home, name)).equals(bytes), name)
          assert.equal(lstatSync(join(home, name)).mode & 0o7777, mode, name)
        }
        assert.deepEqual(readdirSync(home).toSorted(), [...newFiles.map(({ name }) => name), 'notes.txt'].toSorted())
        assert.equal(readFileSync(join(home, 'notes.txt'), 'utf8'), 'old notes.txt\n')
      })

      const broken: Readonly<Record<string, (home: string) => Partial<Swap> | undefined>> = {
        'whose digests are of other bytes': (home) => {
          stage(home)
          const { copied } = swapOf(home)
          return { copied: copied.map((file, i) => (i === 2 ? { ...file, digest: sha256('other') } : file)) }
        },
        'whose archive is cut off': (home) => {
          stage(home, buildTar(newFiles).subarray(0, 3000))
          return undefined
        },
        'whose archive is damaged': (home) => {
          const archive = buildTar(newFiles)
          archive.write('damage', 515)
          stage(home, archive)
          return undefined
        },
        'whose archive lacks a file': (home) => {
          stage(home, buildTar(newFiles.slice(1)))
          return undefined
        },
        'whose archive is not there': (home) => {
          mkdirSync(join(home, staging))
          return undefined
        },
        'whose staging folder is not there': () => undefined,
      }
      for (const [what, prepare] of Object.entries(broken))
        test(`${what} leaves the old set whole, and no staging`, (t) => {
          const home = oldHome(t)
          const old = snapshot(home)
          const swap = swapOf(home, prepare(home))
          assert.notEqual(run(home, swapScript(swap)).status, 0)
          assert.deepEqual(snapshot(home), old)
        })

      test('replaces a symbolic link, and leaves alone what it leads to', (t) => {
        const home = oldHome(t)
        const elsewhere = scratch(t)
        writeFileSync(join(elsewhere, 'file'), 'not ours', { mode: 0o600 })
        for (const { name } of newFiles) rmSync(join(home, name))
        symlinkSync(join(elsewhere, 'file'), join(home, 'ca.pem'))
        symlinkSync(elsewhere, join(home, 'worker0-key.pem'))
        symlinkSync('/nowhere', join(home, 'worker0.kubeconfig'))
        const old = snapshot(elsewhere)
        stage(home)
        did(home, swapScript(swapOf(home)))
        for (const { name, bytes } of newFiles) {
          assert.ok(lstatSync(join(home, name)).isFile(), name)
          assert.ok(readFileSync(join(home, name)).equals(bytes), name)
        }
        assert.deepEqual(snapshot(elsewhere), old)
      })

      test('replaces a pipe', (t) => {
        const home = oldHome(t)
        rmSync(join(home, 'ca.pem'))
        execFileSync('mkfifo', [join(home, 'ca.pem')])
        stage(home)
        did(home, swapScript(swapOf(home)))
        assert.equal(readFileSync(join(home, 'ca.pem'), 'utf8'), 'the new CA\n')
      })

      test('puts no file into a folder that stands in its way', (t) => {
        const home = scratch(t)
        mkdirSync(join(home, 'ca.pem'))
        stage(home)
        assert.notEqual(run(home, swapScript(swapOf(home))).status, 0)
        assert.deepEqual(readdirSync(join(home, 'ca.pem')), [])
        assert.ok(!existsSync(join(home, staging)))
      })

      test('touches nothing behind a symbolic link under the name of its staging', (t) => {
        const home = oldHome(t)
        const elsewhere = oldHome(t)
        const old = [snapshot(home), snapshot(elsewhere)]
        symlinkSync(elsewhere, join(home, staging))
        assert.notEqual(run(home, swapScript(swapOf(home))).status, 0)
        assert.deepEqual([snapshot(home), snapshot(elsewhere)], old)
      })

      test('unpacks only the files that are named', (t) => {
        const home = oldHome(t)
        const evil = { name: '../evil', mode: 0o600, bytes: Buffer.from('evil') }
        stage(home, buildTar([...newFiles, { ...evil, name: 'notes.txt' }, evil]))
        assert.equal(run(home, swapScript(swapOf(home))).status, 0)
        assert.equal(readFileSync(join(home, 'notes.txt'), 'utf8'), 'old notes.txt\n')
        assert.ok(!existsSync(join(home, 'evil')))
      })

      test('sets modes alone, of the files that are named', (t) => {
        const home = oldHome(t)
        did(
          home,
          swapScript(
            swapOf(home, {
              copied: [],
              modes: [
                { name: 'ca.pem', mode: 0o644 },
                { name: 'worker0-key.pem', mode: 0o600 },
              ],
            }),
          ),
        )
        const modes = ['ca.pem', 'worker0-key.pem', 'worker0.kubeconfig'].map(
          (name) => lstatSync(join(home, name)).mode & 0o7777,
        )
        assert.deepEqual(modes, [0o644, 0o600, 0o640])
        assert.equal(readFileSync(join(home, 'ca.pem'), 'utf8'), 'old ca.pem\n')
      })

      test('removes what is pruned, and nothing else', (t) => {
        const home = oldHome(t)
        const odd = ["it's.pem", 'a b.pem', '-rf.pem', '$x.pem']
        for (const name of [...odd, '*.pem', 'kept.pem']) writeFileSync(join(home, name), 'x')
        did(home, swapScript(swapOf(home, { copied: [], removed: [...odd, 'not-there.pem', '*.pem'] })))
        assert.deepEqual(readdirSync(home).toSorted(), [
          'ca.pem',
          'kept.pem',
          'notes.txt',
          'worker0-key.pem',
          'worker0.kubeconfig',
        ])
      })

      test('copies, sets modes and prunes in one go', (t) => {
        const home = oldHome(t)
        writeFileSync(join(home, 'old.pem'), 'x', { mode: 0o644 })
        stage(home)
        did(home, swapScript(swapOf(home, { modes: [{ name: 'notes.txt', mode: 0o600 }], removed: ['old.pem'] })))
        assert.equal(lstatSync(join(home, 'notes.txt')).mode & 0o7777, 0o600)
        assert.ok(!existsSync(join(home, 'old.pem')))
        assert.equal(readFileSync(join(home, 'ca.pem'), 'utf8'), 'the new CA\n')
      })

      test('in a folder that can not be written leaves the old set', (t) => {
        const home = oldHome(t)
        stage(home)
        if (isRoot) chownSync(join(home, staging), anybody, anybody)
        if (isRoot) chownSync(join(home, staging, archiveName), anybody, anybody)
        chmodSync(home, 0o555)
        const { [staging]: _, ...old } = snapshot(home)
        assert.notEqual(run(home, swapScript(swapOf(home)), asAnybody).status, 0)
        const { [staging]: __, ...now } = snapshot(home)
        chmodSync(home, 0o700)
        assert.deepEqual(now, old)
      })
    })

    test('a discard removes the staging, and no other', (t) => {
      const home = join(scratch(t), 'a b')
      mkdirSync(home)
      stage(home)
      mkdirSync(join(home, '.harderway-other'))
      did(home, discardScript(home, staging))
      did(home, discardScript(home, staging))
      assert.deepEqual(readdirSync(home), ['.harderway-other'])
    })
  })

describe('what a look printed is read', () => {
  const digest = sha256('x')
  test('whatever a login prints before it', () => {
    const printed = `Welcome to worker0\n\nuid 1000\nfolder /home/a b\nstat 644 1000 81a4 ca.pem\nsum ${digest}  ca.pem\ncontent ca.pem eA==\n`
    assert.deepEqual(parseLook(printed), {
      folder: '/home/a b',
      uid: 1000,
      files: new Map([['ca.pem', { mode: 0o644, uid: 1000, isPlain: true, isFolder: false, digest }]]),
      contents: new Map([['ca.pem', Buffer.from('x')]]),
      leftovers: [],
    })
  })

  const types = {
    '81a4': [true, false],
    '41ed': [false, true],
    a1ff: [false, false],
    '11a4': [false, false],
    c1a4: [false, false],
  }
  for (const [type, [isPlain, isFolder]] of Object.entries(types))
    test(`type ${type} is ${isPlain ? 'a file' : isFolder ? 'a folder' : 'neither file nor folder'}`, () => {
      const file = parseLook(`uid 0\nstat 644 0 ${type} my old.pem\n`).files.get('my old.pem')
      assert.deepEqual([file?.isPlain, file?.isFolder], [isPlain, isFolder])
    })
})
