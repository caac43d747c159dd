import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Outcome } from '../../../lib/graph/target.ts'
import { type Closing, formatClosing, summarise } from '../../../lib/show/summary.ts'

const nothing: Closing = { advice: [], nextToExpire: undefined }
const closing = (outcomes: Readonly<Record<string, Outcome>>, told = nothing) =>
  formatClosing(summarise(new Map(Object.entries(outcomes)), 0, 0, told))
const made = (file: string, isNew: boolean): Outcome => ({
  kind: 'built',
  reasons: [isNew ? { kind: 'missing', path: file } : { kind: 'san-changed', added: ['a'], removed: [] }],
  change: { kind: 'made', files: [file, 'key'], isNew },
})
const deployed = (...files: string[]): Outcome => ({
  ...{ kind: 'built', reasons: [{ kind: 'forced' }] },
  change: { kind: 'deployed', files, removed: [] },
})
const restarted = (...restarts: string[]): Outcome => ({
  ...{ kind: 'built', reasons: [{ kind: 'forced' }] },
  change: { kind: 'installed', paths: ['/etc/a.pem', '/etc/b.pem'], restarts },
})
const advice = [{ nodes: ['one'], files: ['a.pem'], restart: [] }]
const nextToExpire = { name: 'ca', expires: new Date('2036-11-21T10:00:00Z') }

test('a run ends with what changed, what is left to do and what expires next', () => {
  const outcomes = {
    ...{ ca: made('ca.pem', true), 'certs/a': made('a.pem', false), 'certs/b': made('b.pem', false) },
    ...{ 'deploy/one': deployed('ca.pem', 'a.pem'), 'deploy/two': deployed('ca.pem') },
    ...{ 'install/one': restarted('etcd', 'kubelet'), 'install/two': restarted('etcd', 'kubelet') },
    'install/three': restarted(),
  }
  assert.deepEqual(closing(outcomes, { advice, nextToExpire }), [
    'New        ca.pem',
    'Changed    a.pem, b.pem',
    'Deployed   one, two',
    'Installed  three',
    'Restarted  etcd, kubelet on one, two',
    'To do      one: a.pem replaced: copy it to where the units read it',
    'Next       ca expires on 2036-11-21',
  ])
})

test('on a terminal with colours, what is left to do is in bold, and nothing else is', (t) => {
  process.env.FORCE_COLOR = '1'
  t.after(() => delete process.env.FORCE_COLOR)
  const toDo = ['others could read admin-key.pem:\n    npm run task -- certs --force']
  const rows = closing({ ca: made('ca.pem', true) }, { advice, toDo, nextToExpire })
  assert.deepEqual(
    rows.filter((row) => /^\x1b\[1m.*\x1b\[22m$/.test(row)).map((row) => row.slice(4, -5)),
    [
      'To do      one: a.pem replaced: copy it to where the units read it',
      'To do      others could read admin-key.pem:',
      '    npm run task -- certs --force',
    ],
  )
  assert.equal(rows.filter((row) => row.includes('\x1b')).length, 3)
})

test('of what was repaired, the files are named', () => {
  const wide = (path: string) => ({ kind: 'wrong-mode', path, was: 0o644, wanted: 0o600 }) as const
  const outcomes: Record<string, Outcome> = {
    'certs/a': { kind: 'built', reasons: [wide('a.pem'), wide('a-key.pem')] },
    'deploy/one': { ...deployed(), reasons: [wide('b-key.pem')] } as Outcome,
  }
  assert.deepEqual(closing(outcomes), ['Repaired   a.pem, a-key.pem, deploy/one'])
})

test('a run that found everything fresh says so, and what expires next', () => {
  const fresh: Outcome = { kind: 'fresh', reasons: [] }
  assert.deepEqual(closing({ ca: fresh }, { advice: [], nextToExpire }), [
    'Changed    nothing: everything matches cluster.yaml',
    'Next       ca expires on 2036-11-21',
  ])
  const failed: Outcome = { kind: 'cancelled', because: [] }
  assert.deepEqual(closing({ ca: failed }, { advice: [], nextToExpire }), ['Next       ca expires on 2036-11-21'])
})

test('a look that changes nothing has no such end, nor has a run that could not begin', () => {
  assert.deepEqual(closing({ ca: { kind: 'fresh', reasons: [] } }), [])
  assert.deepEqual(closing({}, { advice: [], nextToExpire }), [])
})
