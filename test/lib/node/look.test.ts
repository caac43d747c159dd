import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { lookLines } from '../../../lib/node/node.ts'
import { message, type NodeState, readState } from '../../../lib/node/state.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { fakeTool, scratch, sha256 } from '../../support/files.ts'
import { asAnybody, inUsualShells, isRoot, type NodeShell, nonce } from '../../support/node-shells.ts'

const { files } = harderWay
const linesOf = (directory: string, expected: Readonly<Record<string, string>> = {}) =>
  lookLines({ directory, names: files, expected: new Map(Object.entries(expected)) })
const folderScript = (...query: Parameters<typeof linesOf>) => message('look', linesOf(...query), nonce)
const makeScript = (directory: string) => message('look', ['make', ...linesOf(directory)], nonce)

const homeWith = (t: TestContext, files: Readonly<Record<string, string | Buffer>>) => {
  const home = scratch(t)
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(home, name), bytes)
  return home
}

inUsualShells(({ run, did, some }: NodeShell) => {
  const look = (home: string, directory = '~', expected: Readonly<Record<string, string>> = {}, more = {}): NodeState =>
    readState(did(home, folderScript(directory, expected), more), nonce)
  const make = (home: string, directory: string) => readState(did(home, makeScript(directory)), nonce)

  describe('a look', () => {
    test('at a folder that is not there says so', (t) => {
      const { folder, uid, files, contents } = look(scratch(t), '~/not/there')
      assert.deepEqual([folder, uid, files.size, contents.size], [undefined, process.getuid?.(), 0, 0])
    })

    test("lists the machine's own addresses, as the kernel has them", (t) => {
      const kernel = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
Local:
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 192.168.1.14
           /32 link UNICAST
           /32 host LOCAL
        |-- 192.168.1.255
           /32 link BROADCAST
fd000000000000000000000000000014 02 40 00 80     eth0
fe8000000000000000fc00fffe000001 02 40 20 80     eth0`
      const listing = (script: string) =>
        look(scratch(t), '~/not/there', {}, { path: fakeTool(t, 'cat', `[ $# -gt 0 ] || { real; exit; }\n${script}`) })
      const { addresses } = listing(`printf '%s\\n' '${kernel}'`)
      assert.deepEqual([...addresses], ['127.0.0.1', '192.168.1.14', 'fd00::14'])
      assert.deepEqual([...listing('exit 1').addresses], [])
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
      const { files } = look(home)
      assert.deepEqual([...files.keys()].toSorted(), Object.keys(modes).toSorted())
      for (const [name, mode] of Object.entries(modes)) {
        const own = { kind: 'file', mode, uid: process.getuid?.(), size: name.length, sha256: sha256(name) } as const
        assert.partialDeepStrictEqual(files.get(name), own)
      }
    })

    test('brings the content of files that are not as expected, and of no others', (t) => {
      const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7) & 0xff))
      const home = homeWith(t, {
        ...{ 'ca.pem': bytes, 'service-account.pem': 'as expected', 'encryption-config.yaml': '' },
        'ca-key.pem': 'nobody asked for it',
      })
      const { contents } = look(home, '~', {
        ...{ 'ca.pem': sha256('another'), 'service-account.pem': sha256('as expected') },
        ...{ 'encryption-config.yaml': '-', 'missing.pem': '-' },
      })
      assert.deepEqual(Object.fromEntries(contents), { 'ca.pem': bytes, 'encryption-config.yaml': Buffer.alloc(0) })
    })

    test('follows no symbolic link, and reads nothing behind it', (t) => {
      const home = homeWith(t, { secret: 'secret' })
      symlinkSync('secret', join(home, 'ca.pem'))
      const { files, contents } = look(home, '~', { 'ca.pem': '-' })
      assert.equal(contents.size, 0)
      assert.deepEqual([files.get('ca.pem')?.kind, files.get('ca.pem')?.sha256], ['link', undefined])
    })
  })

  describe('a folder', () => {
    const odd = '~/it\'s "here" $HOME `id` $(id);b&c|dé'
    for (const directory of ['~', '~/a b/c', odd])
      test(`${directory} is made, inspected, and found with what is in it`, (t) => {
        const home = scratch(t)
        const folder = join(home, directory.slice(2))
        assert.equal(make(home, directory).folder, folder)
        const found = look(home, directory).folder ?? assert.fail()
        writeFileSync(join(found, 'ca.pem'), '')
        assert.deepEqual([...look(home, directory).files.keys()], ['ca.pem'])
        assert.deepEqual(readdirSync(folder), ['ca.pem'])
      })
  })

  describe('a look that proves nothing is none:', () => {
    /** What goes wrong, in a home that has files. */
    const failing: Readonly<Record<string, readonly [tool: string, script: string]>> = {
      'stat fails': ['stat', 'echo "stat: no" >&2; exit 1'],
      'stat leaves a file out': ['stat', 'real "$@" | sed 1d'],
      'sha256sum fails': ['sha256sum', 'exit 1'],
      'sha256sum leaves a file out': ['sha256sum', 'real "$@" | sed 1d'],
      'od fails': ['od', 'exit 1'],
      'od reads half of it': ['od', 'head -c 2 | real -A n -t x1 -v'],
      'id fails': ['id', 'exit 1'],
      'the folder can not be listed': ['ls', 'exit 2'],
    }
    for (const [title, [tool, script]] of some(Object.entries(failing)))
      test(title, (t) => {
        const home = homeWith(t, { 'ca.pem': 'ca.pem', 'ca-key.pem': 'ca-key.pem' })
        const path = fakeTool(t, tool, script)
        const { status, stdout } = run(home, folderScript('~', { 'ca.pem': '-' }), { path })
        if (status === 0) assert.throws(() => readState(stdout, nonce), Failure)
      })

    for (const [what, directory] of [
      ['a folder that can not be entered', '~/closed'],
      ['a file in its place', '~/file'],
      ['a folder behind a link that leads nowhere', '~/link/in/it'],
    ] as const)
      test(`${what} does not count as one that does not exist`, (t) => {
        const home = homeWith(t, { file: '' })
        mkdirSync(join(home, 'closed/in/it'), { recursive: true })
        symlinkSync('nowhere', join(home, 'link'))
        chmodSync(home, 0o755)
        if (isRoot) chownSync(join(home, 'closed'), 12345, 12345)
        chmodSync(join(home, 'closed'), 0)
        const { status, stdout } = run(home, folderScript(directory), { who: asAnybody })
        chmodSync(join(home, 'closed'), 0o700)
        assert.equal(status, 0)
        assert.throws(() => readState(stdout, nonce), { message: /^can't enter \/\S+$/ })
      })

    test('a script that was cut off anywhere does nothing', (t) => {
      const home = scratch(t)
      const script = makeScript('~/made')
      const values = script.indexOf('\nmain ')
      for (let length = script.length - 2; length > 0; length -= length > values ? 23 : 997) {
        run(home, script.slice(0, length))
        assert.deepEqual(readdirSync(home), [], `of ${length} characters`)
      }
    })
  })

  test('what a run has left is reported, and nothing else that is called like it', (t) => {
    const home = scratch(t)
    for (const name of ['.harderway-b ad', '.harder', '.harderway-notes', 'pki.harderway-old'])
      mkdirSync(join(home, name))
    for (const name of ['.harderway-0a', 'ca.pem.harderway-new', 'ca.pem.harderway-old', 'notes.txt.harderway-old'])
      writeFileSync(join(home, name), '')
    symlinkSync('.harderway-0a', join(home, '.harderway-link'))
    const left = ['.harderway-0a', 'ca.pem.harderway-new', 'ca.pem.harderway-old']
    assert.deepEqual(look(home).leftovers.toSorted(), left)
  })
})
