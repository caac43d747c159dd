import assert from 'node:assert/strict'
import { after, before, describe, type TestContext, test } from 'node:test'
import type { Cluster, ClusterNode, Install } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import {
  AuthDir,
  authorizationConfigFile,
  authorizationFiles,
  encryptionConfigFile,
  kubeconfigFile,
} from '../../../lib/files/auth-dir.ts'
import { secretMode } from '../../../lib/files/plain-file.ts'
import type { Run } from '../../../lib/graph/target.ts'
import { newEncryptionConfig } from '../../../lib/kubernetes/encryption.ts'
import { formatKubeconfig } from '../../../lib/kubernetes/kubeconfig.ts'
import type { Query } from '../../../lib/node/node.ts'
import { type FileState, oldSuffix } from '../../../lib/node/place.ts'
import type { ComponentProcess, NodeState, PlacesState } from '../../../lib/node/state.ts'
import { tryCertificate } from '../../../lib/pki/pair.ts'
import { formatReason } from '../../../lib/reason.ts'
import { hardWay } from '../../../tasks/layouts/hard-way.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import type { Unit } from '../../../tasks/layouts/layout.ts'
import { certTable, nodeUnits } from '../../../tasks/layouts/tables.ts'
import { reloadFlag } from '../../../tasks/nodes/command-line.ts'
import { unprovenClients } from '../../../tasks/nodes/install.ts'
import { digestAt, lookAtNode } from '../../../tasks/nodes/look.ts'
import { unitsOn } from '../../../tasks/nodes/reads.ts'
import { checkUnitsOf, refuseOtherUsers, refuseWrongSettings, type UnitCheck } from '../../../tasks/nodes/units.ts'
import { readAccess } from '../../../tasks/phases/kubeconfigs.ts'
import { processHost } from '../../../tasks/request/host.ts'
import { makeEverything, temporaryAuth } from '../../support/certificates.ts'
import { nothingElse, processAs, startedAs, type UnitState, withoutFiles } from '../../support/fakes.ts'
import { newSuffix, parsed, scratch } from '../../support/files.ts'

const cluster = parsed(`name: kubenet
api: { virtualIP: 10.0.0.1 }
certificates: { key: ecdsa-p256 }
install: { drain: a, undrain: b }
nodes:
  - { name: g0, role: gateway, ip: 10.0.0.9 }
  - { name: c0, role: control, ip: 10.0.0.2 }
  - { name: w0, role: worker, ip: 10.0.0.3 }
`)
const install = cluster.install as Install
const nodeOf = (name: string, of = cluster) => of.nodes.find((node) => node.name === name) as ClusterNode
const otherGuide = parsed(`name: kubernetes-the-hard-way
layout: hard-way
certificates: { key: ecdsa-p256 }
install: true
nodes:
  - { name: server, role: control, ip: 10.0.0.2 }
  - { name: node-0, role: worker, ip: 10.0.0.3 }
`)
/** Seconds. */
const [placed, startedAt, now] = [1000, 2000, 3000]
const root = { uid: 0, gids: [0] } as const
const running = { isLoaded: true, active: 'active', sub: 'running', isStopping: false } as const
const main = {
  id: 7,
  isStopped: false,
  age: now - startedAt,
  started: startedAt,
}
const healthy: UnitState = {
  ...running,
  started: startedAt,
  process: main,
  restarts: 0,
  restartsAfter: 5,
  account: root,
  group: '',
  start: undefined,
  ...withoutFiles,
}

test('a look follows what units name, and fails if that changes each time; what others name may', async () => {
  let asked: string[] = []
  let readers = ''
  const look = (group: string, more: readonly ComponentProcess[] = []) => {
    let looks = 0
    const connect = async () => ({
      look: async ({ places }: Query) => {
        asked = [...(places?.paths.keys() ?? [])]
        readers = places?.readers ?? ''
        looks += 1
        const kubelet = startedAs(nodeUnits(cluster, nodeOf('w0'))[0] as Unit, `--kubeconfig=/tmp/${looks}`)
        const units = new Map([['kubelet', { ...healthy, group: '/system.slice/kubelet.service' }]])
        return {
          places: {
            units,
            processes: [...more, { ...kubelet, id: 8, group }],
            real: new Map(),
            contents: new Map(),
            files: new Map(),
            folders: new Set(),
            ...nothingElse,
          },
        }
      },
    })
    const auth = { files: { parse: () => undefined }, tryBytes: () => undefined }
    return lookAtNode({ cluster, connect, auth, found: new Map() } as unknown as Run, nodeOf('w0'))
  }
  await assert.rejects(look('/system.slice/kubelet.service'), { code: 'not-looked-at' })
  await look('/user.slice/x')
  assert.ok(asked.findIndex((path) => path.startsWith('/tmp/')) > asked.indexOf('/var/lib/kube-proxy/kubeconfig'))
  // A user may name any number of files, and hides none of root's by them.
  const flood = processAs('x', `--ca-file=${Array.from({ length: 9999 }, (_, i) => `/flood/${i}`).join(':')}`)
  await look('/user.slice/x', [{ ...flood, id: 9, uid: 1000, group: '/user.slice/y' }])
  const first = asked.findIndex((path) => path.startsWith('/flood/'))
  assert.ok(asked.findIndex((path) => path.startsWith('/tmp/')) < first && asked.length < first + 1000)
  const reads = (argument: string) => new RegExp(readers).test(argument)
  const [yes, no] = [
    ['--kubeconfig', '-ca-file=/x', '--cacert=/x', '--client-certificate', '--certificate-authority=/x', '/a/etcd-3.6'],
    ['--tls-cert-file=/x', '--config=/x', '--certificates=/x', 'etcd', 'etcdctl'],
  ]
  assert.deepEqual([yes.every(reads), no.filter(reads)], [true, ['--tls-cert-file=/x']])
})

test('what a look has found of other files than the guide has, the next one of the run queries at once', async () => {
  const queries: ReadonlyMap<string, string>[] = []
  const look = async ({ places }: Query) => {
    queries.push(places?.paths ?? new Map())
    const kubelet = startedAs(nodeUnits(cluster, nodeOf('w0'))[0] as Unit, '--client-ca-file=/srv/x')
    const units = new Map([['kubelet', { ...healthy, group: '/system.slice/kubelet.service' }]])
    return {
      places: {
        ...{ units, processes: [{ ...kubelet, id: 8, group: '/system.slice/kubelet.service' }], real: new Map() },
        ...{ contents: new Map(), files: new Map(), folders: new Set(), ...nothingElse },
      },
    }
  }
  let bytes = Buffer.from('a: 1')
  const auth = { files: { parse: () => undefined }, tryBytes: () => bytes }
  const run = { cluster, auth, connect: async () => ({ look }), found: new Map() } as unknown as Run
  await lookAtNode(run, nodeOf('w0'))
  assert.deepEqual([queries.length, queries[0]?.has('/srv/x'), queries[1]?.has('/srv/x')], [2, false, true])
  // What belongs there may be another by then.
  bytes = Buffer.from('a: 2')
  await lookAtNode(run, nodeOf('w0'))
  assert.equal(queries.length, 3)
  assert.notEqual(queries[2]?.get('/srv/x'), queries[1]?.get('/srv/x'))
})

describe("the check of a node's units", () => {
  let at: Run
  /** As all should be, with what differs. */
  const judge = (
    name: string,
    change: (found: Mutable) => void = () => {},
    inspect: (checks: readonly UnitCheck[], places: PlacesState) => void = () => {},
    run = at,
  ) => {
    const node = nodeOf(name, run.cluster)
    const units = nodeUnits(run.cluster, node)
    const files = units
      .flatMap(({ files: places }) => places)
      .map((place) => {
        const placedFile = {
          kind: 'file' as const,
          mode: run.auth.files.mode(place.file),
          uid: 0,
          gid: 0,
          size: 1,
          changed: placed,
          sha256: digestAt(run, place),
          lines: '',
        }
        return [place.path, placedFile] as const
      })
    const found: Mutable = {
      places: {
        now,
        units: new Map(units.map(({ unit }) => [unit, healthy])),
        folders: new Set(files.map(([path]) => path.replace(/\/[^/]*$/, ''))),
        files: new Map(files),
        contents: new Map(),
        real: new Map(),
        links: new Map(),
        odd: [],
        drained: [],
        processes: units.filter(({ bundle }) => bundle === undefined).map((unit) => startedAs(unit)),
        ...nothingElse,
      },
      served: new Map(
        units.flatMap(({ serves }) =>
          serves.map(({ port, name: leaf }) => [port, tryCertificate(run.auth, leaf)?.x509.raw ?? 'nothing']),
        ),
      ),
      unhealthy: new Map(),
    }
    change(found)
    const judged = { ...run, cluster: { ...run.cluster, install } }
    const seen = unitsOn(judged.cluster, node, found.places)
    const all = checkUnitsOf(judged, {
      ...({} as NodeState),
      selfMade: undefined,
      ...found,
      units: seen,
      otherProcesses: [],
    })
    inspect(all, found.places)
    const checks = new Map(all.map(({ unit, reason }) => [unit.unit, reason]))
    return units.flatMap(({ unit }) => {
      const reason = checks.get(unit)
      return checks.has(unit) ? (reason ? [formatReason(reason)] : []) : ['not installed']
    })
  }
  interface Mutable {
    places: PlacesState & {
      processes: ComponentProcess[]
      units: Map<string, UnitState>
      folders: Set<string>
      files: Map<string, FileState>
      contents: Map<string, Buffer>
      real: Map<string, string>
    }
    served: Map<number, Buffer | 'nothing'>
    unhealthy: Map<string, string>
  }
  const file = (path: string, change: Partial<FileState>) => (found: Mutable) =>
    void found.places.files.set(path, { ...(found.places.files.get(path) as FileState), ...change })
  const state = (unit: string, change: Partial<UnitState>) => (found: Mutable) =>
    void found.places.units.set(unit, { ...healthy, ...change })

  /** With more flags. */
  const started =
    (unit: string, ...more: string[]) =>
    (found: Mutable) => {
      found.places.processes = found.places.processes.map((process) =>
        process.command[0]?.endsWith(`/${unit}`) ? { ...process, command: [...process.command, ...more] } : process,
      )
    }

  const all =
    (...changes: readonly ((found: Mutable) => void)[]) =>
    (found: Mutable) => {
      for (const each of changes) each(found)
    }

  const auth = temporaryAuth({ after } as unknown as TestContext)
  const makeRun = async (auth: AuthDir, cluster: Cluster) => {
    await makeEverything(auth, cluster)
    auth.write(encryptionConfigFile, newEncryptionConfig('aescbc', ['secrets']), secretMode)
    const run = { auth, cluster, now: new Date(), waits: processHost.waits } as unknown as Run
    for (const row of certTable(cluster).filter(({ isClient }) => isClient))
      auth.write(kubeconfigFile(row.name), formatKubeconfig(readAccess(run, row)), secretMode)
    return run
  }
  before(async () => {
    at = await makeRun(auth, cluster)
  })

  test('finds nothing where all matches', () => {
    for (const { name } of cluster.nodes.filter(({ role }) => role !== 'gateway')) assert.deepEqual(judge(name), [])
  })

  test('finds nothing where a guide has files before it has units, and they match; else they are put there', async (t) => {
    const run = await makeRun(new AuthDir(scratch(t), hardWay.files), otherGuide)
    const none = { isLoaded: false, active: 'inactive', sub: 'dead', started: undefined, process: undefined } as const
    const early = all(state('kubelet', none), state('kube-proxy', none))
    assert.deepEqual(judge('node-0', early, undefined, run), [])
    const without = (found: Mutable) => found.places.files.delete('/var/lib/kubelet/kubelet.key')
    const check = (checks: readonly UnitCheck[]) =>
      assert.deepEqual(
        checks.map(({ isUp, reason }) => [isUp, reason?.places.length, reason?.restarts, reason?.state]),
        [
          [false, 1, false, undefined],
          [false, undefined, undefined, undefined],
        ],
      )
    assert.equal(judge('node-0', all(early, without), check, run).length, 1)
  })

  test('finds in a plan what would be written again, with the restarts', () => {
    const settled = at
    at = { ...at, pending: new Set(['kubernetes.pem', 'kube-scheduler.kubeconfig']) }
    try {
      assert.deepEqual(judge('w0'), [])
      at = { ...at, pending: new Set(['kubernetes.pem', 'kube-scheduler.kubeconfig', 'w0.pem']) }
      assert.deepEqual(judge('w0'), [
        'kubelet: w0.pem differs in /var/lib/kubelet: reloaded, or restarted before Kubernetes 1.36',
      ])
      assert.deepEqual(judge('c0'), [
        'etcd: kubernetes.pem differs in /etc/etcd: reloaded without a restart',
        'kube-apiserver: kubernetes.pem differs in /var/lib/kubernetes: reloaded without a restart',
        'kube-scheduler: kube-scheduler-client.pem differs in /var/lib/kubernetes: reloaded without a restart',
      ])
      const scheduler = (name: string, ...more: string[]) => {
        at = { ...at, pending: new Set(['kube-scheduler.kubeconfig', ...more]) }
        return judge(name).filter((line) => line.startsWith('kube-scheduler'))
      }
      assert.deepEqual(scheduler('c0', 'ca.pem'), [
        'kube-scheduler: kube-scheduler-ca.pem, kube-scheduler-client.pem differ in /var/lib/kubernetes: restart',
      ])
      at = { ...at, cluster: { ...cluster, api: { ...cluster.api, port: 443 } } }
      assert.deepEqual(scheduler('c0'), [
        'kube-scheduler: kube-scheduler-client.pem, kube-scheduler.kubeconfig differ in /var/lib/kubernetes: restart',
      ])
    } finally {
      at = settled
    }
  })

  describe('a new client certificate is in use', () => {
    const pair = `/var/lib/kubelet/w0-client.pem`
    const reloadsBy = (changed: number, change: (found: Mutable) => void = () => {}) => {
      let by: number | undefined
      judge(
        'w0',
        (found) => {
          file(pair, { changed })(found)
          change(found)
        },
        (checks) => {
          by = checks.find(({ unit }) => unit.unit === 'kubelet')?.reloadsBy
        },
      )
      return by
    }

    test('at once by a unit that was started since, else five and a half minutes later', () => {
      assert.equal(reloadsBy(startedAt - 1), undefined)
      assert.equal(reloadsBy(now - 330), undefined)
      assert.equal(reloadsBy(now - 329), now + 1)
      assert.equal(reloadsBy(now), now + 330)
    })

    test('by the clock of the start, too, if it was set since', () => {
      const step = (seconds: number) => (found: Mutable) =>
        state('kubelet', { process: { ...main, age: now - startedAt - seconds, started: startedAt + seconds } })(found)
      assert.equal(reloadsBy(now - 400, step(0)), undefined)
      assert.equal(reloadsBy(now - 400, step(300)), now + 230)
      assert.equal(reloadsBy(now - 400, step(-300)), undefined)
    })

    test('by no unit that gets its certificate by itself, whose kubeconfig is left alone', () => {
      const rotates = (found: Mutable) => {
        started('kubelet', '--rotate-certificates')(found)
        file('/var/lib/kubelet/kubeconfig', { sha256: 'x' })(found)
        file(pair, { sha256: 'x' })(found)
      }
      const own = 'users: [{user: {client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem}}]'
      const hasItsOwn = (found: Mutable) => {
        rotates(found)
        found.places.contents.set('/var/lib/kubelet/kubeconfig', Buffer.from(own))
      }
      assert.equal(reloadsBy(now, hasItsOwn), undefined)
      assert.deepEqual(judge('w0', hasItsOwn), [])
      // The CA there is another certificate than ours, as after ca --renew.
      const trusting = (ca: Buffer) => {
        let ends: Date | undefined
        const trusts = (found: Mutable) => {
          hasItsOwn(found)
          const cluster = `clusters: [{cluster: {certificate-authority-data: ${ca.toString('base64')}}}]`
          found.places.contents.set('/var/lib/kubelet/kubeconfig', Buffer.from(`${cluster}\n${own}`))
        }
        judge('w0', trusts, (checks) => {
          ends = checks.find(({ unit }) => unit.unit === 'kubelet')?.trustEnds
        })
        return ends
      }
      assert.equal(trusting(auth.bytes('ca.pem')), undefined)
      assert.deepEqual(trusting(auth.bytes('w0.pem')), tryCertificate(auth, 'w0')?.notAfter)
      // No certificate was issued to it yet: it still uses the one that we embedded.
      const hasOurs = (found: Mutable) => {
        rotates(found)
        found.places.contents.set('/var/lib/kubelet/kubeconfig', auth.bytes('w0.kubeconfig'))
        file('/var/lib/kubelet/kubeconfig', { sha256: 'x' })(found)
      }
      assert.deepEqual(judge('w0', hasOurs), ['kubelet: w0-client.pem, kubeconfig differ in /var/lib/kubelet: restart'])
    })

    test('after an API server has accepted it, which a killed run may have left to the next one', () => {
      const unproven = (change: (found: Mutable) => void) => {
        let clients: string[] = []
        judge('w0', change, (checks, places) => {
          const { unit, reason } = checks.find((each) => each.unit.unit === 'kubelet') ?? {}
          clients = unit && reason ? unprovenClients(unit, reason, places) : []
        })
        return clients
      }
      const copy = (found: Mutable, from: string, to: string) =>
        found.places.files.set(to, found.places.files.get(from) as FileState)
      assert.deepEqual(unproven(file(pair, { sha256: 'x' })), ['w0.kubeconfig'])
      assert.deepEqual(
        unproven((found) => copy(found, pair, `${pair}${oldSuffix}`)),
        ['w0.kubeconfig'],
      )
      // The first install has no old pair.
      const kubeconfig = '/var/lib/kubelet/kubeconfig'
      assert.deepEqual(
        unproven((found) => copy(found, kubeconfig, `${kubeconfig}${oldSuffix}`)),
        ['w0.kubeconfig'],
      )
      assert.deepEqual(unproven(file('/var/lib/kubelet/w0.pem', { sha256: 'x' })), [])
    })

    test('by no unit that its owner has stopped', () => {
      const stop = (found: Mutable) => state('kubelet', { active: 'inactive', sub: 'dead' })(found)
      assert.equal(reloadsBy(now, stop), undefined)
    })

    test('without a restart, and not before its place has it', () => {
      assert.deepEqual(judge('w0', file(pair, { changed: now })), [])
      assert.deepEqual(judge('w0', file(pair, { sha256: 'x' })), [
        'kubelet: w0-client.pem differs in /var/lib/kubelet: reloaded without a restart',
      ])
    })
  })

  describe('a certificate that the API server made itself', () => {
    const until = (days: number, life: number) => (found: Mutable) => {
      const notAfter = new Date(at.now.getTime() + days * 86_400_000)
      Object.assign(found, { selfMade: { notBefore: new Date(notAfter.getTime() - life * 86_400_000), notAfter } })
    }
    test('is renewed by a restart when less than renewBefore, at most a third of its life, is left', () => {
      const { renewBefore } = cluster.certificates
      const days = renewBefore / 86_400_000
      const [due] = judge('c0', until(days - 1, 365))
      assert.match(String(due), /^kube-apiserver: the certificate that it made itself expires \S+: restart, drained$/)
      assert.deepEqual(judge('c0', until(days + 1, 365)), [])
      // One of three days.
      assert.deepEqual(judge('c0', until(1.1, 3)), [])
      assert.equal(judge('c0', until(0.9, 3)).length, 1)
      assert.equal(judge('c0', until(-1, 365)).length, 1)
    })

    test('is nothing to a worker, nor where the API server is stopped', () => {
      assert.deepEqual(judge('w0', until(1, 365)), [])
      const stopped = (found: Mutable) => {
        until(1, 365)(found)
        state('kube-apiserver', { active: 'inactive', process: undefined })(found)
      }
      assert.deepEqual(judge('c0', stopped), [])
    })
  })

  test('flags that its unit file has by now, and its process not, need a restart, drained; the other way round nothing does', async (t) => {
    const own: Cluster = { ...cluster, etcd: { ca: 'own' } }
    const run = await makeRun(temporaryAuth(t), own)
    const name = 'kube-apiserver'
    const [right, shared] = ['', '--etcd-cafile=/var/lib/kubernetes/ca.pem'].map((more) =>
      startedAs(nodeUnits(own, nodeOf('c0')).find(({ unit }) => unit === name) as Unit, more),
    ) as [ComponentProcess, ComponentProcess]
    const starting = (next: ComponentProcess, process: ComponentProcess) => (found: Mutable) => {
      state(name, { start: next.command.join(' '), group: `/system.slice/${name}.service` })(found)
      found.places.processes = [process]
    }
    const judged = (change: (found: Mutable) => void) => judge('c0', change, undefined, run)
    assert.deepEqual(judged(starting(right, shared)), [
      'kube-apiserver: started without --etcd-cafile=/var/lib/kubernetes/etcd-ca.pem: restart, drained',
    ])
    for (const process of [right, shared]) assert.deepEqual(judged(starting(shared, process)), [])
    assert.deepEqual(judged(all(starting(right, shared), state(name, { active: 'inactive', process: undefined }))), [])
  })

  describe('an encryption config that its API server reloads', () => {
    const path = '/var/lib/kubernetes/encryption-config.yaml'
    const reloads = (found: Mutable) => started('kube-apiserver', reloadFlag)(found)
    const changed = (reloaded?: number) => (found: Mutable) => {
      reloads(found)
      file(path, { changed: startedAt + 10 })(found)
      Object.assign(found, { config: { digest: undefined, reloaded } })
    }

    test('is loaded when the API server has reloaded it since its last change', () => {
      assert.deepEqual(judge('c0', changed(startedAt + 10.5)), [])
      const notLoaded = ['kube-apiserver: encryption-config.yaml written but not loaded: reloaded without a restart']
      // Not queried, before the change, at its very moment, and by a clock that was set back since.
      for (const reloaded of [undefined, startedAt + 9, startedAt + 10, now + 60])
        assert.deepEqual(judge('c0', changed(reloaded)), notLoaded, String(reloaded))
    })

    test('is loaded or not by the digest that the API server tells, whatever the clocks say', () => {
      const told = (digest: string | undefined, at: number) => (found: Mutable) => {
        const { files } = found.places
        file(path, { changed: at })(found)
        const ours = files.get(path)?.sha256
        Object.assign(found, { config: { digest: digest ?? ours, reloaded: undefined } })
      }
      // Changed after the start, which is loaded; and before it, which is another.
      assert.deepEqual(judge('c0', told(undefined, startedAt + 10)), [])
      assert.deepEqual(judge('c0', told('0'.repeat(64), startedAt - 10)), [
        'kube-apiserver: encryption-config.yaml written but not loaded: restart, drained',
      ])
    })

    test('is not, if the clock was set back since: the reload may have been before the change', () => {
      const setBack = (reloaded: number) => (found: Mutable) => {
        changed(reloaded)(found)
        const process = { ...main, started: startedAt - 60, age: now - startedAt + 60 }
        state('kube-apiserver', { process })(found)
      }
      assert.equal(judge('c0', setBack(startedAt + 50)).length, 1)
      assert.deepEqual(judge('c0', setBack(startedAt + 80)), [])
    })

    test('needs a restart without the flag, whatever the metric says', () => {
      const without = (found: Mutable) => {
        file(path, { changed: startedAt + 10 })(found)
        Object.assign(found, { config: { digest: undefined, reloaded: startedAt + 11 } })
      }
      assert.deepEqual(judge('c0', without), [
        'kube-apiserver: encryption-config.yaml written but not loaded: restart, drained',
      ])
    })

    test('restarts nothing where it differs, and the other files of the API server still do', () => {
      const differs =
        (...paths: string[]) =>
        (found: Mutable) => {
          reloads(found)
          for (const each of paths) file(each, { sha256: 'x' })(found)
        }
      assert.deepEqual(judge('c0', differs(path)), [
        'kube-apiserver: encryption-config.yaml differs in /var/lib/kubernetes: reloaded without a restart',
      ])
      assert.match(
        String(judge('c0', differs(path, '/var/lib/kubernetes/service-account-key.pem'))),
        /kube-apiserver: .*encryption-config\.yaml differ.*: restart, drained/,
      )
    })
  })

  test('a list is loaded when the API server denies whom it has, whatever the clocks say; no answer is no proof', () => {
    const of = (revoked: readonly string[]): Run => {
      const run = { ...at, cluster: { ...cluster, revoked: [...revoked] } }
      for (const file of authorizationFiles) auth.write(file, revoked.join(), secretMode)
      return run
    }
    const denies = (notDenied: readonly string[] | undefined) => (found: Mutable) => {
      file(`/var/lib/kubernetes/${authorizationConfigFile}`, { changed: now })(found)
      Object.assign(found, notDenied && { inForce: { isLoaded: notDenied.length === 0, notDenied } })
    }
    const judged = (revoked: readonly string[], ...changes: readonly ((found: Mutable) => void)[]) =>
      judge('c0', all(...changes), undefined, of(revoked))
    const notLoaded = ['kube-apiserver: authorization-config.yaml written but not loaded: reloaded without a restart']
    assert.deepEqual(judged(['jane'], denies([])), [])
    assert.deepEqual(judged(['jane'], denies(['jane'])), notLoaded)
    assert.deepEqual(judged(['jane'], denies(undefined)), notLoaded)
    assert.deepEqual(judged([], denies(undefined)), notLoaded)
    assert.deepEqual(judged([], denies([])), [])
    assert.deepEqual(
      judged(
        ['jane'],
        denies(['jane']),
        state('kube-apiserver', { active: 'inactive', process: undefined }),
        (found) => {
          found.places.processes = []
        },
      ),
      [],
    )
  })

  const etcd = '/etc/etcd/'
  const kubelet = '/var/lib/kubelet/'
  const rows: Readonly<Record<string, readonly [node: string, change: (found: Mutable) => void, ...told: string[]]>> = {
    'a file that is read at each handshake differs': [
      'c0',
      file(`${etcd}kubernetes.pem`, { sha256: 'x' }),
      'etcd: kubernetes.pem differs in /etc/etcd: reloaded without a restart',
    ],
    'a file that is read at the start is missing': [
      'c0',
      (found) => found.places.files.delete(`${etcd}ca.pem`),
      'etcd: ca.pem missing in /etc/etcd: restart',
    ],
    'a symbolic link stands in a place': [
      'w0',
      file(`${kubelet}kubeconfig`, { kind: 'link', sha256: undefined }),
      'kubelet: kubeconfig not a file in /var/lib/kubelet: restart',
    ],
    'others may read a key, or change a certificate': [
      'w0',
      all(file(`${kubelet}w0-key.pem`, { mode: 0o644 }), file(`${kubelet}w0.pem`, { uid: 5 })),
      'kubelet: w0.pem, w0-key.pem open to others in /var/lib/kubelet: reloaded without a restart',
    ],
    'a certificate is of another group, that may only read it': ['w0', file(`${kubelet}w0.pem`, { gid: 5 })],
    'a unit runs as another user, who may not read its key': [
      'c0',
      state('etcd', { account: { uid: 990, gids: [991] } }),
      'etcd: kubernetes-key.pem unreadable for its unit in /etc/etcd: reloaded without a restart',
    ],
    'it may, by its group': [
      'c0',
      all(
        state('etcd', { account: { uid: 990, gids: [991] } }),
        file(`${etcd}kubernetes-key.pem`, { gid: 991, mode: 0o640 }),
      ),
    ],
    'of two units one may not read the key that they share': [
      'c0',
      (found) => {
        state('kube-controller-manager', { account: { uid: 990, gids: [991] } })(found)
        const own = ['', '-ca.pem', '-client.pem']
          .map((end) => `kube-controller-manager${end || '.kubeconfig'}`)
          .concat('ca-key.pem')
        for (const name of own) file(`/var/lib/kubernetes/${name}`, { uid: 990 })(found)
      },
      'kube-apiserver: service-account-key.pem unreadable for its unit in /var/lib/kubernetes: restart, drained',
      'kube-controller-manager: service-account-key.pem unreadable for its unit in /var/lib/kubernetes: restart',
    ],
    'the node does not know the user of a unit, the owner that a key has is not doubted': [
      'c0',
      all(
        state('etcd', { account: undefined }),
        file(`${etcd}kubernetes-key.pem`, { uid: 990, gid: 991, mode: 0o640 }),
      ),
    ],
    'a folder of its places is a link, and a file differs where it leads': [
      'c0',
      (found) => {
        for (const name of ['ca.pem', 'kubernetes.pem', 'kubernetes-key.pem']) {
          found.places.files.delete(`${etcd}${name}`)
          found.places.real.set(`${etcd}${name}`, `/var/lib/kubernetes/${name}`)
        }
        file('/var/lib/kubernetes/kubernetes.pem', { sha256: 'x' })(found)
      },
      'etcd: kubernetes.pem differs in /etc/etcd: reloaded without a restart',
      'kube-apiserver: kubernetes.pem differs in /var/lib/kubernetes: reloaded without a restart',
    ],
    'one was changed since the start': [
      'w0',
      file(`${kubelet}kubeconfig`, { changed: startedAt + 0.001 }),
      'kubelet: kubeconfig written but not loaded: restart',
    ],
    'a kubeconfig is still the one that the guide copies': [
      'w0',
      (found) => {
        const bytes = auth.bytes('kube-proxy.kubeconfig')
        found.places.contents.set('/var/lib/kube-proxy/kubeconfig', bytes)
        file('/var/lib/kube-proxy/kubeconfig', { sha256: 'x' })(found)
        found.places.files.delete('/var/lib/kube-proxy/kube-proxy-client.pem')
      },
      'kube-proxy: kube-proxy-client.pem missing in /var/lib/kube-proxy, kubeconfig differs in /var/lib/kube-proxy: restart',
    ],
    'only the keys of a certificate are read, and they are ours': [
      'c0',
      (found) => {
        const bytes = Buffer.concat([auth.bytes('service-account.pem'), Buffer.from('\n')])
        found.places.contents.set('/var/lib/kubernetes/service-account.pem', bytes)
        file('/var/lib/kubernetes/service-account.pem', { sha256: 'x' })(found)
      },
    ],
    'they are other keys': [
      'c0',
      (found) => {
        found.places.contents.set('/var/lib/kubernetes/service-account.pem', auth.bytes('kubernetes.pem'))
        file('/var/lib/kubernetes/service-account.pem', { sha256: 'x' })(found)
      },
      'kube-apiserver: service-account.pem differs in /var/lib/kubernetes: restart, drained',
    ],
    'one was changed since, that is read anew': ['w0', file(`${kubelet}w0.pem`, { changed: startedAt + 1 })],
    'a file is dated in the future: the clock was set back': [
      'w0',
      file(`${kubelet}kubeconfig`, { changed: now + 3600 }),
      'kubelet: kubeconfig dated in the future in /var/lib/kubelet: restart',
    ],
    // The clock was two hours ahead at the start, and is right again; the file was changed after that.
    'one was changed since the start, by the present clock alone': [
      'w0',
      state('kubelet', {
        started: placed + 1,
        process: { ...main, age: now - placed + 7199, started: placed - 7199 },
      }),
      'kubelet: w0-ca.pem, kubeconfig written but not loaded: restart',
    ],
    // The clock was behind at the start and at the change, and has been set forward.
    'one was changed since the start, by the clock of the start alone': [
      'w0',
      state('kubelet', { started: placed - 1, process: { ...main, started: placed + 7199 } }),
      'kubelet: w0-ca.pem, kubeconfig written but not loaded: restart',
    ],
    'the clock was set since the start, and the file was there before it by both clocks': [
      'w0',
      state('kubelet', { started: placed + 5, process: { ...main, started: placed + 7205 } }),
    ],
    'the clocks differ by no more than the second in which they are read': [
      'w0',
      state('kubelet', { started: placed + 0.5, process: { ...main, started: placed - 0.6 } }),
    ],
    'another certificate is served': [
      'w0',
      (found) => found.served.set(10250, Buffer.from('x')),
      'kubelet: another certificate is served on 10250: reloaded, or restarted before Kubernetes 1.36',
    ],
    'no certificate is served': [
      'w0',
      (found) => found.served.set(10250, 'nothing'),
      'kubelet: no certificate is served on 10250: looked at again',
    ],
    'systemd has given it up, or starts it again and again': [
      'w0',
      all(
        state('kubelet', { active: 'failed', sub: 'failed' }),
        state('kube-proxy', { active: 'activating', sub: 'auto-restart' }),
      ),
      'kubelet: it is failed (failed): restart',
      'kube-proxy: it is activating (auto-restart): looked at again',
    ],
    'systemd starts it again and again, with an old file': [
      'w0',
      all(
        state('kubelet', { active: 'activating', sub: 'auto-restart', process: undefined }),
        file(`${kubelet}w0.pem`, { sha256: 'x' }),
      ),
      'kubelet: w0.pem differs in /var/lib/kubelet, it is activating (auto-restart): restart',
    ],
    'systemd restarted it less than five minutes ago': [
      'w0',
      all(
        state('kubelet', { restarts: 3, process: { ...main, age: 299.5 } }),
        state('kube-proxy', { restarts: 1, process: { ...main, age: 300 } }),
      ),
      'kubelet: it ended, and systemd restarted it 299 s ago (restarts: 3): looked at again',
    ],
    'it ended while its API server was away, and came back less than half a minute ago': [
      'c0',
      all(
        state('kube-apiserver', { process: { ...main, age: 70 } }),
        state('kube-controller-manager', { restarts: 1, process: { ...main, age: 31 } }),
        state('kube-scheduler', { restarts: 1, process: { ...main, age: 29 } }),
      ),
      'kube-scheduler: it ended, and systemd restarted it 29 s ago (restarts: 1): looked at again',
    ],
    'it ended long after its API server was back; or is the API server, or no client of it': [
      'c0',
      (found) => {
        for (const unit of ['kube-apiserver', 'etcd'])
          state(unit, { restarts: 1, process: { ...main, age: 131 } })(found)
        // The API server may have been restarted twice since.
        state('kube-controller-manager', { restarts: 1, process: { ...main, age: 252 } })(found)
        state('kube-scheduler', { restarts: 1, process: { ...main, age: 70 } })(found)
      },
      'etcd: it ended, and systemd restarted it 131 s ago (restarts: 1): looked at again',
      'kube-apiserver: it ended, and systemd restarted it 131 s ago (restarts: 1): looked at again',
      'kube-scheduler: it ended, and systemd restarted it 70 s ago (restarts: 1): looked at again',
    ],
    'systemd restarted it, and it has no process of its own': [
      'w0',
      state('kubelet', { restarts: 3, process: undefined, started: now - 20 }),
      'kubelet: it ended, and systemd restarted it 20 s ago (restarts: 3): looked at again',
    ],
    'its process is stopped, or has just ended': [
      'w0',
      all(state('kubelet', { process: { ...main, isStopped: true } }), state('kube-proxy', { process: 'gone' })),
      'kubelet: its main process is stopped (SIGSTOP): looked at again',
      'kube-proxy: its main process has just ended: looked at again',
    ],
    'it does not answer that it is healthy': [
      'w0',
      (found) => found.unhealthy.set('kube-proxy', '/healthz answers 500'),
      'kube-proxy: /healthz answers 500: looked at again',
    ],
    'it is not healthy with the old file': [
      'w0',
      (found) => {
        found.unhealthy.set('kubelet', '/healthz answers 500')
        file(`${kubelet}w0.pem`, { sha256: 'x' })(found)
      },
      'kubelet: w0.pem differs in /var/lib/kubelet: reloaded without a restart',
    ],
    'its owner has stopped it: what is not loaded does not matter': [
      'w0',
      (found) => {
        state('kubelet', { active: 'inactive', sub: 'dead' })(found)
        file(`${kubelet}kubeconfig`, { changed: startedAt + 1 })(found)
        found.served.delete(10250)
      },
    ],
    'a run was killed before it was healthy': [
      'w0',
      (found) =>
        found.places.files.set(`${kubelet}w0.pem${oldSuffix}`, found.places.files.get(`${kubelet}w0.pem`) as FileState),
      'kubelet: a previous run did not see it healthy: looked at again',
    ],
    'a node lost its power before a new file had its name': [
      'w0',
      (found) =>
        found.places.files.set(`${kubelet}w0.pem${newSuffix}`, found.places.files.get(`${kubelet}w0.pem`) as FileState),
      'kubelet: a previous run did not see it healthy: looked at again',
    ],
    'systemd does not know it, or its folder is not there': [
      'w0',
      (found) => {
        state('kube-proxy', { isLoaded: false, active: 'inactive', sub: 'dead' })(found)
        found.places.folders.delete('/var/lib/kubernetes')
      },
      'not installed',
      'not installed',
    ],
    'it runs, and its unit file is gone, masked or a bad one': [
      'w0',
      state('kube-proxy', { isLoaded: false }),
      'kube-proxy: it runs, and systemd can not use its unit file: looked at again',
    ],
    'it was started in the future, by its clock then': [
      'w0',
      state('kube-proxy', { started: now + 3600 }),
      'kube-proxy: kube-proxy-ca.pem, kubeconfig written but not loaded: restart',
    ],
    'an API server is drained for a restart': [
      'c0',
      file('/var/lib/kubernetes/service-account.pem', { changed: startedAt + 1 }),
      'kube-apiserver: service-account.pem written but not loaded: restart, drained',
    ],
    'the bundle that a gateway trusts is older than the CA': [
      'g0',
      (found) =>
        found.places.files.set('/etc/ssl/certs/ca-certificates.crt', {
          ...(found.places.files.values().next().value as FileState),
          changed: placed - 1,
        }),
      'trust-store: kubernetes-ca.crt written but not loaded: restart',
    ],
  }
  for (const [what, [name, change, ...told]] of Object.entries(rows))
    test(`where ${what}`, () => assert.deepEqual(judge(name, change), told))
})

describe('paths that root does not write to', () => {
  const refused = (args: readonly string[], more: Partial<PlacesState> = {}) => {
    const places = {
      ...{
        units: new Map(),
        processes: [processAs('kube-apiserver', ...args)],
        links: new Map(),
        odd: [],
        real: new Map(),
      },
      ...{
        folders: { has: () => true },
        files: { get: () => ({ size: 1, isKnown: true }) },
        contents: new Map(),
        ...nothingElse,
        ...more,
      },
    } as unknown as PlacesState
    const node = nodeOf('c0')
    const [unit] = unitsOn(cluster, node, { ...places, units: new Map([['kube-apiserver', { ...healthy }]]) }).filter(
      (each) => each.unit === 'kube-apiserver',
    )
    try {
      refuseWrongSettings(node, unit ? [unit] : [], places)
      return undefined
    } catch (error) {
      return error instanceof Failure ? `${error.code} ${error.what}` : assert.fail(String(error))
    }
  }
  const row = nodeUnits(cluster, nodeOf('c0')).find(({ unit }) => unit === 'kube-apiserver') ?? assert.fail()
  const [, ...usual] = startedAs(row).command

  test('are those of two flags for two files, by themselves or by a link', () => {
    assert.equal(refused(usual), undefined)
    const one = refused([...usual, '--tls-private-key-file=/var/lib/kubernetes/kubernetes.pem'])
    assert.match(
      String(one),
      /^odd-path --tls-cert-file of kube-apiserver and --tls-private-key-file of kube-apiserver lead to the same file .* kubernetes\.pem and kubernetes-key\.pem belong there/,
    )
    const [pair, key] = ['/var/lib/kubernetes/kubernetes.pem', '/var/lib/kubernetes/kubernetes-key.pem']
    assert.match(String(refused(usual, { real: new Map([[key, pair]]) })), /^odd-path/)
  })

  test('are those behind a link of another user, and those that lead nowhere', () => {
    const link = (path: string) => refused(usual, { links: new Map([[path, '/home/kim']]) })
    assert.match(String(link('/var/lib/kubernetes/ca.pem')), /^odd-path \/home\/kim, .* belongs to another user/)
    // Another process may name any path.
    assert.equal(link('/home/kim/ca.pem'), undefined)
    assert.match(String(refused(usual, { odd: ['/var/lib/kubernetes/ca.pem'] })), /^odd-path .* leads nowhere/)
  })

  test('are any, while a command line is wrong', () => {
    assert.match(String(refused(usual.slice(1))), /^wrong-setting kube-apiserver: it has no --client-ca-file/)
  })
})

describe('the table of places', () => {
  test('is changed by cluster.yaml: a place, a restart, a unit that is left alone', () => {
    const units: Install['units'] = new Map<string, false | { restart?: string; files: Record<string, string> }>([
      ['etcd', { restart: 'again', files: { 'ca.pem': '/opt/ca.pem' } }],
      ['kubelet', { files: { '<node>.pem': '/opt/own.pem' } }],
      ['kube-proxy', false],
    ])
    const changed = nodeUnits({ ...cluster, install: { ...install, units } }, nodeOf('c0'))
    const etcd = changed.find(({ unit }) => unit === 'etcd')
    assert.equal(etcd?.restart, 'again')
    assert.deepEqual(
      etcd?.files.map(({ path }) => path),
      ['/opt/ca.pem', '/etc/etcd/kubernetes.pem', '/etc/etcd/kubernetes-key.pem'],
    )
    assert.ok(
      changed
        .find(({ unit }) => unit === 'kubelet')
        ?.files.some(({ file, path }) => file === 'c0.pem' && path === '/opt/own.pem'),
    )
    assert.ok(!changed.some(({ unit }) => unit === 'kube-proxy'))
  })

  test('has a pair next to each other, so that it is renamed so', () => {
    for (const { unit, files } of nodeUnits(cluster, nodeOf('c0'))) {
      const names = files.map(({ file }) => file)
      for (const [i, name] of names.entries()) {
        const key = harderWay.files.key(harderWay.files.parse(name)?.name ?? '')
        if (name.endsWith('.pem') && name !== key && names.includes(key)) assert.equal(names[i + 1], key, unit)
      }
    }
  })
})

describe('the name of a kubelet', () => {
  const auth = temporaryAuth({ after } as unknown as TestContext)
  before(() => makeEverything(auth, cluster))
  const node = nodeOf('w0')
  const pair = '/var/lib/kubelet/w0-client.pem'
  const run = { auth, cluster, options: {}, command: String } as unknown as Run
  const refused = ({ args = [] as readonly string[], held = '', hostname = 'w0', kubeconfig = '' }) => {
    const kubelet = nodeUnits(cluster, node).find(({ unit }) => unit === 'kubelet') ?? assert.fail()
    const places = {
      units: new Map([['kubelet', { ...healthy, group: '/system.slice/kubelet.service' }]]),
      ...{ processes: [startedAs(kubelet, ...args)], links: new Map(), odd: [], real: new Map() },
      ...{ folders: { has: () => true }, files: { get: () => ({ size: 1, isKnown: true }), has: () => true } },
      ...{ ...nothingElse, hostname },
      contents: new Map([
        [pair, held ? auth.bytes(`${held}.pem`) : Buffer.from('')],
        ...(kubeconfig ? [['/var/lib/kubelet/kubeconfig', Buffer.from(kubeconfig)] as const] : []),
      ]),
    } as unknown as PlacesState
    try {
      refuseOtherUsers(run, node, unitsOn(cluster, node, places), places)
      return undefined
    } catch (error) {
      return error instanceof Failure ? `${error.code} ${error.what}` : assert.fail(String(error))
    }
  }
  test('is that of cluster.yaml, by its flag, its certificate or its host', () => {
    assert.equal(refused({}), undefined)
    assert.equal(refused({ hostname: 'W0', held: 'w0' }), undefined)
    for (const name of ['w0', 'W0'])
      assert.equal(refused({ hostname: 'other', args: [`--hostname-override=${name}`] }), undefined)
  })
  test('is refused where it is another', () => {
    assert.match(
      refused({ args: ['--hostname-override=w0.kubenet'] }) ?? '',
      /^wrong-setting its kubelet is the node w0\.kubenet \(--hostname-override\), and cluster\.yaml calls it w0/,
    )
    assert.match(refused({ hostname: 'w0.kubenet' }) ?? '', /\(its host name\)/)
    assert.match(
      refused({ held: 'c0' }) ?? '',
      /w0-client\.pem is a kubeconfig of system:node:c0, and that of system:node:w0 belongs there/,
    )
    const [ca, certificate, key] = ['ca.pem', 'admin.pem', 'admin-key.pem'].map((file) => auth.bytes(file)) as [
      Buffer,
      Buffer,
      Buffer,
    ]
    const names = { cluster: 'kubenet', server: 'https://127.0.0.1:6443', user: 'x', context: 'x' }
    const ofAdmin = formatKubeconfig({ ca, certificate, key, ...names })
    assert.match(
      refused({ kubeconfig: ofAdmin }) ?? '',
      /\/kubeconfig is a kubeconfig of admin, and that of system:node:w0/,
    )
    // It gets its certificate from the cluster: under that name.
    assert.equal(
      refused({ args: ['--hostname-override=x', '--rotate-certificates'], kubeconfig: 'users: []' }),
      undefined,
    )
  })
})
