import assert from 'node:assert/strict'
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { buildTar, lookLines, replaceLines } from '../../../lib/node/node.ts'
import { message, type NodeState, readAnswer, readState } from '../../../lib/node/state.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { fakeTool, newSuffix, scratch, sha256, snapshot } from '../../support/files.ts'
import { inEachShell, type NodeShell, nonce } from '../../support/node-shells.ts'

const { files } = harderWay
const staging = '.harderway-0123456789abcdef'
const newFiles = [
  { path: 'ca.pem', bytes: Buffer.from('the new CA\n'), access: { mode: 0o644 } },
  { path: 'worker0.pem', bytes: Buffer.from('the new certificate\n'), access: { mode: 0o644 } },
  { path: 'worker0-key.pem', bytes: Buffer.from('the new key\n'), access: { mode: 0o600 } },
  { path: 'worker0.kubeconfig', bytes: Buffer.alloc(5000, 'x'), access: { mode: 0o600 } },
]
const folderScript = message('look', lookLines({ directory: '~', names: files, expected: new Map() }), nonce)
const assertSwapped = (output: string) => assert.equal(readAnswer(output, nonce, 'replace').stopped, undefined)
const discardScript = (folder: string) => message('forget', [`folder ${folder}`, `archive ${staging}`], nonce)

interface Swap {
  readonly copies?: false
  readonly modes?: readonly { name: string; mode: number }[]
  readonly pruned?: readonly string[]
  readonly leftovers?: readonly string[]
}

function swapScript(folder: string, swap: Swap, seen: NodeState): string {
  const { copies = true, pruned = [], modes = [], leftovers = [] } = swap
  const change = {
    folder,
    files: copies ? newFiles : [],
    unchanged: newFiles.map(({ path }) => path),
    seen: seen.files,
    tidied: { names: files, pruned, modes, leftovers },
  }
  return message('replace', replaceLines(change, copies ? staging : undefined), nonce)
}

/** With an old set, one new file of which is not there yet, and what is not ours. */
function oldHome(t: TestContext): string {
  const home = scratch(t)
  for (const name of ['ca.pem', 'worker0-key.pem', 'worker0.kubeconfig', 'notes.txt'])
    writeFileSync(join(home, name), `old ${name}\n`, { mode: 0o640 })
  return home
}

/** As scp leaves it. */
const stage = (folder: string, archive = buildTar(newFiles)) =>
  writeFileSync(join(folder, staging), archive, { mode: 0o600 })

/** An old home, what it holds, and the archive in it. */
function staged(t: TestContext) {
  const home = oldHome(t)
  const old = snapshot(home)
  stage(home)
  return { home, old }
}

inEachShell(({ run, did, some }: NodeShell) => {
  const look = (home: string): NodeState => readState(did(home, folderScript), nonce)
  const scriptFor = (home: string, swap: Swap = {}, seen = look(home)) => swapScript(home, swap, seen)
  /** What the node has afterwards, by another look. */
  const swapped = (home: string, swap?: Swap): NodeState => {
    assertSwapped(did(home, scriptFor(home, swap)))
    return look(home)
  }
  const stops = (home: string, script: string, more: { who?: object; path?: string } = {}) => {
    const { status, stdout } = run(home, script, more)
    assert.equal(status, 0)
    return readAnswer(stdout, nonce, 'replace').stopped
  }

  describe('a swap', () => {
    test('puts every file in its place with its mode, and leaves nothing else behind', (t) => {
      const { home } = staged(t)
      const { files } = swapped(home)
      assert.deepEqual(
        [...files].map(([name, { sha256 }]) => [name, sha256]).toSorted(),
        newFiles.map(({ path, bytes }) => [path, sha256(bytes)]).toSorted(),
      )
      for (const { path: name, bytes, access } of newFiles) {
        assert.ok(readFileSync(join(home, name)).equals(bytes), name)
        const stat = lstatSync(join(home, name))
        assert.equal(stat.mode & 0o7777, access.mode, name)
        assert.ok(Math.abs(stat.mtimeMs - Date.now()) < 600_000, `${name} has the time at which it was put there`)
      }
      assert.deepEqual(readdirSync(home).toSorted(), [...newFiles.map(({ path }) => path), 'notes.txt'].toSorted())
      assert.equal(readFileSync(join(home, 'notes.txt'), 'utf8'), 'old notes.txt\n')
    })

    test('is on the disk before it takes its place, and its place is when it is told', (t) => {
      const { home } = staged(t)
      const told = join(scratch(t), 'told')
      const sync = fakeTool(t, 'sync', `echo "$* $(cat ${home}/ca.pem)" >> ${told}`)
      const { stdout } = run(home, scriptFor(home), { path: sync })
      assertSwapped(stdout)
      const all = newFiles.map(({ path }) => path + newSuffix).join(' ')
      assert.equal(readFileSync(told, 'utf8'), `-- ${all} old ca.pem\n-- . the new CA\n`)
    })

    test('changes nothing where it does not come to the disk', (t) => {
      const { home, old } = staged(t)
      const broken = fakeTool(t, 'sync', 'echo "sync: Input/output error" >&2; exit 1')
      assert.equal(stops(home, scriptFor(home), { path: broken })?.why, 'undone')
      assert.deepEqual(snapshot(home), old)
    })

    const broken: Readonly<Record<string, Buffer | undefined>> = {
      'has other bytes': buildTar(newFiles.map((file) => ({ ...file, bytes: Buffer.from('other') }))),
      'is cut off': buildTar(newFiles).subarray(0, 3000),
      'is not there': undefined,
    }
    for (const [what, archive] of some(Object.entries(broken)))
      test(`of which the archive ${what} leaves the old set whole, and no staging`, (t) => {
        const home = oldHome(t)
        const old = snapshot(home)
        if (archive) stage(home, archive)
        assert.equal(stops(home, scriptFor(home))?.why, 'undone')
        assert.deepEqual(snapshot(home), old)
      })

    test('without new files sets modes, and removes what is pruned or other runs have left; nothing that is not named', (t) => {
      const home = oldHome(t)
      const [pruned, leftovers] = [['-rf.pem', 'it.pem'], ['.harderway-a']]
      for (const name of [...pruned, 'kept.pem', '.harderway-a', '.harderway-b']) writeFileSync(join(home, name), 'x')
      const kept = readdirSync(home).filter((name) => ![...pruned, ...leftovers].includes(name))
      const desired = { 'ca.pem': 0o644, 'worker0-key.pem': 0o600 }
      const modes = Object.entries(desired).map(([name, mode]) => ({ name, mode }))
      const seen = swapped(home, { copies: false, modes, leftovers, pruned: [...pruned, 'not-there.pem'] })
      assert.deepEqual(readdirSync(home), kept)
      assert.deepEqual(seen.leftovers, ['.harderway-b'])
      for (const [name, mode] of Object.entries({ ...desired, 'worker0.kubeconfig': 0o640 }))
        assert.equal(lstatSync(join(home, name)).mode & 0o7777, mode, name)
      assert.equal(readFileSync(join(home, 'ca.pem'), 'utf8'), 'old ca.pem\n')
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

    const refusing = (t: TestContext, pattern: string) =>
      fakeTool(t, 'mv', `case "$*" in ${pattern}) echo "mv: Operation not permitted" >&2; exit 1 ;; esac; real "$@"`)

    for (const last of some(newFiles.map(({ path }) => path)))
      test(`where ${last} is the one that can not be renamed`, (t) => {
        const home = oldHome(t)
        symlinkSync('notes.txt', join(home, 'worker0.pem'))
        const old = snapshot(home)
        stage(home)
        const stopped = assertUndone(home, old, refusing(t, `*${last}${newSuffix}*`))
        assert.match(String(stopped?.said), /Operation not permitted$/)
      })

    test('where no second links can be made, files are moved away and back', (t) => {
      const { home, old } = staged(t)
      assertUndone(home, old, `${fakeTool(t, 'ln', 'exit 1')}:${refusing(t, `*kubeconfig${newSuffix}*`)}`)
    })
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
        assert.equal(stops(home, scriptFor(home, {}, seen))?.why, 'changed')
        assert.deepEqual(snapshot(home), old)
      })
  })

  test('a lock that another keeps, or no flock, stops the swap with nothing changed', (t) => {
    const { home, old } = staged(t)
    // Of some shells, sleep is a part.
    const script = scriptFor(home).replace('sleep 1', ':')
    assert.equal(stops(home, script, { path: fakeTool(t, 'flock', 'exit 1') })?.why, 'busy')
    assert.deepEqual(snapshot(home), old)
    stage(home)
    assert.equal(stops(home, script.replace('command -v flock', 'command -v no-such-tool'))?.why, 'no-flock')
    assert.deepEqual(snapshot(home), old)
  })

  test('a discard removes the archive, and no other; the swap that comes after it changes nothing', (t) => {
    const { home, old } = staged(t)
    const script = scriptFor(home)
    mkdirSync(join(home, '.harderway-other'))
    did(home, discardScript(home))
    did(home, discardScript(home))
    assert.equal(stops(home, script)?.why, 'undone')
    const { '.harderway-other': other, ...rest } = snapshot(home)
    assert.ok(other)
    assert.deepEqual(rest, old)
  })
})
