import assert from 'node:assert/strict'
import { after, before, describe, type TestContext, test } from 'node:test'
import type { Cluster, Install } from '../../../lib/cluster/cluster.ts'
import { AuthDir, encryptionConfigFile, kubeconfigFile } from '../../../lib/files/auth-dir.ts'
import { secretMode } from '../../../lib/files/plain-file.ts'
import { newEncryptionConfig } from '../../../lib/kubernetes/encryption.ts'
import { formatKubeconfig } from '../../../lib/kubernetes/kubeconfig.ts'
import { noDigest, type Query } from '../../../lib/node/node.ts'
import { type FileState, oldSuffix } from '../../../lib/node/place.ts'
import type { NodeState, PlacesState } from '../../../lib/node/state.ts'
import { formatDiffs } from '../../../lib/results.ts'
import type { Run } from '../../../tasks/cluster-target.ts'
import { reloadFlag, unitsOn } from '../../../tasks/inspect/agreement.ts'
import { lookAtNode, readNode } from '../../../tasks/inspect/look.ts'
import { checkUnitsOf, diffsOfUnit, isStale } from '../../../tasks/install/check-units.ts'
import { openFolders, refuseNewKeys } from '../../../tasks/install/places.ts'
import { hardWay } from '../../../tasks/layouts/hard-way.ts'
import { certTable, nodeUnits } from '../../../tasks/layouts/tables.ts'
import { readAccess } from '../../../tasks/phases/kubeconfigs.ts'
import { processHost } from '../../../tasks/run/host.ts'
import { makeEverything, temporaryAuth } from '../../support/certificates.ts'
import {
  allThere,
  control,
  failureOf,
  foundAsIn,
  healthyUnit,
  lookedAt as now,
  placedAt as placed,
  placesWith,
  rootsFile,
  startedAs,
  startedAt,
  threeNodes,
  twoNodes,
  type UnitState,
  unitOf,
  worker,
} from '../../support/fakes.ts'
import { newSuffix, scratch } from '../../support/files.ts'

const install: Install = { ...(threeNodes.install as Install), drain: 'a', undrain: 'b' }
const cluster: Cluster = { ...threeNodes, install }
const options = { replaceIdentity: false, prune: false, names: [] }
const otherGuide: Cluster = { ...twoNodes, layout: 'hard-way', install }
const healthy: UnitState = healthyUnit

type PlacesQuery = NonNullable<Query['places']>

/** A kubelet with these flags, as the only unit of a worker. */
const kubeletWith = (flags: readonly string[]) => {
  const { command } = startedAs(unitOf('kubelet', cluster, worker), ...flags)
  return placesWith({ units: new Map([['kubelet', { ...healthy, command }]]) })
}

test('a look reads what is declared, once; one that takes a node over asks for all of our files', async (t) => {
  const asked: PlacesQuery[] = []
  const look = async ({ places }: Query) => {
    if (places) asked.push(places)
    return { places: kubeletWith(['--kubeconfig=/tmp/other', '--ca-file=/root/secret']) }
  }
  const run = { cluster, auth: temporaryAuth(t), connect: async () => ({ look }), options } as unknown as Run
  await lookAtNode(run, worker)
  await lookAtNode({ ...run, stagedBy: 'ca' }, worker)
  await readNode({ ...run, isObserved: true }, worker).catch(() => {})
  const paths = asked.map(({ paths }) => [paths.has('/tmp/other'), paths.has('/root/secret')])
  assert.deepEqual(
    paths,
    Array.from({ length: 3 }, () => [false, false]),
  )
  assert.equal(asked[2]?.paths.get('/var/lib/kubelet/kubeconfig'), noDigest)
})

describe("the check of a node's units", () => {
  let at: Run
  /** As all should be, with what differs. */
  const look = (name: string, change: Change = () => {}, run = at) => {
    const node = run.cluster.nodes.find((each) => each.name === name) ?? assert.fail()
    const units = nodeUnits(run.cluster, node)
    const found = foundAsIn(run, node) as Mutable
    change(found)
    const judged = { ...run, cluster: { ...run.cluster, install } }
    const seen = { units: unitsOn(judged.cluster, node, found.places) }
    const checks = checkUnitsOf(judged, { ...({} as NodeState), selfMade: undefined, ...found, ...seen })
    return { units, checks, places: found.places }
  }
  /** What is told of the node, a line for each unit that is not up to date. */
  const judge = (...given: Parameters<typeof look>) => {
    const { units, checks } = look(...given)
    return units.flatMap(({ unit }) => {
      const check = checks.find((each) => each.unit.unit === unit)
      return check ? (isStale(check) ? [formatDiffs(diffsOfUnit(check))] : []) : ['not installed']
    })
  }
  interface Mutable {
    places: PlacesState & {
      units: Map<string, UnitState>
      folders: Set<string>
      files: Map<string, FileState>
      above: PlacesState['above']
      contents: Map<string, Buffer>
    }
    served: Map<number, Buffer | 'nothing'>
    unhealthy: Map<string, string>
  }
  type Change = (found: Mutable) => unknown
  const all =
    (...changes: readonly Change[]) =>
    (found: Mutable) =>
      changes.map((change) => change(found))
  const file =
    (path: string, change: Partial<FileState>, from = path) =>
    ({ places: { files } }: Mutable) =>
      files.set(path, { ...(files.get(from) as FileState), ...change })
  /** A copy is left beside it. */
  const beside = (path: string, suffix: string) => file(path + suffix, {}, path)
  const without =
    (path: string) =>
    ({ places }: Mutable) =>
      places.files.delete(path)
  const state =
    (unit: string, change: Partial<UnitState>) =>
    ({ places }: Mutable) =>
      places.units.set(unit, { ...healthy, command: places.units.get(unit)?.command, ...change })
  const differs = (...paths: string[]) => all(...paths.map((path) => file(path, { sha256: 'x' })))
  /** Other bytes, which the look has. */
  const content = (path: string, bytes: () => Buffer) =>
    all(differs(path), ({ places }) => places.contents.set(path, bytes()))
  const stopped = (unit: string) =>
    state(unit, { active: 'inactive', sub: 'dead', process: undefined, command: undefined })
  /** What else was found. */
  const told = (more: object) => (found: Mutable) => Object.assign(found, more)
  /** With one more flag. */
  const started =
    (unit: string, flag: string): Change =>
    (found) =>
      state(unit, { command: [...(found.places.units.get(unit)?.command ?? []), flag] })(found)

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
    const none = {
      hasUnitFile: false,
      active: 'inactive',
      sub: 'dead',
      started: undefined,
      process: undefined,
    } as const
    const early = all(state('kubelet', none), state('kube-proxy', none))
    assert.deepEqual(judge('w0', early, run), [])
    const { checks } = look('w0', all(early, without('/var/lib/kubelet/kubelet.key')), run)
    assert.deepEqual(
      checks.map(({ isUp, places, restarts, isUnhealthy }) => [isUp, places.length, restarts, isUnhealthy]),
      [
        [false, 1, false, false],
        [false, 0, false, false],
      ],
    )
  })

  test('in a folder that other users may change a file is replaced, and the folder named with the command; a key that the unit never had is refused', () => {
    const [pem, key] = ['/var/lib/kubernetes/kubernetes.pem', '/var/lib/kubernetes/kubernetes-key.pem']
    const open: Change = ({ places }) => {
      places.above = new Map([['/var/lib/kubernetes', { mode: 0o777, uid: 0, gid: 0 }]])
    }
    const apiServerIn = (...changes: Change[]) => {
      const { checks, units, places } = look('c0', all(open, ...changes))
      const { places: differing, unit } = checks.find((each) => each.unit.unit === 'kube-apiserver') ?? assert.fail()
      return {
        paths: differing.map(({ path }) => path),
        said: openFolders(at, units, places)
          .map(({ what, remedy }) => `${what}; ${remedy}`)
          .join(),
        failure: failureOf(() => refuseNewKeys({ run: at, node: control }, [unit], places)),
      }
    }
    const { paths, said, failure } = apiServerIn(differs(pem, key))
    assert.deepEqual([paths, failure], [[pem, key], undefined])
    assert.match(said, /kube-apiserver.* below \/var\/lib\/kubernetes, .*:\s+chmod go-w \/var\/lib\/kubernetes$/)
    // It needs that to start again.
    assert.deepEqual(apiServerIn(without(key)).failure, undefined)
    const never = apiServerIn(stopped('kube-apiserver'), without(pem), without(key)).failure
    assert.match(String(never), /below \/var\/lib\/kubernetes, .*; not installed: kubernetes-key\.pem/)
  })

  test('a new client certificate is in use without a restart, at once by a unit that was started since, else five and a half minutes later', () => {
    const pair = `/var/lib/kubelet/w0-client.pem`
    const reloadsBy = (changed: number) => {
      const { checks } = look('w0', file(pair, { changed }))
      return (checks.find(({ unit }) => unit.unit === 'kubelet') ?? assert.fail()).reloadsBy
    }

    assert.equal(reloadsBy(startedAt - 1), undefined)
    assert.equal(reloadsBy(now - 330), undefined)
    assert.equal(reloadsBy(now - 329), now + 1)
    assert.equal(reloadsBy(now), now + 330)
    assert.deepEqual(judge('w0', file(pair, { changed: now })), [])
    assert.deepEqual(judge('w0', differs(pair)), ['w0-client.pem differs in /var/lib/kubelet; reload kubelet'])
  })

  test('a certificate that the API server made itself is renewed by a restart when less than renewBefore, at most a third of its life, is left', () => {
    const until = (days: number, life: number) => {
      const notAfter = new Date(at.now.getTime() + days * 86_400_000)
      return told({ selfMade: { notBefore: new Date(notAfter.getTime() - life * 86_400_000), notAfter } })
    }
    const { renewBefore } = cluster.certificates
    const days = renewBefore / 86_400_000
    const [due] = judge('c0', until(days - 1, 365))
    assert.match(
      String(due),
      /^the loopback certificate of kube-apiserver expires \S+; drain and restart kube-apiserver$/,
    )
    assert.deepEqual(judge('c0', until(days + 1, 365)), [])
    // One of three days.
    assert.deepEqual(judge('c0', until(1.1, 3)), [])
    assert.equal(judge('c0', until(0.9, 3)).length, 1)
    assert.equal(judge('c0', until(-1, 365)).length, 1)
  })

  test('flags that its unit file has by now, and its process not, need a restart, drained; the other way round nothing does', async (t) => {
    const own: Cluster = { ...cluster, etcd: { ca: 'own' } }
    const run = await makeRun(temporaryAuth(t), own)
    const name = 'kube-apiserver'
    const right = startedAs(unitOf(name, own)).command
    const shared = startedAs(unitOf(name, own), '--etcd-cafile=/var/lib/kubernetes/ca.pem').command
    const starting = (next: readonly string[], command: readonly string[]) =>
      state(name, { start: next.join(' '), command })
    const judged = (change: Change) => judge('c0', change, run)
    assert.deepEqual(judged(starting(right, shared)), [
      'kube-apiserver was started without --etcd-cafile=/var/lib/kubernetes/etcd-ca.pem; drain and restart kube-apiserver',
    ])
    for (const command of [right, shared]) assert.deepEqual(judged(starting(shared, command)), [])
    assert.deepEqual(judged(all(starting(right, shared), stopped(name))), [])
  })

  describe('an encryption config that its API server reloads', () => {
    const path = '/var/lib/kubernetes/encryption-config.yaml'
    const reloads = started('kube-apiserver', reloadFlag)
    test('is loaded or not by the digest that the API server tells, whatever the clocks say', () => {
      const loaded = (digest: string | undefined, changed: number): Change =>
        all(file(path, { changed }), (found) => {
          const ours = found.places.files.get(path)?.sha256
          told({ loadedConfig: digest ?? ours })(found)
        })
      // Changed after the start, which is loaded; and before it, which is another.
      assert.deepEqual(judge('c0', loaded(undefined, startedAt + 10)), [])
      assert.deepEqual(judge('c0', loaded('0'.repeat(64), startedAt - 10)), [
        'kube-apiserver has not loaded encryption-config.yaml; drain and restart kube-apiserver',
      ])
    })

    test('is not where it was changed after the start, and nothing is told; where it differs nothing restarts, but for other files', () => {
      const changed = file(path, { changed: startedAt + 11 })
      const notLoaded = 'kube-apiserver has not loaded encryption-config.yaml'
      assert.deepEqual(judge('c0', changed), [`${notLoaded}; drain and restart kube-apiserver`])
      assert.deepEqual(judge('c0', all(reloads, changed)), [`${notLoaded}; reload kube-apiserver`])
      assert.deepEqual(judge('c0', all(reloads, differs(path))), [
        'encryption-config.yaml differs in /var/lib/kubernetes; reload kube-apiserver',
      ])
      const two = differs(path, '/var/lib/kubernetes/service-account-key.pem')
      const told = String(judge('c0', all(reloads, two)))
      assert.match(told, /encryption-config\.yaml differ.*; drain and restart kube-apiserver/)
    })
  })

  const kubelet = '/var/lib/kubelet/'
  const kubernetes = '/var/lib/kubernetes/'
  const rows: Readonly<Record<string, Readonly<Record<string, readonly [change: Change, ...told: string[]]>>>> = {
    w0: {
      'others may read a key, or change a certificate': [
        all(file(`${kubelet}w0-key.pem`, { mode: 0o644 }), file(`${kubelet}w0.pem`, { uid: 5 })),
        'w0.pem, w0-key.pem permissions too open in /var/lib/kubelet; reload kubelet',
      ],
      'a kubeconfig is still the one that the guide copies': [
        all(
          content('/var/lib/kube-proxy/kubeconfig', () => auth.bytes('kube-proxy.kubeconfig')),
          without('/var/lib/kube-proxy/kube-proxy-client.pem'),
        ),
        'kube-proxy-client.pem missing in /var/lib/kube-proxy; kubeconfig differs in /var/lib/kube-proxy; restart kube-proxy',
      ],
      'one was changed since, that is read anew': [file(`${kubelet}w0.pem`, { changed: startedAt + 1 })],
      'another certificate is served': [
        (found) => found.served.set(10250, Buffer.from('x')),
        'kubelet serves another certificate on 10250; reload kubelet',
      ],
      'no certificate is served': [
        (found) => found.served.set(10250, 'nothing'),
        'kubelet: it serves no certificate on 10250',
      ],
      'systemd has given it up, or starts it again and again': [
        all(
          state('kubelet', { active: 'failed', sub: 'failed' }),
          state('kube-proxy', { active: 'activating', sub: 'auto-restart' }),
        ),
        'kubelet: it is failed (failed); restart kubelet',
        'kube-proxy: it is activating (auto-restart)',
      ],
      'it is not healthy with the old file': [
        all(differs(`${kubelet}w0.pem`), ({ unhealthy }) => unhealthy.set('kubelet', '/healthz answers 500')),
        'w0.pem differs in /var/lib/kubelet; reload kubelet',
      ],
      'its owner has stopped it: what is not loaded does not matter': [
        all(stopped('kubelet'), file(`${kubelet}kubeconfig`, { changed: startedAt + 1 }), ({ served }) =>
          served.delete(10250),
        ),
      ],
      'a run was killed before it was healthy, or a node lost its power before a new file had its name': [
        all(beside(`${kubelet}w0.pem`, oldSuffix), beside('/var/lib/kube-proxy/kubeconfig', newSuffix)),
        'kubelet: it was not healthy in a previous run',
        'kube-proxy: it was not healthy in a previous run',
      ],
      'systemd does not know it, or its folder is not there': [
        all(state('kube-proxy', { hasUnitFile: false, active: 'inactive', sub: 'dead' }), ({ places }) =>
          places.folders.delete('/var/lib/kubernetes'),
        ),
        'not installed',
        'not installed',
      ],
    },
    c0: {
      'of two units one may not read the key that they share': [
        all(
          state('kube-controller-manager', { account: { uid: 990, gids: [991] } }),
          ...['-ca.pem', '-client.pem', '.kubeconfig'].map((end) =>
            file(`${kubernetes}kube-controller-manager${end}`, { uid: 990 }),
          ),
          file(`${kubernetes}ca-key.pem`, { uid: 990 }),
        ),
        'service-account-key.pem unreadable for its unit in /var/lib/kubernetes; drain and restart kube-apiserver',
        'service-account-key.pem unreadable for its unit in /var/lib/kubernetes; restart kube-controller-manager',
      ],
      'only the keys of a certificate are read, and they are ours': [
        content(`${kubernetes}service-account.pem`, () =>
          Buffer.concat([auth.bytes('service-account.pem'), Buffer.from('\n')]),
        ),
      ],
      'they are other keys': [
        content(`${kubernetes}service-account.pem`, () => auth.bytes('kubernetes.pem')),
        'service-account.pem differs in /var/lib/kubernetes; drain and restart kube-apiserver',
      ],
    },
    g0: {
      'the bundle that a gateway trusts is older than the CA': [
        ({ places }) => places.files.set('/etc/ssl/certs/ca-certificates.crt', { ...rootsFile, changed: placed - 1 }),
        'trust-store has not loaded kubernetes-ca.crt; restart trust-store',
      ],
    },
  }
  for (const [node, all] of Object.entries(rows))
    for (const [what, [change, ...told]] of Object.entries(all))
      test(`where ${what}`, () => assert.deepEqual(judge(node, change), told))
})

test('a unit is left alone, or restarted by another command, where cluster.yaml says so', () => {
  const units = new Map<string, unknown>([
    ['etcd', { restart: 'again', files: {} }],
    ['kube-proxy', false],
  ]) as Install['units']
  const found = nodeUnits({ ...cluster, install: { ...install, units } }, control)
  const has = new Map(found.map(({ unit, restart }) => [unit, restart]))
  assert.deepEqual([has.get('etcd'), has.has('kube-proxy')], ['again', false])
})

test('a kubelet that calls its node otherwise than cluster.yaml, by its flag or its host, is refused', () => {
  const refused = ({ args = [] as readonly string[], hostname = 'w0' }) => {
    const all = { ...kubeletWith(args), ...allThere, hostname }
    return unitsOn(cluster, worker, all).find(({ unit }) => unit === 'kubelet')?.disagreement?.what
  }
  for (const hostname of ['w0', 'W0']) assert.equal(refused({ hostname }), undefined)
  for (const name of ['w0', 'W0'])
    assert.equal(refused({ hostname: 'other', args: [`--hostname-override=${name}`] }), undefined)
  for (const other of [{ args: ['--hostname-override=w0.kubenet'] }, { hostname: 'w0.kubenet' }])
    assert.match(refused(other) ?? '', /^kubelet: it calls the node w0\.kubenet, not w0;/)
})
