/** Deployed, installed and loaded: the metrics of a node's rows. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Failure, refusal } from '../../../lib/failure.ts'
import type { Outcome } from '../../../lib/graph/target.ts'
import { formatMetrics } from '../../../tasks/commands/report-metrics.ts'
import { diffsOfUnit, type UnitCheck } from '../../../tasks/install/check-units.ts'
import type { Run } from '../../../tasks/target.ts'
import { now, temporaryAuth } from '../../support/certificates.ts'
import { fakeTarget, onNode } from '../../support/fakes.ts'
import { parsed } from '../../support/files.ts'

const clusterWith = (install: string) =>
  parsed(`name: kubenet
api: { virtualIP: 10.0.0.1 }
install: ${install}
nodes:
  - { name: c0, role: control, ip: 10.0.0.2 }
`)
const installed = clusterWith('true')
const without = clusterWith('false')
const unitless = clusterWith(
  `{ units: { ${['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet', 'kube-proxy'].map((unit) => `${unit}: false`).join(', ')} } }`,
)

const same: Outcome = { state: 'fresh' }
const foundBy = (...checks: UnitCheck[]) => ({ found: { units: [], checks } })
const fresh = { unit: { unit: 'etcd' }, places: [], why: [], isToLoad: false, restarts: false } as unknown as UnitCheck
const withUnits = foundBy(fresh)
const withoutUnits = foundBy()
const unit = (told: Partial<UnitCheck>): Outcome => {
  const check = { ...fresh, restarts: true, ...told }
  return { state: 'stale', ...foundBy(check), diffs: diffsOfUnit(check) }
}
/** What a deploy has found in the folder. */
const deployed = (told: Parameters<typeof onNode>[0] = {}): Outcome => {
  const { diffs } = onNode(told)
  return { state: diffs.length > 0 ? 'stale' : 'fresh', diffs }
}

function seen(deploy: Outcome, install: Outcome | undefined, cluster = installed) {
  const rowOf = (id: string, outcome: Outcome) => {
    const target = fakeTarget(id, { where: 'node', node: 'c0' })
    return { diffs: [], ...outcome, id, target }
  }
  const rows = new Map([
    ['deploy/c0', rowOf('deploy/c0', deploy)],
    ...(install ? [['install/c0', rowOf('install/c0', install)] as const] : []),
  ])
  return { run: { cluster, now } as Run, rows }
}

const metricsOf = (t: TestContext, { run, rows }: ReturnType<typeof seen>) =>
  formatMetrics({ run: { ...run, auth: temporaryAuth(t) }, rows })

for (const [title, found, expected] of [
  ['everything is loaded', seen(same, { ...same, ...withUnits }), [true, true, true]],
  ['a unit has not loaded a file', seen(same, unit({ why: ['etcd has not loaded ca.pem'] })), [true, true, false]],
  ['a unit is not healthy', seen(same, unit({ why: ['etcd: it is failed (failed)'] })), [true, true, false]],
  [
    'a file is not where its unit reads it',
    seen(same, unit({ places: [{ path: '/etc/etcd/ca.pem', what: 'differs' }] })),
    [true, false, false],
  ],
  [
    'no unit is installed',
    seen(same, { ...same, ...withoutUnits, note: 'not installed yet' }),
    [true, false, undefined],
  ],
  [
    'a file differs in its folder',
    seen(deployed({ differ: ['ca.pem'] }), unit({ why: ['etcd serves another certificate on 6443'] })),
    [false, true, false],
  ],
  [
    'it could not be looked at',
    seen({ state: 'failed', failure: new Failure('refused') }, { state: 'skipped', because: ['deploy/c0'] }),
    [undefined, undefined, undefined],
  ],
  [
    'it holds another identity',
    seen(
      { state: 'failed', failure: refusal('it holds another CA', []) },
      { state: 'failed', failure: refusal('its units have another CA', []) },
    ),
    [false, false, false],
  ],
  ['cluster.yaml has no install', seen(same, undefined, without), [true, undefined, undefined]],
  [
    'cluster.yaml leaves every unit out',
    seen(same, { ...same, ...withoutUnits }, unitless),
    [true, undefined, undefined],
  ],
] as const)
  test(`where ${title}, a node is ${expected.map((each) => each ?? 'not looked at').join(', ')}`, async (t) => {
    const text = await metricsOf(t, found)
    const values = ['inspected', 'deployed', 'installed', 'loaded'].map(
      (state) => new RegExp(`^harderway_node_${state}{cluster="kubenet",node="c0"} ([01])$`, 'm').exec(text)?.[1],
    )
    assert.deepEqual(
      values,
      [expected[0] !== undefined, ...expected].map((each) => (each === undefined ? undefined : String(Number(each)))),
    )
  })

test('a node of which only the units could not be looked at was not inspected', async (t) => {
  const found = seen(same, { state: 'failed', failure: new Failure('no sudo') })
  const text = await metricsOf(t, found)
  assert.match(text, /^harderway_node_inspected{cluster="kubenet",node="c0"} 0$/m)
  assert.match(text, /^harderway_node_deployed{cluster="kubenet",node="c0"} 1$/m)
})

test('what an API server made itself is dated, where it was looked at with install or without', async (t) => {
  const until = new Date('2029-11-28T12:00:00Z')
  for (const found of [seen(same, { ...same, ...withUnits, until }), seen({ ...same, until }, undefined, without)])
    assert.match(
      await metricsOf(t, found),
      /^harderway_node_api_server_end_timestamp_seconds\{.*node="c0"\} 1890561600$/m,
    )
})
