import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { message, readAnswer } from '../../../lib/node/channel.ts'
import { buildTar, lookLines, replaceLines } from '../../../lib/node/node.ts'
import { type NodeState, readFolder, readState } from '../../../lib/node/state.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { fakeTool, newFiles, oldHome, scratch, sha256, snapshot, stage, staging } from '../../support/files.ts'
import { anybody, asAnybody, inEachShell, isRoot, type NodeShell, oddEnvironment } from '../../support/node-shells.ts'

const { files } = harderWay
const nonce = '0123456789abcdef'
const folderScript = message('look', lookLines({ directory: '~', names: files, expected: new Map() }), nonce)
/** What a node has after a swap, by its own look. */
const readSwapped = (output: string): NodeState => readFolder(readAnswer(output, nonce, 'replace').records)
const discardScript = (folder: string) => message('forget', [`folder ${folder}`, `archive ${staging}`], nonce)

interface Swap {
  readonly copied: readonly { name: string; digest: string }[]
  readonly modes: readonly { name: string; mode: number }[]
  readonly pruned: readonly string[]
  readonly leftovers: readonly string[]
}

function swapOf(more: Partial<Swap> = {}): Swap {
  const copied = newFiles.map(({ name, bytes }) => ({ name, digest: sha256(bytes) }))
  return { copied, modes: [], pruned: [], leftovers: [], ...more }
}

function swapScript(folder: string, { copied, pruned, ...tidied }: Swap, seen: NodeState): string {
  const change = {
    folder,
    pruned,
    files: copied.map(({ name, digest }) => ({ path: name, digest })),
    unchanged: newFiles.map(({ name }) => name),
    seen: seen.files,
    tidied: { names: files, ...tidied },
  }
  return message(
    'replace',
    replaceLines(change, copied.length > 0 ? { name: staging, files: newFiles } : undefined),
    nonce,
  )
}

inEachShell(({ run, did, some }: NodeShell) => {
  const look = (home: string): NodeState => readState(did(home, folderScript), nonce)
  const scriptFor = (home: string, swap: Swap = swapOf(), seen = look(home)) => swapScript(home, swap, seen)
  /** What the node says it holds afterwards. */
  const swapped = (home: string, swap?: Swap): NodeState => readSwapped(did(home, scriptFor(home, swap)))
  const stops = (home: string, script: string, more: { who?: object; path?: string } = {}) => {
    const { status, stdout } = run(home, script, more)
    assert.equal(status, 0)
    return readAnswer(stdout, nonce, 'replace').stopped
  }

  describe('a swap', () => {
    test('puts every file in its place with its mode, and leaves nothing else behind', (t) => {
      const home = oldHome(t)
      stage(home)
      const { files } = swapped(home)
      assert.deepEqual(
        [...files].map(([name, { sha256 }]) => [name, sha256]).toSorted(),
        newFiles.map(({ name, bytes }) => [name, sha256(bytes)]).toSorted(),
      )
      for (const { name, mode, bytes } of newFiles) {
        assert.ok(readFileSync(join(home, name)).equals(bytes), name)
        assert.equal(lstatSync(join(home, name)).mode & 0o7777, mode, name)
      }
      assert.deepEqual(readdirSync(home).toSorted(), [...newFiles.map(({ name }) => name), 'notes.txt'].toSorted())
      assert.equal(readFileSync(join(home, 'notes.txt'), 'utf8'), 'old notes.txt\n')
    })

    test('is on the disk before it takes its place, and its place is when it is told', (t) => {
      const home = oldHome(t)
      stage(home)
      const told = join(scratch(t), 'told')
      const sync = fakeTool(t, 'sync', `echo "$* $(cat ${home}/ca.pem)" >> ${told}`)
      const { stdout } = run(home, scriptFor(home), { path: sync })
      assert.ok(readSwapped(stdout).files.size > 0)
      const all = newFiles.map(({ name }) => `${staging}-unpacked/${name}`).join(' ')
      assert.equal(readFileSync(told, 'utf8'), `-- ${all} old ca.pem\n-- . the new CA\n`)
    })

    test('changes nothing where it does not come to the disk, and goes on where only a folder can not be told to', (t) => {
      const home = oldHome(t)
      const old = snapshot(home)
      stage(home)
      const broken = fakeTool(t, 'sync', 'echo "sync: Input/output error" >&2; exit 1')
      assert.equal(stops(home, scriptFor(home), { path: broken })?.why, 'undone')
      assert.deepEqual(snapshot(home), old)
      stage(home)
      const { stdout } = run(home, scriptFor(home), {
        path: fakeTool(t, 'sync', 'case "$*" in "-- .") exit 1 ;; esac'),
      })
      assert.equal(readSwapped(stdout).files.get('ca.pem')?.sha256, sha256('the new CA\n'))
    })

    test('is the same whatever tools would read from the environment', (t) => {
      const home = oldHome(t)
      const seen = readState(did(home, oddEnvironment + folderScript), nonce)
      assert.deepEqual({ ...seen, now: 0 }, { ...look(home), now: 0 })
      stage(home)
      chmodSync(join(home, 'notes.txt'), 0o666)
      const script = scriptFor(home, swapOf({ modes: [{ name: 'notes.txt', mode: 0o640 }] }), seen)
      readSwapped(did(home, oddEnvironment + script))
      for (const { name, mode, bytes } of [...newFiles, { name: 'notes.txt', mode: 0o640, bytes: undefined }]) {
        if (bytes) assert.ok(readFileSync(join(home, name)).equals(bytes), name)
        assert.equal(lstatSync(join(home, name)).mode & 0o7777, mode, name)
      }
    })

    const broken: Readonly<Record<string, (home: string) => Partial<Swap> | undefined>> = {
      'whose digests are of other bytes': (home) => {
        stage(home)
        const { copied } = swapOf()
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
    for (const [what, prepare] of some(Object.entries(broken)))
      test(`${what} leaves the old set whole, and no staging`, (t) => {
        const home = oldHome(t)
        const old = snapshot(home)
        const swap = swapOf(prepare(home))
        assert.notEqual(run(home, scriptFor(home, swap)).status, 0)
        assert.deepEqual(snapshot(home), old)
      })

    test('replaces a symbolic link, and leaves alone what it leads to', (t) => {
      const home = oldHome(t)
      const elsewhere = scratch(t)
      writeFileSync(join(elsewhere, 'file'), 'not ours', { mode: 0o600 })
      for (const { name } of newFiles) rmSync(join(home, name), { force: true })
      symlinkSync(join(elsewhere, 'file'), join(home, 'ca.pem'))
      symlinkSync(elsewhere, join(home, 'worker0-key.pem'))
      symlinkSync('/nowhere', join(home, 'worker0.kubeconfig'))
      const old = snapshot(elsewhere)
      stage(home)
      swapped(home)
      for (const { name, bytes } of newFiles) {
        assert.ok(lstatSync(join(home, name)).isFile(), name)
        assert.ok(readFileSync(join(home, name)).equals(bytes), name)
      }
      assert.deepEqual(snapshot(elsewhere), old)
    })

    test('puts no file into a folder that stands in its way, and undoes the rest', (t) => {
      const home = oldHome(t)
      rmSync(join(home, 'worker0.kubeconfig'))
      mkdirSync(join(home, 'worker0.kubeconfig'))
      const old = snapshot(home)
      stage(home)
      assert.equal(stops(home, scriptFor(home))?.why, 'undone')
      assert.deepEqual(snapshot(home), old)
      assert.deepEqual(readdirSync(join(home, 'worker0.kubeconfig')), [])
    })

    test('touches nothing behind a symbolic link under the name of its staging', (t) => {
      const home = oldHome(t)
      const elsewhere = oldHome(t)
      const old = [snapshot(home), snapshot(elsewhere)]
      symlinkSync(elsewhere, join(home, staging))
      assert.notEqual(run(home, scriptFor(home)).status, 0)
      assert.deepEqual([snapshot(home), snapshot(elsewhere)], old)
    })

    test('unpacks only the files that are named', (t) => {
      const home = oldHome(t)
      const evil = { name: '../evil', mode: 0o600, bytes: Buffer.from('evil') }
      stage(home, buildTar([...newFiles, { ...evil, name: 'notes.txt' }, evil]))
      assert.equal(run(home, scriptFor(home)).status, 0)
      assert.equal(readFileSync(join(home, 'notes.txt'), 'utf8'), 'old notes.txt\n')
      assert.ok(!existsSync(join(home, 'evil')))
    })

    test('sets modes alone, of the files that are named', (t) => {
      const home = oldHome(t)
      did(
        home,
        scriptFor(
          home,
          swapOf({
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
      const odd = ['-rf.pem', 'it.pem']
      for (const name of [...odd, 'kept.pem']) writeFileSync(join(home, name), 'x')
      did(home, scriptFor(home, swapOf({ copied: [], pruned: [...odd, 'not-there.pem'] })))
      assert.deepEqual(readdirSync(home).toSorted(), [
        'ca.pem',
        'kept.pem',
        'notes.txt',
        'worker0-key.pem',
        'worker0.kubeconfig',
      ])
    })
  })

  describe('a swap that fails is undone', () => {
    /** The old ones as they were: the same bytes, inodes, modes and times; and nothing else. */
    const assertUndone = (home: string, old: ReturnType<typeof snapshot>, path: string, why = 'undone') => {
      const stopped = stops(home, scriptFor(home), { path })
      assert.equal(stopped?.why, why)
      assert.deepEqual(snapshot(home), old)
      return stopped
    }

    for (const last of some(newFiles.map(({ name }) => name)))
      test(`where ${last} is the one that can not be renamed`, (t) => {
        const home = oldHome(t)
        symlinkSync('notes.txt', join(home, 'worker0.pem'))
        const old = snapshot(home)
        stage(home)
        // Renames all but that one, as mv does where one can't be.
        const mv = fakeTool(
          t,
          'mv',
          `case "$*" in *old/*) real "$@"; exit ;; *" .") ;; *) real "$@"; exit ;; esac
for f; do case $f in -*|.) ;; */${last}) echo "mv: ${last}: Operation not permitted" >&2 ;; *) real -f -- "$f" . ;; esac; done
exit 1`,
        )
        assert.match(String(assertUndone(home, old, mv)?.said), /Operation not permitted$/)
      })

    test('and says so where a file can not be put back, and keeps it', (t) => {
      const home = oldHome(t)
      stage(home)
      const mv = fakeTool(
        t,
        'mv',
        'case "$*" in *old/ca.pem*) exit 1 ;; esac; real "$@"; case "$*" in *" .") exit 1 ;; esac',
      )
      assert.equal(stops(home, scriptFor(home), { path: mv })?.why, 'half')
      assert.equal(readFileSync(join(home, `${staging}-swap`, 'old/ca.pem'), 'utf8'), 'old ca.pem\n')
      assert.equal(readFileSync(join(home, 'worker0-key.pem'), 'utf8'), 'old worker0-key.pem\n')
    })

    test('and where the old files are lost meanwhile, none of those in their places is removed', (t) => {
      const home = oldHome(t)
      stage(home)
      const mv = fakeTool(
        t,
        'mv',
        `case "$*" in *" .") real -f -- ${staging}-swap/ca.pem .; rm -rf ${staging}-swap/old; exit 1 ;; esac; real "$@"`,
      )
      assert.equal(stops(home, scriptFor(home), { path: mv })?.why, 'half')
      assert.equal(readFileSync(join(home, 'ca.pem'), 'utf8'), 'the new CA\n')
      assert.equal(readFileSync(join(home, 'worker0-key.pem'), 'utf8'), 'old worker0-key.pem\n')
    })

    test('where no second links can be made, files are moved away and back', (t) => {
      const home = oldHome(t)
      const old = snapshot(home)
      stage(home)
      const tools = `${fakeTool(t, 'ln', 'exit 1')}:${fakeTool(t, 'mv', 'case "$*" in *" .") real "$@"; [ "$#" -eq 4 ]; exit ;; esac; real "$@"')}`
      assertUndone(home, old, tools)
    })
  })

  test('a file of another owner, to which no second link may be made, is replaced', {
    skip: !isRoot && 'only root gives a file away',
  }, (t) => {
    const home = oldHome(t)
    for (const name of ['ca.pem', 'worker0-key.pem']) chownSync(join(home, name), 12345, 12345)
    chmodSync(join(home, 'worker0-key.pem'), 0o600)
    chownSync(home, anybody, anybody)
    const seen = readState(run(home, folderScript, { who: asAnybody }).stdout, nonce)
    stage(home)
    chownSync(join(home, staging), anybody, anybody)
    const { stdout } = run(home, scriptFor(home, swapOf(), seen), { who: asAnybody })
    const { files } = readSwapped(stdout)
    for (const { name, bytes } of newFiles)
      assert.deepEqual([files.get(name)?.sha256, files.get(name)?.uid], [sha256(bytes), anybody], name)
  })

  describe('what has changed since the look', () => {
    const changes: Readonly<Record<string, (home: string) => void>> = {
      'a file with other bytes': (home) => writeFileSync(join(home, 'ca.pem'), 'other'),
      'a file with another mode': (home) => chmodSync(join(home, 'ca.pem'), 0o600),
      'a file that has gone': (home) => rmSync(join(home, 'ca.pem')),
      'a file that has come': (home) => writeFileSync(join(home, 'worker0.pem'), 'x'),
      'a link in place of a file': (home) => {
        rmSync(join(home, 'ca.pem'))
        symlinkSync('notes.txt', join(home, 'ca.pem'))
      },
    }
    for (const [title, change] of some(Object.entries(changes)))
      test(`${title} stops the swap, and nothing is changed by it`, (t) => {
        const home = oldHome(t)
        const seen = look(home)
        stage(home)
        change(home)
        const { [staging]: _, ...old } = snapshot(home)
        assert.equal(stops(home, scriptFor(home, swapOf(), seen))?.why, 'changed')
        assert.deepEqual(snapshot(home), old)
      })

    test('does not stop it in a file that is none of its own', (t) => {
      const home = oldHome(t)
      writeFileSync(join(home, 'theirs.pem'), 'x')
      const seen = look(home)
      stage(home)
      writeFileSync(join(home, 'theirs.pem'), 'other')
      const { files } = readSwapped(did(home, scriptFor(home, swapOf(), seen)))
      assert.equal(files.get('ca.pem')?.sha256, sha256('the new CA\n'))
    })
  })

  test('a lock that another keeps stops the swap with nothing changed', (t) => {
    const home = oldHome(t)
    const old = snapshot(home)
    stage(home)
    // Of some shells, sleep is a part.
    const script = scriptFor(home).replace('sleep 1', ':')
    assert.equal(stops(home, script, { path: fakeTool(t, 'flock', 'exit 1') })?.why, 'busy')
    assert.deepEqual(snapshot(home), old)
  })

  test('a script that was cut off anywhere changes nothing', (t) => {
    const home = oldHome(t)
    const script = scriptFor(home)
    stage(home)
    const old = snapshot(home)
    for (let length = 1; length < script.length - 1; length += 499) {
      run(home, script.slice(0, length))
      assert.deepEqual(snapshot(home), old, `of ${length} characters`)
    }
  })

  test('what other runs have left is removed if it is named, and nothing else', (t) => {
    const home = oldHome(t)
    for (const name of ['.harderway-a', '.harderway-b']) writeFileSync(join(home, name), 'x')
    for (const name of ['.harderway-a-swap', '.harderway-b-swap']) {
      mkdirSync(join(home, name))
      writeFileSync(join(home, name, 'ca.pem'), 'x')
    }
    const named = ['.harderway-a', '.harderway-a-swap']
    const { leftovers } = swapped(home, swapOf({ copied: [], leftovers: named }))
    assert.deepEqual(
      leftovers.map(({ name }) => name),
      ['.harderway-b', '.harderway-b-swap'],
    )
  })

  test('a discard that a swap overtakes removes nothing of what the swap works with', (t) => {
    const home = oldHome(t)
    const old = snapshot(home)
    const [discard, opened] = ['discard', 'opened'].map((name) => join(scratch(t), name))
    stage(home)
    writeFileSync(String(discard), discardScript(home))
    // rm has opened the folder as the swap begins to rename, and goes on in it, whatever its name is by then.
    const rm = fakeTool(
      t,
      'rm',
      `for f; do :; done
if [ -e ${opened} ] || [ "$DISCARDS" != 1 ]; then real "$@"; else stat -c %i -- "$f" > ${opened}; fi`,
    )
    const mv = fakeTool(
      t,
      'mv',
      `case "$*" in
  *-swap) DISCARDS=1 sh ${discard} ;;
  *' .') find . -type d -inum "$(cat ${opened})" -exec sh -c 'cd "$1" && rm -rf *' sh {} + ;;
esac
real "$@"`,
    )
    const { status, stdout } = run(home, scriptFor(home), { path: `${rm}:${mv}` })
    assert.deepEqual([status === 0, snapshot(home)], [false, old], stdout)
  })

  test('a discard removes the archive, where it was unpacked, and no other', (t) => {
    const home = join(scratch(t), 'a b')
    mkdirSync(home)
    stage(home)
    mkdirSync(join(home, '.harderway-other'))
    mkdirSync(join(home, `${staging}-unpacked`))
    did(home, discardScript(home))
    did(home, discardScript(home))
    assert.deepEqual(readdirSync(home), ['.harderway-other'])
  })
})
