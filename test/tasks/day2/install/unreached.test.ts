import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import type { ClusterNode } from '../../../../lib/cluster/cluster.ts'
import { backUp } from '../../../../lib/files/auth-dir.ts'
import { formatKubeconfig } from '../../../../lib/kubernetes/kubeconfig.ts'
import type { ComponentProcess, NodeState, PlacesState } from '../../../../lib/node/state.ts'
import { unreachedOn, unsetOn } from '../../../../tasks/day2/install/unreached.ts'
import { unitsOn } from '../../../../tasks/inspect/reads.ts'
import { harderWay } from '../../../../tasks/layouts/harder-way.ts'
import { certTable } from '../../../../tasks/layouts/tables.ts'
import { readAccess } from '../../../../tasks/phases/kubeconfigs.ts'
import type { Run } from '../../../../tasks/target.ts'
import { caProfile, makeCa, makeEverything, temporaryAuth } from '../../../support/certificates.ts'

import {
  allThere,
  twoNodes as cluster,
  control,
  placesWith,
  processAs,
  rootsFile,
  runningUnit,
  seenIn,
  startedAs,
  worker,
} from '../../../support/fakes.ts'
import { sha256 } from '../../../support/files.ts'

/** Each file of auth/ holds its own name. */
const run = {
  cluster,
  auth: {
    files: harderWay.files,
    names: (folder = '.') => (folder === '.' ? ['ca.pem'] : []),
    tryBytes: (name: string) => Buffer.from(name),
  },
} as unknown as Run
const serverUnit = new Map([['kube-apiserver', { ...runningUnit, group: '/system.slice/kube-apiserver.service' }]])

interface Given {
  readonly of?: Run
  readonly files?: PlacesState['files']
  readonly units?: PlacesState['units']
  readonly concerns?: (file: string) => boolean
}

/** What is found where these run. */
function found(
  node: ClusterNode,
  processes: readonly ComponentProcess[],
  { of = run, files = new Map(), units = serverUnit, concerns }: Given = {},
) {
  const places = placesWith({ ...allThere, processes, units, files })
  return unreachedOn(of, node, { ...seenIn(of.cluster, node, { places } as NodeState), places }, concerns)
}

/** The same where the files at these paths hold that of auth/. */
function told(
  processes: readonly ComponentProcess[],
  copies: Readonly<Record<string, string>>,
  concerns?: (file: string) => boolean,
) {
  const file = (path: string) => ({ size: 1, sha256: sha256(copies[path] ?? 'other') })
  const files = { get: file } as unknown as PlacesState['files']
  return Object.values(found(control, processes, { files, ...(concerns && { concerns }) })).flat()
}

describe('what install does not reach', () => {
  test('is a copy that a flag of no row names; not another file, nor one that another flag has it keep', () => {
    const flag = '--requestheader-client-ca-file'
    const front = [startedAs('kube-apiserver', `${flag}=/etc/front/ca.pem`)]
    assert.deepEqual(told(front, {}), [])
    assert.deepEqual(told(front, { '/etc/front/ca.pem': 'ca.pem' }), [
      `kube-apiserver: ${flag} (/etc/front/ca.pem) is a copy of ca.pem; name the original instead`,
    ])
    const ofOthers = told(front, { '/etc/front/ca.pem': 'ca.pem' }, (file) => file === 'service-account.pem')
    assert.deepEqual(ofOthers, [])
    const same = [startedAs('kube-apiserver', `${flag}=/var/lib/kubernetes/ca.pem`)]
    assert.deepEqual(told(same, { '/var/lib/kubernetes/ca.pem': 'ca.pem' }), [])
  })

  describe('is a component of no unit, whatever it reads,', () => {
    const inPod = '/kubepods.slice/kubepods-besteffort.slice/cri-containerd-1.scope'
    const of = (component: string, more: Partial<ComponentProcess> = {}, ...args: readonly string[]) => ({
      ...processAs(component, ...args),
      ...{ id: 9, group: inPod },
      ...more,
    })
    const kinds = (node: ClusterNode, process: ComponentProcess, given: Given = {}) => {
      const { ofRoot, ofUsers } = found(node, [process], given)
      return [ofRoot.length, ofUsers.length]
    }

    test('with its pid, control group and command line, and each way out', () => {
      const said = (...processes: readonly ComponentProcess[]) => found(control, processes).ofRoot
      const config = '--config=/var/lib/kube-proxy/config.conf'
      assert.deepEqual(said(of('kube-proxy', {}, config)), [
        `kube-proxy, process 9 in ${inPod} (/usr/local/bin/kube-proxy ${config}), belongs to no unit in cluster.yaml, so what it reads is not known; stop it, or leave kube-proxy out on all nodes, if you give it its files yourself: install.units: { kube-proxy: false }`,
      ])
      const named = of('kube-scheduler', { group: '/system.slice/k8s-scheduler.service' })
      assert.match(said(named).join(), /stop it, or name its unit .*: \{ kube-scheduler: \{ unit: k8s-scheduler \} \}$/)
      assert.match(said(of('etcd')).join(), /; stop it, or run it in a unit$/)
      // One of a user's systemd has the name of the unit already.
      const group = '/user.slice/user-0.slice/user@0.service/app.slice/kubelet.service'
      assert.match(said(of('kubelet', { group })).join(), /, or leave kubelet out on all nodes,/)
      assert.match(found(control, [of('kube-apiserver')]).ofRoot.join(), /; stop it, or run it in a unit$/)
      // Beside the unit, or of a user, it is none to leave out on all nodes.
      const unit = { ...processAs('kube-scheduler'), group: '/system.slice/kube-scheduler.service' }
      for (const processes of [[unit, named], [{ ...named, uid: 1000 }]]) {
        const places = { units: new Map([['kube-scheduler', { ...runningUnit, group: unit.group }]]) }
        const { ofRoot, ofUsers } = found(control, processes, places)
        assert.match([...ofRoot, ...ofUsers].join(), /^kube-scheduler, process 9 .*; stop it$/)
      }
      const escapes = of('kubelet', {}, '--v=\u001b[2J', 'x'.repeat(1000))
      assert.ok(!said(escapes).join().includes('\u001b') && said(escapes).join().length < 600)
    })

    test('on any node, in any container, and with any version in its name; of another user it is only named', () => {
      for (const node of [control, worker])
        for (const component of [
          'etcd',
          'kube-apiserver',
          'kube-controller-manager',
          'kube-scheduler',
          'kubelet',
          'kube-proxy',
        ]) {
          // A worker has none of these: an application's has nothing to do with this cluster.
          const many = node === worker && ['etcd', 'kube-apiserver'].includes(component) ? 0 : 1
          assert.deepEqual(kinds(node, of(component)), [many, 0], component)
          assert.deepEqual(kinds(node, of(component, { uid: 1000 })), [0, many], component)
          assert.deepEqual(kinds(node, of(component, { command: [`/opt/${component}-v1.36.1`] })), [many, 0], component)
        }
      assert.deepEqual(kinds(worker, of('kube-proxyd')), [0, 0])
    })

    test('where one of its files is concerned', () => {
      const concerned = (component: string, file: string) =>
        kinds(worker, of(component), { concerns: (each) => each === file })[0]
      assert.deepEqual(
        [
          concerned('kubelet', 'w0.pem'),
          concerned('kubelet', 'c0.pem'),
          concerned('kube-proxy', 'kube-proxy.kubeconfig'),
          concerned('kube-proxy', 'encryption-config.yaml'),
          concerned('kube-scheduler', 'kube-scheduler.kubeconfig'),
        ],
        [1, 0, 1, 0, 1],
      )
    })

    test('unless cluster.yaml leaves it out; no API server and no etcd is left out so', () => {
      const leftOut = (component: string, node = control) => {
        const install = { ...cluster.install, units: new Map([[component, false]]) }
        return kinds(node, of(component), { of: { ...run, cluster: { ...cluster, install } } as Run })[0]
      }
      const clients = ['kube-proxy', 'kubelet', 'kube-scheduler', 'kube-controller-manager']
      assert.deepEqual(
        clients.map((component) => leftOut(component)),
        [0, 0, 0, 0],
      )
      assert.deepEqual([leftOut('etcd'), leftOut('kube-apiserver'), leftOut('kube-proxy', worker)], [1, 1, 0])
    })

    test('of a user, who may start any number, once; and it hides none of root', () => {
      const own = Array.from({ length: 50 }, (_, i) => of('kubelet', { uid: 1000, id: 100 + i }))
      const { ofRoot, ofUsers } = found(control, [...own, of('kubelet'), of('kubelet', { id: 10 })])
      assert.deepEqual([ofRoot.length, ofUsers.length], [2, 1])
      assert.match(ofUsers.join(), /^kubelet, process 100 of user 1000 in \S+ and 49 more \(/)
    })
  })

  test('is what names a copy of a file of ours, as it is or was, or the file of a place; of other users it is only named', async (t) => {
    const auth = temporaryAuth(t)
    await makeCa(auth, caProfile)
    await makeEverything(auth, cluster)
    const own = { ...run, auth } as Run
    const earlier = auth.bytes('kube-proxy.pem')
    backUp(auth, ['kube-proxy.pem'], new Date('2026-11-25T12:00:00Z'))
    auth.write('kube-proxy.pem', 'a new one', 0o644)
    const files = new Map(
      Object.entries({
        '/x/ca.crt': auth.bytes('ca.pem'),
        '/x/earlier.crt': earlier,
        '/x/kube-proxy.key': auth.bytes('kube-proxy-key.pem'),
        '/x/admin.crt': auth.bytes('admin.pem'),
        '/x/other.crt': Buffer.from('another'),
        '/var/lib/kubelet/kubeconfig': Buffer.from('any'),
      }).map(([path, bytes]) => [path, { ...rootsFile, sha256: sha256(bytes) }]),
    )
    const at = (command: readonly string[], uid = 0, node = worker, concerns?: (file: string) => boolean) => {
      const process = { ...processAs('x'), id: 9, uid, group: '/x.scope', command }
      const { ofRoot, ofUsers } = found(node, [process], { of: own, files, ...(concerns && { concerns }) })
      return [ofRoot.length, ofUsers.length, [...ofRoot, ...ofUsers].join()] as const
    }
    for (const path of [...files.keys()].filter((each) => each !== '/x/other.crt')) {
      const command = ['watcher', `--file=${path}`]
      const [root, users, text] = at(command)
      assert.deepEqual([root, users], [1, 0], path)
      assert.ok(
        text.startsWith(`watcher, process 9 in /x.scope, reads ${path} (--file), which belongs to this cluster`),
      )
      assert.deepEqual(at(command, 1000).slice(0, 2), [0, 1])
    }
    assert.equal(at(['watcher', '--file=/x/other.crt'])[0], 0)
    assert.equal(at(['watcher', '--sni=/x/other.crt,/x/ca.crt:a'])[0], 1)
    // Over a key that is still ours its certificate may be of any time.
    const concernsProxy = (file: string) => file === 'kube-proxy.pem'
    const heldFor = (name: string) => at(['watcher', `--file=/x/${name}`], 0, worker, concernsProxy)[0]
    assert.deepEqual(['earlier.crt', 'kube-proxy.key', 'ca.crt'].map(heldFor), [1, 1, 0])
  })

  test('is what names a copy of a kubeconfig from before a renewal or a stage of a rotation', async (t) => {
    const auth = temporaryAuth(t)
    await makeCa(auth, caProfile)
    await makeEverything(auth, cluster)
    const row = certTable(cluster).find(({ name }) => name === 'admin') ?? assert.fail()
    const copies: Buffer[] = []
    const write = (more = '') => {
      const access = readAccess({ auth, cluster, now: new Date() } as Run, row)
      auth.write('admin.kubeconfig', formatKubeconfig({ ...access, ca: Buffer.from(`${access.ca}${more}`) }), 0o600)
      copies.push(auth.bytes('admin.kubeconfig'))
    }
    const replace = (name: string) => {
      backUp(auth, [name], new Date(Date.UTC(2026, 10, 25, 12, copies.length)))
      auth.write(name, `another ${name}`, 0o644)
    }
    const held = () =>
      copies.map((bytes) => {
        const files = new Map([['/x/config', { ...rootsFile, sha256: sha256(bytes) }]])
        const process = { ...processAs('x'), command: ['watcher', '--kubeconfig=/x/config'] }
        return found(worker, [process], { of: { ...run, auth } as Run, files }).ofRoot.length
      })
    write()
    replace('admin.pem')
    write()
    assert.deepEqual(held(), [1, 1])
    replace('admin.pem')
    write('and the next CA')
    assert.deepEqual(held(), [1, 1, 1])
    replace('ca.pem')
    copies.pop()
    write()
    assert.deepEqual(held(), [1, 1, 1])
  })

  test('may be any component, where a command line is too long to read: that is said once', () => {
    const unread = [8, 9].map((id) => ({ ...processAs('x'), id, uid: 1000, group: '/x.scope', command: [] }))
    assert.deepEqual(found(control, [startedAs('kube-apiserver'), ...unread]).ofUsers, [
      'process 8 in /x.scope and 1 more may be components, with command lines too long to read; stop them',
    ])
  })
})

test('a flag that has to change is named with all others of its unit: a certificate is no use without its key', () => {
  const own: typeof cluster = { ...cluster, etcd: { ca: 'own' } }
  const places = placesWith({
    ...allThere,
    files: new Map(),
    processes: [startedAs('kube-apiserver')],
    units: serverUnit,
  })
  const found = { units: unitsOn(own, control, places), places }
  const unset = (name: string) => unsetOn(found, (file) => file === name)
  const [said = '', ...more] = unset('etcd-ca.pem')
  assert.match(said, /--etcd-cafile=.*--etcd-certfile=.*--etcd-keyfile=/)
  assert.deepEqual([more, unset('ca.pem')], [[], []])
})
