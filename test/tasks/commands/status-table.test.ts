import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import type { Certificate } from '../../../lib/pki/certificate.ts'
import { formatStatus, type StatusTable } from '../../../tasks/commands/status-table.ts'
import type { Item, NodeItem } from '../../../tasks/looks/inventory.ts'

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

const many = (count: number) => Array.from({ length: count }, (_, i) => item(`worker${i}`))
const format = ({ items = [], ...told }: Partial<StatusTable>) =>
  formatStatus({ items, nodes: [], counted: items, now, width: 80, verbose: false, ...told }).map(
    stripVTControlCharacters,
  )
const last = (items: readonly Item[]) => format({ items, width: 200 }).at(-1) ?? ''

test('up to sixty rows are reported one by one; of more, those that differ in nothing but the name are one', () => {
  assert.equal(format({ items: many(60) }).filter((line) => line.startsWith('✔')).length, 60)
  const odd = item('odd', { state: 'stale', why: 'odd.pem missing' })
  const told = format({ items: [...many(30), odd, ...many(62).slice(30)] })
  assert.deepEqual(told.slice(1, 4), [
    '✔ worker0 and 61 more  kubelet  ca      2027-12-26  300d',
    '● odd                  kubelet  ca      2027-12-26  300d',
    '    odd.pem missing',
  ])
  assert.match(last(many(61)), /^61 items: 61 fresh\./)
  assert.equal(format({ items: many(61) }).filter((line) => line.startsWith('✔')).length, 1)
  assert.equal(format({ items: many(61), verbose: true }).filter((line) => line.startsWith('✔')).length, 61)
})

test('what expires on another day, or differs on its nodes, has a row of its own; ? is a node that was not inspected', () => {
  const onNodes = (...how: ('same' | 'missing' | 'unknown')[]) => new Map(how.map((each, i) => [`node${i}`, each]))
  const told = format({
    items: [
      ...many(60),
      item('later', { days: 301 }),
      item('there', { onNodes: onNodes('same', 'missing', 'unknown') }),
    ],
  })
  assert.deepEqual(told.slice(1, 4), [
    '✔ worker0 and 59 more  kubelet  ca      2027-12-26  300d',
    '✔ later                kubelet  ca      2027-12-27  301d',
    '✔ there                kubelet  ca      2027-12-26  300d  1/3?',
  ])
})

test('nodes that are alike are one row where there are many, and have a row each where there are few', () => {
  const nodes: NodeItem[] = [
    ...['a', 'b', 'c'].map((node): NodeItem => ({ node, state: 'fresh', why: '5 files, as in auth/' })),
    { node: 'd', state: 'failed', why: 'connection refused' },
  ]
  const rows = (items: Item[]) => {
    const told = format({ items, nodes })
    return told.slice(told.indexOf('  NODE')).filter((line) => /^[✔✖]/.test(line))
  }
  assert.deepEqual(rows(many(57)), ['✔ a and 2 more  5 files, as in auth/', '✖ d             connection refused'])
  assert.deepEqual(rows(many(56)), [
    ...['✔ a     5 files, as in auth/', '✔ b     5 files, as in auth/', '✔ c     5 files, as in auth/'],
    '✖ d     connection refused',
  ])
})

test('less than two days left are reported in hours, and what has expired is marked so', () => {
  const left = (days: number) => / {2}(\S+)$/.exec(format({ items: [item('a', { days })] })[1] ?? '')?.[1]
  assert.deepEqual([left(2), left(1.99), left(0.01), left(0), left(-1)], ['2d', '47h', '0h', 'expired', 'expired'])
})

test('what expires with its CA is marked, and the effective expiry is shown', () => {
  const certificate = { notAfter: inDays(400) } as Certificate
  const told = format({ items: [item('ca'), item('worker0', { certificate })] })
  assert.deepEqual(told.slice(1, 5), [
    '✔ ca       kubelet  ca      2027-12-26  300d',
    '✔ worker0  kubelet  ca      2028-04-04  300d*',
    '',
    '* its CA expires first, on 2027-12-26',
  ])
})

const long = {
  items: ['a', 'b'].map((letter) =>
    item(letter.repeat(52), {
      ...{ state: 'stale', why: 'SAN added: a-name.example.org; '.repeat(9) },
      onNodes: new Map([['x', 'same']]),
    }),
  ),
  nodes: [{ node: 'c'.repeat(52), state: 'failed', why: 'connection refused '.repeat(9).trim() }] as NodeItem[],
}
for (const width of [60, 80, 200])
  test(`in ${width} columns no line is wider, however long names and reasons are, and each has its name`, () => {
    const told = format({ ...long, width })
    for (const line of told) assert.ok(line.length <= width, `${line.length} > ${width}: ${line}`)
    for (const name of ['aaaa', 'bbbb', 'cccc']) assert.match(told.join('\n'), new RegExp(`^[●✖] ${name}`, 'm'))
  })

test('no control character of a file or a node reaches the terminal', () => {
  const why = 'cat: \x1b[2Jno such file'
  const items = [item('a', { state: 'stale', why })]
  const nodes: NodeItem[] = [{ node: 'b', state: 'failed', why }]
  const told = formatStatus({ items, nodes, counted: items, now, width: 80, verbose: false })
  assert.doesNotMatch(told.join('\n'), /\x1b\[2J/)
})

test('the last line counts each kind, and names what expires first', () => {
  const items = [
    item('a', { days: 10 }),
    item('b', { days: 10, state: 'stale' }),
    item('c', { state: 'failed' }),
    item('key', { certificate: undefined, end: undefined }),
  ]
  assert.equal(last(items), '4 items: 2 fresh, 1 stale, 1 not readable. First to expire: a, b, on 2027-03-11, in 10d')
})

test('one item is one item', () => {
  assert.equal(last([item('a', { days: 1.5 })]), '1 item: 1 fresh. First to expire: a, on 2027-03-03, in 36h')
})

test('the last line counts what is not shown too, and the kubeconfig of the user never', () => {
  const shown = [item('a', { state: 'stale' })]
  const counted = [
    ...shown,
    ...many(3),
    item('mine', { id: 'local-kubeconfig', where: 'user', state: 'stale', days: 1 }),
  ]
  assert.equal(
    format({ items: shown, counted, width: 200 }).at(-1),
    '4 items: 3 fresh, 1 stale. First to expire: a, worker0, worker1, worker2, on 2027-12-26, in 300d',
  )
})
