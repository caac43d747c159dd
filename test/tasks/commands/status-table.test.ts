import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import type { Certificate } from '../../../lib/pki/certificate.ts'
import { formatStatus } from '../../../tasks/commands/status.ts'
import type { Item, NodeItem } from '../../../tasks/views/inventory.ts'

const day = 86_400_000
const now = new Date('2027-03-01T12:00:00Z')
const inDays = (days: number) => new Date(now.getTime() + days * day)

function item(name: string, told: Partial<Item> & { days?: number } = {}): Item {
  const { days = 300, ...rest } = told
  const end = inDays(days)
  return {
    ...{ id: `node-certs/${name}`, phase: 'node-certs', where: 'auth', node: name, name, files: [`${name}.pem`] },
    ...{ purpose: 'kubelet', certificate: { notAfter: inDays(999) } as Certificate, issuer: 'ca', end },
    ...{ endsSoon: false, onlyEnds: false, state: 'fresh', why: '', onNodes: new Map() },
    ...rest,
  }
}

/** Looked at for its folder alone, unless told otherwise. */
function nodeItem(node: string, state: NodeItem['state'], told: Partial<NodeItem> = {}): NodeItem {
  const deployed = state === 'failed' ? undefined : state === 'fresh'
  return {
    ...{ node, state, why: '', deployed, installed: undefined, loaded: undefined, until: undefined },
    ...{ revokedInForce: undefined, holds: undefined, left: [], ...told },
  }
}

const many = (count: number) => Array.from({ length: count }, (_, i) => item(`worker${i}`))
const plain = { items: [], nodes: [], next: 'plan', now, verbose: false, quiet: false }
type Told = Partial<Parameters<typeof formatStatus>[0]>
const format = (told: Told) => formatStatus({ ...plain, ...told }).map(stripVTControlCharacters)
/** Above the table. */
const head = (told: Told) => {
  const lines = format(told)
  return lines.slice(0, lines.indexOf(''))
}
const first = (items: readonly Item[], nodes: readonly NodeItem[] = []) => head({ items, nodes })
/** Below what there is to say, its blank line and the headings. */
const rows = (told: Told) => format(told).slice(head(told).length + 2)
type On = 'same' | 'missing' | 'differs' | 'unknown'
const onNodes = (...how: On[]) => new Map(how.map((each, i) => [`node${i}`, each]))

test('what is right and differs in nothing but its name is one row; of the rest two that are alike have a row each', () => {
  const odd = (count: number) =>
    Array.from({ length: count }, (_, i) => item(`odd${i}`, { state: 'stale', why: `odd${i}.pem missing` }))
  assert.deepEqual(rows({ items: odd(3) }), [
    '● odd0.pem and 2 more  kubelet  ca      2027-12-26  300d',
    '    <name>.pem missing',
  ])
  assert.deepEqual(rows({ items: [...many(30), ...odd(2), item('later', { days: 301 })] }), [
    '✔ worker0.pem and 29 more  kubelet  ca      2027-12-26  300d',
    '● odd0.pem                 kubelet  ca      2027-12-26  300d',
    '    odd0.pem missing',
    '● odd1.pem                 kubelet  ca      2027-12-26  300d',
    '    odd1.pem missing',
    '✔ later.pem                kubelet  ca      2027-12-27  301d',
  ])
  assert.equal(rows({ items: many(61), verbose: true }).length, 61)
  const nodes = [...['a', 'b', 'c'].map((node) => nodeItem(node, 'fresh')), nodeItem('d', 'failed', { why: 'refused' })]
  assert.deepEqual(rows({ nodes }), ['✔ a and 2 more', '✖ d             refused'])
})

test('what depends on one thing is one row, whatever it is for and whenever it expires; of what is wrong in itself dates stay', () => {
  const why = 'depends on ca'
  const odd = [
    item('kubernetes', { state: 'stale', why, purpose: 'API' }),
    item('admin', { state: 'stale', why: `${why}, component-certs/admin`, files: ['admin.kubeconfig'], days: 9 }),
    item('worker0', { state: 'stale', why }),
  ]
  assert.deepEqual(rows({ items: odd }), ['● kubernetes.pem and 2 more       ca', '    depends on ca'])
  assert.equal(rows({ items: odd, verbose: true }).length, 6)
  const soon = [1, 2, 3].map((days) => item(`w${days}`, { state: 'stale', why: 'less than renewBefore left', days }))
  assert.equal(rows({ items: soon }).length, 6)
  const files = ['admin.pem', 'admin.kubeconfig'].map((file) => item('admin', { files: [file] }))
  assert.deepEqual(
    rows({ items: files }).map((row) => row.split(' ')[1]),
    ['admin.pem', 'admin.kubeconfig'],
  )
})

test('a terminal of 80 columns has no column LEFT where there is no room for it', () => {
  const told = { items: [item('a-name-of-a-certificate-which-is-long', { onNodes: onNodes('same') })] }
  assert.match(rows({ ...told, columns: 80 })[0] ?? '', / {2}2027-12-26 {2}1\/1$/)
  assert.match(rows(told)[0] ?? '', / {2}2027-12-26 {2}300d {2}1\/1$/)
})

test('a row is right only if all nodes that should have the file have it; ? was not inspected; a line says where', () => {
  const on = (...how: On[]) => {
    const [row = '', why = ''] = rows({ items: [item('a', { onNodes: onNodes(...how) })] })
    return [row.charAt(0), row.split(/ +/).at(-1), why.trim()]
  }
  assert.deepEqual(on('same', 'same'), ['✔', '2/2', ''])
  assert.deepEqual(on('missing'), ['●', '0/1', 'missing on node0'])
  assert.deepEqual(on('same', 'differs', 'unknown'), ['●', '1/3?', 'differs on node1; not inspected on node2'])
})

test('less than two days left are reported in hours or minutes, with the time at which it expires', () => {
  const left = (days: number) => / {2}(\S+)$/.exec(rows({ items: [item('a', { days })] })[0] ?? '')?.[1]
  assert.deepEqual(
    [left(2), left(1.99), left(1 / 24), left(0.01), left(0.0001), left(0), left(-1)],
    ['2d', '47h', '1h', '14m', '1m', 'expired', 'expired'],
  )
  assert.equal(first([item('a', { days: 1.5 })]).at(-1), 'Next expiry: 2027-03-03 00:00Z, in 36h (a)')
})

test('no control character of a file or a node reaches the terminal', () => {
  const why = 'cat: \x1b[2Jno such file'
  const told = { items: [item('a', { state: 'stale', why })], nodes: [nodeItem('b', 'failed', { why })] }
  assert.doesNotMatch(formatStatus({ ...plain, ...told }).join('\n'), /\x1b\[2J/)
})

test('a line each counts what matches, by item and by node, and what does not, says what expires first, and what to do', () => {
  const expiry = 'Next expiry: 2027-12-26, in 300d (a)'
  const unseen = 'nodes were not inspected (--on-nodes)'
  const two = [item('a'), item('b', { end: undefined })]
  const states = (installed: boolean, loaded: boolean) => nodeItem('n', 'fresh', { installed, loaded })
  for (const [items, nodes, expected] of [
    [[item('a')], [], [`1 item is up to date; ${unseen}`, expiry]],
    [[], [nodeItem('n', 'fresh')], ['Deployed on 1 of 1 node']],
    [
      two,
      [states(true, true), states(true, false), states(false, false), nodeItem('gateway', 'fresh')],
      ['All 2 items are up to date; deployed on 4 of 4 nodes, installed on 2 of 3, loaded on 1 of 3', expiry],
    ],
    [
      two,
      [nodeItem('n', 'stale'), nodeItem('m', 'failed')],
      [
        'All 2 items are up to date on this machine; deployed on 0 of 2 nodes; 1 not inspected',
        expiry,
        'What a run would change:\n    plan',
      ],
    ],
    [
      [
        ...[item('a', { days: 10, endsSoon: true }), item('b', { days: 10, state: 'stale' })],
        item('b', { days: 10, state: 'stale', endsSoon: true, onlyEnds: true }),
        ...[item('c', { state: 'failed' }), item('key', { certificate: undefined, end: undefined })],
      ],
      [],
      [
        `1 of 5 items is out of date; 2 of 5 items expire within renewBefore; 1 of 5 items is unreadable; ${unseen}`,
        'Next expiry: 2027-03-11, in 10d (a, b)',
        'What a run would change:\n    plan',
      ],
    ],
  ] as const)
    assert.deepEqual(first(items, nodes), expected)
})

test('the first line is what has expired, each name once; that alone does not differ from cluster.yaml', () => {
  const over = (name: string, phase: string) => item(name, { phase, days: -1, state: 'stale', onlyEnds: true })
  const items = [
    over('kubernetes', 'cluster-cert'),
    over('jane', 'user-certs'),
    over('jane', 'kubeconfigs'),
    item('ca'),
  ]
  assert.deepEqual(first(items), [
    '3 of 4 items have expired: kubernetes, jane',
    'Nodes were not inspected (--on-nodes)',
    'Next expiry: 2027-12-26, in 300d (ca)',
    'What a run would change:\n    plan',
  ])
})

test('with --quiet only what is not right is shown, and all is counted', () => {
  const told = {
    items: [...many(3), item('a', { state: 'stale' }), item('mine', { where: 'kubeconfig' })],
    nodes: [nodeItem('n', 'fresh')],
    quiet: true,
  }
  assert.deepEqual(head(told), [
    '1 of 5 items is out of date; deployed on 1 of 1 node',
    'Next expiry: 2027-12-26, in 300d (worker0, worker1, worker2 and 2 more)',
    'What a run would change:\n    plan',
  ])
  assert.deepEqual(rows(told), ['● a.pem  kubelet  ca      2027-12-26  300d'])
})
