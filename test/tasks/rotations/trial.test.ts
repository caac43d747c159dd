/** Rotations tried in memory: what is refused has its connection and its state, and what is made by ours is not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import pLimit from 'p-limit'
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import { type AuthDir, kubeconfigFile, MemoryAuthDir } from '../../../lib/files/auth-dir.ts'
import { formatKubeconfig, type KubeconfigAccess, readEmbedded } from '../../../lib/kubernetes/kubeconfig.ts'
import { blocksIn, certificatePem } from '../../../lib/pki/encoding.ts'
import { phases } from '../../../tasks/bootstrap.ts'
import { clusterGraph, type Run } from '../../../tasks/cluster-target.ts'
import { layoutOf } from '../../../tasks/layouts/tables.ts'
import { rotations } from '../../../tasks/rotations/rotations.ts'
import { type AuthChange, formatTried, makeInMemory, tryChange, tryStages } from '../../../tasks/rotations/trial.ts'
import { minimal, parsed } from '../../support/files.ts'

const now = new Date()
const { signal } = new AbortController()
const graphOf = (cluster: Cluster) => clusterGraph(phases, cluster)

function runIn(auth: AuthDir, cluster: Cluster): Run {
  const run = { auth, cluster, now, command: (task: string) => task, note: () => {}, kubeconfig: () => '' }
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
  const auth = from ?? new MemoryAuthDir('/nowhere/auth', layoutOf(cluster).files)
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

const two = '{ name: c0, role: control, ip: 10.1.0.1 }, { name: w0, role: worker, ip: 10.2.0.1 }'
const other = parsed(`name: c\nlayout: hard-way\nnodes: [${two}]\n${more}`)
const all = [
  ['the guide', guide, settled, ['ca', 'etcd-ca', 'service-account', 'encryption-key']],
  ['an etcd that shares the CA', guide, await make({ ...guide, etcd: { ca: 'shared' } }), ['etcd-ca']],
  ['the other guide', other, await make(other), ['ca', 'service-account', 'encryption-key']],
] as const

for (const [title, cluster, made, names] of all)
  test(`each rotation is tried before it begins, and in each of its stages: ${title}`, async () => {
    for (const rotation of names.map(rotationOf)) {
      let auth = made.inMemory()
      for (const [at, stage] of rotation.stages.entries()) {
        const tried = await tryStages(rotatingIn(auth, cluster), rotation, at)
        assert.deepEqual(
          tried.map((each) => each.stage?.name),
          [undefined, ...rotation.stages.map(({ name }) => name)].slice(at),
        )
        assert.deepEqual(
          tried.flatMap((each) => each.tried.refused),
          [],
          rotation.name,
        )
        for (const { connections, states } of tried.map((each) => each.tried))
          assert.ok(connections >= 10 && states >= connections, `${states}`)
        if (at === 0) rotation.prepare?.(runIn(auth, cluster))
        auth = await begun(cluster, auth, rotation.name, stage.name)
      }
    }
  })

/** Rewrites a kubeconfig. */
function embed(auth: AuthDir, name: string, part: Partial<KubeconfigAccess>): void {
  const { ca, certificate, key } = readEmbedded(auth.bytes(kubeconfigFile(name)).toString())
  assert.ok(ca && certificate && key)
  const access = { cluster: 'c', server: `https://${guide.api.host}:6443`, user: name, context: 'default' }
  auth.write(kubeconfigFile(name), formatKubeconfig({ ...access, ca, certificate, key, ...part }), 0o600)
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
  '--finish with a client of the old CA': [
    async () => {
      const before = both.inMemory()
      const after = await begun(guide, both, 'ca', 'finishing')
      for (const auth of [before, after])
        auth.write('kube-proxy.kubeconfig', settled.bytes('kube-proxy.kubeconfig'), 0o600)
      return { before, after }
    },
    /^clients\/kube-proxy$/,
    /^clients\/kube-proxy, kube-proxy to kube-apiserver would fail \(the server with its new files\): anonymous /,
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
