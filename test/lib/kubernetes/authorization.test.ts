import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  formatAuthorization,
  isForeignAuthorization,
  isTooLong,
  readRevoked,
  reviewOfCounters,
  reviewsOf,
  webhookKubeconfig,
  withCounted,
} from '../../../lib/kubernetes/authorization.ts'
import { countersOf } from '../../../lib/kubernetes/counters.ts'
import { lockedOutBy, removedFrom } from '../../../lib/kubernetes/revocation.ts'
import { type Counted, kindOf, type RevokedList, type Shown } from '../../../lib/kubernetes/revoked-list.ts'
import { Authorization } from '../../lab/component/authorization.ts'
import { parseFlags } from '../../lab/component/flags.ts'
import { hostileNames, scratch } from '../../support/files.ts'

const listOf = (...entries: string[]): RevokedList => ({ entries, certificates: [] })
const end = new Date('2027-01-02T03:04:05Z')
const digest = (digit: string) => digit.repeat(64)

/** A certificate of that name, over the key of that digit. */
const shown = (user: string, fingerprint: string, key: string): Shown => ({
  ...{ user, end },
  fingerprint: digest(fingerprint),
  keyId: digest(key),
})

/** jane's key a is revoked, of which 1 and 2 are certificates; 3 is over another. */
const ofJane: RevokedList = {
  entries: ['bob', `sha256:${digest('1')}`],
  certificates: [shown('jane', '1', 'a'), shown('jane', '2', 'a'), shown('jane', '3', 'b')],
}

const counted: readonly Counted[] = [
  ['jane', '4'],
  ['bob', '5'],
  ['system:kube-proxy', '6'],
  ['system:node:worker0', '7'],
].map(([user = '', digit = '']) => ({ fingerprint: digest(digit), user, end }))

/** An API server that starts with the list. */
function serverOf(t: TestContext, list: RevokedList, name = 'webhook.yaml'): Authorization {
  const folder = scratch(t)
  const [webhook, config] = [join(folder, name), join(folder, 'config.yaml')]
  writeFileSync(webhook, webhookKubeconfig)
  writeFileSync(config, formatAuthorization(list, webhook))
  return new Authorization(parseFlags('kube-apiserver', [`--authorization-config=${config}`]))
}

test('an API server starts with the list, and denies by it users and nodes of these names, and nobody else', (t) => {
  const users = ['jane', 'system:node:jane', 'system:node:worker2', 'bob', 'system:node:worker1', 'kubernetes']
  const denied = (...revoked: string[]) => {
    const server = serverOf(t, listOf(...revoked))
    return users.filter((username) => server.denial({ username, groups: ['system:authenticated'] }) !== undefined)
  }
  assert.deepEqual(denied(), [])
  assert.deepEqual(denied('jane', 'worker2'), ['jane', 'system:node:jane', 'system:node:worker2'])
})

test('whatever a name has that means something in YAML or CEL, it is denied alone, and read back', (t) => {
  const names = [...hostileNames]
  const list: RevokedList = {
    entries: [...names, `sha256:${digest('1')}`].toSorted(),
    certificates: [shown("Eve O'Hara", '1', 'a'), shown("Eve O'Hara", '2', 'b')],
  }
  const text = formatAuthorization(list, '/k/a')
  assert.deepEqual(readRevoked(text), list)
  // No character of a name stands in the file as what it is there.
  for (const line of text.split('\n')) assert.match(line, /^[ -~]*$/)
  assert.equal(
    text.split('\n').length,
    formatAuthorization({ ...list, entries: names.map((_, i) => `n${i}`) }, '/k/a').split('\n').length + 1,
  )
  const server = serverOf(t, list)
  const isDenied = (username: string, digit?: string) =>
    server.denial({
      ...{ username, groups: ['system:authenticated'] },
      ...(digit && { extra: { 'authentication.kubernetes.io/credential-id': [`X509SHA256=${digest(digit)}`] } }),
    }) !== undefined
  for (const name of names) {
    assert.equal(isDenied(name), true, name)
    assert.equal(isDenied(`system:node:${name}`), true, name)
    assert.equal(isDenied(`${name}x`), false, name)
    assert.equal(isDenied(name.toUpperCase()), names.includes(name.toUpperCase()), name)
  }
  for (const user of ['jane', 'admin', 'system:node:worker0', '']) assert.equal(isDenied(user), false, user)
  assert.deepEqual([isDenied("Eve O'Hara", '1'), isDenied("Eve O'Hara", '2')], [true, false])
  // A file that somebody has changed has no list.
  for (const changed of ['\\U00110000', '\\U0000004', '\\x41'])
    assert.equal(readRevoked(text.replace('# revoked: Bob', `# revoked: ${changed}`)), undefined, changed)
})

test('whatever plain path its kubeconfig has: one that ends like a key of YAML, too', (t) => {
  for (const name of ['a:', 'b=', 'c,d', '@%+']) {
    const server = serverOf(t, listOf('jane'), name)
    assert.notEqual(server.denial({ username: 'jane', groups: [] }), undefined, name)
    assert.deepEqual(readRevoked(formatAuthorization(listOf('jane'), `/k/${name}`)), listOf('jane'))
  }
})

test('whose key is revoked is let in with the certificates over other keys alone, in whatever bytes the others come', (t) => {
  const server = serverOf(t, ofJane)
  const isDenied = (username: string, ...credentials: string[]) =>
    server.denial({
      ...{ username, groups: ['system:authenticated'] },
      ...(credentials.length > 0 && { extra: { 'authentication.kubernetes.io/credential-id': credentials } }),
    }) !== undefined
  const credential = (digit: string) => `X509SHA256=${digest(digit)}`
  // 9 is none that anybody has issued: the same certificate in other bytes.
  assert.deepEqual(
    ['1', '2', '3', '9'].map((digit) => isDenied('jane', credential(digit))),
    [true, true, false, true],
  )
  assert.equal(isDenied('joe', credential('9')), false)
  // The admin who acts as jane, and a token of that name.
  assert.equal(isDenied('jane'), false)
  assert.equal(isDenied('jane', 'JTI=7'), false)
  assert.equal(isDenied('bob', credential('9')), true)
})

test('two reviews show that exactly a list is in force, before Node and RBAC are asked', (t) => {
  const server = serverOf(t, ofJane)
  const denied = (list: RevokedList) =>
    reviewsOf(list).map((spec) => {
      const { user: username, groups } = spec as { user: string; groups: string[] }
      return server.denial({ username, groups }) !== undefined
    })
  assert.deepEqual(denied(ofJane), [true, true])
  const [first, ...others] = ofJane.certificates
  for (const another of [
    listOf(),
    listOf('bob'),
    { ...ofJane, entries: [...ofJane.entries, 'joe'] },
    { ...ofJane, certificates: others },
    { ...ofJane, certificates: [{ ...(first as Shown), end: new Date(0) }, ...others] },
  ])
    assert.deepEqual(denied(another), [false, false])
  // What is counted lets nobody in or out, and has a review of its own.
  const counting = { ...ofJane, counted }
  assert.deepEqual(denied(counting), [true, true])
  const isCounting = (list: RevokedList, by: Authorization) =>
    by.denial({ username: (reviewOfCounters(list) as { user: string }).user, groups: [] }) !== undefined
  assert.equal(isCounting(counting, server), false)
  assert.equal(isCounting(counting, serverOf(t, counting)), true)
  // RBAC allows the one to everybody, and Node the other to every kubelet: what stands behind them denies it to nobody.
  const [everybody, kubelet] = reviewsOf(ofJane).map((each) => JSON.stringify(each)) as [string, string]
  assert.match(everybody, /"groups":\["system:authenticated"\].*"path":"\/version","verb":"get"/)
  assert.match(kubelet, /"user":"system:node:revoked:.*"groups":\["system:nodes".*"resource":"services","verb":"get"/)
})

test('there is a counter for each user, by a name that no other certificates have, which an API server takes', () => {
  const namesOf = (list: RevokedList) => countersOf(list).map(({ name }) => name)
  const names = namesOf({ ...ofJane, counted })
  assert.deepEqual(
    names.map((name) => name.replace(/-[0-9a-f]{16}$/, '')),
    ['denied-user-bob', 'denied-user-jane', 'old-kube-proxy', 'old-user-jane', 'old-user-bob', 'old-node-worker0'],
  )
  const [other = assert.fail(), ...rest] = counted.filter(({ user }) => user === 'bob')
  assert.deepEqual(rest, [])
  const more = namesOf({ ...ofJane, counted: [...counted, { ...other, fingerprint: digest('8') }] })
  assert.deepEqual(
    names.filter((name) => !more.includes(name)).map((name) => name.slice(0, 12)),
    ['old-user-bob'],
  )
  // Only the time of their end is another: it counts on.
  assert.deepEqual(namesOf({ ...ofJane, counted: counted.map((each) => ({ ...each, end: new Date(0) })) }), names)
})

test('with many users the nodes share counters first, then the people: never more than 32, and each is counted', () => {
  const of = (kind: string, many: number): Counted[] =>
    Array.from({ length: many }, (_, i) => ({ user: `${kind}${i}`, fingerprint: hash('sha256', `${kind}${i}`), end }))
  for (const [nodes, users, expected] of [
    [20, 10, [1, 10, 20]],
    [100, 10, [1, 10, 21]],
    [100, 100, [1, 30, 1]],
    [0, 100, [1, 31, 0]],
    [3, 28, [1, 28, 3]],
  ] as const) {
    const all = [...of('system:node:w', nodes), ...of('u', users), ...of('system:kube-proxy', 1)]
    const counters = countersOf({ ...listOf(), counted: all })
    const kinds = ['component', 'user', 'node'] as const
    assert.deepEqual(
      kinds.map((kind) => counters.filter((each) => kindOf(each.users[0] ?? '') === kind).length),
      expected,
    )
    assert.ok(counters.length <= 32)
    assert.deepEqual(counters.flatMap((each) => each.users).toSorted(), all.map(({ user }) => user).toSorted())
    assert.equal(new Set(counters.map(({ name }) => name)).size, counters.length)
  }
})

test('who is denied is counted by name, and denied as before', (t) => {
  const server = serverOf(t, ofJane)
  const ask = (username: string, digit: string) =>
    server.denial({
      ...{ username, groups: ['system:authenticated'] },
      extra: { 'authentication.kubernetes.io/credential-id': [`X509SHA256=${digest(digit)}`] },
    }) !== undefined
  assert.deepEqual([ask('bob', '9'), ask('jane', '1'), ask('jane', '3'), ask('joe', '9')], [true, true, false, false])
  for (const [name, requests] of [
    ['denied-user-bob-\\w+', 1],
    ['denied-user-jane-\\w+', 1],
    ['revoked', 2],
  ] as const)
    assert.match(server.metrics(), new RegExp(`name="${name}",type="Webhook"} ${requests}$`, 'm'))
})

test('a file stays within 200 kB: what counts nodes is left out first, then people; who is denied never', () => {
  const of = (kind: string, many: number): Counted[] =>
    Array.from({ length: many }, (_, i) => ({ user: `${kind}${i}`, fingerprint: hash('sha256', `${kind}${i}`), end }))
  const kindsIn = (...all: Counted[]) => {
    const list = withCounted(ofJane, all)
    assert.ok(formatAuthorization(list, '/var/lib/kubernetes/authorization-webhook.yaml').length <= 200_000)
    assert.deepEqual(list.entries, ofJane.entries)
    return [...new Set(list.counted?.map(({ user }) => kindOf(user)))]
  }
  const proxy = of('system:kube-proxy', 4)
  assert.deepEqual(kindsIn(...of('u', 100), ...of('system:node:w', 100), ...proxy), ['component', 'node', 'user'])
  assert.deepEqual(kindsIn(...of('u', 100), ...of('system:node:w', 1400), ...proxy), ['component', 'user'])
  assert.deepEqual(kindsIn(...of('u', 1400), ...of('system:node:w', 1400), ...proxy), ['component'])
})

test('a list of 0.4.0 is read, with what it counted', () => {
  const text = formatAuthorization({ ...ofJane, counted }, '/k')
  const earlier = text.replace(/^( +)# old: /m, '$1# counted: users since 2026-03-04T05:06:07.000Z\n$1# old: ')
  assert.notEqual(earlier, text)
  const read = readRevoked(earlier) ?? assert.fail()
  assert.deepEqual(removedFrom(read, ofJane, new Date(0)), [])
  assert.equal(read.counted?.length, counted.length)
})

test('who regains access by another list, and who would be locked out by it', () => {
  const now = new Date('2026-06-01T00:00:00Z')
  const [one, two, three] = ofJane.certificates as [Shown, Shown, Shown]
  assert.deepEqual(removedFrom(ofJane, listOf('bob'), now), [`sha256:${digest('1')}`])
  // Another certificate over the same key.
  assert.deepEqual(removedFrom(ofJane, { ...ofJane, entries: ['bob', `sha256:${digest('2')}`] }, now), [])
  assert.deepEqual(removedFrom(ofJane, ofJane, now), [])
  // Of the same entries, but nothing is known of the key.
  assert.deepEqual(removedFrom(ofJane, listOf(...ofJane.entries), now), [`sha256:${digest('1')}`])
  assert.deepEqual(removedFrom(ofJane, listOf('bob'), end), [])
  // A key of which the list knows no certificate: it denies nobody.
  assert.deepEqual(removedFrom(listOf('bob', `sha256:${digest('9')}`), listOf('bob'), now), [])
  assert.deepEqual(lockedOutBy(ofJane, ofJane, now), [])
  assert.deepEqual(lockedOutBy({ ...ofJane, certificates: [one, two] }, ofJane, now), ['jane'])
  assert.deepEqual(lockedOutBy({ ...ofJane, certificates: [one, two] }, ofJane, end), [])
  // Its key is revoked by now, or the name is let in with any.
  const more = { entries: [...ofJane.entries, `sha256:${digest('3')}`], certificates: [one, two] }
  assert.deepEqual(lockedOutBy(more, ofJane, now), [])
  assert.deepEqual(lockedOutBy(listOf('bob'), { ...ofJane, certificates: [three] }, now), [])
})

test('a list that is longer than an expression may be is refused, and none that can be read where a node has it', () => {
  const many = Array.from({ length: 3000 }, (_, i) => `gone-${i}`)
  assert.throws(() => formatAuthorization(listOf(...many), '/k'), /revoked is too long; .* API servers accept 100000/)
  assert.deepEqual([isTooLong(listOf(...many)), isTooLong(listOf(...many.slice(0, 1000)))], [true, false])
  // Whatever the names are, the file of a list that is taken has its place in a look.
  for (const length of [5, 20, 64]) {
    const names = many.map((_, i) => String(i).padStart(length, 'n'))
    const steps = Array.from({ length: 60 }, (_, i) => i * 50)
    const most = steps.find((step) => isTooLong(listOf(...names.slice(0, step + 50)))) ?? 0
    assert.ok(most > 300, `${most} of ${length} characters`)
    assert.ok(formatAuthorization(listOf(...names.slice(0, most)), '/k').length < 210_000)
  }
  const [header] = formatAuthorization(listOf(), '/k').split('\n')
  const lines = many.map((name) => `        # revoked: ${name}`)
  assert.equal(readRevoked([header, ...lines, ''].join('\n')), undefined)
})

test('the list is read back, and what somebody else has written is told apart, even from what is cut off', () => {
  const lists: RevokedList[] = [
    listOf(),
    listOf('jane'),
    listOf('j.doe@example.org', 'worker2'),
    ofJane,
    { entries: [`sha256:${digest('1')}`], certificates: [shown('system:node:worker2', '1', 'a')] },
    withCounted(ofJane, counted),
    // Of one of these keys nothing is known.
    { ...ofJane, entries: [...ofJane.entries, `sha256:${digest('9')}`] },
  ]
  for (const list of lists) {
    const text = formatAuthorization(list, '/k/webhook.yaml')
    const { counted: its, ...read } = readRevoked(text) ?? assert.fail()
    assert.deepEqual(read, { entries: list.entries, certificates: list.certificates })
    assert.deepEqual(new Set(its), new Set(list.counted))
    for (const each of [text, text.slice(0, 200), '', 'half a fi']) assert.equal(isForeignAuthorization(each), false)
    assert.equal(isForeignAuthorization(text.replace(/^#.*\n/, '')), true)
  }
  // What would end a string of an expression, or is for a terminal.
  const foreign = [
    formatAuthorization(listOf('a\x1b[2J'), '/k'),
    ...[listOf('bob'), ofJane].map((list) => formatAuthorization(list, '/k').replaceAll(/bob|jane/g, "a']||[user")),
  ]
  for (const each of foreign) assert.equal(readRevoked(each), undefined)
  const text = formatAuthorization({ ...ofJane, counted }, '/k')
  const changed = [
    text.slice(0, 300),
    text.replace('# revoked: bob\n', ''),
    text.replace(`# certificate: ${digest('3')}`, `# certificate: ${digest('4')}`),
    text.replace('2027-01-02T03:04:05.000Z', '2027-99-02T03:04:05.000Z'),
    text.replaceAll("request.user in ['jane']", "request.user in ['joe']"),
    text.replace('failurePolicy: Deny', 'failurePolicy: NoOpinion'),
  ]
  for (const other of ['', 'x', ...changed]) assert.equal(readRevoked(other), undefined, other)
})
