import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Change } from '../../../lib/change.ts'
import type { Outcome } from '../../../lib/graph/target.ts'
import type { Reason } from '../../../lib/reason.ts'
import { formatCause, formatOutcome, formatStep, summariseGroup } from '../../../lib/show/outcome.ts'

const at = (day: string) => new Date(`${day}T10:00:00Z`)
const facts = (day: string) => ({ key: 'rsa-2048', expires: at(day), names: 3 })
const missing: Reason = { kind: 'missing', path: 'a.pem' }
const expires: Reason = { kind: 'expires', notAfter: at('2027-11-25'), expired: false }
const moreNames: Reason = { kind: 'san-changed', added: ['192.168.1.22'], removed: [] }
const changedUser: Reason = { kind: 'content-changed', path: 'a.kubeconfig', what: ['server', 'users'] }
const openMode: Reason = { kind: 'wrong-mode', path: 'a.pem', was: 0o644, wanted: 0o600 }
const built = (reason: Reason, change?: Change): Outcome => ({
  ...{ kind: 'built', reasons: [reason] },
  ...(change && { change }),
})
const made = (isNew: boolean, is?: string, was?: string): Extract<Change, { kind: 'made' }> => ({
  ...{ kind: 'made', files: ['a.pem'], isNew },
  ...{ is: is === undefined ? undefined : facts(is), was: was === undefined ? undefined : facts(was) },
})
const deployed = (files: readonly string[], removed: readonly string[] = []): Change => ({
  ...{ kind: 'deployed', files, removed },
})
const installed = (paths: readonly string[], restarts: readonly string[]): Change => ({
  ...{ kind: 'installed', paths, restarts },
})

for (const [outcome, text] of [
  [built(missing, made(true, '2036-11-22')), 'new, expires 2036-11-22'],
  [built(missing, made(true)), 'new'],
  [built(expires, made(false, '2028-10-30', '2027-11-25')), 'renewed: 2028-10-30, was 2027-11-25'],
  [built({ kind: 'forced' }, made(false, '2028-10-30', '2027-11-25')), 'renewed: 2028-10-30, was 2027-11-25'],
  [built(expires, made(false, '2036-11-23', '2036-11-22')), 'renewed: 2036-11-23 10:00Z, was 2036-11-22 10:00Z'],
  [built({ kind: 'forced' }, made(false, '2036-11-23', '2036-11-23')), 'renewed, still expires 2036-11-23'],
  [
    built({ kind: 'forced' }, { ...made(false, '2028-10-30', '2027-11-25'), isReplaced: true }),
    'REPLACED: what was made with the old one no longer works',
  ],
  [built(moreNames, made(false, '2028-10-30', '2028-10-30')), 'reissued, expires 2028-10-30: SAN added: 192.168.1.22'],
  [built(changedUser, made(false)), 'updated: server, users changed'],
  [built(openMode), 'repaired: a.pem has mode 0644, not 0600'],
  [built({ kind: 'locked', path: 'config.lock', isStale: true }), 'removed: stale lock config.lock'],
  [built(missing, deployed(['a.pem', 'b.pem', 'c.pem'])), '3 files deployed'],
  [built(missing, deployed(['a.pem'], ['old.pem'])), 'a.pem deployed; old.pem removed'],
  [built(missing, installed(['/a', '/b', '/c'], ['etcd', 'kubelet'])), '3 files installed; etcd, kubelet restarted'],
  [built(missing, installed(['/a'], [])), '1 file installed'],
  [built(missing, installed([], ['etcd', 'kubelet', 'kube-proxy'])), '3 units restarted'],
  [built(missing, { kind: 'proven', units: ['etcd', 'kubelet'] }), 'proven by etcd, kubelet'],
  [built(missing, { kind: 'proven', units: [] }), 'nothing to query there'],
  [built(missing, { kind: 'rewritten', objects: 120 }), '120 rewritten'],
  [built({ kind: 'rotation', what: 'each answers' }), 'done'],
  [{ kind: 'fresh', reasons: [] }, 'fresh'],
  [{ kind: 'fresh', reasons: [], until: at('2036-11-22') }, 'expires 2036-11-22'],
  [{ kind: 'fresh', reasons: [], until: at('2036-11-22'), renewsFrom: at('2036-10-23') }, 'renews from 2036-10-23'],
  [{ kind: 'fresh', reasons: [], note: 'not installed yet' }, 'not installed yet'],
] as const satisfies readonly [Outcome, string][])
  test(`an outcome says what there is now: ${text}`, () => {
    assert.equal(formatOutcome(outcome), text)
  })

test('an expiry less than two days away has its time', () => {
  const near: Reason = { kind: 'expires', notAfter: at('2027-11-25'), expired: false, isNear: true }
  assert.equal(formatCause({ kind: 'stale', reasons: [near] }), 'to make: expires 2027-11-25 10:00Z')
})

test('its cause is why it was made, not what it is now', () => {
  assert.equal(formatCause(built(moreNames, made(false, '2028-10-30'))), 'made: SAN added: 192.168.1.22')
  assert.equal(formatCause({ kind: 'stale', reasons: [missing] }), 'to make: a.pem missing')
  assert.equal(formatCause({ kind: 'fresh', reasons: [] }), 'fresh')
})

for (const [step, text] of [
  [{ doing: 'new key' }, 'new key'],
  [{ doing: 'signing' }, 'signing'],
  [{ doing: 'copying', files: 14 }, 'copying 14 files'],
  [{ doing: 'installing', files: 1 }, 'installing 1 file'],
  [{ doing: 'draining', node: 'control0' }, 'draining control0'],
  [{ doing: 'restarting', unit: 'etcd' }, 'restarting etcd'],
  [{ doing: 'waiting for', unit: 'kube-apiserver', path: '/readyz' }, 'waiting for /readyz of kube-apiserver'],
] as const satisfies readonly [Parameters<typeof formatStep>[0], string][])
  test(`a step says what is done now: ${text}`, () => {
    assert.equal(formatStep(step), text)
  })

const fresh = (until: string, renewsFrom?: string): Outcome => ({
  ...{ kind: 'fresh', reasons: [], until: at(until) },
  ...(renewsFrom && { renewsFrom: at(renewsFrom) }),
})
const notYet: Outcome = { kind: 'fresh', reasons: [], note: 'not installed yet' }
for (const [outcomes, text] of [
  [
    [built(missing, made(true, '2036-11-22')), built(missing, made(true, '2036-11-22'))],
    '2 new, all expire 2036-11-22',
  ],
  [[fresh('2036-11-22'), fresh('2030-01-02')], '2 fresh, the first expires 2030-01-02'],
  [[fresh('2036-11-22', '2036-10-23'), fresh('2030-01-02', '2029-12-03')], '2 fresh, the first renews from 2029-12-03'],
  [[fresh('2036-11-22'), { kind: 'fresh', reasons: [] }], '2 fresh'],
  [[notYet, notYet], '2 not installed yet'],
  [[notYet, built(missing, deployed(['a']))], '1 deployed, 1 fresh'],
  [[built(missing, installed([], ['etcd'])), built(missing, installed(['/a'], []))], '1 restarted, 1 installed'],
] as const satisfies readonly [readonly Outcome[], string][])
  test(`a group is summed up in a line: ${text}`, () => {
    assert.equal(summariseGroup(outcomes), text)
    assert.equal(summariseGroup(outcomes, true), text.replace(' fresh', ' passed'))
  })
