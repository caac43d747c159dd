/** What waits for what, where a key is revoked. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../../lib/failure.ts'
import type { Outcome } from '../../../../lib/graph/target.ts'
import type { ReasonOf } from '../../../../lib/results.ts'
import { phases } from '../../../../tasks/bootstrap.ts'
import { clusterGraph } from '../../../../tasks/target.ts'
import { parsed } from '../../../support/files.ts'

const graph = await clusterGraph(
  phases,
  parsed(`
name: kubenet
api: {virtualIP: 192.168.1.21}
nodes:
  - {name: control0, role: control, ip: 192.168.1.11}
  - {name: control1, role: control, ip: 192.168.1.12}
  - {name: worker0, role: worker, ip: 192.168.1.14}
install: true
localKubeconfig: false
revoked: ['sha256:${'1'.repeat(64)}']
`),
)
const fresh: Outcome = { kind: 'fresh', reasons: [] }
const failed: Outcome = { kind: 'failed', failure: new Failure('it is down') }
const unfinished: Outcome = { ...fresh, findings: [{ owner: 'user', text: 'start it' }] }
const unit: ReasonOf<'unit'> = {
  ...{ kind: 'unit', unit: 'kubelet', places: [], notLoaded: [], notServed: [] },
  ...{ restarts: true, isDrained: false },
}

/** Those that hold it: all else is as it should be. */
function heldBy(
  id: string,
  outcomes: Readonly<Record<string, Outcome>>,
  checked: { readonly reasons?: readonly ReasonOf<'unit'>[]; readonly found?: unknown } = {},
) {
  const all = new Map([...graph.keys()].map((each): [string, Outcome] => [each, fresh]))
  for (const [each, outcome] of Object.entries(outcomes)) all.set(each, outcome)
  return graph.get(id)?.waitsFor?.({ outcomes: all, hasStopped: () => false, ...checked })
}

test('a renewal that API servers have to know waits for each; one whose old key is to be revoked, for one of them', () => {
  const renewal: ReasonOf<'unit'> = { ...unit, restarts: false, isPinned: true }
  const ofKey: ReasonOf<'unit'> = { ...unit, isPinned: true, isForKey: true }
  const heldOn = (reason: ReasonOf<'unit'>, ...lists: readonly Outcome[]) =>
    heldBy('install/worker0', Object.fromEntries(lists.map((outcome, i) => [`revoked/control${i}`, outcome])), {
      reasons: [reason],
    })
  for (const open of [failed, unfinished]) {
    assert.deepEqual(heldOn(renewal, fresh, open), ['revoked/control1'])
    // Else a control node that stays down would keep a stolen key in use.
    assert.deepEqual(heldOn(ofKey, fresh, open), [])
  }
  assert.deepEqual(heldOn(ofKey, failed, failed), ['revoked/control0', 'revoked/control1'])
})

test('a control node on which a command hangs holds a key, as its machine is up; one that is down holds none', () => {
  const found = { nodes: ['control0', 'control1', 'worker0'], isLocal: false }
  const failedBy = (code: string, more: object = {}): Outcome => ({
    kind: 'failed',
    failure: new Failure('it fails', { node: 'control1', code, ...more }),
  })
  for (const [failure, holding] of [
    [failedBy('hung'), ['install/control1']],
    // As of a kubelet that requests its certificate itself.
    [failedBy('wrong-setting'), ['install/control1']],
    [failedBy('connection-lost', { isUp: true }), ['install/control1']],
    [failedBy('connection-lost'), []],
    [failedBy('timed-out'), []],
  ] as const) {
    assert.deepEqual(heldBy('revoked-keys', { 'install/control1': failure }, { found }), holding)
    const cancelled: Outcome = { kind: 'cancelled', because: ['deploy/control1'] }
    const outcomes = { 'deploy/control1': failure, 'install/control1': cancelled }
    assert.deepEqual(heldBy('revoked-keys', outcomes, { found }), holding)
  }
})
