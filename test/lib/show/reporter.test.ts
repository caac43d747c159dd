import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure, sharedRefusal } from '../../../lib/failure.ts'
import { formatFailures, joinFailures } from '../../../lib/show/reporter.ts'

const names = ['control0', 'worker0', 'worker1']
const down = (name: string) =>
  new Failure(`${name}: connection refused`, {
    code: 'connection-refused',
    shared: {
      what: 'connection refused',
      who: name,
      place: { host: `${name}.lan` },
      remedyFor: (places: readonly { host: string }[]) => `ping ${places.map(({ host }) => host).join(' ')}`,
    },
  })
const refused = (name: string, what = 'another CA than auth') =>
  sharedRefusal(`${name} holds ${what}`, {
    what,
    who: name,
    place: name,
    waysOut: (places) => ['fetch it', `deploy ${places.map((each) => `--node ${each}`).join(' ')}`],
  })
const told = (failures: Record<string, Failure>) =>
  formatFailures(new Map(Object.entries(failures).map(([id, failure]) => [id, { kind: 'failed', failure }])))

test('one of its kind is reported as its own, with the remedy for one', () => {
  assert.deepEqual(told({ 'deploy/a': down('a'), ca: new Failure('no room') }), [
    'deploy/a: a: connection refused\n    ping a.lan',
    'ca: no room',
  ])
})

test('many with one cause are reported once, with one remedy for all, where the first stood', () => {
  const failures = Object.fromEntries(names.map((name) => [`deploy/${name}`, down(name)]))
  assert.deepEqual(told({ ...failures, ca: new Failure('no room') }), [
    '3 nodes, connection refused: control0, worker0, worker1\n    ping control0.lan worker0.lan worker1.lan',
    'ca: no room',
  ])
})

test('refusals likewise, those of another kind apart', () => {
  const failures = Object.fromEntries(names.map((name) => [`deploy/${name}`, refused(name)]))
  assert.deepEqual(told({ ...failures, 'deploy/x': refused('x', 'another key') }), [
    '3 nodes, another CA than auth: control0, worker0, worker1\n    - fetch it\n    - deploy --node control0 --node worker0 --node worker1',
    'deploy/x: x holds another key\n    - fetch it\n    - deploy --node x',
  ])
})

test('two targets of one node with one cause are one node', () => {
  assert.deepEqual(told({ 'deploy/a': down('a'), 'install/a': down('a') }), ['connection refused: a\n    ping a.lan'])
})

test('what is joined is still a refusal, and has its code', () => {
  const [[id, failure] = []] = joinFailures(names.map((name) => [`deploy/${name}`, refused(name)]))
  assert.deepEqual([id, failure?.kind, failure?.code], [undefined, 'refused', 'irreplaceable'])
})
