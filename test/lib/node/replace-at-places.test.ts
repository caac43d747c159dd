import assert from 'node:assert/strict'
import {
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, describe, type TestContext, test } from 'node:test'
import { buildTar, type Replacement, replaceLines } from '../../../lib/node/node.ts'
import { marksFolder, oldSuffix } from '../../../lib/node/place.ts'
import { message, readAnswer, type Verb } from '../../../lib/node/state.ts'
import { fakeTool, newSuffix, scratch, sha256, snapshot } from '../../support/files.ts'
import { anybody, inUsualShells, isRoot, nonce } from '../../support/node-shells.ts'

const names = ['ca.pem', 'kubernetes.pem', 'kubernetes-key.pem']

/** The archive of new files where it was copied, and old ones in their places, but for the first, which is new there. */
function folders(t: TestContext) {
  const [source, place] = [scratch(t), scratch(t)]
  for (const name of names.slice(1)) writeFileSync(join(place, name), `old ${name}\n`, { mode: 0o600 })
  const files = names.map((name, i) => ({
    path: join(place, name),
    bytes: Buffer.from(`new ${name}\n`),
    access: { uid: i * 1000, gid: i * 2000, mode: 0o640 - i * 0o40 },
  }))
  const change: Replacement = { folder: source, sudo: '', files, unchanged: [], seen: new Map() }
  return { source, place, change }
}

/** Not the machine's own. */
const nodeFolderHere = mkdtempSync(join(tmpdir(), 'harderway-run-'))
after(() => rmSync(nodeFolderHere, { recursive: true }))
const ownNodeFolder = (script: string) => script.replaceAll(marksFolder, nodeFolderHere).replace('sleep 1', ':')

const linesOf = ({ folder, sudo, files }: Replacement) => [
  `folder ${folder}`,
  `sudo ${sudo}`,
  ...files.map(({ path, bytes }) => `file ${path} ${sha256(bytes)}`),
]

/** An mv that renames nothing of which the arguments match. */
const refusing = (t: TestContext, pattern: string) =>
  fakeTool(t, 'mv', `case "$*" in ${pattern}) echo no >&2; exit 1 ;; esac; real "$@"`)

inUsualShells(({ run, some }) => {
  /** 'done', or why it stopped. */
  const answer = (verb: Verb, lines: readonly string[], more: { path?: string } = {}) => {
    const { status, stdout, stderr } = run('/', ownNodeFolder(message(verb, lines, nonce)), more)
    assert.equal(status, 0, stderr)
    const { stopped } = readAnswer(stdout, nonce, verb)
    return stopped ? `${stopped.why} ${stopped.said}`.trim() : 'done'
  }
  const archive = '.harderway-0123456789abcdef'
  const place = (change: Replacement, more?: { path?: string }, tar = buildTar(change.files)) => {
    writeFileSync(join(change.folder, archive), tar)
    return answer('replace', replaceLines(change, archive), more)
  }
  const back = (change: Replacement) => answer('back', linesOf(change))
  const forget = (change: Replacement) => answer('forget', linesOf(change))
  const contents = (folder: string) =>
    Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]))

  describe('placing', { skip: !isRoot && "files become root's" }, () => {
    test('gives each file its place, and the owner and mode that it is to have, and keeps the old one beside it', (t) => {
      const { source, place: folder, change } = folders(t)
      assert.equal(place(change), 'done')
      assert.deepEqual(readdirSync(source), [])
      for (const { path, access } of change.files) {
        const { uid, gid, mode } = lstatSync(path)
        assert.deepEqual({ uid, gid, mode: mode & 0o7777 }, access, path)
      }
      assert.deepEqual(contents(folder), {
        ...Object.fromEntries(names.map((name) => [name, `new ${name}\n`])),
        ...Object.fromEntries(names.slice(1).map((name) => [`${name}${oldSuffix}`, `old ${name}\n`])),
      })
    })

    test('puts the old ones back, and forgets them, but nothing of a file that is another by now', (t) => {
      const { place: folder, change } = folders(t)
      const old = contents(folder)
      place(change)
      assert.equal(back(change), 'done')
      assert.deepEqual(contents(folder), { ...old, 'ca.pem': 'new ca.pem\n' })
      place(change)
      writeFileSync(join(folder, 'kubernetes.pem'), 'of another run')
      writeFileSync(join(folder, `kubernetes-key.pem${newSuffix}`), 'left')
      assert.equal(forget(change), 'done')
      assert.deepEqual(readdirSync(folder).toSorted(), [...names, `kubernetes.pem${oldSuffix}`].toSorted())
    })

    test('replaces a link in a place, not what it leads to, and puts it back', (t) => {
      const { place: folder, change } = folders(t)
      const [path, elsewhere] = [join(folder, 'kubernetes.pem'), join(scratch(t), 'mine')]
      writeFileSync(elsewhere, 'mine')
      rmSync(path)
      symlinkSync(elsewhere, path)
      assert.equal(place(change), 'done')
      assert.ok(lstatSync(path).isFile())
      assert.equal(readFileSync(elsewhere, 'utf8'), 'mine')
      back(change)
      assert.equal(readlinkSync(path), elsewhere)
    })

    test('follows no link beside a place', (t) => {
      const { place: folder, change } = folders(t)
      const elsewhere = join(scratch(t), 'mine')
      writeFileSync(elsewhere, 'mine')
      symlinkSync(elsewhere, join(folder, `kubernetes-key.pem${newSuffix}`))
      symlinkSync(elsewhere, join(folder, `kubernetes-key.pem${oldSuffix}`))
      assert.equal(place(change), 'done')
      assert.equal(readFileSync(elsewhere, 'utf8'), 'mine')
      assert.ok(lstatSync(join(folder, 'kubernetes-key.pem')).isFile())
      assert.equal(readlinkSync(join(folder, `kubernetes-key.pem${oldSuffix}`)), elsewhere)
    })

    describe('with an old file that an earlier run has kept', () => {
      /** The earlier run had placed a pair, and was killed before its units were healthy. */
      const twice = (t: TestContext) => {
        const both = folders(t)
        for (const name of names.slice(1)) {
          writeFileSync(join(both.place, `${name}${oldSuffix}`), `last healthy ${name}\n`)
          writeFileSync(join(both.place, name), `of the earlier run ${name}\n`)
        }
        return both
      }
      const healthy = Object.fromEntries(names.slice(1).map((name) => [name, `last healthy ${name}\n`]))

      test('keeps that one', (t) => {
        const { place: folder, change } = twice(t)
        assert.equal(place(change), 'done')
        for (const name of names.slice(1))
          assert.equal(readFileSync(join(folder, `${name}${oldSuffix}`), 'utf8'), `last healthy ${name}\n`)
        back(change)
        assert.deepEqual(contents(folder), { ...healthy, 'ca.pem': 'new ca.pem\n' })
      })

      // Else a certificate would stand beside the key of another run.
      for (const name of some(names.slice(1)))
        test(`goes back to all of them where ${name} can not be renamed`, (t) => {
          const { place: folder, change } = twice(t)
          assert.equal(place(change, { path: refusing(t, `*/${name}${newSuffix}*`) }), 'undone no')
          assert.deepEqual(contents(folder), healthy)
        })
    })

    test('moves nothing before all old files are kept, not even one that an earlier run has kept', (t) => {
      const { place: folder, change } = folders(t)
      writeFileSync(join(folder, `ca.pem${oldSuffix}`), 'last healthy')
      rmSync(join(folder, 'kubernetes-key.pem'))
      mkdirSync(join(folder, 'kubernetes-key.pem'))
      const before = snapshot(folder)
      assert.equal(place(change), 'undone kubernetes-key.pem is a folder')
      assert.deepEqual(snapshot(folder), before)
    })

    const link = 'ln -s "$VICTIM" "$f" 2>/dev/null || :'
    for (const [when, tool, script] of [
      ['before it is written', 'rm', `real "$@"; for f; do :; done; ${link}`],
      ['after', 'sha256sum', `real "$@"; for f in "$FOLDER"/*-new; do mv -- "$f" "$FOLDER/away"; ${link}; done`],
    ] as const)
      test(`changes no file to which the owner of the folder gives its name by a link ${when}`, (t) => {
        const { place: folder, change } = folders(t)
        const victim = join(scratch(t), 'victim')
        writeFileSync(victim, 'mine', { mode: 0o640 })
        chownSync(victim, anybody, anybody)
        const before = snapshot(dirname(victim))
        place(change, { path: fakeTool(t, tool, `FOLDER=${folder} VICTIM=${victim}\n${script}`) })
        assert.deepEqual(snapshot(dirname(victim)), before)
        assert.equal(lstatSync(victim).uid, anybody)
      })
  })

  test("a command's status and its output are reported, whatever it prints and reads", () => {
    const said = (command: string) => {
      const lines = ['sudo ', ...command.split('\n').map((line) => `do ${line}`)]
      const { records } = readAnswer(run('/', message('run', lines, nonce)).stdout, nonce, 'run')
      return records.map((record) => record.replace(/^said /, ''))
    }
    assert.deepEqual(said('cat; echo one; echo two >&2; exit 7'), ['status 7', 'one', 'two'])
    assert.deepEqual(said('if true\nthen printf "%s\\n" \'a  b\' "*"\nfi # done'), ['status 0', 'a  b', '*'])
    assert.deepEqual(said(`printf '${nonce}-run end 0\n'`), ['status 0', `${nonce}-run end 0`])
    assert.equal(said('seq 100').length, 40)
  })
})
