import assert from 'node:assert/strict'
import { cpSync, lstatSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { AuthDir, backUp, backups } from '../../../lib/files/auth-dir.ts'
import { sha256 } from '../../../lib/files/plain-file.ts'
import { addKey, encryptWithNewest, keepKeys, newEncryptionConfig } from '../../../lib/kubernetes/encryption.ts'
import type { FileState } from '../../../lib/node/place.ts'
import type { NodeState } from '../../../lib/node/state.ts'
import { makePair, readIssuer } from '../../../lib/pki/pair.ts'
import type { Run } from '../../../tasks/cluster-target.ts'
import { refusePlaces } from '../../../tasks/deploy/folder.ts'
import { guard, keepOthers } from '../../../tasks/deploy/guards.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { nodeFiles, nodeUnits } from '../../../tasks/layouts/tables.ts'
import { kubeconfigOf, leafProfile, makeEverything, now, temporaryAuth, year } from '../../support/certificates.ts'
import {
  threeNodes as cluster,
  control,
  failureOf,
  folderWith,
  placesWith,
  rootsFile,
  seenIn,
  worker,
} from '../../support/fakes.ts'

const kubernetes = '/var/lib/kubernetes'
const encryption = 'encryption-config.yaml'

const shared = { after } as unknown as TestContext
const auth = temporaryAuth(shared)
const others = temporaryAuth(shared)
const renewed = temporaryAuth(shared)
/** With another leaf of the same time. */
const twin = temporaryAuth(shared)
const bytesOf = (from: AuthDir, name: string) => from.tryBytes(name) ?? assert.fail(name)

before(async () => {
  const later = new Date(now.getTime() + 86_400_000)
  for (const each of [auth, others]) {
    await makeEverything(each, cluster, each === auth ? now : later)
    each.write(encryption, newEncryptionConfig('secretbox', ['secrets']), 0o600)
  }
  for (const { path } of [renewed, twin]) cpSync(auth.path, path, { recursive: true })
  const signing = { profile: leafProfile(), issuer: readIssuer(auth), validity: year }
  await makePair(twin, 'kubernetes', { ...signing, now })
  for (const name of ['kubernetes', 'kube-scheduler']) await makePair(renewed, name, { ...signing, now: later })
  for (const each of [auth, renewed])
    each.write('kube-scheduler.kubeconfig', kubeconfigOf(each, 'kube-scheduler'), 0o600)
})

const at = (options: Partial<Run['options']> = {}, of = auth): Run =>
  ({
    ...{ cluster, auth: of, now, command: (task: string) => `npm run task -- ${task}` },
    options: { names: [], replaceIdentity: false, prune: false, ...options },
  }) as unknown as Run

type There = Readonly<Record<string, Buffer | Partial<FileState>>>

/**
 * A node that has all of auth/ in its folder and in its places, but for what is given: bytes, or what can't be read.
 */
function lookAt(node: ClusterNode, folder: There = {}, places: There = {}, of = auth) {
  const names = nodeFiles(cluster, node).map((name) => [name, name] as const)
  const rows = nodeUnits(cluster, node).flatMap(({ files }) => files.map(({ path, file }) => [path, file] as const))
  const has = (pairs: readonly (readonly [at: string, file: string])[], given: There) => {
    const files = new Map<string, FileState>()
    const contents = new Map<string, Buffer>()
    for (const [path, file] of [...pairs, ...Object.keys(given).map((path) => [path, path] as const)]) {
      const there = given[path] ?? of.tryBytes(file)
      if (there === undefined) continue
      if (!Buffer.isBuffer(there)) files.set(path, { ...rootsFile, ...there })
      else files.set(path, { ...rootsFile, sha256: sha256(there), size: there.length })
      if (Buffer.isBuffer(given[path])) contents.set(path, given[path])
    }
    return { files, contents }
  }
  return { ...folderWith(), ...has(names, folder), places: placesWith(has(rows, places)) }
}

/** Of the control node. */
const identityAt = (run: Run, look: NodeState) => guard(run, control, seenIn(run.cluster, control, look), true)
const said = (look: NodeState, run = at(), node = control) =>
  failureOf(() => guard(run, node, seenIn(run.cluster, node, look), true))?.message.replace(` than in ${auth.path}`, '')

test('a folder where units read their files is not deployed to', () => {
  const look = { ...lookAt(control), folder: kubernetes }
  const check = (of: NodeState) => failureOf(() => refusePlaces(at(), control, seenIn(cluster, control, of)))
  assert.match(String(check(look)?.message), /c0: kube-apiserver reads its files from \/var\/lib\/kubernetes, /)
  assert.equal(check(look)?.kind, 'refused')
  assert.equal(check(lookAt(control)), undefined)
})

describe("another cluster's identity", () => {
  test('is not on a node that has ours', () => {
    for (const node of cluster.nodes) assert.deepEqual(guard(at(), node, seenIn(cluster, node, lookAt(node)), true), [])
  })

  const label = { 'ca.pem': 'CA', 'ca-key.pem': 'CA', 'service-account-key.pem': 'service-account key' }
  for (const [name, what] of Object.entries({ ...label, [encryption]: 'encryption key' })) {
    const path = `${kubernetes}/${name}`

    test(`is found by ${name} in the folder, in a place, and in both`, () => {
      const theirs = bytesOf(others, name)
      const [folder, place] = [{ [name]: theirs }, { [path]: theirs }]
      assert.equal(said(lookAt(control, folder)), `c0: another ${what} in ${name}`)
      assert.equal(said(lookAt(control, {}, place)), `c0: another ${what} in ${path}`)
      assert.equal(said(lookAt(control, folder, place)), `c0: another ${what} in ${name}, ${path}`)
    })
  }

  test('may be what could not be read: a link, a closed file, one that is too large', () => {
    const path = `${kubernetes}/ca-key.pem`
    const reason = (there: Partial<FileState>) => said(lookAt(control, {}, { [path]: there }))
    assert.equal(reason({ kind: 'link' }), `c0: another CA in ${path} (not a regular file)`)
    assert.equal(reason({}), `c0: another CA in ${path} (not readable)`)
    assert.equal(reason({ size: 300_000 }), `c0: another CA in ${path} (too large to compare)`)
  })

  test('is found by a certificate of its CA, and by a key that is beside none of ours', () => {
    const [leaf, key] = [`${kubernetes}/kubernetes.pem`, `${kubernetes}/kubernetes-key.pem`]
    const theirs = { [leaf]: bytesOf(others, 'kubernetes.pem'), [key]: bytesOf(others, 'kubernetes-key.pem') }
    assert.equal(said(lookAt(control, {}, theirs)), `c0: another certificate in ${leaf} and private key in ${key}`)
    assert.equal(said(lookAt(control, {}, { [key]: theirs[key] as Buffer })), undefined)
  })
})

/** An auth/ of its own, with ours. */
const ownAuth = (t: TestContext) => {
  const own = temporaryAuth(t)
  cpSync(auth.path, own.path, { recursive: true })
  return new AuthDir(own.path, harderWay.files)
}

describe('an old identity of ours', () => {
  /** `others` is made a day later than ours: ours is kept, and theirs has replaced it. */
  const replaceAll = (own: AuthDir, ...files: string[]) => {
    backUp(own, files, now)
    for (const file of files) own.write(file, bytesOf(others, file), 0o600)
  }
  const refusalFor = (own: AuthDir, folder: There, places: There = {}) =>
    failureOf(() => identityAt(at({}, own), lookAt(control, folder, places, own)))
  /** Three stages, each with a backup of the one before. */
  const rotateEncryption = (own: AuthDir) => {
    for (const next of [
      (text: string) => addKey(text, Buffer.alloc(32, 7).toString('base64'), 'secretbox'),
      encryptWithNewest,
      (text: string) => keepKeys(text, [{ provider: 'secretbox', name: 'key2' }]),
    ]) {
      backUp(own, [encryption], now)
      own.write(encryption, next(bytesOf(own, encryption).toString()), 0o600)
    }
  }
  const serviceAccount = ['service-account.pem', 'service-account-key.pem'] as const
  for (const [name, label, replace] of [
    ['ca-key.pem', 'CA', (own: AuthDir) => replaceAll(own, 'ca.pem', 'ca-key.pem')],
    [serviceAccount[1], 'service-account key', (own: AuthDir) => replaceAll(own, ...serviceAccount)],
    [encryption, 'encryption key', rotateEncryption],
  ] as const)
    test(`is another, whatever was kept: ${name}`, (t) => {
      const own = ownAuth(t)
      const old = bytesOf(own, name)
      replace(own)
      for (const [there, places] of [
        [{ [name]: old }, {}],
        [{}, { [`${kubernetes}/${name}`]: old }],
      ] as const) {
        const { kind, message, remedy = '' } = refusalFor(own, there, places) ?? {}
        const held = Object.keys({ ...there, ...places }).join()
        assert.deepEqual([kind, message], ['refused', `c0: another ${label} in ${held} than in ${own.path}`])
        assert.match(remedy, /docs\/bad-day\.md, "A node of another cluster"/)
        assert.match(remedy, /^- if c0 is right, recover the cluster:\s+npm run task -- recover --node c0$/m)
        assert.match(remedy, /overwrite the node .*:\s+npm run task -- install --node c0 --replace-identity$/m)
      }
      const overwrite = at({ replaceIdentity: true }, own)
      assert.equal(identityAt(overwrite, lookAt(control, { [name]: old }, {}, own)).length, 1)
    })

  test('is ours where the node has the encryption config that was replaced, in each stage and back', (t) => {
    const own = ownAuth(t)
    const place = `${kubernetes}/${encryption}`
    const settled = bytesOf(own, encryption).toString()
    const added = addKey(settled, Buffer.alloc(32, 7).toString('base64'), 'secretbox')
    const first = encryptWithNewest(added)
    const replace = (from: string, to: string) => {
      own.write(encryption, from, 0o600)
      backUp(own, [encryption], now)
      own.write(encryption, to, 0o600)
      return refusalFor(own, { [encryption]: Buffer.from(from) }, { [place]: Buffer.from(from) })
    }
    for (const [from, to] of [
      [settled, added],
      [added, first],
      [first, added],
      [added, settled],
    ] as const)
      assert.equal(replace(from, to), undefined)
    // A key that nobody has here may be the one that Secrets are encrypted with.
    const unknown = addKey(settled, Buffer.alloc(32, 8).toString('base64'), 'secretbox')
    const failure = refusalFor(own, {}, { [place]: Buffer.from(unknown) })
    assert.match(String(failure?.message), new RegExp(`^c0: another encryption key in ${place} than in `))
    assert.match(String(failure?.remedy), /recover --node c0/)
  })
})

describe('with --replace-identity', () => {
  const [path, name] = [`${kubernetes}/ca-key.pem`, 'ca-key.pem'] as const

  test('what another identity has in the folder and in a place is kept, each as it was, and never taken for ours', (t) => {
    const own = ownAuth(t)
    const run = at({ replaceIdentity: true }, own)
    const [inFolder, inPlace] = [bytesOf(others, name), bytesOf(others, 'service-account-key.pem')]
    keepOthers(run, control, identityAt(run, lookAt(control, { [name]: inFolder }, { [path]: inPlace })))
    const [folder = '', ...more] = own.names('backup')
    assert.deepEqual(more, [])
    assert.match(folder, /^c0-2026-11-24T12-00-00-000Z$/)
    const kept = own.names(join('backup', folder))
    assert.deepEqual(kept, ['ca-key.pem', 'var%2Flib%2Fkubernetes%2Fca-key.pem'])
    const read = kept.map((each) => readFileSync(join(own.path, 'backup', folder, each)))
    assert.deepEqual(read, [inFolder, inPlace])
    for (const each of kept) assert.equal(lstatSync(join(own.path, 'backup', folder, each)).mode & 0o777, 0o600)
    // A previous CA key of ours would be no other identity.
    assert.deepEqual(backups(own, name), [])
    assert.equal(said(lookAt(control, {}, { [path]: inFolder }), at({}, own))?.startsWith('c0: another CA'), true)
    backUp(own, [name], now)
    assert.deepEqual(backups(own, name), [bytesOf(own, name)])
  })

  test('what could not be read is not overwritten, and nothing is kept of the rest', (t) => {
    const own = ownAuth(t)
    const run = at({ replaceIdentity: true }, own)
    const look = lookAt(control, { [name]: bytesOf(others, name) }, { [path]: {} })
    const failure = failureOf(() => keepOthers(run, control, identityAt(run, look)))
    assert.match(String(failure?.message), /^c0: couldn't back up \/var\/lib\/kubernetes\/ca-key.pem/)
    assert.deepEqual(own.names('backup'), [])
  })
})

test('with --prune, what belongs to another role is another identity too', () => {
  const look = lookAt(worker, { 'ca-key.pem': bytesOf(others, 'ca-key.pem') })
  assert.equal(said(look, at(), worker), undefined)
  assert.equal(said(look, at({ prune: true }), worker), 'w0: another CA in ca-key.pem')
})

describe('a certificate that is newer than in auth/', () => {
  const inTwoDays = new Date(now.getTime() + 2 * 86_400_000)
  const newer = (folder: There, places: There = {}, of = auth, today = inTwoDays) => {
    const look = seenIn(cluster, control, lookAt(control, folder, places, of))
    return failureOf(() => guard({ ...at({}, of), now: today }, control, look, false))
  }
  const leaf = 'kubernetes.pem'
  const path = `${kubernetes}/${leaf}`

  test('is refused in the folder, in a place, and in both, and in a kubeconfig', () => {
    const [inFolder, inPlace] = [{ [leaf]: bytesOf(renewed, leaf) }, { [path]: bytesOf(renewed, leaf) }]
    const config = `${kubernetes}/kube-scheduler.kubeconfig`
    for (const [folder, places, what] of [
      [inFolder, {}, `${leaf} is`],
      [{}, inPlace, `${path} is`],
      [inFolder, inPlace, `${leaf}, ${path} are`],
      [{}, { [config]: bytesOf(renewed, 'kube-scheduler.kubeconfig') }, `${config} is`],
    ] as const)
      assert.equal(newer(folder, places)?.message, `c0: ${what} newer than in ${auth.path}`)
  })

  test('is overwritten where it is not valid yet, as after this clock was ahead', () => {
    const folder = { [leaf]: bytesOf(renewed, leaf) }
    assert.equal(newer(folder, { [path]: bytesOf(renewed, leaf) }, auth, now), undefined)
  })

  test('is not one that is older or as old', () => {
    assert.equal(newer({}, { [path]: bytesOf(auth, leaf) }, renewed), undefined)
    assert.equal(newer({}, { [path]: bytesOf(twin, leaf) }), undefined)
  })
})
