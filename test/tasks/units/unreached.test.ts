import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Run } from '../../../lib/graph/target.ts'
import { partOf } from '../../../lib/kubernetes/kubeconfig.ts'
import type { ComponentProcess, NodeState, PlacesState } from '../../../lib/node/state.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { unitsOn, withNamed } from '../../../tasks/looks/reads.ts'
import { unreachedOn, unsetOn } from '../../../tasks/units/unreached.ts'
import { caProfile, makeCa, makeEverything, temporaryAuth } from '../../support/certificates.ts'
import {
  allThere,
  twoNodes as cluster,
  control,
  placesWith,
  processAs,
  runningUnit,
  seenIn,
  startedAs,
  worker,
} from '../../support/fakes.ts'
import { sha256 } from '../../support/files.ts'

/** Each file of auth/ holds its own name. */
const run = {
  cluster,
  auth: { files: harderWay.files, tryBytes: (name: string) => Buffer.from(name) },
} as unknown as Run
const units = new Map([['kube-apiserver', { ...runningUnit, group: '/system.slice/kube-apiserver.service' }]])

/** What is said where these run, and the files at these paths hold that of auth/. */
function told(
  processes: readonly ComponentProcess[],
  copies: Readonly<Record<string, string>>,
  concerns?: (file: string) => boolean,
) {
  const file = (path: string) => ({ size: 1, sha256: sha256(copies[path] ?? 'other') })
  const files = { get: file } as unknown as PlacesState['files']
  const places = placesWith({ ...allThere, processes, units, files })
  const look = seenIn(cluster, control, { places } as NodeState)
  return Object.values(unreachedOn(run, control, { ...look, places }, concerns)).flat()
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

  test('is a component of no unit that reads a file of ours, and none that reads others', () => {
    const process = processAs('kube-controller-manager', '--root-ca-file=/x/ca.pem', '--kubeconfig=/x/k')
    const manager = { ...process, group: '/user.slice/a.scope', id: 9 }
    assert.deepEqual(told([startedAs('kube-apiserver'), manager], {}), [])
    const [said = '', ...more] = told([startedAs('kube-apiserver'), manager], { '/x/ca.pem': 'ca.pem' })
    const reads = 'reads /x/ca.pem (--root-ca-file), which belongs to this cluster; stop it'
    assert.ok(said.startsWith(`kube-controller-manager, process 9 in /user.slice/a.scope, ${reads}`), said)
    assert.deepEqual(more, [])
    const named = { ...manager, group: '/system.slice/k8s-kcm.service' }
    const [unit = ''] = told([startedAs('kube-apiserver'), named], { '/x/ca.pem': 'ca.pem' })
    assert.match(unit, /install\.units: \{ kube-controller-manager: \{ unit: k8s-kcm \} \}/)
  })

  describe('is a component of a unit of another name', () => {
    const [kubeconfig, config] = [
      '/var/lib/kubernetes/kube-scheduler.kubeconfig',
      '/etc/kubernetes/config/kube-scheduler.yaml',
    ]
    const [proxyConfig, folder] = ['/var/lib/kube-proxy/kube-proxy-config.yaml', '/var/lib/kubelet']
    const scheduler = processAs('kube-scheduler', `--config=${config}`)
    // As a look has them: all of a configuration, and nothing of what is as it should be.
    const contents = new Map([
      [config, Buffer.from(`clientConnection:\n  kubeconfig: ${kubeconfig}\n`)],
      [proxyConfig, Buffer.from('{clientConnection: {kubeconfig: "/var/lib/kube-proxy/kubeconfig", qps: 9}}')],
    ])
    interface Given {
      readonly of?: Run
      readonly node?: typeof control
      readonly file?: object | undefined
      /** Of the unit of its usual name. */
      readonly own?: readonly ComponentProcess[]
      readonly concerns?: (file: string) => boolean
    }
    const named = (process: ComponentProcess, given: Given = {}) => {
      const { of = run, node = control, own = [], concerns, file } = { file: { size: 1 }, ...given }
      const component = /[^/]*$/.exec(process.command[0] ?? '')?.[0] ?? ''
      const processes = [...own, { ...process, id: 9, group: `/system.slice/k8s-${component}.service` }]
      const units = new Map(own.map(({ group }) => [component, { ...runningUnit, group }]))
      const files = { get: () => file } as unknown as PlacesState['files']
      const places = placesWith({ ...allThere, units, files, processes, contents })
      return unreachedOn(of, node, { ...seenIn(of.cluster, node, { places } as NodeState), places }, concerns).ofRoot
    }

    test("that reads what is where the node's own units do, by a flag or by their configuration", () => {
      for (const [node, process, what] of [
        [control, scheduler, `${kubeconfig} (--config)`],
        [worker, processAs('kube-proxy', `--config=${proxyConfig}`), '/var/lib/kube-proxy/kubeconfig (--config)'],
        [worker, processAs('kubelet', `--kubeconfig=${folder}/kubeconfig`), `${folder}/kubeconfig (--kubeconfig)`],
      ] as const) {
        const [said = '', ...more] = named(process, { node })
        assert.ok(said.includes(`reads ${what}, which belongs to this cluster; stop it, or name its unit`), said)
        assert.deepEqual([more, named(process, { node, file: undefined })], [[], []])
        const concerns = (file: string) => file === 'service-account-key.pem'
        assert.deepEqual(named(process, { node, concerns }), [])
      }
    })

    test('that reads what was installed where the guide has it, before its unit read another', () => {
      const parts = ['certificate-authority', 'client-certificate', 'client-key']
      const text = parts.map((name) => `    ${name}-data: QQ==\n`).join('')
      const files = { 'kube-scheduler.kubeconfig': '/srv/kubeconfig' }
      const install = { ...cluster.install, units: new Map([['kube-scheduler', { files }]]) }
      const of = {
        ...run,
        cluster: { ...run.cluster, install },
        auth: { ...run.auth, tryBytes: () => Buffer.from(text) },
      } as unknown as Run
      const own = [processAs('kube-scheduler', '--kubeconfig=/srv/kubeconfig')]
      const left = (content = '') => named(scheduler, { of, own, file: { size: 1, sha256: sha256(content) } }).length
      assert.deepEqual([left(String(partOf(text, 'kubeconfig', 'kube-scheduler.kubeconfig'))), left()], [1, 0])
    })
  })

  test('no value of a configuration but the path of a file is sent to the node as one', () => {
    const text =
      'kind: Config\nresources: [{secret: c2VjcmV0}]\nuser: {client-key-data: a/b, client-key: k, tlsCertFile: /a/b}'
    const contents = new Map([['/x/config', Buffer.from(text)]])
    const named = withNamed([{ by: '--x', path: '/x/config' }], placesWith({ contents }))
    assert.deepEqual(
      named.map(({ path }) => path),
      ['/x/config', '/a/b'],
    )
  })

  test('is whatever reads certificates of our CA, by its flags, a configuration or a kubeconfig; of other users it is only named', async (t) => {
    const auth = temporaryAuth(t)
    await makeCa(auth, caProfile)
    const ca = auth.bytes('ca.pem')
    const own = { ...run, auth } as Run
    const files: Readonly<Record<string, string | Buffer>> = {
      '/x/proxy.yaml': 'kubeconfig: "/x/kubeconfig"\n',
      '/x/kubeconfig': 'clusters:\n- cluster:\n    certificate-authority: old/ca.crt\n',
      '/x/old/ca.crt': ca,
      '/x/embedded': `    certificate-authority-data: ${ca.toString('base64')}\n`,
      '/x/other.crt': 'no certificate',
    }
    const at = (uid: number, ...command: readonly string[]) => {
      const places = placesWith({
        ...allThere,
        processes: [{ ...processAs('kubelet'), id: 9, uid, group: '/x.scope', command }],
        published: new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)])),
      })
      const look = { ...seenIn(cluster, control, { places } as NodeState), places }
      const { ofRoot, ofUsers } = unreachedOn(own, control, look)
      return [ofRoot.length, ofUsers.length, [...ofRoot, ...ofUsers].join()] as const
    }
    for (const command of [
      ['/opt/kube-proxy-1.36', '--config=/x/proxy.yaml'],
      ['watcher', '--kubeconfig', '/x/kubeconfig'],
      ['watcher', '--kubeconfig=/x/embedded'],
      ['front', '--tls-sni-cert-key=/x/old/ca.crt,/x/key:a'],
    ]) {
      const [root, users, text] = at(0, ...command)
      assert.deepEqual([root, users], [1, 0], command.join(' '))
      assert.match(text, /process 9 in \/x\.scope, reads \/x\/.* which belongs to this cluster/)
      assert.deepEqual(at(1000, ...command).slice(0, 2), [0, 1])
    }
    assert.deepEqual(at(0, 'watcher', '--ca-file=/x/other.crt').slice(0, 2), [0, 0])
    // By the key of its certificate, in whatever file: of a key that is revoked that is what counts.
    await makeEverything(auth, cluster)
    const proxy = auth.bytes('kube-proxy.pem').toString('base64')
    const flannel = { ...processAs('flanneld', '--kubeconfig-file=/x/flannel'), id: 9, group: '/x.scope' }
    const places = placesWith({
      ...allThere,
      processes: [flannel],
      published: new Map([['/x/flannel', Buffer.from(`    client-certificate-data: ${proxy}\n`)]]),
    })
    const look = { ...seenIn(cluster, control, { places } as NodeState), places }
    const namedFor = (name: string) => unreachedOn(own, control, look, (file) => file === name).ofRoot.length
    assert.deepEqual(['kube-proxy.pem', 'kubernetes.pem'].map(namedFor), [1, 0])
    // Of too long command lines, which a user may have any number of.
    const unread = [8, 9].map((id) => ({ ...processAs('x'), id, uid: 1000, group: '/x.scope', command: [] }))
    assert.deepEqual(told([startedAs('kube-apiserver'), ...unread], {}), [
      'process 8 in /x.scope and 1 more may be components, with command lines too long to read; stop them',
    ])
  })
})

test('a flag that has to change is named with all others of its unit: a certificate is no use without its key', () => {
  const own: typeof cluster = { ...cluster, etcd: { ca: 'own' } }
  const places = placesWith({ ...allThere, files: new Map(), processes: [startedAs('kube-apiserver')], units })
  const found = { units: unitsOn(own, control, places), places }
  const unset = (name: string) => unsetOn({ cluster: own }, found, (file) => file === name)
  const [said = '', ...more] = unset('etcd-ca.pem')
  assert.match(said, /--etcd-cafile=.*--etcd-certfile=.*--etcd-keyfile=/)
  assert.deepEqual([more, unset('ca.pem')], [[], []])
})
