import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { Failure } from '../../../lib/failure.ts'
import type { Outcome } from '../../../lib/graph/target.ts'
import { missing } from '../../../lib/results.ts'
import { notices } from '../../../lib/show/rows.ts'
import { formatStatus } from '../../../tasks/commands/status.ts'
import type { CommandRun } from '../../../tasks/run/command-run.ts'
import type { ClusterRow, ClusterTarget } from '../../../tasks/target.ts'
import { fakeTarget } from '../../support/fakes.ts'
import { minimal, parsed } from '../../support/files.ts'

const now = new Date('2027-03-01T12:00:00Z')
const cluster = parsed(minimal)
const rowOf = (id: string, outcome: Outcome, told: Partial<ClusterTarget>): ClusterRow => ({
  ...{ diffs: [], ...outcome, id },
  target: fakeTarget(id, told),
})
const fresh: Outcome = { state: 'fresh' }
const file = (name: string, outcome = fresh) =>
  rowOf(`node-certs/${name}`, outcome, { makes: [`${name}.pem`], purpose: 'kubelet' })
const onNode = (name: string, outcome: Outcome) => rowOf(`deploy/${name}`, outcome, { where: 'node', node: name })
const lost = (name: string): Outcome => ({ state: 'stale', diffs: missing([`${name}.pem`]) })

/** `days`: until a file expires, 300 unless told otherwise. */
function format(rows: readonly ClusterRow[], days: Readonly<Record<string, number>> = {}, options = {}) {
  const items = rows.flatMap((row) => {
    const { makes } = row.target
    const name = row.id.replace(/.*\//, '')
    const end = new Date(now.getTime() + (days[name] ?? 300) * 86_400_000)
    return makes.length > 0 ? [[row.id, { row, name, certificate: undefined, end }] as const] : []
  })
  const given = { host: { stdout: {} }, options: { verbose: false, quiet: false, ...options } } as CommandRun
  const told = notices('todo', 'act')
  const byId = new Map(rows.map((row) => [row.id, row]))
  return formatStatus(given, { run: { now, cluster }, rows: byId, items: new Map(items), told }).map(
    stripVTControlCharacters,
  )
}

const rows = [
  ...['a', 'b', 'c'].map((name) => file(name)),
  ...['d', 'e'].map((name) => file(name, lost(name))),
  onNode('one', { ...fresh, todo: ['set the flag'] }),
  onNode('two', { state: 'failed', failure: new Failure('no route', { node: 'two', remedy: 'look' }) }),
]

test('rows that differ in their names alone are one; what is wrong is said below it; failures and what is left to do follow', () => {
  assert.deepEqual(format(rows), [
    '7 targets: 2 to change, 4 up to date, 1 failed',
    'Next expiry: 2027-12-26, in 300d (a, b, c and 2 more)',
    '',
    '  NAME              FOR      EXPIRES     LEFT',
    '✔ a.pem and 2 more  kubelet  2027-12-26  300d',
    '● d.pem and 1 more  kubelet  2027-12-26  300d',
    '    to change; <name>.pem missing',
    '● deploy/one',
    '✖ deploy/two',
    '',
    'deploy/two: no route',
    '  look',
    'To do      act',
    'To do      on one, set the flag',
  ])
})

test('what has expired is said first, with its names; without a row of a node, nodes were not inspected', () => {
  assert.deepEqual(format([file('a'), file('b')], { a: -1 }).slice(0, 3), [
    '2 targets: 2 up to date, 0 failed; nodes were not inspected (--on-nodes)',
    'Expired: a',
    'Next expiry: 2027-12-26, in 300d (b)',
  ])
})
