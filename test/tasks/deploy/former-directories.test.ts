import assert from 'node:assert/strict'
import { realpathSync } from 'node:fs'
import { dirname } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { backUp } from '../../../lib/files/auth-dir.ts'
import { sha256 } from '../../../lib/files/plain-file.ts'
import type { FileState } from '../../../lib/node/place.ts'
import type { ComponentProcess, Entry, NodeState } from '../../../lib/node/state.ts'
import { changeRecord, checkRecord } from '../../../tasks/deploy/former-directories.ts'
import { nodeFiles } from '../../../tasks/layouts/tables.ts'
import type { Run } from '../../../tasks/target.ts'
import { makeEverything, now, temporaryAuth } from '../../support/certificates.ts'
import {
  threeNodes as cluster,
  control,
  folderWith,
  placesWith,
  processAs,
  rootsFile,
  seenIn,
  worker,
} from '../../support/fakes.ts'

const [folder, old] = ['/home/ubuntu/pki', '/home/ubuntu']
const auth = temporaryAuth({ after } as unknown as TestContext)
const run = { cluster, auth, now, options: {} } as unknown as Run

const digestIn = (name: string) => sha256(auth.bytes(name))
const entry = (node = control.name, directory = old, digest = digestIn('ca.pem')): Entry => ({
  node,
  digest,
  directory,
})
const files = (directory: string, digests: Readonly<Record<string, string | Partial<FileState>>>) =>
  Object.entries(digests).map(([name, state]): [string, FileState] => [
    directory === folder ? name : `${directory}/${name}`,
    { ...rootsFile, ...(typeof state === 'string' ? { sha256: state } : state) },
  ])
const seen = (recorded: readonly Entry[], there: readonly [string, FileState][], more: Partial<NodeState> = {}) =>
  folderWith({ folder, places: placesWith(), recorded: [...recorded], files: new Map(there), ...more })
const check = (state: NodeState, node = control, of = run) => checkRecord(of, node, seenIn(of.cluster, node, state))
const commandIn = (...args: Parameters<typeof check>) => {
  const { findings } = check(...args)
  return findings.flatMap(({ owner, remedy }) => (owner === 'user' ? [remedy] : []))
}

describe('a former directory', () => {
  before(async () => {
    await makeEverything(auth, cluster, now)
  })

  test('is named with what is ours there: by its digest, or by its name beside our CA', () => {
    const key = digestIn('kubernetes-key.pem')
    const there = { 'kubernetes-key.pem': key, 'c0.kubeconfig': 'issued before', 'notes.pem': 'x' }
    assert.deepEqual(commandIn(seen([entry()], files(old, there))), [`cd ${old} && rm kubernetes-key.pem`])
    const beside = { ...there, 'ca.pem': digestIn('ca.pem'), 'c0.pem': { kind: 'link' } } as const
    assert.deepEqual(commandIn(seen([entry()], files(old, beside))), [
      `cd ${old} && rm kubernetes-key.pem c0.kubeconfig ca.pem`,
    ])
    const others = { ...there, 'ca.pem': sha256(Buffer.from('another CA')) }
    assert.deepEqual(commandIn(seen([entry()], files(old, others))), [`cd ${old} && rm kubernetes-key.pem`])
  })

  test('is none without an entry of this cluster, for this node or one that cluster.yaml no longer has', () => {
    const there = files(old, { 'ca-key.pem': digestIn('ca-key.pem') })
    const named = [`cd ${old} && rm ca-key.pem`]
    for (const [recorded, commands] of [
      [[], []],
      [[entry(control.name, old, sha256(Buffer.from('another CA')))], []],
      [[entry(control.name, '/elsewhere')], []],
      [[entry(worker.name)], []],
      [[entry('former')], named],
      [[entry(), entry(control.name, folder)], named],
    ] as const)
      assert.deepEqual(commandIn(seen(recorded, there)), commands)
  })

  test('is none while it is where another node was last deployed to', () => {
    const there = files(old, { 'ca-key.pem': digestIn('ca-key.pem') })
    assert.deepEqual(commandIn(seen([entry(), entry(worker.name)], there)), [])
    assert.deepEqual(commandIn(seen([entry(), entry(worker.name), entry(worker.name, '/new')], there)).length, 1)
  })

  test('is known by a CA that was replaced since', () => {
    const replaced = auth.bytes('ca.pem')
    backUp(auth, ['ca.pem'], now)
    try {
      auth.write('ca.pem', 'the next CA', 0o644)
      const there = files(old, { 'ca.pem': sha256(replaced) })
      assert.equal(commandIn(seen([entry(control.name, old, sha256(replaced))], there)).length, 1)
    } finally {
      auth.write('ca.pem', replaced, 0o644)
    }
  })

  test('is never a whole auth/, nor the one of this run, nor a folder in it', () => {
    const key = { 'ca-key.pem': digestIn('ca-key.pem') }
    const whole = files(old, { ...key, 'admin-key.pem': 'of another time' })
    assert.deepEqual(commandIn(seen([entry()], whole)), [])
    const path = realpathSync(auth.path)
    for (const [directory, count] of [
      [path, 0],
      [`${path}/backup/2026-11-26`, 0],
      [`${path}s`, 1],
      [dirname(path), 1],
    ] as const)
      for (const shared of [new Set<string>(), new Set([directory])]) {
        const state = seen([entry(control.name, directory)], files(directory, key), { shared })
        assert.equal(check(state).findings.length, count, directory)
      }
    for (const node of cluster.nodes) assert.ok(!nodeFiles(cluster, node).includes('admin-key.pem'))
  })

  test("has no file of another user, nor by its name alone a key that the node's role never has", () => {
    const ca = { 'ca.pem': digestIn('ca.pem') }
    const own = { 'w0-key.pem': 'x', 'former-key.pem': 'x', 'w0.pem': { uid: 1001 } }
    const others = { 'ca-key.pem': 'x', 'service-account-key.pem': 'x', 'encryption-config.yaml': 'x' }
    const recorded = [entry(worker.name), entry('former')]
    assert.deepEqual(commandIn(seen(recorded, files(old, { ...ca, ...own, ...others })), worker), [
      `cd ${old} && rm ca.pem w0-key.pem former-key.pem`,
    ])
    // It was a control node.
    const known = { 'ca-key.pem': digestIn('ca-key.pem') }
    assert.deepEqual(commandIn(seen(recorded, files(old, known)), worker), [`cd ${old} && rm ca-key.pem`])
  })

  test('is named without a command while other users could change it, until its line or the directory is gone', () => {
    const { findings, empty } = check(seen([entry()], [], { shared: new Set([old]) }))
    assert.deepEqual(empty, [])
    assert.deepEqual(findings, [
      {
        ...{ owner: 'user', nodes: [control.name] },
        text: `look at the former directory ${old}, which other users could change, and remove what nothing reads; then its line in ~/.harderway.directories`,
      },
    ])
  })

  test('is named without a command where a unit of the node reads something there, or nobody has looked', () => {
    const path = '/var/lib/kubernetes'
    const all = Object.fromEntries(
      ['ca.pem', 'ca-key.pem', 'admin.kubeconfig'].map((name) => [name, digestIn('ca.pem')]),
    )
    const there = files(path, all)
    const read = placesWith({ files: new Map(there), contents: new Map() })
    const named = `remove what deploys left in the former directory ${path}, once nothing reads it`
    for (const [places, left] of [
      [read, 'admin.kubeconfig'],
      [undefined, 'ca.pem, ca-key.pem, admin.kubeconfig'],
      [new Failure('no root', { code: 'no-root' }), 'ca.pem, ca-key.pem, admin.kubeconfig'],
    ] as const) {
      const { findings } = check(seen([entry(control.name, path)], there, { places }))
      const [{ text, remedy } = assert.fail(), ...others] = findings
      assert.deepEqual([text, remedy], [`${named} (${left})`, undefined])
      assert.ok(others.every(({ isSilent }) => isSilent))
    }
  })

  test('is named without a command while a component runs that is no unit, whether cluster.yaml leaves it out or not', () => {
    const there = files(old, { 'ca-key.pem': digestIn('ca-key.pem') })
    const commands = (process: ComponentProcess, units = new Map<string, false>()) => {
      const of = { ...run, cluster: { ...cluster, install: { ...cluster.install, units } } } as Run
      const places = placesWith({ files: new Map(there), processes: [process] })
      return commandIn(seen([entry()], there, { places }), control, of).filter(Boolean).length
    }
    const proxy = { ...processAs('kube-proxy', '--config=/var/lib/kube-proxy/config.conf'), group: '/kubepods/x' }
    assert.equal(commands({ ...proxy, command: ['watcher', '--config=/x'] }), 1)
    assert.equal(commands({ ...proxy, command: ['watcher', `--ca-file=${old}/ca.pem`] }), 0)
    assert.equal(commands(proxy), 0)
    assert.equal(commands(proxy, new Map([['kube-proxy', false]])), 0)
  })

  test('has a key that no node is to have marked as such', () => {
    const off = { ...run, cluster: { ...cluster, certificates: { ...cluster.certificates, caKeyOnNodes: false } } }
    const there = files(old, { 'ca-key.pem': digestIn('ca-key.pem'), 'ca.pem': digestIn('ca.pem') })
    const { findings } = check(seen([entry()], there), control, off)
    assert.deepEqual(
      findings.map(({ left }) => [left?.path, left?.isKeptOff]),
      [
        [`${old}/ca-key.pem`, true],
        [`${old}/ca.pem`, undefined],
      ],
    )
  })
})

describe('the record', () => {
  const change = (state: NodeState, node = control) => {
    const { empty } = check(state, node)
    return changeRecord(run, node, state, { directory: folder, empty })
  }

  test('gets the directory of a deploy as the last of the node, once', () => {
    const last = entry(control.name, folder)
    assert.deepEqual(change(seen([], [])), { entry: last, void: [] })
    assert.equal(change(seen([last], [])), undefined)
    assert.equal(change(seen([last, entry(worker.name, folder)], [])), undefined)
    const there = files(old, { 'ca.pem': digestIn('ca.pem') })
    assert.deepEqual(change(seen([last, entry()], there)), { entry: last, void: [] })
  })

  test('loses directories that have nothing of ours, and keeps all of other clusters and nodes', () => {
    const last = entry(control.name, folder)
    const others = [entry(control.name, '/x', sha256(Buffer.from('another CA'))), entry(worker.name, '/y')]
    assert.deepEqual(change(seen([entry(), ...others, last], [])), { entry: last, void: [entry()] })
    assert.equal(change(seen([...others, last], [])), undefined)
  })

  test('has no directory with a blank, or what a shell could read otherwise', () => {
    const { empty } = check(seen([], []))
    for (const directory of ['/a b', '/$(id)', '/é', '/a\nb', '', '/'])
      assert.equal(changeRecord(run, control, seen([], []), { directory, empty }), undefined)
  })

  test('has the names of nodes that cluster.yaml no longer has, so that their files here are known', () => {
    const renamed = entry('former', folder)
    const there = files(folder, { 'former.pem': 'x', 'former-key.pem': 'y' })
    const { formerNodes, empty, findings } = check(seen([renamed], there))
    assert.deepEqual([...formerNodes], ['former.pem', 'former-key.pem', 'former.kubeconfig'])
    assert.deepEqual([empty, findings], [[], []])
    assert.deepEqual(check(seen([renamed], [])).empty, [renamed])
    assert.deepEqual([...check(seen([entry(worker.name, folder)], there)).formerNodes], [])
  })
})
