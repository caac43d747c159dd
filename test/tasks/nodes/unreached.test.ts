import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import type { Run } from '../../../lib/graph/run.ts'
import type { ComponentProcess, PlacesState } from '../../../lib/node/state.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { unitsOn } from '../../../tasks/nodes/reads.ts'
import { unreachedOn, unsetOn } from '../../../tasks/nodes/unreached.ts'
import { nodeUnits } from '../../../tasks/tables/places.ts'
import { twoNodes as cluster, processAs, startedAs } from '../../support/fakes.ts'
import { sha256 } from '../../support/files.ts'

const control = cluster.nodes[0] as ClusterNode
/** Each file of auth/ holds its own name. */
const run = {
  cluster,
  auth: { files: harderWay.files, tryBytes: (name: string) => Buffer.from(name) },
} as unknown as Run
const apiServer = nodeUnits(cluster, control).find(({ unit }) => unit === 'kube-apiserver') ?? assert.fail()

/** What is said where these run, and the files at these paths hold that of auth/. */
function told(
  processes: readonly ComponentProcess[],
  copies: Readonly<Record<string, string>>,
  concerns?: (file: string) => boolean,
) {
  const file = (path: string) => ({ size: 1, isKnown: true, sha256: sha256(copies[path] ?? 'other') })
  const places = {
    ...{
      processes,
      units: new Map([['kube-apiserver', { group: '/system.slice/kube-apiserver.service', active: 'active' }]]),
    },
    ...{ folders: { has: () => true }, files: { get: file }, real: new Map(), contents: new Map() },
  } as unknown as PlacesState
  return unreachedOn(run, control, { units: unitsOn(cluster, control, places), places }, concerns)
}

describe('what install does not reach', () => {
  test('is a copy that a flag of no row names; not another file, nor one that another flag has it keep', () => {
    const flag = '--requestheader-client-ca-file'
    const front = [startedAs(apiServer, `${flag}=/etc/front/ca.pem`)]
    assert.deepEqual(told(front, {}), [])
    assert.deepEqual(told(front, { '/etc/front/ca.pem': 'ca.pem' }), [
      `kube-apiserver: ${flag} (/etc/front/ca.pem) is a copy of ca.pem: name the original there`,
    ])
    assert.deepEqual(
      told(front, { '/etc/front/ca.pem': 'ca.pem' }, (file) => file === 'service-account.pem'),
      [],
    )
    const same = [startedAs(apiServer, `${flag}=/var/lib/kubernetes/ca.pem`)]
    assert.deepEqual(told(same, { '/var/lib/kubernetes/ca.pem': 'ca.pem' }), [])
  })

  test('is a component of no unit that reads a file of ours, and none that reads others', () => {
    const process = processAs('kube-controller-manager', '--root-ca-file=/x/ca.pem', '--kubeconfig=/x/k')
    const manager = { ...process, group: '/user.slice/a.scope', id: 9 }
    assert.deepEqual(told([startedAs(apiServer), manager], {}), [])
    const [said, ...more] = told([startedAs(apiServer), manager], { '/x/ca.pem': 'ca.pem' })
    assert.equal(more.length, 0)
    assert.match(
      String(said),
      /^kube-controller-manager, process 9 in \/user\.slice\/a\.scope, reads \/x\/ca\.pem \(--root-ca-file\), which is of this cluster: stop it/,
    )
    const named = { ...manager, group: '/system.slice/k8s-kcm.service' }
    assert.match(
      String(told([startedAs(apiServer), named], { '/x/ca.pem': 'ca.pem' })),
      /install\.units: \{ kube-controller-manager: \{ unit: k8s-kcm \} \}/,
    )
  })
})

test('a flag that has to change is named with all others of its unit: a certificate is no use without its key', () => {
  const own: typeof cluster = { ...cluster, etcd: { ca: 'own' } }
  const places = {
    ...{
      processes: [startedAs(apiServer)],
      units: new Map([['kube-apiserver', { group: '/system.slice/kube-apiserver.service' }]]),
    },
    ...{ folders: { has: () => true }, files: { get: () => undefined }, real: new Map(), contents: new Map() },
  } as unknown as PlacesState
  const found = { units: unitsOn(own, control, places), places }
  const [said = '', ...more] = unsetOn({ cluster: own }, found, (file) => file === 'etcd-ca.pem')
  assert.match(said, /--etcd-cafile=.*--etcd-certfile=.*--etcd-keyfile=/)
  assert.deepEqual(more, [])
  assert.deepEqual(
    unsetOn({ cluster: own }, found, (file) => file === 'ca.pem'),
    [],
  )
})
