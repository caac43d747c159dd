import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Failure } from '../../../lib/failure.ts'
import {
  type AskedUnits,
  drainedMark,
  newSuffix,
  oldSuffix,
  parseUnits,
  unitsScript,
} from '../../../lib/remote/units-look.ts'
import { fakeTool, sha256 } from '../../support/node-files.ts'
import { inEachShell } from '../../support/node-shells.ts'
import { scratch } from '../../support/scratch.ts'

const nonce = '0123456789abcdef'
const shown = (unit: string, more: Record<string, string> = {}) =>
  Object.entries({
    Id: `${unit}.service`,
    LoadState: 'loaded',
    ActiveState: 'active',
    SubState: 'running',
    Job: '',
    ExecMainStartTimestamp: 'Wed 2026-11-25 11:40:18.123456 UTC',
    ...more,
  }).map(([key, value]) => `show ${key}=${value}`)
const digest = sha256('x')
const start = Date.UTC(2026, 10, 25, 11, 40, 18) / 1000
const records = [
  'source /home/ubuntu',
  'drained',
  'now 1795607000',
  'folder /etc/etcd',
  ...shown('etcd'),
  ...shown('kubelet', {
    LoadState: 'not-found',
    ActiveState: 'inactive',
    SubState: 'dead',
    ExecMainStartTimestamp: '',
  }),
  'place 644 0 0 81a4 2026-11-25 11:40:18.500000000 +0000 1200 /etc/etcd/ca.pem',
  `${digest}  /etc/etcd/ca.pem`,
  'place 777 0 0 a1ff 2026-11-25 11:40:18.5 +0000 20 /etc/etcd/kubernetes.pem',
  'rows 15',
]
const framed = (lines: readonly string[]) =>
  ['a login prints', `${nonce} begin`, ...lines, `${nonce} end ${lines.length}`, ''].join('\n')
const isFailure = (code: string) => (error: unknown) => error instanceof Failure && error.code === code

describe('the answer to a look at units', () => {
  test('is read', () => {
    const look = parseUnits(framed(records), nonce)
    assert.equal(look.source, '/home/ubuntu')
    assert.equal(look.now, 1795607000)
    assert.equal(look.isDrained, true)
    assert.deepEqual([...look.folders], ['/etc/etcd'])
    assert.deepEqual(Object.fromEntries(look.units), {
      etcd: { isLoaded: true, active: 'active', sub: 'running', isStopping: false, started: start + 0.123456 },
      kubelet: { isLoaded: false, active: 'inactive', sub: 'dead', isStopping: false, started: undefined },
    })
    assert.deepEqual(look.files.get('/etc/etcd/ca.pem'), {
      isPlain: true,
      mode: 0o644,
      uid: 0,
      gid: 0,
      changed: start + 0.5,
      digest,
    })
    assert.equal(look.files.get('/etc/etcd/kubernetes.pem')?.isPlain, false)
  })

  test('tells a unit that stops, or is stopped with a job at hand, from one that stays stopped', () => {
    const rows: [Record<string, string>, boolean][] = [
      [{ ActiveState: 'deactivating', Job: '123' }, true],
      [{ ActiveState: 'deactivating' }, true],
      [{ ActiveState: 'inactive', Job: '123' }, true],
      [{ ActiveState: 'inactive' }, false],
      // A member of etcd without a majority stays so.
      [{ ActiveState: 'activating', Job: '123' }, false],
      [{ ActiveState: 'active', Job: '123' }, false],
    ]
    for (const [state, isStopping] of rows) {
      const look = parseUnits(framed(['now 1795607000', ...shown('etcd', state), 'rows 6']), nonce)
      assert.equal(look.units.get('etcd')?.isStopping, isStopping, JSON.stringify(state))
    }
  })

  test('is none where any line of it is missing, doubled or said twice', () => {
    for (const i of records.keys()) {
      const lines = records.filter((_, j) => j !== i)
      // As many as before, so that the count alone does not tell.
      assert.throws(() => parseUnits(framed(records).replace(`${records[i]}\n`, ''), nonce), isFailure('no-answer'))
      if (/^(show|now|rows)/.test(records[i] ?? '')) {
        assert.throws(() => parseUnits(framed(lines), nonce), isFailure('no-answer'), records[i])
        assert.throws(
          () => parseUnits(framed([...records, records[i] ?? '']), nonce),
          isFailure('no-answer'),
          records[i],
        )
      }
    }
  })

  const wrong = {
    'something else is said': [...records, 'hello'],
    'a time is none': records.map((line) => line.replace(/=Wed.*/, '=yesterday')),
    'a unit has no state': records.map((line) => line.replace('ActiveState=active', 'ActiveState=')),
    'a unit is no service': records.map((line) => line.replace('etcd.service', 'etcd.socket')),
    'a mode is none': records.map((line) => line.replace('place 644', 'place 8')),
    'a path is relative': records.map((line) => line.replace('/etc/etcd/ca.pem', 'ca.pem')),
  }
  for (const [what, lines] of Object.entries(wrong))
    test(`is none where ${what}`, () => {
      assert.throws(() => parseUnits(framed(lines), nonce), isFailure('no-answer'))
    })

  test('tells a root that could not be asked from a look that failed', () => {
    const stopped = (why: string) => `${nonce} begin\n${nonce} stopped ${why} sudo: a password is required\n`
    assert.throws(() => parseUnits(stopped('root'), nonce), isFailure('no-root'))
    assert.throws(() => parseUnits(stopped('look'), nonce), isFailure('other'))
  })

  test('is read or refused, whatever it holds', () => {
    const line = fc.oneof(fc.constantFrom(...records), fc.string())
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        try {
          parseUnits(framed(lines), nonce)
        } catch (error) {
          assert.ok(isFailure('no-answer')(error), String(error))
        }
      }),
    )
  })
})

inEachShell(({ did, run }) => {
  const asked = (home: string, more: Partial<AskedUnits> = {}): AskedUnits => ({
    directory: home,
    sudo: '',
    units: [],
    paths: [join(home, 'places/ca.pem'), join(home, 'places/link'), join(home, 'gone/x')],
    alone: [join(home, 'places/ca.pem')],
    former: { units: [], paths: [join(home, 'places/left')] },
    ...more,
  })
  const look = (home: string, more?: Partial<AskedUnits>) =>
    parseUnits(did(home, unitsScript(asked(home, more), nonce)), nonce)
  const node = (t: Parameters<typeof scratch>[0]) => {
    const home = scratch(t)
    mkdirSync(join(home, 'places'))
    for (const name of ['ca.pem', `ca.pem${oldSuffix}`, `ca.pem${newSuffix}`, 'left'])
      writeFileSync(join(home, 'places', name), 'x', { mode: 0o640 })
    symlinkSync('/nowhere', join(home, 'places/link'))
    return home
  }

  test('a look tells what stands in places, and of folders which there are', (t) => {
    const home = node(t)
    const { files, folders, units, source, isDrained } = look(home)
    assert.deepEqual([source, isDrained, [...folders], units.size], [home, false, [join(home, 'places')], 0])
    const kinds = [...files].map(([path, { isPlain, digest, mode }]) => [
      path.slice(home.length),
      isPlain,
      digest,
      mode,
    ])
    assert.deepEqual(kinds, [
      ['/places/ca.pem', true, digest, 0o640],
      ['/places/link', false, undefined, 0o777],
      ['/places/left', true, digest, 0o640],
      [`/places/ca.pem${oldSuffix}`, true, digest, 0o640],
      [`/places/ca.pem${newSuffix}`, true, digest, 0o640],
    ])
  })

  test('asks nothing of root where nothing of ours is there', (t) => {
    const home = node(t)
    const more = { sudo: 'exit 9;', alone: [join(home, 'gone/x')], units: ['harderway-has-none'] }
    assert.equal(look(home, more).files.size, 0)
  })

  test('sees the mark of a node that is drained, and a folder that is not there', (t) => {
    const home = node(t)
    writeFileSync(join(home, drainedMark), '')
    assert.equal(look(home).isDrained, true)
    const { source, isDrained } = look(home, { directory: join(home, 'gone') })
    assert.deepEqual([source, isDrained], [undefined, false])
  })

  const told = (home: string, sudo: string) => {
    const { stdout } = run(home, unitsScript(asked(home, { sudo }), nonce))
    return () => parseUnits(stdout, nonce)
  }
  test('a sudo that refuses, asks or prints, and a tool that fails, leave it unknown', (t) => {
    const home = node(t)
    assert.throws(told(home, 'false'), isFailure('no-root'))
    assert.throws(told(home, 'sh -c "read -r password; exit 1" --'), isFailure('no-root'))
    assert.throws(told(home, 'sh -c \'echo a lecture; exec "$@"\' --'), isFailure('no-answer'))
    const path = fakeTool(t, 'sha256sum', 'exit 1')
    const { stdout } = run(home, unitsScript(asked(home), nonce), { path })
    assert.throws(() => parseUnits(stdout, nonce), isFailure('other'))
  })
})
