import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import type { Run } from '../../../lib/graph/target.ts'
import { formatAuthorization } from '../../../lib/kubernetes/authorization.ts'
import { root } from '../../../lib/node/place.ts'
import type { PlacesState } from '../../../lib/node/state.ts'
import { nodeUnits } from '../../../tasks/layouts/tables.ts'
import { unitsOn } from '../../../tasks/nodes/reads.ts'
import { checkInForce, minorOf } from '../../../tasks/nodes/revoked.ts'
import { nothingElse, processAs, startedAs, twoNodes } from '../../support/fakes.ts'

const control = twoNodes.nodes[0] as ClusterNode
const config = '/var/lib/kubernetes/authorization-config.yaml'

/** What is found where the API server was started with these flags, and does not deny some. */
function found(revoked: string[] | undefined, notDenied: readonly string[] | undefined, ...flags: string[]) {
  const cluster = { ...twoNodes, revoked }
  const unit = nodeUnits(twoNodes, control).find((each) => each.unit === 'kube-apiserver') ?? assert.fail()
  const start = ['/usr/local/bin/kube-apiserver', ...startedAs(unit, ...flags).command.slice(1)].join(' ')
  const places = {
    units: new Map([
      ['kube-apiserver', { group: '/system.slice/kube-apiserver.service', active: 'active', account: root, start }],
    ]),
    processes: [processAs('kube-apiserver', ...start.split(' ').slice(1))],
    ...{ folders: { has: () => true }, files: { get: () => ({ size: 1, isKnown: true }) }, real: new Map() },
    ...{ contents: new Map(), ...nothingElse },
  } as unknown as PlacesState
  const text = Buffer.from(formatAuthorization(new Map([['jane', []]]), '/k'))
  const auth = { read: () => ({ kind: 'file' }), tryBytes: () => text }
  const run = { cluster, auth } as unknown as Run
  const units = unitsOn(cluster, control, places)
  return checkInForce(
    run,
    { units, places, files: new Map(), ...(notDenied && { inForce: { isLoaded: notDenied.length === 0, notDenied } }) },
    ['kube-apiserver'],
  )
}

test('what is not in force is said where no run can change it, with what to add to a configuration of your own', () => {
  const ours = `--authorization-config=${config}`
  assert.deepEqual(found(['jane', 'joe'], [], ours), {
    revokedInForce: 2,
    inWords: '2 of 2 revoked in force',
    notInForce: [],
    toChange: [],
  })
  // A run waits for it.
  assert.deepEqual(found(['jane', 'joe'], ['joe'], ours), {
    revokedInForce: 1,
    inWords: '1 of 2 revoked in force',
    notInForce: [],
    toChange: [],
  })
  const without = found(['jane'], ['jane'], '--authorization-mode=Node,RBAC')
  assert.deepEqual(without, {
    revokedInForce: 0,
    inWords: '0 of 1 revoked in force',
    notInForce: ['kube-apiserver: jane of revoked not in force'],
    toChange: [],
  })
  const silent = found(['jane'], undefined, '--authorization-mode=Node,RBAC')
  assert.match(silent.notInForce.join(), /may not be in force: it did not answer/)
  const own = found(['jane'], ['jane'], '--authorization-mode=AlwaysAllow')
  assert.match(
    own.toChange.join(),
    /its --authorization-mode is AlwaysAllow, and is left alone: .*\n {2}- type: Webhook\n/,
  )
  // Somebody has added it.
  assert.deepEqual(found(['jane'], [], '--authorization-mode=AlwaysAllow').toChange, [])
})

test('without the key, the way back is a command, and who would be let in by it is named', () => {
  const { toChange } = found(undefined, undefined, `--authorization-config=${config}`)
  assert.match(
    toChange.join(),
    /still denies whom .* lists \(jane\), and cluster\.yaml has no revoked: put it back \(revoked: \[jane\]\)/,
  )
  assert.match(toChange.join(), /--authorization-mode=Node,RBAC.*daemon-reload$/)
  assert.deepEqual(found(undefined, undefined, '--authorization-mode=Node,RBAC').toChange, [])
})

test('the version of an API server is read from its answer, or not known', () => {
  for (const [minor, number] of [
    ['31', 31],
    ['32+', 32],
    ['36', 36],
    ['', undefined],
    [undefined, undefined],
  ] as const)
    assert.equal(minorOf({ major: '1', minor }), number)
  assert.equal(minorOf({ major: '2', minor: '1' }), undefined)
})
