import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure, refusal } from '../../../lib/failure.ts'
import type { Outcome } from '../../../lib/graph/target.ts'
import { asFindings, type Change, type Reason } from '../../../lib/results.ts'
import type { Summary } from '../../../lib/show/reporter.ts'
import {
  formatClosing,
  formatEvent,
  formatFailures,
  formatScope,
  formatSummary,
  joinFailures,
  summariseGroup,
  textOf,
} from '../../../lib/show/rows.ts'
import { fakeRow, fakeRows } from '../../support/fakes.ts'

const row = (outcome: Outcome) => fakeRow('a', outcome)
const at = (day: string) => new Date(`${day}T10:00:00Z`)
const facts = (day: string) => ({ key: 'rsa-2048', expires: at(day), names: 3 })
const missing: Reason = { kind: 'missing', path: 'a.pem' }
const expires: Reason = { kind: 'expires', notAfter: at('2027-11-25'), expired: false }
const moreNames: Reason = { kind: 'san-changed', added: ['192.168.1.22'], removed: [] }
const openMode: Reason = { kind: 'wrong-mode', path: 'a.pem', was: 0o644, wanted: 0o600 }
const built = (reason: Reason, change?: Change): Outcome => ({
  ...{ kind: 'built', reasons: [reason] },
  ...(change && { change }),
})
const made = (isNew: boolean, is?: string, was?: string): Change & { kind: 'made' } => ({
  ...{ kind: 'made', files: ['a.pem'], isNew },
  ...{ is: is === undefined ? undefined : facts(is), was: was === undefined ? undefined : facts(was) },
})
const deployed = (files: readonly string[], removed: readonly string[] = []): Change => ({
  ...{ kind: 'deployed', files, removed },
})
const installed = (paths: readonly string[], restarts: readonly string[]): Change => ({
  ...{ kind: 'installed', paths, removed: [], restarts },
})
const fresh: Outcome = { kind: 'fresh', reasons: [] }
const notYet: Outcome = { ...fresh, note: 'not installed yet', hasNothing: true }

test('an outcome says what there is now, or why', () => {
  for (const [outcome, text] of [
    [built(missing, made(true, '2036-11-22')), 'new, expires 2036-11-22'],
    [built(missing, made(true)), 'new'],
    [built(expires, made(false, '2028-10-30', '2027-11-25')), 'renewed, expires 2028-10-30 (was 2027-11-25)'],
    [
      built(expires, made(false, '2036-11-23', '2036-11-22')),
      'renewed, expires 2036-11-23 10:00Z (was 2036-11-22 10:00Z)',
    ],
    [built({ kind: 'forced' }, made(false, '2036-11-23', '2036-11-23')), 'renewed, expires 2036-11-23'],
    [built({ kind: 'forced' }, { ...made(false), isReplaced: true }), 'replaced'],
    [{ kind: 'stale', reasons: [{ kind: 'forced', renews: true }] }, 'to change; renewed with the same key'],
    [built(moreNames, made(false, '2028-10-30')), 'changed, expires 2028-10-30; adds SAN 192.168.1.22'],
    [built(openMode), 'repaired; a.pem has mode 0644, not 0600'],
    [built(missing, deployed(['a.pem'], ['old.pem'])), 'a.pem deployed; old.pem removed'],
    [built(openMode, deployed([])), 'repaired; a.pem has mode 0644, not 0600'],
    [built(missing, installed(['/a', '/b'], ['etcd', 'kubelet'])), '2 files installed; etcd, kubelet restarted'],
    [built(missing, { kind: 'proven', units: ['etcd', 'kubelet'] }), 'verified by etcd, kubelet'],
    [built(missing, { kind: 'rewritten', objects: 120 }), '120 rewritten'],
    [{ kind: 'stale', reasons: [missing] }, 'to change; a.pem missing'],
    [{ kind: 'stale', reasons: [{ ...expires, isNear: true }] }, 'to change; expires 2027-11-25 10:00Z'],
    [{ ...fresh, until: at('2036-11-22') }, 'expires 2036-11-22 (with the CA)'],
    [{ ...fresh, until: at('2036-11-22'), renewsFrom: at('2036-10-23') }, 'renews from 2036-10-23'],
    [notYet, 'not installed yet'],
    [{ kind: 'cancelled', because: ['ca'] }, 'skipped; ca must succeed first'],
    [{ kind: 'cancelled', because: [], isBegun: true }, 'interrupted; the next run checks it again'],
  ] as const satisfies readonly [Outcome, string][])
    assert.equal(textOf(fakeRow('a', outcome)), text)
})

test('what a run does and how it ended is counted, what was refused apart', () => {
  const watching = { type: 'step', id: 'a', step: { doing: 'watching', seconds: 7 } } as const
  assert.equal(formatEvent(watching), 'checking that it stays healthy for 7 s')
  const fails = (failure: Failure): Outcome => ({ kind: 'failed', failure })
  for (const [all, text] of [
    [
      [fails(refused('a')), fails(down('b')), built(missing)],
      '3 targets: 1 changed, 0 up to date, 1 failed, 1 refused in 1.3 s',
    ],
    [
      [fails(down('b')), { kind: 'cancelled', because: [] }],
      '2 targets: 0 changed, 0 up to date, 1 failed, 1 skipped in 1.3 s',
    ],
    [[{ kind: 'stale', reasons: [] }], '1 target: 1 to change, 0 up to date, 0 failed in 1.3 s'],
  ] satisfies [Outcome[], string][]) {
    const rows = fakeRows(Object.fromEntries(all.map((each, i) => [`deploy/${i}`, each])))
    assert.equal(formatSummary({ rows, seconds: 1.25, exit: 3 }), text)
  }
  assert.equal(summariseGroup([fails(refused('a')), fails(down('b'))].map(row)), '1 refused, 1 failed')
})

test('a group is summed up in a line', () => {
  const renewed = built(expires, made(false, '2028-10-30'))
  for (const [outcomes, text] of [
    [[fresh, { ...fresh, note: 'odd' }], '2 up to date'],
    [[notYet, notYet], '2 not installed yet'],
    [[notYet, built(missing, deployed(['a']))], '1 not installed yet, 1 deployed'],
    [[fresh, notYet, fresh, notYet], '2 up to date, 2 not installed yet'],
    [[built(missing, installed([], ['etcd'])), built(missing, installed(['/a'], []))], '1 restarted, 1 installed'],
    [[renewed, renewed, built(missing, made(true)), built(openMode)], '2 renewed, 1 new, 1 repaired'],
  ] as const satisfies readonly [readonly Outcome[], string][]) {
    assert.equal(summariseGroup(outcomes.map(row)), text)
    assert.equal(summariseGroup(outcomes.map(row), true), text.replace(' up to date', ' passed'))
  }
})

const closing = (outcomes: Readonly<Record<string, Outcome>>, more: Partial<Summary> = {}) =>
  formatClosing({ rows: fakeRows(outcomes), seconds: 0, exit: 0, ...more })
const nextToExpire = { name: 'ca', expires: at('2036-11-21') }

test('a run ends with what changed, what is left to do by whom it concerns, and what expires next', () => {
  const left = (node: string) => asFindings(['copy it'], { owner: 'user', nodes: [node] })
  const findings = [
    ...left('one'),
    ...asFindings(['look:\n    at it'], { owner: 'afterwards' }),
    ...asFindings(['a note']),
  ]
  const outcomes = {
    ...{
      ca: built(missing, made(true)),
      'certs/a': built(moreNames, { ...made(false), files: ['b.pem', 'b-key.pem'] }),
    },
    ...{
      'deploy/one': built(missing, deployed(['ca.pem'])),
      'deploy/two': { ...built(missing, deployed(['ca.pem'])), findings: left('two') },
    },
    ...{
      'install/one': built(missing, installed([], ['etcd'])),
      'install/two': built(missing, installed([], ['etcd'])),
    },
    ...Object.fromEntries(
      ['three', 'four'].map((name) => [`deploy/${name}`, built(missing, deployed([], ['x', 'y']))]),
    ),
    'local-kubeconfig': { kind: 'cancelled', because: [] } satisfies Outcome,
  }
  assert.deepEqual(closing(outcomes, { findings, nextToExpire, goOn: 'go on' }), [
    'New        a.pem',
    'Changed    b.pem',
    'Deployed   one, two',
    'Restarted  etcd on one, two',
    'Removed    2 files on three, four',
    'To do      on one, two, copy it',
    'To do      look:',
    '    at it',
    'Next       ca expires on 2036-11-21',
    'Stopped    early; every file is whole; continue with: go on',
  ])
})

test('on a terminal with colours, what is left to do is in bold, and nothing else is', (t) => {
  process.env.FORCE_COLOR = '1'
  t.after(() => delete process.env.FORCE_COLOR)
  const rows = closing(
    { ca: fresh },
    { findings: asFindings(['others could read it:\n    replace'], { owner: 'afterwards' }), nextToExpire },
  )
  const isBold = (row: string) => /^\x1b\[1m.*\x1b\[22m$/.test(row)
  assert.deepEqual(rows.map(isBold), [false, true, true, false])
})

test('a run that found everything fresh says so; one that only looks, or could not begin, has no such end', () => {
  const next = 'Next       ca expires on 2036-11-21'
  const nothing = 'Changed    nothing; inspected auth/'
  assert.deepEqual(closing({ ca: fresh }, { nextToExpire }), [nothing, next])
  assert.deepEqual(closing({ ca: fresh }, { nextToExpire, goOn: 'go on' }), [nothing, next], 'nothing is left')
  assert.deepEqual(closing({ ca: { kind: 'cancelled', because: [] } }, { nextToExpire }), [next])
  assert.deepEqual(closing({ ca: fresh }), [])
  assert.deepEqual(closing({}, { nextToExpire }), [])
})

const names = ['control0', 'worker0', 'worker1']
const down = (name: string) =>
  new Failure('connection refused', { node: name, code: 'connection-refused', remedy: 'check sshd' })
const refused = (name: string) => refusal('another CA than in auth', [`deploy --node ${name}`]).with({ node: name })
const failed = (failures: Record<string, Failure>) =>
  formatFailures(
    fakeRows(Object.fromEntries(Object.entries(failures).map(([id, failure]) => [id, { kind: 'failed', failure }]))),
  )

test('failures of equal text and remedy are reported once, with all their nodes or targets, where the first stood', () => {
  const all = (failure: (name: string) => Failure) =>
    Object.fromEntries(names.map((name) => [`deploy/${name}`, failure(name)]))
  const noRoom = { ca: new Failure('no room') }
  assert.deepEqual(failed({ 'deploy/a': down('a'), ...noRoom }), [
    'deploy/a: connection refused\n    check sshd',
    'ca: no room',
  ])
  assert.deepEqual(failed({ ...all(down), ...noRoom }), [
    'connection refused on 3 nodes: control0, worker0, worker1\n    check sshd',
    'ca: no room',
  ])
  assert.deepEqual(failed({ ...noRoom, certs: new Failure('no room') }), ['ca, certs: no room'])
  // Each has its own command.
  const apart = names.map((name) => `deploy/${name}: another CA than in auth\n    - deploy --node ${name}`)
  assert.deepEqual(failed(all(refused)), apart)
  assert.deepEqual(failed({ 'deploy/a': down('a'), 'install/a': down('a') }), ['a: connection refused\n    check sshd'])
})

test('a node is inspected although it was stopped there by what it holds, but not one below a failure elsewhere', () => {
  const newer = new Failure('newer', { node: 'a', code: 'newer-on-node' })
  const rows = fakeRows({
    'deploy/a': { kind: 'failed', failure: newer },
    'install/a': { kind: 'cancelled', because: ['deploy/a'] },
    'deploy/b': { kind: 'failed', failure: down('b') },
    'install/b': { kind: 'cancelled', because: ['deploy/b'] },
    'deploy/c': { kind: 'cancelled', because: ['deploy/a'] },
  })
  const onNodes = [...rows].map(([id, each]) => [id, { ...each, target: { ...each.target, where: 'node' } }] as const)
  assert.equal(formatScope(new Map(onNodes)), 'inspected 1 node; not inspected: b, c')
})

test('what is joined is still a refusal, and has its code', () => {
  const same = refusal('another CA than in auth', ['compare them'])
  const [[id, failure] = []] = joinFailures(names.map((name) => [`deploy/${name}`, same.with({ node: name })]))
  assert.deepEqual([id, failure?.kind, failure?.code], [undefined, 'refused', 'irreplaceable'])
})
