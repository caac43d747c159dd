import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import type { Certificate } from '../../../lib/pki/certificate.ts'
import { formatStatus, type StatusTable } from '../../../tasks/commands/status-table.ts'
import type { Item, NodeItem } from '../../../tasks/request/inventory.ts'

const day = 86_400_000
const now = new Date('2027-03-01T12:00:00Z')
const inDays = (days: number) => new Date(now.getTime() + days * day)

function item(name: string, told: Partial<Item> & { days?: number } = {}): Item {
  const { days = 300, ...rest } = told
  const end = inDays(days)
  return {
    ...{ id: `node-certs/${name}`, phase: 'node-certs', where: 'auth', node: name, name, files: [`${name}.pem`] },
    ...{ purpose: 'kubelet', certificate: { notAfter: end } as Certificate, issuer: 'ca', end },
    ...{ endsSoon: false, state: 'fresh', why: '', onNodes: new Map() },
    ...rest,
  }
}

/** Looked at for its folder alone, unless told otherwise. */
function nodeItem(node: string, state: NodeItem['state'], told: Partial<NodeItem> = {}): NodeItem {
  const deployed = state === 'failed' ? undefined : state === 'fresh'
  return { node, state, why: '', deployed, installed: undefined, loaded: undefined, ...told }
}

const many = (count: number) => Array.from({ length: count }, (_, i) => item(`worker${i}`))
const format = ({ items = [], nodes = [], ...told }: Partial<StatusTable>) =>
  formatStatus({
    items,
    nodes,
    counted: { items, nodes },
    plan: 'plan',
    run: 'run',
    now,
    verbose: false,
    ...told,
  }).map(stripVTControlCharacters)
const first = (items: readonly Item[]) => format({ items })[0] ?? ''
/** Below the sentence and its blank line. */
const table = (told: Partial<StatusTable>) => format(told).slice(2)

test('what is right and differs in nothing but its name is one row; of the rest two that are alike have a row each', () => {
  const odd = (count: number) =>
    Array.from({ length: count }, (_, i) => item(`odd${i}`, { state: 'stale', why: `odd${i}.pem missing` }))
  assert.deepEqual(table({ items: odd(3) }).slice(1), [
    '● odd0 and 2 more  kubelet  ca      2027-12-26  300d',
    '    <name>.pem missing',
  ])
  assert.deepEqual(table({ items: [...many(30), ...odd(2), ...many(62).slice(30)].slice(0, 59) }).slice(1), [
    '✔ worker0 and 56 more  kubelet  ca      2027-12-26  300d',
    '● odd0                 kubelet  ca      2027-12-26  300d',
    '    odd0.pem missing',
    '● odd1                 kubelet  ca      2027-12-26  300d',
    '    odd1.pem missing',
  ])
  assert.equal(table({ items: many(61), verbose: true }).length, 62)
})

test('what expires on another day, or is not the same on all its nodes, has a row of its own; ? was not inspected', () => {
  const onNodes = (...how: ('same' | 'missing' | 'unknown')[]) => new Map(how.map((each, i) => [`node${i}`, each]))
  const told = table({
    items: [
      ...many(60),
      item('later', { days: 301 }),
      item('there', { onNodes: onNodes('same', 'missing', 'unknown') }),
    ],
  })
  assert.deepEqual(told.slice(1, 4), [
    '✔ worker0 and 59 more  kubelet  ca      2027-12-26  300d',
    '✔ later                kubelet  ca      2027-12-27  301d',
    '● there                kubelet  ca      2027-12-26  300d  1/3?',
  ])
})

test('nodes that are alike are one row', () => {
  const nodes: NodeItem[] = [
    ...['a', 'b', 'c'].map((node) => nodeItem(node, 'fresh', { why: '5 files, as in auth/' })),
    nodeItem('d', 'failed', { why: 'connection refused' }),
  ]
  const told = format({ items: many(2), nodes })
  assert.deepEqual(told.slice(told.indexOf('  NODE') + 1), [
    '✔ a and 2 more  5 files, as in auth/',
    '✖ d             connection refused',
  ])
})

test('less than two days left are reported in hours or minutes, with the time at which it expires', () => {
  const left = (days: number) => / {2}(\S+)$/.exec(table({ items: [item('a', { days })] })[1] ?? '')?.[1]
  assert.deepEqual(
    [left(2), left(1.99), left(1 / 24), left(0.01), left(0.0001), left(0), left(-1)],
    ['2d', '47h', '1h', '14m', '1m', 'expired', 'expired'],
  )
  assert.match(first([item('a', { days: 1.5 })]), /First to expire: a, on 2027-03-03 00:00Z, in 36h$/)
  assert.match(table({ items: [item('a', { days: 1.5 })] })[1] ?? '', / {2}2027-03-03 00:00Z {2}36h$/)
})

test('what expires with its CA has the expiry of the CA', () => {
  const certificate = { notAfter: inDays(400) } as Certificate
  assert.equal(table({ items: [item('worker0', { certificate })] })[1], '✔ worker0  kubelet  ca      2027-12-26  300d')
})

test('no control character of a file or a node reaches the terminal', () => {
  const why = 'cat: \x1b[2Jno such file'
  const items = [item('a', { state: 'stale', why })]
  const nodes = [nodeItem('b', 'failed', { why })]
  const counted = { items, nodes }
  const told = formatStatus({ items, nodes, counted, plan: 'plan', run: 'run', now, verbose: false })
  assert.doesNotMatch(told.join('\n'), /\x1b\[2J/)
})

test('a row is right only if all nodes that should have the file have it', () => {
  const on = (...how: ('same' | 'missing' | 'differs' | 'unknown')[]) =>
    table({ items: [item('a', { onNodes: new Map(how.map((each, i) => [`node${i}`, each])) })] })[1]?.charAt(0)
  assert.deepEqual(
    [on('same', 'same'), on('missing'), on('same', 'differs'), on('same', 'unknown')],
    ['✔', '●', '●', '●'],
  )
})

test('deployed, installed and loaded are three numbers of nodes, each among those that were looked at', () => {
  const rollout = (...nodes: NodeItem[]) => format({ items: [item('a')], nodes })[0]?.split(/; |\. F/)[1]
  const states = (installed: boolean, loaded: boolean) => nodeItem('b', 'fresh', { installed, loaded })
  assert.equal(
    rollout(states(true, true), states(true, false), states(false, false), nodeItem('gateway', 'fresh')),
    'deployed on 4 of 4 nodes, installed on 2 of 3, loaded on 1 of 3',
  )
  assert.equal(rollout(states(false, false)), 'deployed on 1 of 1 node, installed on 0 of 1, loaded on 0 of 1')
})

test('the first line is a sentence: whether everything matches, and what expires first', () => {
  const nodes = (state: NodeItem['state'], count: number) =>
    Array.from({ length: count }, (_, i) => nodeItem(`${state}${i}`, state))
  const expiry = '. First to expire: a, on 2027-12-26, in 300d'
  const told = (items: Item[], on: NodeItem[] = []) => format({ items, nodes: on })[0]
  assert.equal(told([item('a')]), `1 item matches cluster.yaml${expiry}`)
  assert.equal(told([], nodes('fresh', 3)), 'Deployed on 3 of 3 nodes')
  const two = [item('a'), item('b', { end: undefined })]
  assert.equal(told(two), `All 2 items match cluster.yaml${expiry}`)
  assert.equal(told(two, nodes('fresh', 1)), `All 2 items match cluster.yaml; deployed on 1 of 1 node${expiry}`)
  assert.equal(told(two, nodes('fresh', 7)), `All 2 items match cluster.yaml; deployed on 7 of 7 nodes${expiry}`)
  assert.equal(
    told(two, [...nodes('fresh', 2), ...nodes('stale', 1)]),
    `All 2 items match cluster.yaml; deployed on 2 of 3 nodes (see plan)${expiry}`,
  )
  assert.equal(
    told(two, [...nodes('stale', 1), ...nodes('failed', 2)]),
    `All 2 items match cluster.yaml; deployed on 0 of 1 node; 2 nodes could not be looked at (see plan)${expiry}`,
  )
})

test('the first line counts each kind of problem, and says where to look', () => {
  const items = [
    item('a', { days: 10, endsSoon: true }),
    item('b', { days: 10, state: 'stale' }),
    item('c', { state: 'failed' }),
    item('key', { certificate: undefined, end: undefined }),
  ]
  assert.equal(
    first(items),
    '1 of 4 items differs from cluster.yaml; 1 of 4 items expires within renewBefore; 1 of 4 items was not readable (see plan). First to expire: a, b, on 2027-03-11, in 10d',
  )
})

test('the first line begins with what has expired, each name once, and what to do', () => {
  const over = (name: string, phase: string) => item(name, { phase, days: -1, state: 'stale' })
  const items = [
    over('kubernetes', 'cluster-cert'),
    over('jane', 'user-certs'),
    over('jane', 'kubeconfigs'),
    item('ca'),
  ]
  assert.equal(
    first(items),
    '3 of 4 items have EXPIRED (kubernetes, jane): run. 3 of 4 items differ from cluster.yaml (see plan). Next to expire: ca, on 2027-12-26, in 300d',
  )
})

test('the first line counts what is not shown too, and the kubeconfig of the user never', () => {
  const shown = [item('a', { state: 'stale' })]
  const counted = [
    ...shown,
    ...many(3),
    item('mine', { id: 'local-kubeconfig', where: 'kubeconfig', state: 'stale', days: 1 }),
  ]
  assert.equal(
    format({ items: shown, counted: { items: counted, nodes: [] } })[0],
    '1 of 4 items differs from cluster.yaml (see plan). First to expire: a, worker0, worker1, worker2, on 2027-12-26, in 300d',
  )
})
