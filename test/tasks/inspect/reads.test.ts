import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Cluster, ClusterNode } from '../../../lib/cluster/cluster.ts'
import type { FileState } from '../../../lib/node/place.ts'
import type { PlacesState } from '../../../lib/node/state.ts'
import { reloadFlag } from '../../../tasks/inspect/command-line.ts'
import { type UnitOnNode, unitsOn, unsetOn } from '../../../tasks/inspect/reads.ts'
import { caProfile, makeCa, temporaryAuth } from '../../support/certificates.ts'
import {
  allThere,
  twoNodes as cluster,
  control,
  placesWith,
  processAs,
  runningUnit,
  type Started,
  startedAs,
  type UnitState,
  unitOf,
  worker,
} from '../../support/fakes.ts'
import { minimal, parsed } from '../../support/files.ts'

type Files = Readonly<Record<string, Partial<FileState>>>

interface Given extends Partial<Pick<PlacesState, 'published' | 'above'>> {
  readonly processes?: readonly Started[]
  readonly contents?: Readonly<Record<string, string>>
  /** Of unit files: component → command. */
  readonly starts?: Readonly<Record<string, string>>
  readonly folders?: readonly string[]
  /** What is there; by default all that is named, as it should be. */
  readonly files?: Files
  readonly of?: Cluster
  /** Of each unit that is there. */
  readonly state?: Partial<UnitState>
  /** By default the worker for a unit of its own, and the control node for any other. */
  readonly node?: ClusterNode | undefined
  /** The command of its own unit file. */
  readonly next?: string
}

function placesOf({ processes = [], contents = {}, starts = {}, folders, files, state, ...more }: Given): PlacesState {
  const commands = new Map(processes.map(({ unit, command }) => [unit, command]))
  return placesWith({
    units: new Map(
      [...commands.keys(), ...Object.keys(starts)].map((unit) => [
        unit,
        {
          ...runningUnit,
          ...{ isLoaded: false, started: Number.POSITIVE_INFINITY, command: commands.get(unit) },
          ...{ active: processes.length > 0 ? 'active' : 'inactive', start: starts[unit] },
          ...state,
        },
      ]),
    ),
    ...allThere,
    ...(folders && { folders: new Set(folders) }),
    ...(files && { files: new Map(Object.entries(files)) as unknown as PlacesState['files'] }),
    contents: new Map(Object.entries(contents).map(([path, text]) => [path, Buffer.from(text)])),
    ...more,
  })
}
const seen = (unit: string, { next, ...given }: Given): UnitOnNode => {
  const { of = cluster, node = /kubelet|proxy/.test(unit) ? worker : control } = given
  const places = placesOf(next === undefined ? given : { ...given, starts: { [unit]: next } })
  return unitsOn(of, node, places).find((each) => each.unit === unit) ?? assert.fail()
}
/** By its name and part: each path of a file, and how it is loaded there. */
const placed = ({ files }: UnitOnNode) => {
  const byName = Map.groupBy(files, ({ file, part }) => (part ? `${file} ${part}` : file))
  return Object.fromEntries(
    [...byName].map(([name, all]) => [name, all.map((at) => `${at.path} ${at.loads}`).join(', ')]),
  )
}
/** Not where the guide has it. */
const elsewhere = (text: string) => text.replaceAll('/etc/etcd/', '/srv/etcd/')

/** With what cluster.yaml says of a unit. */
const declaring = (unit: string, override: object, of: Cluster = cluster): Cluster =>
  ({ ...of, install: { ...of.install, units: new Map([[unit, { files: {}, ...override }]]) } }) as Cluster
/** Settings that name other paths than are declared. */
const contradicted = ({ contradicted }: UnitOnNode) => contradicted.map(({ by, path }) => `${by} ${path}`)
const ofEtcd = {
  'ca.pem': '/srv/etcd/ca.pem',
  'kubernetes.pem': '/srv/etcd/kubernetes.pem',
  'kubernetes-key.pem': '/srv/etcd/kubernetes-key.pem',
}

/** Command lines as the guides, kubeadm's habits and etcd's own pages have them. */
const etcd = [
  '--name=c0',
  '--cert-file=/etc/etcd/kubernetes.pem',
  '--key-file=/etc/etcd/kubernetes-key.pem',
  '--trusted-ca-file=/etc/etcd/ca.pem',
  '--client-cert-auth',
  '--peer-cert-file=/etc/etcd/kubernetes.pem',
  '--peer-key-file=/etc/etcd/kubernetes-key.pem',
  '--peer-trusted-ca-file=/etc/etcd/ca.pem',
  '--data-dir=/var/lib/etcd',
]
const etcdPlaces = (folder: string) => ({
  'ca.pem': `${folder}/ca.pem restart`,
  'kubernetes.pem': `${folder}/kubernetes.pem now`,
  'kubernetes-key.pem': `${folder}/kubernetes-key.pem now`,
})

describe('what etcd reads', () => {
  const elsewhereOf = declaring('etcd', { files: ofEtcd })
  const read = (args: readonly string[], more: Partial<Started> = {}, given: Given = { of: elsewhereOf }) =>
    seen('etcd', { processes: [{ ...processAs('etcd', ...args), ...more }], ...given })
  test('is confirmed by its flags: with =, with a blank, with one hyphen, and the last of two; else they contradict', () => {
    const rows = [
      etcd,
      etcd.flatMap((arg) => arg.split('=')),
      etcd.map((arg) => arg.slice(1)),
      ['--cert-file=/old.pem', '--trusted-ca-file', '/old.pem', ...etcd],
    ]
    for (const args of rows) {
      const unit = read(args.map(elsewhere))
      const told = [unit.unreached, unit.wrong, contradicted(unit), placed(unit)]
      assert.deepEqual(told, [[], [], [], etcdPlaces('/srv/etcd')], args.join(' '))
      const other = read(args.map(elsewhere), {}, {})
      assert.deepEqual(placed(other), etcdPlaces('/etc/etcd'))
      assert.equal(contradicted(other).length, 6)
      assert.ok(contradicted(other).includes('--peer-cert-file /srv/etcd/kubernetes.pem'))
    }
  })

  test('is where it is declared, if no flag says it: its environment may. A file that is not declared needs its flag', () => {
    for (const command of [['etcd', '--name=x'], ['/usr/local/bin/etcd']]) {
      const unit = read([], { command })
      assert.deepEqual([placed(unit), unit.unreached, unit.wrong], [etcdPlaces('/srv/etcd'), [], []])
      const [first = '', ...more] = read([], { command }, {}).wrong
      assert.match(
        first,
        / --trusted-ca-file; set it to \/etc\/etcd\/ca\.pem, or, .* cluster\.yaml: install\.units\.etcd\.files$/,
      )
      assert.equal(more.length, 2)
    }
    const ca = { '--trusted-ca-file': '/srv/etcd/ca.pem', '--peer-trusted-ca-file': '/srv/etcd/peer-ca.pem' }
    const some = read(['--name=x'], {}, { of: declaring('etcd', { files: { 'ca.pem': ca } }) })
    assert.equal(some.wrong.length, 2)
    assert.equal(placed(some)['ca.pem'], '/srv/etcd/ca.pem restart, /srv/etcd/peer-ca.pem restart')
    assert.deepEqual(contradicted(read(['--cert-file=/flag.pem'])), ['--cert-file /flag.pem'])
  })

  test('is confirmed by its --config-file, which cluster.yaml names too', () => {
    const section = `{cert-file: /srv/etcd/kubernetes.pem, "key-file": '/srv/etcd/kubernetes-key.pem', trusted-ca-file: /srv/etcd/ca.pem}`
    const text = `name: c0 # etcd 3.6\nclient-transport-security: ${section}\npeer-transport-security: ${section}\n`
    const args = ['--config-file=/etc/etcd.yaml']
    const contents = { '/etc/etcd.yaml': text }
    const of = declaring('etcd', { files: ofEtcd, config: '/etc/etcd.yaml' })
    const unit = read(args, {}, { contents, of })
    assert.deepEqual([placed(unit), contradicted(unit), unit.unreached], [etcdPlaces('/srv/etcd'), [], []])
    assert.deepEqual(contradicted(read(args)), ['--config-file /etc/etcd.yaml'])
  })

  test('is not known without that file', () => {
    const of = declaring('etcd', { config: '/a.yaml' })
    assert.match(
      read(['--config-file=/a.yaml'], {}, { of }).unreached.join(),
      /^couldn't read its --config \/a.yaml; set [\s\S]* \{ etcd: \{ files: \{ ca\.pem: \/etc\/etcd\/ca\.pem, /,
    )
  })

  test('is wrong where its main process names none of it, whatever program that is, unless cluster.yaml does', () => {
    const command = ['/usr/bin/podman', 'run', 'image']
    for (const given of [
      { processes: [{ unit: 'etcd', command }] },
      { state: { active: 'active' }, starts: { etcd: '' } },
    ]) {
      assert.match(seen('etcd', given).wrong.join(), /^it has no \S+ or --trusted-ca-file/)
      assert.deepEqual(seen('etcd', { ...given, of: elsewhereOf }).wrong, [])
    }
    assert.equal(contradicted(read([], { command: [...command, ...etcd] })).length, 6)
  })
})

describe('what kube-apiserver reads', () => {
  const command = startedAs('kube-apiserver').command.join(' ')
  const api = (args: readonly string[], given: Given = {}) =>
    seen('kube-apiserver', { processes: [startedAs('kube-apiserver', ...args)], ...given })
  const read = (...args: string[]) => api(args)
  const lacking = (flag: string) => {
    const process = startedAs('kube-apiserver')
    return api([], { processes: [{ ...process, command: process.command.filter((arg) => !arg.startsWith(flag)) }] })
  }

  test('is one file for several flags, which is loaded as the slowest of them does; or one for each, as cluster.yaml says', () => {
    assert.equal(placed(read())['ca.pem'], '/var/lib/kubernetes/ca.pem restart')
    const files = {
      'ca.pem': { '--client-ca-file': '/a/ca.pem' },
      'kubernetes.pem': { '--etcd-certfile': '/b/etcd.pem' },
    }
    const args = ['--client-ca-file=/a/ca.pem', '--etcd-certfile=/b/etcd.pem']
    const apart = api(args, { of: declaring('kube-apiserver', { files }) })
    assert.deepEqual([contradicted(apart), apart.wrong], [[], []])
    assert.equal(placed(apart)['ca.pem'], '/a/ca.pem now, /var/lib/kubernetes/ca.pem restart')
    assert.equal(placed(apart)['kubernetes.pem'], '/var/lib/kubernetes/kubernetes.pem now, /b/etcd.pem now')
    assert.deepEqual(contradicted(read(...args)), ['--client-ca-file /a/ca.pem', '--etcd-certfile /b/etcd.pem'])
  })

  test('of an etcd with a CA of its own is where it is declared, and a flag that names the place of another file is to be changed', () => {
    const of: Cluster = { ...cluster, etcd: { ca: 'own' } }
    const own = (args: readonly string[], given: Given = {}) => api(args, { of, ...given })
    const movesOf = ({ flags }: UnitOnNode) => flags.unset.map(({ flag, value }) => `${flag} ${value}`)
    const usual = '/var/lib/kubernetes'
    const guide = own([])
    assert.deepEqual(
      [placed(guide)['etcd-ca.pem'], placed(guide)['ca.pem']],
      [`${usual}/etcd-ca.pem now`, `${usual}/ca.pem restart`],
    )
    const ofGuide = [
      `--etcd-cafile ${usual}/etcd-ca.pem`,
      `--etcd-certfile ${usual}/apiserver-etcd-client.pem`,
      `--etcd-keyfile ${usual}/apiserver-etcd-client-key.pem`,
    ]
    assert.deepEqual(movesOf(guide), ofGuide)
    // What names neither is a contradiction.
    assert.deepEqual(contradicted(own(['--etcd-cafile=/b/ca.pem'])), ['--etcd-cafile /b/ca.pem'])
    // Its next start counts, too.
    assert.deepEqual(movesOf(own([], { processes: [], next: command })), ofGuide)
    const changed = own([], { next: `${command} --etcd-cafile=${usual}/etcd-ca.pem` })
    assert.equal(placed(changed)['etcd-ca.pem'], `${usual}/etcd-ca.pem now`)
    assert.deepEqual(movesOf(changed), ofGuide.slice(1))
    const [lacks, ...more] = changed.flags.notStartedWith
    assert.deepEqual([lacks?.flag, lacks?.value, more], ['--etcd-cafile', `${usual}/etcd-ca.pem`, []])
    // Its process has it already: that is read, and its next start would read another.
    const ahead = own([`--etcd-cafile=${usual}/etcd-ca.pem`], { next: command })
    assert.equal(placed(ahead)['etcd-ca.pem'], `${usual}/etcd-ca.pem restart`)
    assert.deepEqual(movesOf(ahead), ofGuide)
    // The declared place of another unit's file is another file's, too.
    const files = { 'etcd.pem': '/srv/etcd/server.pem' }
    const shared = own(['--etcd-certfile=/srv/etcd/server.pem'], { of: declaring('etcd', { files }, of) })
    assert.ok(movesOf(shared).includes(`--etcd-certfile ${usual}/apiserver-etcd-client.pem`))
  })

  describe('of the aggregation layer', () => {
    const of: Cluster = { ...cluster, aggregation: true }
    const usual = '/var/lib/kubernetes'
    const wanted = (folder: string) => [
      `--requestheader-client-ca-file=${folder}/front-proxy-ca.pem`,
      `--proxy-client-cert-file=${folder}/front-proxy-client.pem`,
      `--proxy-client-key-file=${folder}/front-proxy-client-key.pem`,
      '--requestheader-allowed-names=front-proxy-client',
      '--requestheader-username-headers=X-Remote-User',
      '--requestheader-group-headers=X-Remote-Group',
      '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    ]
    const flagsOf = (unit: UnitOnNode, which: 'unset' | 'notStartedWith' = 'unset') =>
      unit.flags[which].map(({ flag, value }) => `${flag}=${value}`)
    const names = ['front-proxy-ca.pem', 'front-proxy-client.pem', 'front-proxy-client-key.pem']
    /** What its unit file and its process lack, and where its files are. */
    const found = (args: readonly string[], given: Given = {}) => {
      const unit = api(args, { of, ...given })
      return [flagsOf(unit), flagsOf(unit, 'notStartedWith'), names.map((name) => placed(unit)[name]), unit.wrong]
    }
    const placesIn = (folder: string) => names.map((name) => `${folder}/${name} now`)

    test('is where it is declared, and then its flags are asked for, until the unit file and the process have them', () => {
      const [next, set] = [command, wanted(usual)]
      assert.deepEqual(found([]), [wanted(usual), [], placesIn(usual), []])
      const files = Object.fromEntries(names.map((name) => [name, `/srv/${name}`]))
      assert.deepEqual(found([], { of: declaring('kube-apiserver', { files }, of) }), [
        wanted('/srv'),
        [],
        placesIn('/srv'),
        [],
      ])
      assert.deepEqual(found(set), [[], [], placesIn(usual), []])
      assert.deepEqual(found([], { next: [next, ...set].join(' ') }), [[], set, placesIn(usual), []])
      assert.deepEqual(found(set, { next }), [set, [], placesIn(usual), []])
      assert.deepEqual(found([], { of: cluster }), [[], [], [undefined, undefined, undefined], []])
    })

    test("asks for one more flag where no kube-proxy runs beside the API server, in the other guide's layout", () => {
      const hardWay = parsed(`${minimal}layout: hard-way\naggregation: true\n`.replace(/^api:.*\n/m, ''))
      const unit = api([], { of: hardWay, node: hardWay.nodes[0] })
      assert.ok(flagsOf(unit).includes('--enable-aggregator-routing=true'))
      assert.ok(flagsOf(unit).includes(`--proxy-client-key-file=${usual}/front-proxy-client.key`))
    })

    test('is wrong where any client may claim to be anybody, asked for or not', async (t) => {
      const [clients, proxies] = await Promise.all(
        [0, 1].map(async () => {
          const auth = temporaryAuth(t)
          await makeCa(auth, caProfile)
          return auth.bytes('ca.pem')
        }),
      )
      const texts = {
        [`${usual}/ca.pem`]: `${clients}`,
        '/b/proxy-ca.pem': `${proxies}`,
        '/b/copy.pem': `# Of the front proxy\n${clients}`,
        '/b/both.pem': `${proxies}${clients}`,
      }
      const published = new Map(Object.entries(texts).map(([path, text]) => [path, Buffer.from(text)]))
      const ca = '--requestheader-client-ca-file'
      const names = '--requestheader-allowed-names=front-proxy-client'
      const rows: [args: string[], wrong: RegExp | undefined][] = [
        [[`${ca}=/b/proxy-ca.pem`, names], undefined],
        [[names], undefined],
        [[`${ca}=/b/proxy-ca.pem`], /without --requestheader-allowed-names .*set --requestheader-allowed-names=front/],
        [[`${ca}=/b/proxy-ca.pem`, '--requestheader-allowed-names='], /without --requestheader-allowed-names/],
        [[`${ca}=${usual}/ca.pem`], /has the CA of --client-ca-file .*aggregation: true/],
        ...[`${usual}/ca.pem`, '/b/copy.pem', '/b/both.pem'].map((path): [string[], RegExp] => [
          [`${ca}=${path}`, names],
          /has the CA of --client-ca-file/,
        ]),
        // What is not there yet will be that of both.
        [[`${ca}=/c/ca.pem`, '--client-ca-file=/c/ca.pem', names], /has the CA of --client-ca-file/],
      ]
      for (const each of [cluster, of])
        for (const [args, wrong] of rows) {
          const proxy = [`--proxy-client-cert-file=/b/c.pem`, `--proxy-client-key-file=/b/k.pem`]
          const { wrong: all } = api([...args, ...proxy], { of: each, published })
          const clauses = all.filter((clause) => clause.includes('X-Remote-User'))
          assert.equal(clauses.length, wrong ? 1 : 0, args.join(' '))
          if (wrong) assert.match(clauses[0] ?? '', wrong)
        }
    })
  })

  test('is its encryption config, reloaded or not, by the last flag; and none without a flag', () => {
    const loads = (...args: string[]) => placed(read(...args))['encryption-config.yaml']
    for (const yes of [
      [`${reloadFlag}=true`],
      [reloadFlag],
      [reloadFlag, '--v=2'],
      [`${reloadFlag}=false`, `${reloadFlag}=1`],
    ])
      assert.equal(loads(...yes), '/var/lib/kubernetes/encryption-config.yaml reload', yes.join(' '))
    for (const no of [[], [`${reloadFlag}=false`], [reloadFlag, `${reloadFlag}=0`], [`${reloadFlag}-interval=true`]])
      assert.equal(loads(...no), '/var/lib/kubernetes/encryption-config.yaml restart', no.join(' '))
    assert.equal(placed(lacking('--encryption-provider-config'))['encryption-config.yaml'], undefined)
  })

  test('is the list of who is revoked, where its flag names it or before it does; never a configuration of its own', () => {
    const of = { ...cluster, revoked: ['jane'] }
    const [file, webhook] = ['authorization-config.yaml', 'authorization-webhook.yaml']
    const usual = `/var/lib/kubernetes/${file}`
    const read = (args: readonly string[], contents: Record<string, string> = {}) => {
      const unit = api(args, { contents, of })
      const there = placed(unit)
      return [there[webhook], there[file], unit.flags.unset.map(({ flag, value }) => `${flag}=${value}`), unit.owned]
    }
    const placedWebhook = `/var/lib/kubernetes/${webhook} now`
    const named = (path: string) => [`--authorization-config=${path}`]
    const wanted = [`--authorization-config=${usual}`]
    assert.deepEqual(read(['--authorization-mode=RBAC,Node']), [placedWebhook, `${usual} now`, wanted, []])
    assert.deepEqual(read(named(usual)), [placedWebhook, `${usual} reload`, [], []])
    const moved = declaring('kube-apiserver', { files: { [file]: '/srv/a.yaml' } }, of)
    assert.equal(placed(api(named('/srv/a.yaml'), { of: moved }))[file], '/srv/a.yaml reload')
    const custom = '--authorization-webhook-config-file'
    const [own, broken] = ['kind: AuthorizationConfiguration', 'x: 1']
    assert.deepEqual(read(named(usual), { [usual]: broken }), [placedWebhook, `${usual} reload`, [], []])
    for (const [args, why, contents] of [
      [named(usual), `its --authorization-config ${usual} is yours`, { [usual]: own }],
      [['--authorization-mode=Node,RBAC,ABAC'], 'its --authorization-mode is Node,RBAC,ABAC', {}],
      [['--v=2'], 'its --authorization-mode is not set', {}],
      [['--authorization-mode=Node,RBAC', `${custom}=/a`], `it has ${custom}`, {}],
    ] as const)
      assert.deepEqual(read(args, contents), [placedWebhook, undefined, [], [why]])
  })

  test('may be one of several files of service-account keys, whose flags add to each other', () => {
    const file = 'service-account.pem'
    const more = read('--service-account-key-file=/old.pem')
    assert.deepEqual([placed(more)[file], contradicted(more)], ['/var/lib/kubernetes/service-account.pem restart', []])
    const process = startedAs('kube-apiserver')
    const flag = '--service-account-key-file'
    const other = process.command.map((arg) => (arg.startsWith(`${flag}=`) ? `${flag}=/old.pem` : arg))
    assert.deepEqual(contradicted(api([], { processes: [{ ...process, command: other }] })), [`${flag} /old.pem`])
  })

  test('is refused where a flag is missing, or names what can not be right', () => {
    const wrong = (...more: string[]) => read(...more).wrong.join()
    assert.equal(wrong(), '')
    assert.match(wrong('--tls-cert-file=tls.pem'), /^--tls-cert-file names "tls.pem"; use an absolute path/)
    assert.match(wrong('--tls-cert-file=/a b'), /"\/a b"/)
    assert.match(wrong('--tls-cert-file=/a/../b'), /"\/a\/..\/b"/)
    assert.equal(wrong('--tls-cert-file=/a//./b', '--tls-private-key-file=//a/.b'), '')
    assert.match(wrong('--tls-cert-file=/a\u0001b'), /"\/a\\u0001b"/)
    const missing = /^it has no --client-ca-file; set it to \/var\/lib\/kubernetes\/ca\.pem, or, where its environment/
    assert.match(lacking('--client-ca-file').wrong.join(), missing)
  })

  test('disagrees with cluster.yaml about the service range', () => {
    const wrong = (...args: string[]) => read(...args).wrong.join()
    const range = '--service-cluster-ip-range'
    assert.equal(wrong(`${range}=10.32.0.0/24`), '')
    assert.match(wrong(`${range}=10.96.0.0/12`), /is 10.96.0.0\/12, but network.serviceCIDR has 10.32.0.1/)
    assert.match(wrong(`${range}=10.32.0.0/24,fd00::/108`), /fd00/)
    const of = parsed(`name: six
api: { virtualIP: 'fd00::9' }
network: { serviceCIDR: 'fd01::/112' }
install: true
nodes: [{ name: c0, role: control, ip: 'fd00::11' }]
`)
    assert.deepEqual(api([`${range}=FD01:0::/112`], { of, node: of.nodes[0] }).wrong, [])
  })
})

describe('what a kubelet reads', () => {
  const config = '/var/lib/kubelet/kubelet-config.yaml'
  const usual = `authentication: {x509: {clientCAFile: /pki/ca.crt}}
tlsCertFile: "/pki/kubelet.crt" # its own
tlsPrivateKeyFile: '/pki/kubelet.key'
`
  const readOf = (of: Cluster, text: string | undefined, ...more: string[]) =>
    seen('kubelet', {
      processes: [processAs('kubelet', `--config=${config}`, '--kubeconfig', '/pki/kubeconfig', ...more)],
      contents: text === undefined ? {} : { [config]: text },
      of,
    })
  const read = (...said: [text: string | undefined, ...more: string[]]) =>
    readOf(declaring('kubelet', { files: ofKubelet }), ...said)
  const ofKubelet = {
    'ca.pem': '/pki/ca.crt',
    '<node>.pem': '/pki/kubelet.crt',
    '<node>-key.pem': '/pki/kubelet.key',
    '<node>.kubeconfig': '/pki/kubeconfig',
  }

  test('is confirmed by its file; a flag precedes it', () => {
    const expected = {
      'ca.pem': '/pki/ca.crt now',
      'w0.pem': '/pki/kubelet.crt now',
      'w0-key.pem': '/pki/kubelet.key now',
      'w0.kubeconfig ca': '/pki/w0-ca.pem restart',
      'w0.kubeconfig pair': '/pki/w0-client.pem poll',
      'w0.kubeconfig kubeconfig': '/pki/kubeconfig restart',
    }
    assert.deepEqual(placed(read(usual)), expected)
    const json = `{"authentication": {"x509": {"clientCAFile": "/pki/ca.crt"}},
      "tlsCertFile": "/pki/kubelet.crt", "tlsPrivateKeyFile": "/pki/kubelet.key"}`
    assert.deepEqual(placed(read(json)), expected)
    assert.deepEqual(contradicted(read(json)), [])
    assert.deepEqual(contradicted(read(usual, '--tls_cert_file=/flag.crt')), ['--tls-cert-file /flag.crt'])
  })

  for (const text of [
    // The kubelet would not start with these.
    'rotateCertificates: [',
    'rotateCertificates: true\nrotateCertificates: false',
    'a: &a true\nrotateCertificates: *a',
    'a: &a { rotateCertificates: true }\n<<: *a',
  ])
    test(`a file with ${JSON.stringify(text)} can't be read`, () => {
      assert.match(readOf(cluster, usual + text).unreached.join(), /couldn't read its --config/)
    })

  test('is not known where its file was not read, or others may say otherwise', () => {
    const why = (...said: [text: string | undefined, ...more: string[]]) => readOf(cluster, ...said).unreached.join()
    assert.match(why(undefined), /couldn't read its --config \/var\/lib\/kubelet\/kubelet-config.yaml/)
    assert.match(why('true'), /couldn't read/)
    assert.match(why(usual, '--config-dir=/a'), /--config-dir/)
  })

  test('is what cluster.yaml names, of one node too, where it is not known', () => {
    const of = declaring('kubelet', { files: { 'ca.pem': '/named/ca.pem', '<node>.pem': '/named/<node>.pem' } })
    const unit = seen('kubelet', { processes: [processAs('kubelet', `--config=${config}`)], of })
    assert.match(unit.unreached.join(), / \{ <node>-key\.pem: \S+, <node>\.kubeconfig: \S+ \} \} \}$/)
    assert.deepEqual([placed(unit)['ca.pem'], placed(unit)['w0.pem']], ['/named/ca.pem now', '/named/w0.pem now'])
    const node = { ...worker, units: { kubelet: { files: { 'ca.pem': '/own/ca.pem' } } } }
    const own = seen('kubelet', { processes: [processAs('kubelet', `--config=${config}`)], of, node })
    assert.deepEqual([placed(own)['ca.pem'], placed(own)['w0.pem']], ['/own/ca.pem now', '/named/w0.pem now'])
    const wrong = seen('kubelet', { processes: [{ unit: 'kubelet', command: ['/bin/sh'] }], folders: [], of }).wrong
    assert.ok(
      wrong.includes('it needs /named/ca.pem, but /named does not exist; create that directory, or set another path'),
    )
  })
})

test('a scheduler or proxy with a --config ignores its flags', () => {
  const unit = seen('kube-proxy', {
    processes: [processAs('kube-proxy', '--config=/c.yaml', '--kubeconfig=/a/k')],
    contents: { '/c.yaml': 'clientConnection:\n  kubeconfig: "/b/kubeconfig"\n' },
    of: declaring('kube-proxy', { config: '/c.yaml' }),
  })
  assert.deepEqual(contradicted(unit), ['clientConnection.kubeconfig /b/kubeconfig'])
})

describe('a unit file', () => {
  const next = `/usr/local/bin/etcd ${etcd.map(elsewhere).join(' ')}`
  const processes = [processAs('etcd', ...etcd)]
  test('confirms, or contradicts, what a unit that does not run, or is started again, will read', () => {
    const of = declaring('etcd', { files: ofEtcd })
    const fine = seen('etcd', { next, of })
    assert.deepEqual([placed(fine), contradicted(fine)], [etcdPlaces('/srv/etcd'), []])
    const other = seen('etcd', { processes, next })
    assert.deepEqual([placed(other), contradicted(other).length], [etcdPlaces('/etc/etcd'), 6])
  })
  test('is refused where it names a folder that is not there, whether its unit runs or not', () => {
    const of = declaring('etcd', { files: ofEtcd })
    const wrong = (given: Given) => seen('etcd', { of, ...given }).wrong.join()
    const lost = /names \/srv\/etcd\/ca.pem, but \/srv\/etcd does not exist; create/
    assert.match(wrong({ next, folders: ['/etc/etcd'] }), lost)
    assert.match(wrong({ next, folders: ['/etc/etcd'], processes }), lost)
    // One that was never installed: only the guide has them there.
    assert.equal(wrong({ folders: [], of: cluster }), '')
  })
  test('with variables, without files, or that starts another program, says nothing', () => {
    const wrapped = next.replace('/usr/local/bin/etcd', '/bin/sh -c')
    for (const other of [`${next} $MORE`, wrapped, '/usr/bin/etcd --name=a', ''])
      assert.deepEqual(placed(seen('etcd', { next: other })), etcdPlaces('/etc/etcd'), other)
  })
})

describe("the CA's key, where no node has it", () => {
  const of: Cluster = { ...cluster, certificates: { ...cluster.certificates, caKeyOnNodes: false } }
  const unit = 'kube-controller-manager'
  const row = unitOf(unit, of)
  const command = `/usr/local/bin/${unit} --kubeconfig=/var/lib/kubernetes/${unit}.kubeconfig`

  test('is read by no unit, and a command line that names it is wrong, with the two flags to take out', () => {
    assert.ok(![...row.files, ...row.reads].some(({ file }) => file === 'ca-key.pem'))
    const dropped = seen(unit, { processes: [startedAs(row)], of })
    assert.deepEqual([placed(dropped)['ca-key.pem'], dropped.wrong], [undefined, []])
    const flags = [`--cluster-signing-cert-file=/x/ca.pem`, '--cluster-signing-key-file=/x/key.pem']
    const named = { processes: [startedAs(row, ...flags)] }
    for (const given of [named, { next: [command, ...flags].join(' ') }]) {
      const { wrong, files } = seen(unit, { ...given, of })
      const [what = '', ...others] = wrong
      assert.match(what, /^--cluster-signing-key-file names \/x\/key\.pem, a key for no node/)
      assert.match(what, /remove --cluster-signing-cert-file and --cluster-signing-key-file, /)
      assert.deepEqual([others, files.filter(({ file }) => file === 'ca-key.pem')], [[], []])
      assert.ok(contradicted(seen(unit, given)).includes('--cluster-signing-key-file /x/key.pem'))
    }
  })
})

describe('a unit that runs as another user', () => {
  const kube = { account: { uid: 998, gids: [998] as const } }
  const usual = '/var/lib/kubernetes/kube-scheduler.kubeconfig'

  test('is judged as any other: what its process names is no place, and contradicts', () => {
    const of = (path: string, next = `/usr/local/bin/kube-scheduler --kubeconfig=${path}`) =>
      seen('kube-scheduler', { state: kube, processes: [processAs('kube-scheduler', `--kubeconfig=${path}`)], next })
    for (const start of [undefined, '/bin/sh -c x', `/usr/local/bin/kube-scheduler --kubeconfig=${usual} $ARGS`]) {
      const fine = of(usual, start)
      assert.deepEqual([fine.wrong, fine.unreached, contradicted(fine)], [[], [], []])
    }
    const other = of('/root/.kube/config')
    assert.deepEqual(contradicted(other), ['--kubeconfig /root/.kube/config'])
    assert.equal(placed(other)['kube-scheduler.kubeconfig kubeconfig'], `${usual} restart`)
  })
})

test('the next start of a unit is not known where systemd has not read its unit file since that was changed', () => {
  const said = (needsReload: boolean) =>
    seen('etcd', { processes: [processAs('etcd', ...etcd)], state: { needsReload } }).unreached.join()
  assert.equal(said(false), '')
  assert.match(said(true), /systemctl daemon-reload/)
})

test('a flag that has to change is named with all others of its unit: a certificate is no use without its key', () => {
  const own: typeof cluster = { ...cluster, etcd: { ca: 'own' } }
  const places = placesWith({
    ...allThere,
    files: new Map(),
    units: new Map([['kube-apiserver', { ...runningUnit, command: startedAs('kube-apiserver').command }]]),
  })
  const unset = (name: string) => unsetOn(unitsOn(own, control, places), (file) => file === name)
  const [said = '', ...more] = unset('etcd-ca.pem')
  assert.match(said, /--etcd-cafile=.*--etcd-certfile=.*--etcd-keyfile=/)
  assert.deepEqual([more, unset('ca.pem')], [[], []])
})
