import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parse, parseDocument } from 'yaml'
import type { Cluster, ClusterNode, Install } from '../../../lib/cluster/cluster.ts'
import type { PlacesState } from '../../../lib/node/state.ts'
import { reloadFlag, type UnitOnNode, unitsOn, unsetOn } from '../../../tasks/inspect/agreement.ts'
import {
  allThere,
  twoNodes as cluster,
  control,
  placesWith,
  processAs,
  runningUnit,
  startedAs,
  type UnitState,
  unitOf,
  worker,
} from '../../support/fakes.ts'
import { minimal, parsed } from '../../support/files.ts'

interface Given {
  /** Of the main process; without one the unit does not run. */
  readonly command?: readonly string[]
  /** Of the unit file. */
  readonly next?: string
  readonly contents?: Readonly<Record<string, string>>
  readonly folders?: readonly string[]
  readonly of?: Cluster
  readonly node?: ClusterNode
  readonly state?: Partial<UnitState>
}

function seen(
  unit: string,
  { command, next, contents = {}, folders, of = cluster, state, ...given }: Given,
): UnitOnNode {
  const { node = /kubelet|proxy/.test(unit) ? worker : control } = given
  const active = command ? 'active' : 'inactive'
  const places: PlacesState = placesWith({
    ...allThere,
    units: new Map([[unit, { ...runningUnit, active, command, start: next, ...state }]]),
    ...(folders && { folders: new Set(folders) }),
    contents: new Map(Object.entries(contents).map(([path, text]) => [path, Buffer.from(text)])),
  })
  return unitsOn(of, node, places).find((each) => each.unit === unit) ?? assert.fail()
}

/** By its name and part: each path of a file, and how it is loaded there. */
const placed = ({ files }: UnitOnNode) => {
  const byName = Map.groupBy(files, ({ file, part }) => (part ? `${file} ${part}` : file))
  return Object.fromEntries(
    [...byName].map(([name, all]) => [name, all.map((at) => `${at.path} ${at.loads}`).join(', ')]),
  )
}
const why = ({ disagreement }: UnitOnNode) => disagreement?.what ?? ''
const flagsIn = (unit: UnitOnNode, which: 'unset' | 'notStartedWith' = 'unset') =>
  unit[which].map(({ flag, value }) => `${flag}=${value}`)

/** With what cluster.yaml says of a unit. */
const declaring = (unit: string, override: object, of: Cluster = cluster): Cluster =>
  ({ ...of, install: { ...of.install, units: new Map([[unit, { files: {}, ...override }]]) } }) as Cluster

const etcdArgs = (folder: string) => [
  '--name=c0',
  `--cert-file=${folder}/kubernetes.pem`,
  `--key-file=${folder}/kubernetes-key.pem`,
  `--trusted-ca-file=${folder}/ca.pem`,
  `--peer-cert-file=${folder}/kubernetes.pem`,
  `--peer-key-file=${folder}/kubernetes-key.pem`,
  `--peer-trusted-ca-file=${folder}/ca.pem`,
]
const etcdPlaces = (folder: string) => ({
  'ca.pem': `${folder}/ca.pem restart`,
  'kubernetes.pem': `${folder}/kubernetes.pem now`,
  'kubernetes-key.pem': `${folder}/kubernetes-key.pem now`,
})
const inSrv = declaring('etcd', {
  files: Object.fromEntries(Object.keys(etcdPlaces('')).map((file) => [file, `/srv/etcd/${file}`])),
})

describe('etcd', () => {
  const read = (args: readonly string[], given: Given = {}) =>
    seen('etcd', { command: processAs('etcd', ...args).command, of: inSrv, ...given })

  test('agrees by its flags: with =, with a blank, with one hyphen, and the last of two', () => {
    const args = etcdArgs('/srv/etcd')
    for (const spelt of [
      args,
      args.flatMap((arg) => arg.split('=')),
      args.map((arg) => arg.slice(1)),
      ['--cert-file=/old.pem', '--trusted-ca-file', '/old.pem', ...args],
    ]) {
      const unit = read(spelt)
      assert.deepEqual([why(unit), placed(unit)], ['', etcdPlaces('/srv/etcd')], spelt.join(' '))
      assert.match(
        why(read(spelt, { of: cluster })),
        /^etcd reads \/srv\/etcd\/\S+ \(--\S+\), .*; nothing is installed$/,
      )
    }
  })

  test('agrees without a flag where cluster.yaml declares the path: its environment may have it; else the first flag is named, and no more', () => {
    for (const command of [
      ['etcd', '--name=x'],
      ['/usr/bin/podman', 'run', 'image'],
    ]) {
      assert.deepEqual([why(read([], { command })), placed(read([], { command }))], ['', etcdPlaces('/srv/etcd')])
      const { disagreement } = read([], { command, of: cluster })
      assert.match(
        disagreement?.what ?? '',
        /^etcd: it has no \S+ or --trusted-ca-file; set it to \/etc\/etcd\/ca\.pem$/,
      )
      assert.match(
        disagreement?.remedy ?? '',
        /\n {4}install\.units\.etcd\.files: \{ ca\.pem: \/etc\/etcd\/ca\.pem \}$/,
      )
    }
    assert.match(why(read(['--cert-file=/flag.pem'])), /reads \/flag\.pem \(--cert-file\)/)
  })

  test('agrees by its --config-file, which cluster.yaml names too, and not without that file', () => {
    const section = `{cert-file: /srv/etcd/kubernetes.pem, "key-file": '/srv/etcd/kubernetes-key.pem', trusted-ca-file: /srv/etcd/ca.pem}`
    const contents = {
      '/etc/etcd.yaml': `client-transport-security: ${section}\npeer-transport-security: ${section}\n`,
    }
    const of = declaring('etcd', { config: '/etc/etcd.yaml' })
    const args = ['--config-file=/etc/etcd.yaml', '--cert-file=/not/read.pem']
    assert.match(why(read(args, { contents, of })), /reads \/srv\/etcd\//)
    const both = declaring('etcd', { config: '/etc/etcd.yaml', ...(inSrv.install as Install).units.get('etcd') })
    assert.deepEqual(placed(read(args, { contents, of: both })), etcdPlaces('/srv/etcd'))
    assert.match(why(read(args.slice(0, 1), { of })), /^etcd: couldn't read its --config \/etc\/etcd\.yaml; set it to/)
    assert.match(why(read(args)), /reads \/etc\/etcd\.yaml \(--config-file\)/)
  })

  describe('by its unit file', () => {
    const next = `/usr/local/bin/etcd ${etcdArgs('/srv/etcd').join(' ')}`
    test('agrees where it does not run; where it runs, a flag that its process lacks is a restart', () => {
      assert.deepEqual(placed(seen('etcd', { next, of: inSrv })), etcdPlaces('/srv/etcd'))
      assert.match(why(seen('etcd', { next })), /reads \/srv/)
      const changed = read(etcdArgs('/etc/etcd'), { next })
      assert.deepEqual([why(changed), changed.unset.length, changed.notStartedWith.length], ['', 0, 6])
      assert.ok(flagsIn(changed, 'notStartedWith').includes('--cert-file=/srv/etcd/kubernetes.pem'))
      assert.equal(why(read(etcdArgs('/srv/etcd'), { next: next.replaceAll('/srv', '/etc') })), '')
    })
    test('agrees, so that a cluster whose certificates have expired gets new ones, where nothing says what it reads', () => {
      const wrapped = next.replace('/usr/local/bin/etcd', '/bin/sh -c')
      for (const other of [`${next} $MORE`, wrapped, ''])
        assert.deepEqual(placed(seen('etcd', { next: other })), etcdPlaces('/etc/etcd'), other)
    })
    test('disagrees where it needs a directory that is not there', () => {
      assert.match(
        why(seen('etcd', { of: inSrv, next, folders: ['/etc/etcd'] })),
        /needs \/srv\/etcd\/ca.pem, but \/srv\/etcd does not exist, .*; create/,
      )
      assert.equal(why(seen('etcd', { folders: [] })), '')
    })
  })
})

describe('kube-apiserver', () => {
  const { command } = startedAs('kube-apiserver')
  const usual = '/var/lib/kubernetes'
  const api = (args: readonly string[], given: Given = {}) =>
    seen('kube-apiserver', { command: [...command, ...args], ...given })
  const next = (...args: string[]) => [...command, ...args].join(' ')

  test('reads one file by several flags as the slowest does; or one for each, as cluster.yaml says', () => {
    assert.equal(placed(api([]))['ca.pem'], `${usual}/ca.pem restart`)
    const files = {
      'ca.pem': { '--client-ca-file': '/a/ca.pem' },
      'kubernetes.pem': { '--etcd-certfile': '/b/etcd.pem' },
    }
    const args = ['--client-ca-file=/a/ca.pem', '--etcd-certfile=/b/etcd.pem']
    const apart = api(args, { of: declaring('kube-apiserver', { files }) })
    assert.deepEqual(
      [why(apart), placed(apart)['ca.pem'], placed(apart)['kubernetes.pem']],
      ['', `/a/ca.pem now, ${usual}/ca.pem restart`, `${usual}/kubernetes.pem now, /b/etcd.pem now`],
    )
    assert.match(why(api(args)), /reads \/a\/ca\.pem \(--client-ca-file\)/)
  })

  test("gets etcd's own CA before a flag names it, also where the flag names the file that it replaces", () => {
    const of: Cluster = { ...cluster, etcd: { ca: 'own' } }
    const guide = api([], { of })
    assert.deepEqual(
      [placed(guide)['etcd-ca.pem'], placed(guide)['ca.pem']],
      [`${usual}/etcd-ca.pem now`, `${usual}/ca.pem restart`],
    )
    const flags = [
      `--etcd-cafile=${usual}/etcd-ca.pem`,
      `--etcd-certfile=${usual}/apiserver-etcd-client.pem`,
      `--etcd-keyfile=${usual}/apiserver-etcd-client-key.pem`,
    ]
    assert.deepEqual([flagsIn(guide), why(guide)], [flags, ''])
    assert.match(why(api(['--etcd-cafile=/b/ca.pem'], { of })), /reads \/b\/ca\.pem/)
    assert.deepEqual(flagsIn(seen('kube-apiserver', { next: next(), of })), flags)
    const changed = api([], { of, next: next(flags[0] ?? '') })
    assert.deepEqual([flagsIn(changed), flagsIn(changed, 'notStartedWith')], [flags.slice(1), flags.slice(0, 1)])
    // A certificate is no use without its key.
    const [said = '', ...more] = unsetOn([guide], (file) => file === 'etcd-ca.pem')
    assert.match(said, /--etcd-cafile=.*--etcd-certfile=.*--etcd-keyfile=/)
    assert.deepEqual([more, unsetOn([guide], (file) => file === 'ca.pem')], [[], []])
  })

  test('gets what aggregation needs before its flags are set, and asks for them', () => {
    const of: Cluster = { ...cluster, aggregation: true }
    const flags = [
      `--requestheader-client-ca-file=${usual}/front-proxy-ca.pem`,
      `--proxy-client-cert-file=${usual}/front-proxy-client.pem`,
      `--proxy-client-key-file=${usual}/front-proxy-client-key.pem`,
      '--requestheader-allowed-names=front-proxy-client',
      '--requestheader-username-headers=X-Remote-User',
      '--requestheader-group-headers=X-Remote-Group',
      '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    ]
    for (const [args, unset] of [
      [[], flags],
      [flags, []],
    ]) {
      const unit = api(args ?? [], { of })
      const at = placed(unit)['front-proxy-ca.pem']
      assert.deepEqual([flagsIn(unit), at, why(unit)], [unset, `${usual}/front-proxy-ca.pem now`, ''])
    }
    // No kube-proxy runs beside the API server in the other guide's layout.
    const hardWay = parsed(`${minimal}layout: hard-way\naggregation: true\n`.replace(/^api:.*\n/m, ''))
    const {
      nodes: [node],
    } = hardWay
    assert.ok(flagsIn(api([], { of: hardWay, ...(node && { node }) })).includes('--enable-aggregator-routing=true'))
  })

  test('loads its encryption config again, or not, by the last flag; and has none without a flag', () => {
    const loads = (...args: string[]) => placed(api(args))['encryption-config.yaml']
    for (const yes of [[`${reloadFlag}=true`], [reloadFlag, '--v=2'], [`${reloadFlag}=false`, `${reloadFlag}=1`]])
      assert.equal(loads(...yes), `${usual}/encryption-config.yaml reload`, yes.join(' '))
    for (const no of [[], [reloadFlag, `${reloadFlag}=0`], [`${reloadFlag}-interval=true`]])
      assert.equal(loads(...no), `${usual}/encryption-config.yaml restart`, no.join(' '))
    const without = command.filter((arg) => !arg.startsWith('--encryption-provider-config'))
    assert.equal(placed(api([], { command: without }))['encryption-config.yaml'], undefined)
  })

  test('gets the list of who is revoked before its flag names it; never in place of an authorization of its owner', () => {
    const of = { ...cluster, revoked: ['jane'] }
    const [file, webhook] = ['authorization-config.yaml', 'authorization-webhook.yaml']
    const list = `${usual}/${file}`
    const read = (args: readonly string[], contents: Record<string, string> = {}) => {
      const unit = api(args, { contents, of })
      return [placed(unit)[webhook], placed(unit)[file], flagsIn(unit), unit.owned, why(unit)]
    }
    const flag = `--authorization-config=${list}`
    const placedWebhook = `${usual}/${webhook} now`
    assert.deepEqual(read(['--authorization-mode=RBAC,Node']), [placedWebhook, `${list} now`, [flag], undefined, ''])
    for (const contents of [{}, { [list]: 'x: 1' }])
      assert.deepEqual(read([flag], contents), [placedWebhook, `${list} reload`, [], undefined, ''])
    const custom = '--authorization-webhook-config-file'
    for (const [args, owned, contents] of [
      [[flag], `its --authorization-config ${list} is yours`, { [list]: 'kind: AuthorizationConfiguration' }],
      [['--authorization-config=/srv/a.yaml'], `its --authorization-config is /srv/a.yaml, not ${list}`, {}],
      [['--authorization-mode=Node,RBAC,ABAC'], 'its --authorization-mode is Node,RBAC,ABAC', {}],
      [['--v=2'], 'its --authorization-mode is not set', {}],
      [['--authorization-mode=Node,RBAC', `${custom}=/a`], `it has ${custom}`, {}],
    ] as const)
      assert.deepEqual(read(args, contents), [placedWebhook, undefined, [], owned, ''])
  })

  test('may have several files of service-account keys', () => {
    const flag = '--service-account-key-file'
    const more = api([`${flag}=/old.pem`])
    assert.deepEqual([placed(more)['service-account.pem'], why(more)], [`${usual}/service-account.pem restart`, ''])
    const other = command.map((arg) => (arg.startsWith(`${flag}=`) ? `${flag}=/old.pem` : arg))
    assert.match(why(api([], { command: other })), /reads \/old\.pem/)
  })

  test('disagrees where a setting can not be right', () => {
    const wrong = (...args: string[]) => why(api(args)).replace(/^kube-apiserver: /, '')
    assert.equal(wrong(), '')
    const range = '--service-cluster-ip-range'
    assert.equal(wrong(`${range}=10.32.0.0/24`), '')
    assert.match(wrong(`${range}=10.96.0.0/12`), /is 10.96.0.0\/12, but network.serviceCIDR has 10.32.0.1/)
    assert.match(wrong(`${range}=10.32.0.0/24,fd00::/108`), /fd00/)
    const proxies = '--requestheader-client-ca-file'
    assert.match(wrong(`${proxies}=${usual}/ca.pem`), /has the CA of --client-ca-file .*aggregation: true/)
    assert.equal(wrong(`${proxies}=/b/proxy-ca.pem`), '')
  })
})

test("kube-controller-manager disagrees where it names the CA's key, and no node has it", () => {
  const unit = 'kube-controller-manager'
  const of: Cluster = { ...cluster, certificates: { ...cluster.certificates, caKeyOnNodes: false } }
  const { command } = startedAs(unitOf(unit, of))
  const without = seen(unit, { command, of })
  assert.deepEqual([placed(without)['ca-key.pem'], why(without)], [undefined, ''])
  const named = seen(unit, { command: [...command, '--cluster-signing-key-file=/x/key.pem'], of })
  assert.match(why(named), /names \/x\/key\.pem, a key for no node .*; remove it and --cluster-signing-cert-file, /)
})

describe('kubelet', () => {
  const config = '/var/lib/kubelet/kubelet-config.yaml'
  const pki = `authentication: {x509: {clientCAFile: /pki/ca.crt}}
tlsCertFile: "/pki/kubelet.crt" # its own
tlsPrivateKeyFile: '/pki/kubelet.key'
`
  const files = {
    'ca.pem': '/pki/ca.crt',
    '<node>.pem': '/pki/kubelet.crt',
    '<node>-key.pem': '/pki/kubelet.key',
    '<node>.kubeconfig': '/pki/kubeconfig',
  }
  const read = (text: string | undefined, args: readonly string[] = [], of = declaring('kubelet', { files })) =>
    seen('kubelet', {
      command: ['kubelet', `--config=${config}`, '--kubeconfig', '/pki/kubeconfig', ...args],
      contents: text === undefined ? {} : { [config]: text },
      of,
    })

  test('agrees by its file; a flag precedes it', () => {
    assert.deepEqual(placed(read(pki)), {
      'ca.pem': '/pki/ca.crt now',
      'w0.pem': '/pki/kubelet.crt now',
      'w0-key.pem': '/pki/kubelet.key now',
      'w0.kubeconfig ca': '/pki/w0-ca.pem restart',
      'w0.kubeconfig pair': '/pki/w0-client.pem poll',
      'w0.kubeconfig kubeconfig': '/pki/kubeconfig restart',
    })
    assert.match(why(read(pki, ['--tls_cert_file=/flag.crt'])), /reads \/flag\.crt \(--tls-cert-file\)/)
  })

  test('disagrees where its file can not be read, unless cluster.yaml declares the paths', () => {
    const kubeconfig = declaring('kubelet', { files: { '<node>.kubeconfig': '/pki/kubeconfig' } })
    for (const [text, ...args] of [[undefined], ['true'], [`${pki}rotateCertificates: [`]] as const) {
      assert.match(why(read(text, args, kubeconfig)), /^kubelet: couldn't read its --config \/var/)
      assert.equal(why(read(text, args)), '')
    }
  })

  test("takes a node's own path before that of all nodes", () => {
    const of = declaring('kubelet', {
      files: { ...files, 'ca.pem': '/named/ca.pem', '<node>.pem': '/named/<node>.pem' },
    })
    const node = { ...worker, units: { kubelet: { files: { 'ca.pem': '/own/ca.pem' } } } }
    const own = seen('kubelet', { command: ['kubelet'], of, node })
    assert.deepEqual([placed(own)['ca.pem'], placed(own)['w0.pem']], ['/own/ca.pem now', '/named/w0.pem now'])
  })
})

test('a scheduler or proxy with a --config ignores its flags', () => {
  const unit = seen('kube-proxy', {
    command: ['kube-proxy', '--config=/c.yaml', '--kubeconfig=/a/k'],
    contents: { '/c.yaml': 'clientConnection:\n  kubeconfig: "/b/kubeconfig"\n' },
    of: declaring('kube-proxy', { config: '/c.yaml' }),
  })
  assert.match(why(unit), /reads \/b\/kubeconfig \(--kubeconfig\)/)
})

describe('a unit that reads other paths', () => {
  const text = `name: kubenet
api: { virtualIP: 10.0.0.1 }
install: true
nodes:
  - { name: c0, role: control, ip: 10.0.0.2 }
  - { name: w0, role: worker, ip: 10.0.0.4 }
`
  /** cluster.yaml with the key that was printed. */
  const write = (remedy: string): Cluster => {
    const [, key = '', value = ''] = /:\n +(install\.units\.\S+): (.*)$/.exec(remedy) ?? []
    const document = parseDocument(text.replace('install: true\n', ''))
    document.setIn(key.split('.'), parse(value))
    return parsed(document.toString())
  }
  for (const [what, unit, args, printed] of [
    ['with the name of the node', 'etcd', etcdArgs('/srv/c0'), /ca\.pem: \{ --trusted-ca-file: \/srv\/<node>\/ca\.pem/],
    ['of its configuration', 'kubelet', ['--config=/a.yaml'], /kubelet\.config: \/a\.yaml$/],
  ] as const)
    test(`${what} is told one line of cluster.yaml, with which it agrees`, () => {
      const { command } = processAs(unit, ...args)
      const of = (each: Cluster) => {
        const node = each.nodes.find(({ role }) => (role === 'worker') === (unit === 'kubelet')) ?? assert.fail()
        return seen(unit, { command, of: each, node }).disagreement
      }
      const { remedy = '' } = of(parsed(text)) ?? {}
      assert.match(remedy, printed)
      assert.notEqual(of(write(remedy))?.code, 'contradicted', remedy)
    })
})
