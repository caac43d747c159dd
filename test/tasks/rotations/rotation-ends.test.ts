/**
 * Rotations that end at one of their writes: what is there is a stage, the same goes on from it, and no key is lost.
 */
import assert from 'node:assert/strict'
import { createPublicKey, type KeyObject } from 'node:crypto'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import pLimit from 'p-limit'
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import { buildGraph, type Rows } from '../../../lib/graph/target.ts'
import { readEncryptionKeys } from '../../../lib/kubernetes/encryption.ts'
import { partOf } from '../../../lib/kubernetes/kubeconfig.ts'
import type { FileState } from '../../../lib/node/place.ts'
import { readPrivateKey } from '../../../lib/pki/pair.ts'
import { namesOf } from '../../../lib/results.ts'
import { publicKeysIn } from '../../../tasks/auth/states.ts'
import { phases } from '../../../tasks/bootstrap.ts'
import { type ClusterTarget, clusterGraph, inMemory, type Run } from '../../../tasks/cluster-target.ts'
import { compareFolder } from '../../../tasks/deploy/folder.ts'
import { unitsOn } from '../../../tasks/inspect/agreement.ts'
import { digestOf } from '../../../tasks/inspect/look.ts'
import { checkUnitsOf, diffsOfUnit } from '../../../tasks/install/check-units.ts'
import type { InstallLook } from '../../../tasks/install/install.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { nodeFiles, nodeUnits } from '../../../tasks/layouts/tables.ts'
import { type Rotating, type Rotation, rotations } from '../../../tasks/rotations/rotations.ts'
import { foundAsIn, rootsFile, startAll } from '../../support/fakes.ts'
import { minimal, parsed, scratch } from '../../support/files.ts'

const text = `${minimal}  - { name: w0, role: worker, ip: 10.0.0.3 }
  - { name: g0, role: gateway, ip: 10.0.0.4 }
install: true
certificates: { key: ecdsa-p256 }
encryption: { provider: aescbc }
`
const cluster = parsed(text)
const now = new Date()

/** In memory of the files that were written; it ends with an error right after so many writes. */
class EndingAuthDir extends AuthDir {
  readonly writes: string[] = []
  endsAfter = Number.POSITIVE_INFINITY
  #end(): void {
    if (this.writes.length >= this.endsAfter) throw new Error('ended')
  }
  #write(name: string, work: () => void): void {
    this.#end()
    this.writes.push(name)
    work()
    this.#end()
  }
  override write(...args: Parameters<AuthDir['write']>): void {
    this.#write(args[0], () => super.write(...args))
  }
  override writeDurably(...files: readonly Parameters<AuthDir['write']>[]): void {
    for (const file of files) this.#write(file[0], () => super.writeDurably(file))
  }
  override remove(name: string): void {
    if (this.read(name)) this.#write(name, () => super.remove(name))
  }
}

const isLong = process.env.FUZZ_RUNS !== undefined

/**
 * After which writes a step is ended: each of a file that can't be made again, or of a CA; the first one and the last
 * one of the certificates and of the kubeconfigs, which are made again one by one. `npm run test:long` has all of them.
 */
function endsIn(writes: readonly string[]): number[] {
  const kindOf = (name: string) => (name.endsWith('.kubeconfig') ? 'kubeconfig' : 'certificate')
  const isOwn = (name: string) => /^((etcd-)?ca|service-account|encryption-config)\b/.test(name)
  const kinds = writes.map((name) => (isOwn(name) ? undefined : kindOf(name)))
  return [...writes.keys()].filter((i) => {
    const kind = kinds[i]
    return isLong || kind === undefined || kinds.indexOf(kind) === i || kinds.lastIndexOf(kind) === i
  })
}

function rotatingIn(auth: AuthDir, rotating: string | undefined, cluster: Cluster): Rotating {
  const run = {
    cluster,
    auth,
    now,
    kubeconfig: () => '',
    command: (task: string) => task,
    note: () => {},
    options: { replaceIdentity: false, prune: false },
    stagedBy: rotating,
    limits,
    remote: 'node',
    builtInPlan: 'auth',
  } as unknown as Run
  return { run, signal: new AbortController().signal, isForced: true }
}

const limits = { auth: pLimit(1), node: pLimit(1), kubeconfig: pLimit(1) }

/** What is in auth/ alone, and these targets of nodes. Rejects where a target fails. */
async function walk({ run, signal }: Rotating, nodes: readonly ClusterTarget[] = []): Promise<Rows> {
  const graph = buildGraph([...(await authTargets(run.cluster)), ...nodes])
  const outcomes = await startAll(graph, { run, mode: 'run', forced: new Map(), signal, emit: () => {} })
  for (const [id, outcome] of outcomes)
    if (outcome.failure) throw new Error(`${id}: ${outcome.failure.message}`, { cause: outcome.failure })
  return outcomes
}

const targetsOf = async (cluster: Cluster) => [...(await clusterGraph(phases, cluster)).values()]
const authTargets = async (cluster: Cluster) => (await targetsOf(cluster)).filter(({ where }) => where === 'auth')

/** What a run of these targets would do. */
async function plan({ run, signal }: Rotating, nodes: readonly ClusterTarget[]): Promise<Rows> {
  const graph = buildGraph([...(await authTargets(run.cluster)), ...nodes])
  return startAll(graph, { run: inMemory(run), mode: 'plan', forced: new Map(), signal, emit: () => {} })
}

/** What is done with each target that is not fresh: files that are made, copied and installed, and restarts. */
function worksIn(outcomes: Rows) {
  return [...outcomes].flatMap(([id, outcome]) => {
    const { state, diffs } = outcome
    if (state === 'fresh') return []
    const [make, install, restart] = [namesOf(diffs, 'make'), namesOf(diffs, 'install'), namesOf(diffs, 'restart')]
    const copy = namesOf(diffs, 'copy', 'update')
    return [{ id, isMade: ['built', 'stale'].includes(state), make, copy, install, restart }]
  })
}

/** The targets of nodes that have what is in auth/ now, where every unit runs and has loaded it. */
async function nodesAsIn({ auth, cluster }: Run): Promise<ClusterTarget[]> {
  const seen = new Map(
    cluster.nodes.map((node) => {
      const found = foundAsIn({ auth, cluster }, node)
      const held = nodeFiles(cluster, node)
      const files = new Map(
        held.map((name): [string, FileState] => {
          const mode = auth.files.mode(name)
          return [name, { ...rootsFile, mode, sha256: digestOf({ auth }, name) }]
        }),
      )
      const places = nodeUnits(cluster, node).flatMap((unit) => unit.files)
      const contents = new Map(
        places.flatMap(({ path, file, part }): [string, Buffer][] => {
          const bytes = auth.tryBytes(file)
          const there = bytes && (part ? partOf(bytes.toString(), part, file) : bytes)
          return there ? [[path, there]] : []
        }),
      )
      const units = unitsOn(cluster, node, found.places)
      const look = { ...found, selfMade: undefined, units, places: { ...found.places, contents }, otherProcesses: [] }
      return [node.name, { ...look, uid: 0, files } as unknown as InstallLook]
    }),
  )
  return (await targetsOf(cluster)).flatMap((target): ClusterTarget[] => {
    const node = cluster.nodes.find(({ name }) => name === target.node)
    const look = node && seen.get(node.name)
    if (target.where !== 'node' || !look) return []
    const check = (run: Run) => ({
      diffs: target.phase === 'deploy' ? compareFolder(run, node, look) : checkUnitsOf(run, look).flatMap(diffsOfUnit),
    })
    return [{ ...target, check, build: async () => undefined, release: async () => {} }]
  })
}

function publicKeyIn(file: string): string[] {
  const key = readPrivateKey(readFileSync(file))
  return key ? [createPublicKey(key).export({ type: 'spki', format: 'der' }).toString('hex')] : []
}

/** Of every private key in the folder and in its backups. */
function keysIn(path: string): Set<string> {
  const files = readdirSync(path, { recursive: true }).map((file) => join(path, String(file)))
  const sealing = files.filter((file) => file.endsWith('.yaml')).flatMap(secretsIn)
  return new Set([...files.filter((file) => file.endsWith('-key.pem')).flatMap(publicKeyIn), ...sealing])
}

function secretsIn(file: string): string[] {
  return [...readFileSync(file, 'utf8').matchAll(/secret: (\S+)/g)].map(([, secret = '']) => secret)
}

function irreplaceable(path: string): string[] {
  const all = ['ca', 'etcd-ca', 'service-account'].map((name) => join(path, `${name}-key.pem`))
  const keys = all.filter((file) => existsSync(file)).map(publicKeyIn)
  for (const key of keys) assert.equal(key.length, 1)
  return [...keys.flat(), ...secretsIn(join(path, 'encryption-config.yaml'))]
}

/** Of tokens and of stored objects: the keys that an API server with these files uses, and those that it accepts. */
function keysOf(auth: AuthDir) {
  const [certificate = '', key = ''] = auth.files.pair('service-account')
  const idOf = (each: KeyObject) => each.export({ type: 'spki', format: 'pem' }).toString()
  const { keys } = readEncryptionKeys(auth.bytes('encryption-config.yaml')) ?? assert.fail()
  const [first, ...others] = keys.map(({ name, secret }) => `${name} ${secret}`)
  const used = [idOf(createPublicKey(auth.bytes(key))), first]
  return { used, accepted: [...publicKeysIn(auth.bytes(certificate)).map(idOf), first, ...others] }
}

interface Transition {
  readonly name: string
  readonly work: (rotating: Rotating) => Promise<void>
  readonly from: string
  readonly to: string
}

function stepsOf({ stages }: Rotation): Transition[] {
  return stages.flatMap((stage, i): Transition[] => {
    const from = stages[i - 1]?.name ?? 'settled'
    const to = stage === stages.at(-1) ? 'settled' : stage.name
    const back: Transition[] = stage.undo
      ? [{ name: `back from ${stage.name}`, work: stage.undo, from: to, to: from }]
      : []
    return [{ name: `to ${stage.name}`, work: stage.begin, from, to }, ...back]
  })
}

const toSecretbox = parsed(text.replace('provider: aescbc', 'provider: secretbox'))
assert.equal(toSecretbox.encryption.provider, 'secretbox')
const ownEtcd: Cluster = { ...cluster, etcd: { ca: 'own' } }
const rotationOf = (name: string) => rotations.filter((each) => each.name === name)
const all = [
  ...rotations.map((rotation) => {
    const desired = rotation.name === 'etcd-ca' ? ownEtcd : cluster
    return { rotation, title: rotation.name, made: desired, desired }
  }),
  ...rotationOf('etcd-ca').map((rotation) => ({
    ...{ rotation, title: 'etcd-ca, from the CA of the cluster,' },
    ...{ made: cluster, desired: ownEtcd },
  })),
  ...rotationOf('encryption-key').map((rotation) => ({
    ...{ rotation, title: 'encryption-key, from aescbc to secretbox,' },
    ...{ made: cluster, desired: toSecretbox },
  })),
]

const settled = new Map<Cluster, Promise<string>>()
const shared = realpathSync(mkdtempSync(join(tmpdir(), 'harderway-test-')))
after(() => rmSync(shared, { recursive: true }))

/** An auth/ in which all is made for that cluster, and no rotation was begun. */
async function copySettled(t: TestContext, cluster: Cluster): Promise<string> {
  const make = async () => {
    const path = mkdtempSync(join(shared, 'auth-'))
    await walk(rotatingIn(new AuthDir(path, harderWay.files), undefined, cluster))
    return path
  }
  const made = settled.get(cluster) ?? make()
  settled.set(cluster, made)
  const path = scratch(t)
  cpSync(await made, path, { recursive: true, preserveTimestamps: true })
  return path
}

for (const { rotation, title, made: madeFor, desired } of all)
  for (const step of stepsOf(rotation))
    test(`${title} ${step.name}, ended before its writes`, async (t) => {
      const rotatingAt = (auth: AuthDir) => rotatingIn(auth, rotation.name, desired)
      /** At the stage from which the step goes. */
      const begun = await copySettled(t, madeFor)
      const beginning = rotatingAt(new AuthDir(begun, harderWay.files))
      rotation.prepare?.(beginning.run)
      await walk(beginning)
      for (const stage of rotation.stages) {
        if (rotation.stageOf(beginning.run) === step.from) break
        await stage.begin(beginning)
        await walk(beginning)
      }
      assert.equal(rotation.stageOf(beginning.run), step.from)
      const nodes = await nodesAsIn(beginning.run)
      const ended = async (endsAfter: number) => {
        const path = scratch(t)
        cpSync(begun, path, { recursive: true, preserveTimestamps: true })
        const before = irreplaceable(path)
        const assertKept = () => {
          const keys = keysIn(path)
          for (const key of before) assert.ok(keys.has(key), `ended after ${endsAfter} writes: a key is lost`)
        }
        const auth = new EndingAuthDir(path, harderWay.files)
        auth.endsAfter = endsAfter
        const rotating = rotatingAt(auth)
        await step.work(rotating).then(
          () => walk(rotating).catch((error) => assert.match(String(error), /ended/)),
          () => {},
        )
        assertKept()
        // Another process, which finds only the files: the stage at hand is finished, then the step is made where it
        // was not begun.
        const again = rotatingAt(new AuthDir(path, harderWay.files))
        const planned = await plan(again, nodes)
        const isClear = await walk(again, nodes).then(
          (outcomes) => {
            assert.deepEqual(worksIn(planned), worksIn(outcomes), `ended after ${endsAfter} writes`)
            return true
          },
          (error) => {
            if (error.cause?.kind !== 'refused') throw error
            assert.ok(
              [...planned.values()].some(({ state }) => state === 'failed'),
              'the plan is refused, too',
            )
            return false
          },
        )
        if (!isClear || rotation.stageOf(again.run) !== step.to) await step.work(again)
        await walk(again)
        assert.equal(rotation.stageOf(again.run), step.to, `ended after ${endsAfter} writes`)
        assertKept()
        return auth.writes
      }
      const writes = await ended(Number.POSITIVE_INFINITY)
      assert.ok(writes.length > 0)
      for (const last of endsIn(writes)) assert.equal((await ended(last + 1)).length, last + 1)
    })

for (const { rotation, title, made, desired } of all)
  test(`${title}: its undone stages leave nothing in progress, and API servers a stage apart accept each other`, async (t) => {
    const path = await copySettled(t, made)
    const rotating = rotatingIn(new AuthDir(path, harderWay.files), rotation.name, desired)
    const { auth } = rotating.run
    rotation.prepare?.(rotating.run)
    const { stages } = rotation
    for (const reached of [...stages.slice(0, -1).keys()]) {
      for (const stage of stages.slice(0, reached + 1)) {
        await stage.begin(rotating)
        await walk(rotating)
      }
      for (const stage of stages.slice(0, reached + 1).toReversed()) {
        await stage.undo?.(rotating)
        await walk(rotating)
      }
      assert.deepEqual(rotation.stageOf(rotating.run), 'settled')
    }
    for (const stage of stages) {
      const before = keysOf(auth)
      await stage.begin(rotating)
      await walk(rotating)
      const after = keysOf(auth)
      // An API server accepts what another one makes that is a stage behind it, or ahead.
      for (const [maker, other] of [[before, after] as const, [after, before] as const])
        for (const key of maker.used) assert.ok(other.accepted.includes(key), stage.name)
    }
    assert.deepEqual(rotation.stageOf(rotating.run), 'settled')
  })

test('etcd gets the CA of the cluster under a name of its own, ended after each write', async (t) => {
  const [rotation] = rotationOf('etcd-ca')
  const path = scratch(t)
  const at = (auth: AuthDir, desired = ownEtcd) => rotatingIn(auth, undefined, desired)
  const auth = () => new AuthDir(path, harderWay.files)
  await walk(at(auth(), cluster))
  for (const endsAfter of [0, 1, 3]) {
    // Only the rotation gives a running cluster a CA of etcd.
    await assert.rejects(walk(at(auth())), /etcd shares the CA/)
    const ending = new EndingAuthDir(path, harderWay.files)
    ending.endsAfter = endsAfter
    const prepare = () => rotation?.prepare?.(at(ending).run)
    if (endsAfter < 2) assert.throws(prepare, /ended/)
    else prepare()
  }
  const read = (name: string) => readFileSync(join(path, name), 'utf8')
  assert.equal(read('etcd-ca.pem'), read('ca.pem'))
  assert.equal(read('etcd-ca-key.pem'), read('ca-key.pem'))
  await walk(at(auth()))
  await assert.doesNotReject(walk(at(auth(), cluster)), 'nothing was changed yet')
  const [ca] = rotationOf('ca')
  for (const desired of [ownEtcd, cluster])
    await assert.rejects(
      ca?.stages[0]?.begin(at(auth(), desired)) ?? assert.fail(),
      /etcd uses the CA that would be replaced/,
    )
  await rotation?.stages[0]?.begin(at(auth()))
  await assert.rejects(walk(at(auth(), cluster)), /etcd has its own CA/)
})

test('the next service-account key is not dropped once it has signed, unless that is forced', async (t) => {
  const path = scratch(t)
  const rotating = rotatingIn(new AuthDir(path, harderWay.files), 'service-account', cluster)
  const [published, signing] = rotations.find(({ name }) => name === 'service-account')?.stages ?? []
  const heldBy = async (isForced: boolean) => (await published?.undoBreaks?.({ ...rotating, isForced }))?.length
  await walk(rotatingIn(new AuthDir(path, harderWay.files), undefined, cluster))
  await published?.begin(rotating)
  await walk(rotating)
  assert.equal(await heldBy(false), 0)
  await signing?.begin(rotating)
  await walk(rotating)
  await signing?.undo?.(rotating)
  assert.equal(await heldBy(false), 1)
  assert.equal(await heldBy(true), 0)
})
