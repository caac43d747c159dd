import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  type Account,
  accessFor,
  type DesiredFile,
  type Difference,
  diff,
  type FileState,
  isOpenFolder,
} from '../../../lib/node/place.ts'
import { fc } from '../../support/properties.ts'

const path = '/etc/etcd/x.pem'
const file = (change: Partial<FileState> = {}): FileState => ({
  ...{ kind: 'file', mode: 0o644, uid: 0, gid: 0, size: 1, changed: 0, sha256: 'ours', lines: '' },
  ...change,
})
const desired = (change: Partial<DesiredFile> = {}): DesiredFile => ({
  ...{ path, sha256: 'ours', isSecret: false, readers: [root] },
  ...change,
})
const differencesOf = (of: DesiredFile, there: FileState | undefined): Difference['what'][] =>
  diff([of], { files: new Map(there ? [[path, there]] : []) }).map((found) => {
    assert.equal(found.path, path)
    return found.what
  })

const root: Account = { uid: 0, gids: [0] }
const kube: Account = { uid: 990, gids: [991, 5] }
const etcd: Account = { uid: 980, gids: [981] }

const deployed = { readers: { login: 1000 }, isSecret: true }
const differing: readonly (readonly [string, Partial<DesiredFile>, FileState | undefined, ...Difference['what'][]])[] =
  [
    ['where it is not there', {}, undefined, 'missing'],
    ['where a link stands there', {}, file({ kind: 'link', sha256: undefined }), 'not a file'],
    ['by its content', {}, file({ sha256: 'other' }), 'differs'],
    ['where its content is not known', {}, file({ sha256: undefined }), 'differs'],
    ['not where auth/ does not have it yet', { sha256: undefined }, file()],
    ['by its owner in the folder that is deployed to', { readers: { login: 1000 } }, file(), 'wrong owner'],
    ['by its mode there, though nobody else may read it', deployed, file({ uid: 1000, mode: 0o400 }), 'wrong mode'],
    ['not there where it is as deployed', deployed, file({ uid: 1000, gid: 7, mode: 0o600 })],
  ]
describe('a file differs from what is desired', () => {
  for (const [what, change, there, ...differences] of differing)
    test(what, () => assert.deepEqual(differencesOf(desired(change), there), differences))
})

/** The mode, the user and the group. */
type Owned = readonly [mode: number, uid: number, gid: number]

/**
 * Who reads a file, and how it is there: right, or what is wrong with it and the access that a new one gets in its
 * place.
 */
type Row = readonly [string, readonly Account[], there: Owned, wrong?: Difference['what'], access?: Owned]

const secrets: readonly Row[] = [
  ["root's", [root], [0o600, 0, 0]],
  ["root's that its group reads too", [root], [0o640, 0, 0]],
  ["root's that another group may read", [root], [0o640, 0, 5], 'permissions too open', [0o600, 0, 0]],
  ["root's that everybody may read", [root], [0o644, 0, 0], 'permissions too open', [0o600, 0, 0]],
  ["root's that another user owns", [root], [0o600, 1000, 0], 'permissions too open', [0o600, 0, 0]],
  ["a user's", [kube], [0o600, 990, 0]],
  ["a user's by its group", [kube], [0o640, 0, 991]],
  ["a user's that root alone may read", [kube], [0o600, 0, 0], 'unreadable for its unit', [0o600, 990, 991]],
  ["a user's that its mode denies its owner", [kube], [0o040, 990, 991], 'unreadable for its unit', [0o600, 990, 991]],
  ['of two users, by owner and group', [kube, etcd], [0o640, 990, 981]],
  ['of two, one of whom can not', [kube, etcd], [0o600, 990, 991], 'unreadable for its unit', [0o640, 990, 981]],
]
const certificates: readonly Row[] = [
  ["root's", [root], [0o644, 0, 0]],
  ["root's that everybody may write", [root], [0o646, 0, 0], 'permissions too open', [0o644, 0, 0]],
  ["root's that another user owns", [root], [0o644, 1000, 0], 'permissions too open', [0o644, 0, 0]],
  ["a user's that root alone may read", [kube], [0o600, 0, 0], 'unreadable for its unit', [0o644, 990, 991]],
  ['of two, one of whom can not', [kube, etcd], [0o640, 980, 981], 'unreadable for its unit', [0o644, 990, 981]],
]

describe('owner and mode of', () => {
  for (const [kind, isSecret, rows] of [
    ['a secret', true, secrets],
    ['a certificate', false, certificates],
  ] as const)
    for (const [what, readers, there, wrong, access = there] of rows)
      test(`${kind}, ${what}`, () => {
        const [mode, uid, gid] = there
        const of = { ...desired({ isSecret }), readers }
        const found = file({ mode, uid, gid })
        assert.deepEqual(differencesOf(of, found), wrong ? [wrong] : [])
        const given = accessFor(of, found)
        assert.deepEqual([given.mode, given.uid, given.gid], access)
      })

  test('a new file, and of one in place of a pipe, are the least that its readers need', () => {
    for (const [isSecret, readers, mode, uid, gid] of [
      [true, [root], 0o600, 0, 0],
      [false, [root], 0o644, 0, 0],
      [true, [root, kube], 0o600, 990, 991],
      [true, [kube, etcd], 0o640, 990, 981],
      [false, [kube, etcd], 0o644, 990, 981],
      [true, [], 0o600, 0, 0],
    ] as const)
      for (const there of [undefined, file({ kind: 'other', gid: 7, mode: 0o440 })])
        assert.deepEqual(accessFor({ ...desired({ isSecret }), readers }, there), { mode, uid, gid })
  })
})

test('a folder is open where others than root and its readers may rename what is in it; a sticky one is not', () => {
  const openOf = (mode: number, uid: number, gid: number, readers: readonly Account[] = [root]) =>
    isOpenFolder(readers, { mode, uid, gid })
  assert.deepEqual(
    [openOf(0o755, 0, 0), openOf(0o775, 0, 0), openOf(0o700, 990, 991, [root, kube])],
    [false, false, false],
  )
  assert.deepEqual([openOf(0o777, 0, 0), openOf(0o775, 0, 50), openOf(0o700, 990, 991)], [true, true, true])
  assert.deepEqual([openOf(0o775, 0, 991, [kube]), openOf(0o700, 980, 981, [kube])], [false, true])
  assert.deepEqual([openOf(0o1777, 0, 0), openOf(0o1777, 980, 981)], [false, true])
})

describe('the access that a file gets', () => {
  const id = fc.integer({ min: 0, max: 4 })
  const account = fc.record({ uid: id, gids: fc.tuple(id, id) })
  const mode = fc.integer({ min: 0, max: 0o777 })
  const place = fc.option(fc.record({ mode, uid: id, gid: id }), { nil: undefined })
  // A secret has two at most in the table of places: its owner's, and its group's.
  const readers = fc.array(account, { maxLength: 2 })

  test('is no drift when it is looked at again', () => {
    fc.assert(
      fc.property(readers, fc.boolean(), place, (all, isSecret, there) => {
        const of = { ...desired({ isSecret }), readers: all }
        const given = accessFor(of, there && file(there))
        assert.deepEqual(differencesOf(of, file({ mode: given.mode, uid: given.uid, gid: given.gid })), [])
      }),
      { numRuns: 1000 },
    )
  })

  test('lets nobody but root and its readers read a secret, nor change any file', () => {
    fc.assert(
      fc.property(readers, fc.boolean(), place, account, (all, isSecret, there, other) => {
        const isReaders = all.some(({ uid, gids }) => uid === other.uid || gids.some((gid) => other.gids.includes(gid)))
        fc.pre(other.uid !== 0 && !other.gids.includes(0) && !isReaders)
        const { uid, gid, mode: bits } = accessFor({ ...desired({ isSecret }), readers: all }, there && file(there))
        // By path_resolution(7): what the owner has, else what the group has, else what all others have.
        const [shift] = uid === other.uid ? [6] : other.gids.includes(gid) ? [3] : [0]
        const may = (bits >> (shift ?? 0)) & 7
        assert.equal(may & 2, 0)
        if (isSecret) assert.equal(may & 4, 0)
        assert.notEqual(uid, other.uid)
      }),
      { numRuns: 1000 },
    )
  })
})
