/** Rotations tried in memory: what is refused has its connection and its state, and what is made by ours is not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import pLimit from 'p-limit'
import type { Cluster } from '../../../../lib/cluster/cluster.ts'
import { AuthDir, kubeconfigFile, MemoryStore } from '../../../../lib/files/auth-dir.ts'
import { closure } from '../../../../lib/graph/target.ts'
import { formatKubeconfig, readEmbedded } from '../../../../lib/kubernetes/kubeconfig.ts'
import { blocksIn, certificatePem } from '../../../../lib/pki/encoding.ts'
import { phases } from '../../../../tasks/bootstrap.ts'
import { rotations, stageNumber } from '../../../../tasks/day2/rotations/rotations.ts'
import {
  type AuthChange,
  formatTried,
  makeInMemory,
  tryChange,
  tryStages,
} from '../../../../tasks/day2/rotations/trial.ts'
import { layoutOf } from '../../../../tasks/layouts/tables.ts'
import { clusterGraph, type Run } from '../../../../tasks/target.ts'
import { startAll } from '../../../support/fakes.ts'
import { minimal, parsed } from '../../../support/files.ts'
import { fc } from '../../../support/properties.ts'

const now = new Date()
const { signal } = new AbortController()
const graphOf = (cluster: Cluster) => clusterGraph(phases, cluster)

function runIn(auth: AuthDir, cluster: Cluster): Run {
  const run = { auth, cluster, now, command: (task: string) => task, note: () => {}, kubeconfigs: () => [] }
  const limits = { auth: pLimit(2), node: pLimit(1), kubeconfig: pLimit(1) }
  return {
    ...run,
    limits,
    remote: 'node',
    options: { replaceIdentity: false, prune: false, names: [] },
  } as unknown as Run
}

/** Throws where nothing may be made. */
async function make(cluster: Cluster, from?: AuthDir): Promise<AuthDir> {
  const auth = from ?? new AuthDir('/nowhere/auth', layoutOf(cluster).files, new MemoryStore())
  return makeInMemory(runIn(auth, cluster), await graphOf(cluster), auth, signal)
}

function rotationOf(name: string) {
  const rotation = rotations.find((each) => each.name === name)
  if (!rotation) throw new Error(name)
  return rotation
}

const rotatingIn = (auth: AuthDir, cluster: Cluster) => ({ run: runIn(auth, cluster), signal, isForced: true })

/** After the stage of that name has begun, and everything was made. */
async function begun(cluster: Cluster, from: AuthDir, name: string, stage: string): Promise<AuthDir> {
  const auth = from.inMemory()
  await rotationOf(name)
    .stages.find((each) => each.name === stage)
    ?.begin(rotatingIn(auth, cluster))
  return make(cluster, auth)
}

const more = 'certificates: { key: ecdsa-p256 }\nusers: [{ name: jane }]\n'
const guide = parsed(`${minimal}  - { name: w0, role: worker, ip: 10.0.0.3 }
  - { name: g0, role: gateway, ip: 10.0.0.4 }
etcd: { ca: own }
aggregation: true
${more}`)
const settled = await make(guide)
const both = await begun(guide, settled, 'ca', 'both')

test('each rotation is tried, of whom there is: the gateway, pods and the front proxy among them', async () => {
  for (const { name } of rotations) {
    const tried = await tryStages(rotatingIn(settled, guide), rotationOf(name), 0)
    assert.deepEqual(
      tried.map(({ stage }) => stage?.name),
      [undefined, ...rotationOf(name).stages.map((stage) => stage.name)],
    )
    assert.deepEqual(
      tried.flatMap(({ tried: { refused } }) => refused),
      [],
      name,
    )
    for (const {
      tried: { connections, states },
    } of tried)
      assert.ok(connections > 30 && states >= connections - 12, `${states}`)
  }
})

/** Rewrites a kubeconfig. */
function embed(auth: AuthDir, name: string, part: Partial<ReturnType<typeof readEmbedded>>): void {
  const embedded = readEmbedded(auth.bytes(kubeconfigFile(name)).toString())
  assert.ok(embedded)
  const access = { cluster: 'c', server: `https://${guide.api.host}:6443`, user: name, context: 'default' }
  auth.write(kubeconfigFile(name), formatKubeconfig({ ...access, ...embedded, ...part }), 0o600)
}

const withoutChain = (pem: Buffer) => Buffer.from(blocksIn(pem, 'CERTIFICATE').slice(0, 1).map(certificatePem).join(''))

const broken: Readonly<
  Record<string, readonly [step: () => Promise<AuthChange>, connections: RegExp, refused: RegExp]>
> = {
  'no cross certificate': [
    async () => {
      const after = both.inMemory()
      after.write('kubernetes.pem', withoutChain(after.bytes('kubernetes.pem')), 0o644)
      return { before: settled, after }
    },
    /^(clients|kubelets|front-proxy)\/|^strangers\/api-server-nobody$/,
    /^clients\/g0, g0 to kube-apiserver would fail \(the server with its new files\): /m,
  ],
  'a kubeconfig that trusts the next CA alone': [
    async () => {
      const after = both.inMemory()
      embed(after, 'kube-scheduler', { ca: after.bytes('ca-next.pem') })
      return { before: settled, after }
    },
    /^clients\/kube-scheduler$/,
    /^clients\/kube-scheduler, kube-scheduler to kube-apiserver would fail \(the client with its new files\): /,
  ],
  'a leaf over the wrong key': [
    async () => {
      const after = both.inMemory()
      after.write('w0-key.pem', after.bytes('admin-key.pem'), 0o600)
      return { before: settled, after }
    },
    /^kubelets\/w0$/,
    /^kubelets\/w0, kubernetes to the kubelet of w0 would fail \(the server with its new files\): key values mismatch$/,
  ],
  '--finish with a client of the old CA': [
    async () => {
      const before = both.inMemory()
      const after = await begun(guide, both, 'ca', 'finishing')
      for (const auth of [before, after])
        auth.write('kube-proxy.kubeconfig', settled.bytes('kube-proxy.kubeconfig'), 0o600)
      return { before, after, isLast: true }
    },
    /^clients\/kube-proxy$/,
    /^clients\/kube-proxy, kube-proxy to kube-apiserver would fail \(the server with its new files\): anonymous /,
  ],
  'the next service-account key signs before it is accepted': [
    async () => {
      const after = settled.inMemory()
      for (const file of ['service-account.pem', 'service-account-key.pem'])
        after.write(file, settled.bytes(file.replace('service-account', 'admin')), 0o600)
      return { before: settled, after }
    },
    /^keys\/service-account-token$/,
    /, pods to kube-apiserver would fail \(the client with its new files\)/,
  ],
  'the next encryption key encrypts before all decrypt with it': [
    async () => {
      const added = await begun(guide, settled, 'encryption-key', 'added')
      return { before: settled, after: await begun(guide, added, 'encryption-key', 'first') }
    },
    /^keys\/encryption$/,
    /^keys\/encryption, .* \(the client with its new files\): encryption-config\.yaml lacks the key that has encrypted it/,
  ],
}

for (const [what, [make, connections, refused]] of Object.entries(broken))
  test(`tried: ${what}`, async () => {
    const step = await make()
    const tried = await tryChange({ cluster: guide, now }, step)
    const found = tried.refused
    const lines = formatTried(tried).slice(1).join('\n')
    assert.ok(found.length > 0)
    assert.deepEqual(
      found.map(({ connection }) => connection).filter((each) => !connections.test(each)),
      [],
      lines,
    )
    assert.match(lines, refused)
  })

test('replacing the CA at once is refused, by most connections', async () => {
  const other = await make(guide)
  const { connections, refused } = await tryChange({ cluster: guide, now }, { before: settled, after: other })
  assert.ok(refused.length > connections / 3, `${refused.length} of ${connections}`)
})

/** It ends before one of its writes, as a run that is killed does. */
class EndingStore extends MemoryStore {
  left = Number.POSITIVE_INFINITY
  override write(...args: Parameters<MemoryStore['write']>): void {
    if (this.left-- <= 0) throw new Error('ended')
    super.write(...args)
  }
}

/** The stage begins and everything is made, up to so many writes. */
async function endAfter(writes: number, from: AuthDir, work: (auth: AuthDir) => Promise<unknown>): Promise<AuthDir> {
  const store = new EndingStore(from)
  store.left = writes
  await work(new AuthDir(from.path, from.files, store)).catch((error: Error) => assert.match(error.message, /ended/))
  store.left = Number.POSITIVE_INFINITY
  return new AuthDir(from.path, from.files, store)
}

/** What ends it is the failure of a target. */
async function makeHere(auth: AuthDir, cluster: Cluster, rotating: string): Promise<void> {
  const graph = await graphOf(cluster)
  const made = [...graph.values()].filter(({ where, phase }) => where === 'auth' && !phase.startsWith('revoked'))
  const run = { ...runIn(auth, cluster), stagedBy: rotating }
  const options = { run, mode: 'run' as const, forced: new Map(), signal, emit: () => {} }
  const ids = made.map(({ id }) => id)
  for (const outcome of (await startAll(closure(graph, ids), options)).values())
    if (outcome.failure) throw outcome.failure
}

const plans = fc.record({
  isOther: fc.boolean(),
  workers: fc.integer({ min: 0, max: 2 }),
  controls: fc.integer({ min: 1, max: 2 }),
  isOwn: fc.boolean(),
  aggregation: fc.boolean(),
  users: fc.subarray(['jane', 'bob']),
  key: fc.constantFrom('ecdsa-p256', 'ecdsa-p384'),
  rotated: fc.array(
    fc.record({
      name: fc.constantFrom(...rotations.map(({ name }) => name)),
      /** Writes of each stage before a run of it is killed. */
      killed: fc.array(fc.option(fc.nat(20), { nil: undefined }), { minLength: 3, maxLength: 3 }),
    }),
    { minLength: 1, maxLength: 2 },
  ),
})
type Plan = typeof plans extends fc.Arbitrary<infer T> ? T : never

function clusterOf({ isOther, workers, controls, isOwn, aggregation, users, key }: Plan): Cluster {
  const nodes = [
    ...Array.from({ length: isOther ? 1 : controls }, (_, i) => ({
      name: `c${i}`,
      role: 'control',
      ip: `10.1.0.${i}`,
    })),
    ...Array.from({ length: workers }, (_, i) => ({ name: `w${i}`, role: 'worker', ip: `10.2.0.${i}` })),
    ...(isOther ? [] : [{ name: 'g0', role: 'gateway', ip: '10.3.0.1' }]),
  ]
  const ofGuide = isOther
    ? { layout: 'hard-way' }
    : { api: { virtualIP: '10.0.0.1' }, etcd: { ca: isOwn ? 'own' : 'shared' } }
  const all = {
    name: 'c',
    nodes,
    ...ofGuide,
    aggregation,
    users: users.map((name) => ({ name })),
    certificates: { key },
  }
  return parsed(JSON.stringify(all))
}

const numRuns = Math.ceil(Number(process.env.FUZZ_RUNS ?? 1000) / 1000)

test('whatever the cluster and its rotations, and wherever runs of them were killed, nothing is refused', async () => {
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      const cluster = clusterOf(plan)
      let auth = await make(cluster)
      for (const { name, killed } of plan.rotated) {
        const rotation = rotationOf(name)
        if (!canRotate(rotation, runIn(auth, cluster))) continue
        const assertTried = async (at: number) => {
          const tried = await tryStages(rotatingIn(auth, cluster), rotation, at)
          const lines = tried.flatMap((each) => formatTried(each.tried).slice(1))
          assert.deepEqual(lines, [])
        }
        await assertTried(0)
        auth = auth.inMemory()
        rotation.prepare?.(runIn(auth, cluster))
        await makeHere(auth, cluster, name)
        for (const [i, stage] of rotation.stages.entries()) {
          const writes = killed[i] ?? 0
          auth = await endAfter(writes, auth, async (ending) => {
            await stage.begin(rotatingIn(ending, cluster))
            await makeHere(ending, cluster, name)
          })
          const at = stageNumber(rotation, runIn(auth, cluster))
          // A last stage that has come to its end is the settled state.
          const isBegun = at > i || (i === rotation.stages.length - 1 && at === 0)
          if (killed[i] !== undefined && at >= i) await assertTried(at)
          if (!isBegun) await stage.begin(rotatingIn(auth, cluster))
          await makeHere(auth, cluster, name)
        }
      }
    }),
    { numRuns, endOnFailure: process.env.FUZZ_RUNS === undefined },
  )
})

function canRotate(rotation: (typeof rotations)[number], run: Run): boolean {
  try {
    rotation.refuse?.(run)
    return true
  } catch {
    return false
  }
}
