import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure, refusal } from '../../../lib/failure.ts'
import type { Outcome } from '../../../lib/graph/target.ts'
import type { Diff, Verb } from '../../../lib/results.ts'
import {
  formatClosing,
  formatFailures,
  joinFailures,
  notices,
  type Summary,
  textOf,
  toDoOf,
} from '../../../lib/show/rows.ts'
import { fakeRow, fakeRows } from '../../support/fakes.ts'

const missing: Diff = { what: 'a.pem missing', verb: 'make', names: ['a.pem'] }
const expires: Diff = { what: 'expires 2027-11-25', verb: 'renew' }
const moreNames: Diff = { what: 'adds SAN 192.168.1.22', verb: 'change' }
const openMode: Diff = { what: 'a.pem has mode 0644, not 0600', verb: 'chmod' }
const built = (diffs: Diff | readonly Diff[], note?: string): Outcome => ({
  ...{ state: 'built', diffs: [diffs].flat() },
  ...(note !== undefined && { note }),
})
const done = (verb: Verb, ...names: string[]): Diff => ({ what: `${verb} ${names}`, verb, names })
const fresh: Outcome = { state: 'fresh' }
const notYet: Outcome = { ...fresh, note: 'not installed yet', hasNothing: true }

test('an outcome says what there is now, or why', () => {
  for (const [outcome, text] of [
    [built(missing, 'expires 2036-11-22'), 'new, expires 2036-11-22'],
    [built(expires, 'expires 2028-10-30'), 'renewed, expires 2028-10-30'],
    [built({ what: 'kept', verb: 'replace' }, 'expires 2036-11-23'), 'replaced, expires 2036-11-23; kept'],
    [
      built([moreNames, expires], 'expires 2028-10-30'),
      'changed, expires 2028-10-30; adds SAN 192.168.1.22; expires 2027-11-25',
    ],
    [built(openMode), 'repaired; a.pem has mode 0644, not 0600'],
    [built([done('copy', 'a.pem'), done('remove', 'old.pem')]), 'a.pem deployed; old.pem removed'],
    [
      built([done('install', '/a', '/b'), done('restart', 'etcd', 'kubelet')]),
      '2 files installed; etcd, kubelet restarted',
    ],
    [{ state: 'stale', diffs: [missing, moreNames] }, 'to change; a.pem missing; adds SAN 192.168.1.22'],
    [notYet, 'not installed yet'],
    [{ state: 'skipped', because: ['ca'] }, 'skipped; ca must succeed first'],
    [{ state: 'skipped', because: [], isBegun: true }, 'interrupted; the next run checks it again'],
  ] as const satisfies readonly [Outcome, string][])
    assert.equal(textOf(fakeRow('a', outcome)), text)
})

const closing = (outcomes: Readonly<Record<string, Outcome>>, more: Partial<Summary> = {}) =>
  formatClosing({ rows: fakeRows(outcomes), seconds: 0, exit: 0, ...more })

test('a run ends with what is left to do, and the command that goes on', () => {
  const beside = [...notices('after', 'look:\n    at it'), ...notices('note', 'a note')]
  const outcomes = {
    ca: built(missing),
    'deploy/one': { ...built(done('copy', 'ca.pem')), todo: ['copy it'] },
    'deploy/two': { ...built(done('copy', 'ca.pem')), todo: ['copy it'] },
    'local-kubeconfig': { state: 'skipped', because: [] } satisfies Outcome,
  }
  assert.deepEqual(closing(outcomes, { notices: beside, goOn: 'go on' }), [
    'To do      look:',
    '    at it',
    'To do      copy it',
    'Stopped    early; every file is whole; continue with:\n    go on',
  ])
})

test('what several nodes have to do is said once, with their names', () => {
  const rows = new Map(
    ['one', 'two'].map((node) => {
      const row = fakeRow(`install/${node}`, { state: 'fresh', todo: ['set the flag'] })
      return [row.id, { ...row, target: { ...row.target, where: 'node', node } }] as const
    }),
  )
  assert.deepEqual(toDoOf({ rows }), ['on one, two, set the flag'])
})

const names = ['control0', 'worker0', 'worker1']
const down = (name: string) =>
  new Failure('connection refused', { node: name, code: 'connection-refused', remedy: 'check sshd' })
const refused = (name: string) => refusal('another CA than in auth', [`deploy --node ${name}`]).with({ node: name })
const failed = (failures: Record<string, Failure>) =>
  formatFailures(
    fakeRows(Object.fromEntries(Object.entries(failures).map(([id, failure]) => [id, { state: 'failed', failure }]))),
  )

test('failures of equal text and remedy are reported once, with all their nodes or targets, where the first stood', () => {
  const all = (failure: (name: string) => Failure) =>
    Object.fromEntries(names.map((name) => [`deploy/${name}`, failure(name)]))
  const noRoom = { ca: new Failure('no room') }
  assert.deepEqual(failed({ 'deploy/a': down('a'), ...noRoom }), [
    'deploy/a: connection refused\n  check sshd',
    'ca: no room',
  ])
  assert.deepEqual(failed({ ...all(down), ...noRoom }), [
    'control0, worker0, worker1: connection refused\n  check sshd',
    'ca: no room',
  ])
  assert.deepEqual(failed({ ...noRoom, certs: new Failure('no room') }), ['ca, certs: no room'])
  // Each has its own command.
  const apart = names.map((name) => `deploy/${name}: another CA than in auth\n  - deploy --node ${name}`)
  assert.deepEqual(failed(all(refused)), apart)
  assert.deepEqual(failed({ 'deploy/a': down('a'), 'install/a': down('a') }), ['a: connection refused\n  check sshd'])
})

test('what is joined is still a refusal, and has its code', () => {
  const same = refusal('another CA than in auth', ['compare them'])
  const [[id, failure] = []] = joinFailures(names.map((name) => [`deploy/${name}`, same.with({ node: name })]))
  assert.deepEqual([id, failure?.kind, failure?.code], [undefined, 'refused', 'irreplaceable'])
})
