import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Run } from '../../../lib/graph/target.ts'
import { formatAuthorization } from '../../../lib/kubernetes/authorization.ts'
import { unitsOn } from '../../../tasks/nodes/reads.ts'
import { checkInForce, minorOf } from '../../../tasks/nodes/revoked.ts'
import { allThere, control, placesWith, runningUnit, startedAs, twoNodes } from '../../support/fakes.ts'

const config = '/var/lib/kubernetes/authorization-config.yaml'

/** What is found where the API server was started with these flags, and does not deny some. */
function found(revoked: string[] | undefined, notDenied: readonly string[] | undefined, ...flags: string[]) {
  const cluster = { ...twoNodes, revoked }
  const process = startedAs('kube-apiserver', ...flags)
  const { group, command } = process
  const units = new Map([['kube-apiserver', { ...runningUnit, group, start: command.join(' ') }]])
  const places = placesWith({ ...allThere, units, processes: [process] })
  const text = Buffer.from(formatAuthorization(new Map([['jane', []]]), '/k'))
  const auth = { read: () => ({ kind: 'file' }), tryBytes: () => text }
  const run = { cluster, auth } as unknown as Run
  const inForce = notDenied && { inForce: { isLoaded: notDenied.length === 0, notDenied } }
  const look = { units: unitsOn(cluster, control, places), places, files: new Map(), ...inForce }
  return checkInForce(run, look, ['kube-apiserver'])
}

test('what is not in force is said where no run can change it, with what to add to a configuration of your own', () => {
  const ours = `--authorization-config=${config}`
  const inForce = (number: number, all: number, notInForce: readonly string[] = []) => ({
    revokedInForce: number,
    inWords: `${number} of ${all} revoked in force`,
    notInForce,
    toChange: [],
  })
  assert.deepEqual(found(['jane', 'joe'], [], ours), inForce(2, 2))
  // A run waits for it.
  assert.deepEqual(found(['jane', 'joe'], ['joe'], ours), inForce(1, 2))
  const without = found(['jane'], ['jane'], '--authorization-mode=Node,RBAC')
  assert.deepEqual(without, inForce(0, 1, ['kube-apiserver: jane of revoked not in force']))
  const silent = found(['jane'], undefined, '--authorization-mode=Node,RBAC')
  assert.match(silent.notInForce.join(), /may not be in force: it did not answer/)
  const own = found(['jane'], ['jane'], '--authorization-mode=AlwaysAllow').toChange.join()
  assert.match(own, /its --authorization-mode is AlwaysAllow, and is left alone: .*\n {2}- type: Webhook\n/)
  // Somebody has added it.
  assert.deepEqual(found(['jane'], [], '--authorization-mode=AlwaysAllow').toChange, [])
})

test('without the key, the way back is a command, and who would be let in by it is named', () => {
  const back = found(undefined, undefined, `--authorization-config=${config}`).toChange.join()
  assert.match(back, /still denies whom .* lists \(jane\), and cluster\.yaml has no revoked: put it back/)
  assert.match(back, /put it back \(revoked: \[jane\]\)/)
  assert.match(back, /--authorization-mode=Node,RBAC.*daemon-reload$/)
  assert.deepEqual(found(undefined, undefined, '--authorization-mode=Node,RBAC').toChange, [])
})

test('the version of an API server is read from its answer, or not known', () => {
  const minors = ['31', '32+', '36', '', undefined].map((minor) => minorOf({ major: '1', minor }))
  assert.deepEqual(minors, [31, 32, 36, undefined, undefined])
  assert.equal(minorOf({ major: '2', minor: '1' }), undefined)
})
