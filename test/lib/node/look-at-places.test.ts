import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, lchownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { platform } from 'node:process'
import { describe, type TestContext, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { lookLines, type Query } from '../../../lib/node/node.ts'
import { oldSuffix, root as rootAccount } from '../../../lib/node/place.ts'
import { message, openFoldersTo, type PlacesState, readState } from '../../../lib/node/state.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { shownUnit } from '../../support/fakes.ts'
import { fakeTool, newSuffix, scratch, sha256 } from '../../support/files.ts'
import { anybody, inUsualShells, isRoot, nonce, oddEnvironment } from '../../support/node-shells.ts'

const digest = sha256('x')
type PlacesQuery = NonNullable<Query['places']>
const placesScript = (places: PlacesQuery, directory = '/') =>
  message('look', lookLines({ directory, names: harderWay.files, expected: new Map(), places }), nonce)
const readPlaces = (output: string): PlacesState => {
  const { places } = readState(output, nonce, true)
  if (!places || places instanceof Failure) throw places ?? new Error('no places')
  return places
}
const isFailure = (code: string) => (error: unknown) => error instanceof Failure && error.code === code

/** Root looks at all of the paths, with the content of those that are not 'x'. */
const queryOf = (paths: readonly string[], more: Partial<PlacesQuery> = {}): PlacesQuery => ({
  sudo: '',
  units: [],
  paths: new Map(paths.map((path) => [path, digest])),
  signs: ['/'],
  ...more,
})

/** A home with a folder of places. */
const node = (t: TestContext) => {
  const home = scratch(t)
  mkdirSync(join(home, 'places'))
  for (const name of ['ca.pem', `ca.pem${oldSuffix}`, `ca.pem${newSuffix}`, 'left'])
    writeFileSync(join(home, 'places', name), 'x', { mode: 0o640 })
  return home
}

/** A systemctl that prints this, for the front of a PATH. */
const systemctl = (t: TestContext, lines: readonly string[]) =>
  fakeTool(t, 'systemctl', `cat <<'SHOWN'\n${lines.join('\n')}\nSHOWN`)

inUsualShells(({ did, run }) => {
  const look = (query: PlacesQuery, path?: string) =>
    readPlaces(did('/', placesScript(query), path === undefined ? {} : { path }))
  const inHome = (home: string, ...names: string[]) => names.map((name) => join(home, name))

  test('a look at places finds what is there, what is kept beside it, and which folders exist', (t) => {
    const home = node(t)
    const query = queryOf(inHome(home, 'places/ca.pem', 'places/none', 'gone/x'))
    for (const environment of ['', oddEnvironment]) {
      const { files, folders, real } = readPlaces(did('/', environment + placesScript(query)))
      assert.deepEqual([[...folders], real.size], [inHome(home, 'places'), 0])
      const paths = inHome(home, 'places/ca.pem', `places/ca.pem${oldSuffix}`, `places/ca.pem${newSuffix}`)
      assert.deepEqual([...files.keys()], paths)
      for (const { kind, sha256: sum, mode, size } of files.values())
        assert.deepEqual([kind, sum, mode, size], ['file', digest, 0o640, 1])
    }
  })

  test('has the content of what differs, but of nothing else', (t) => {
    const home = node(t)
    const [same = '', other = '', unasked = ''] = inHome(home, 'places/ca.pem', 'places/left', 'places/key')
    writeFileSync(unasked, 'secret')
    const paths = new Map([
      [same, digest],
      [other, sha256('y')],
      [unasked, ''],
    ])
    assert.deepEqual(look(queryOf([], { paths })).contents, new Map([[other, Buffer.from('x')]]))
  })

  describe('a path is resolved as the node does:', () => {
    test('through a folder that is a link', (t) => {
      const home = node(t)
      symlinkSync('places', join(home, 'link'))
      const [path = '', real = ''] = inHome(home, 'link/ca.pem', 'places/ca.pem')
      const seen = look(queryOf([path]))
      assert.deepEqual([...seen.real], [[path, real]])
      assert.equal(seen.files.get(real)?.kind, 'file')
      assert.ok(seen.files.has(real + oldSuffix) && !seen.files.has(path))
    })

    test('through a link in the place itself, and one that leads to where nothing is', (t) => {
      const home = node(t)
      const [a = '', b = '', real = '', gone = ''] = inHome(home, 'a.pem', 'b.pem', 'places/ca.pem', 'gone')
      symlinkSync('places/ca.pem', a)
      symlinkSync(gone, b)
      const { real: found, files } = look(queryOf([a, b]))
      assert.deepEqual(Object.fromEntries(found), { [a]: real, [b]: gone })
      assert.deepEqual([...files.keys()], [real, real + oldSuffix, real + newSuffix])
    })

    test('with the folders on the way, and who may change them', { skip: !isRoot && 'needs root' }, (t) => {
      const home = node(t)
      const [open = '', places = '', path = '', straight = ''] = inHome(
        home,
        'open',
        'places',
        'open/link/ca.pem',
        'places/left',
      )
      mkdirSync(open)
      chmodSync(open, 0o777)
      symlinkSync(places, join(open, 'link'))
      chownSync(places, anybody, anybody)
      const seen = look(queryOf([path, straight]))
      const openTo = (of: string) => openFoldersTo(seen, of, [rootAccount]).map(({ path }) => path)
      assert.deepEqual([openTo(path), openTo(straight)], [[open, places], [places]])
      assert.ok(seen.above.has('/'))
    })

    test('a link of another user is one of them, also in the place itself', { skip: !isRoot && 'needs root' }, (t) => {
      const home = node(t)
      const [folder = '', file = '', own = ''] = inHome(home, 'link', 'places/theirs.pem', 'own.pem')
      symlinkSync('places', folder)
      symlinkSync('ca.pem', file)
      symlinkSync('places/ca.pem', own)
      lchownSync(folder, anybody, anybody)
      lchownSync(file, anybody, anybody)
      const [led = ''] = inHome(home, 'link/ca.pem')
      const seen = look(queryOf([led, file, own]))
      const openTo = (of: string) => openFoldersTo(seen, of, [rootAccount]).map(({ path }) => path)
      assert.deepEqual([led, file, own].map(openTo), [[folder], [file], []])
    })
  })

  test('the main process of a unit has its arguments as they are; none passes for another process', {
    skip: platform !== 'linux' && 'needs /proc',
  }, async (t) => {
    const args = ['--config=/a b', '/*', '$(x)', '', 'é', 'a=b', '\n/proc/1/cmdline:--x', '-v=2', `"'\\\``, '\r', '']
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e9)', '--', ...args], { argv0: '/usr/bin/x' })
    t.after(() => child.kill('SIGKILL'))
    await once(child, 'spawn')
    const path = systemctl(t, [...shownUnit('a', { MainPID: `${child.pid}` }), '', ...shownUnit('b')])
    const { units } = look(queryOf(['/gone/x'], { units: ['a', 'b'] }), path)
    const [program, , , , ...printed] = units.get('a')?.command ?? []
    assert.equal(program, '/usr/bin/x')
    assert.deepEqual(
      printed,
      args.map((arg) => arg.replaceAll('\n', '\u0001')),
    )
    assert.equal(units.get('b')?.command, undefined)
  })

  test("a unit's account is root, or has its group first and those it adds last; it is not known where the node does not know it", (t) => {
    const rows = [
      ['a', '', '', '', { uid: 0, gids: [0] }],
      ['b', 'kube', '', '', { uid: 990, gids: [991, 992] }],
      ['d', 'kube', 'pki', 'ssl pki', { uid: 990, gids: [5, 991, 992, 6, 5] }],
      ['e', 'nobody-knows', '', '', undefined],
      ['f', 'kube', 'nobody-knows', 'nobody-knows ssl', { uid: 990, gids: [991, 992, 6] }],
    ] as const
    const lines = rows.flatMap(([name, User, Group, SupplementaryGroups]) => [
      ...shownUnit(name, { User, Group, SupplementaryGroups }),
      '',
    ])
    const id =
      'case "$*" in "-u -- kube") echo 990 ;; "-G -- kube") echo 991 992 ;; *--*) exit 1 ;; *) real "$@" ;; esac'
    const getent = 'case "$*" in "group pki") echo "pki:x:5:a,b" ;; "group ssl") echo "ssl:x:6:" ;; *) exit 2 ;; esac'
    const path = [systemctl(t, lines.slice(0, -1)), fakeTool(t, 'id', id), fakeTool(t, 'getent', getent)].join(':')
    const { units } = look(queryOf(['/gone/x'], { units: rows.map(([name]) => name) }), path)
    assert.deepEqual(
      [...units].map(([name, { account }]) => [name, account]),
      rows.map(([name, , , , account]) => [name, account]),
    )
  })

  test('a sudo that refuses, asks or prints, and a tool that fails, leave places unknown, and the folder known', (t) => {
    const home = node(t)
    const query = queryOf(inHome(home, 'places/ca.pem'))
    const told = (sudo: string, path?: string) => {
      const script = placesScript({ ...query, sudo }, home)
      const { status, stdout } = run('/', script, path === undefined ? {} : { path })
      assert.equal(status, 0)
      const { folder, places } = readState(stdout, nonce, true)
      assert.equal(folder, home)
      return places
    }
    assert.ok(isFailure('no-root')(told('false')))
    assert.ok(isFailure('no-root')(told('sh -c "read -r password; exit 1" --')))
    const lectured = told('sh -c \'echo a lecture; exec "$@"\' --')
    assert.ok(lectured && !(lectured instanceof Failure) && lectured.files.size === 3)
    // One that runs nothing and says that all went well.
    assert.ok(isFailure('no-answer')(told('true')))
    const failed = told('', fakeTool(t, 'sha256sum', 'echo "sha256sum: no" >&2; exit 1'))
    assert.ok(isFailure('other')(failed) && /\(sha256sum: no\)$/.test((failed as Failure).what))
  })
})
