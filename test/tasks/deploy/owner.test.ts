import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { describe, test } from 'node:test'
import { stringify } from 'yaml'
import type { AuthFiles } from '../../../lib/files/auth-dir.ts'
import { privateKeyPem, selfSign } from '../../../lib/pki/x509.ts'
import { isOtherIdentity } from '../../../tasks/deploy/owner.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'

type Read = AuthFiles['tryBytes']
const { files } = harderWay
const isSameIdentity = (file: string, tryBytes: Read, theirs: Buffer, kept?: (file: string) => Buffer[]) =>
  !isOtherIdentity(file, { files, tryBytes }, theirs, kept)
const only = (name: string, bytes: Buffer | undefined) => (file: string) => (file === name ? bytes : undefined)

const newKey = () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey
const day = 86_400_000

function certificate(key: KeyObject, CN = 'Kubernetes', days = 10): Buffer {
  const profile = { subject: { CN }, sans: [], isCa: true, key: 'ecdsa-p256' as const }
  const now = Date.now()
  return Buffer.from(selfSign({ profile, notBefore: new Date(now), notAfter: new Date(now + days * day) }, key))
}

const [key, otherKey] = [newKey(), newKey()]
const ours = certificate(key)

for (const name of ['ca.pem', 'service-account.pem'])
  describe(name, () => {
    const cases: Readonly<Record<string, readonly [theirs: Buffer, isSame: boolean]>> = {
      'another certificate over the same key: the same': [certificate(key, 'Kubernetes', 20), true],
      'another key under the same name: another': [certificate(otherKey), false],
      'a private key: another': [Buffer.from(privateKeyPem(key)), false],
      'what is no certificate: another': [Buffer.from('half a fi'), false],
      'nothing in it: nothing that could be lost': [Buffer.alloc(0), true],
    }
    for (const [title, [theirs, isSame]] of Object.entries(cases))
      test(title, () => assert.equal(isSameIdentity(name, only(name, ours), theirs), isSame))

    test('ours is missing, or can not be read: another, unless theirs is empty', () => {
      for (const our of [undefined, Buffer.from('x')])
        assert.deepEqual(
          [ours, Buffer.alloc(0)].map((theirs) => isSameIdentity(name, only(name, our), theirs)),
          [false, true],
        )
    })

    const keyName = name.replace('.pem', '-key.pem')
    const pemOf = (held: KeyObject) => Buffer.from(privateKeyPem(held))
    test('our certificate is lost and our key is there: the key tells', () => {
      const holding = (held: KeyObject) => (file: string) => ({ [keyName]: pemOf(held) })[file]
      assert.equal(isSameIdentity(name, holding(key), ours), true)
      assert.equal(isSameIdentity(name, holding(otherKey), ours), false)
    })
    test('our key is garbage and our certificate is there: the certificate tells', () => {
      const holding = (file: string) => ({ [name]: ours, [keyName]: Buffer.from('x') })[file]
      assert.equal(isSameIdentity(keyName, holding, pemOf(key)), true)
      assert.equal(isSameIdentity(keyName, holding, pemOf(otherKey)), false)
    })

    const other = certificate(otherKey, 'Other')
    const bundle = (...parts: Buffer[]) => Buffer.concat(parts)

    test('a bundle of which each is ours is the same, with text between them or not', () => {
      const text = Buffer.from('subject=CN = Kubernetes - one\n')
      for (const theirs of [bundle(text, ours, text), bundle(ours, certificate(key, 'Kubernetes', 20))])
        assert.equal(isSameIdentity(name, only(name, ours), theirs), true)
      assert.equal(isSameIdentity(name, only(name, bundle(ours, other)), bundle(other, ours)), true)
    })
    const kept = (file: string) => (file === name ? [other] : [])
    test('a bundle of which one is not ours is another, unless it was kept', () => {
      for (const theirs of [bundle(ours, other), bundle(other, ours)]) {
        assert.equal(isSameIdentity(name, only(name, ours), theirs), false)
        assert.equal(isSameIdentity(name, only(name, ours), theirs, kept), true)
      }
    })
    test('what was kept alone is another', () =>
      assert.equal(isSameIdentity(name, only(name, ours), other, kept), false))
    test('a bundle with half a certificate in it is another', () => {
      const broken = ours.toString().replace('MII', 'MIJ')
      assert.equal(isSameIdentity(name, only(name, ours), bundle(ours, Buffer.from(broken)), kept), false)
    })
    test('a bundle of keys counts key by key', () =>
      assert.equal(isSameIdentity(keyName, only(keyName, pemOf(key)), bundle(pemOf(key), pemOf(otherKey))), false))
  })

describe('encryption-config.yaml', () => {
  const name = 'encryption-config.yaml'
  const secret = (fill: number) => ({ name: `key${fill}`, secret: Buffer.alloc(32, fill).toString('base64') })
  const config = (...providers: object[]) =>
    Buffer.from(
      stringify({ kind: 'EncryptionConfig', apiVersion: 'v1', resources: [{ resources: ['secrets'], providers }] }),
    )
  const cbc = (...fills: number[]) => ({ aescbc: { keys: fills.map(secret) } })
  const identity = { identity: {} }

  const cases: Readonly<Record<string, readonly [ours: Buffer | undefined, theirs: Buffer, isSame: boolean]>> = {
    'the same key in the other form: the same': [
      config(cbc(1), identity),
      Buffer.from(
        JSON.stringify({
          apiVersion: 'apiserver.config.k8s.io/v1',
          kind: 'EncryptionConfiguration',
          resources: [{ resources: ['secrets'], providers: [{ aescbc: { keys: [secret(1)] } }] }],
        }),
      ),
      true,
    ],
    'the key that encrypts there is our second: the same': [config(cbc(2, 1)), config(cbc(1)), true],
    'no key there at all: another': [config(cbc(1)), config(identity), false],
    'ours is missing: another': [undefined, config(cbc(1)), false],
  }
  for (const [title, [our, their, isSame]] of Object.entries(cases))
    test(title, () => assert.equal(isSameIdentity(name, only(name, our), their), isSame))

  // The file as it was before each change, the latest first.
  const histories: Readonly<Record<string, readonly [our: Buffer, kept: Buffer[], their: Buffer, isSame: boolean]>> = {
    'ours was rotated, and the earlier key ended': [config(cbc(2)), [config(cbc(2, 1))], config(cbc(2, 1)), true],
    'ours has taken back the key that was added': [config(cbc(1)), [config(cbc(1, 2))], config(cbc(1, 2)), true],
    'ours was restored from before a key that has sealed since': [
      config(cbc(1)),
      [config(cbc(2, 1)), config(cbc(1, 2)), config(cbc(1))],
      config(cbc(1, 2)),
      false,
    ],
    'ours was put back to before the key that seals there': [
      config(cbc(1)),
      [config(cbc(2, 1))],
      config(cbc(2, 1)),
      false,
    ],
  }
  for (const [title, [our, kept, their, isSame]] of Object.entries(histories))
    test(`${title}: ${isSame ? 'the same' : 'another'}`, () =>
      assert.equal(
        isSameIdentity(name, only(name, our), their, () => kept),
        isSame,
      ))

  describe('that holds what ours does not is another:', () => {
    const entries = (...all: [resources: string[], ...providers: object[]][]) =>
      Buffer.from(
        stringify({
          apiVersion: 'apiserver.config.k8s.io/v1',
          kind: 'EncryptionConfiguration',
          resources: all.map(([resources, ...providers]) => ({ resources, providers })),
        }),
      )
    const secrets = ['secrets']
    const ours = entries([secrets, cbc(1), identity])
    const more: Readonly<Record<string, Buffer>> = {
      'a second key': entries([secrets, cbc(1, 2), identity]),
      'the same key by another name': entries([
        secrets,
        { aescbc: { keys: [secret(1), { ...secret(1), name: 'old' }] } },
      ]),
      'another resource': entries([['secrets', 'configmaps'], cbc(1)]),
      'a second entry for all': entries([secrets, cbc(1)], [['*.*'], cbc(2)]),
    }
    for (const [title, theirs] of Object.entries(more))
      test(title, () => {
        assert.equal(isSameIdentity(name, only(name, ours), theirs), false)
        assert.equal(isSameIdentity(name, only(name, theirs), ours), true)
        assert.equal(isSameIdentity(name, only(name, theirs), theirs), true)
      })

    test('but for further keys of what ours has replaced last: what it encrypts has to be ours', () => {
      const isSame = (theirs: Buffer) => isSameIdentity(name, only(name, ours), theirs, () => [theirs])
      assert.equal(isSame(more['a second key'] ?? assert.fail()), true)
      for (const title of ['another resource', 'a second entry for all'])
        assert.equal(isSame(more[title] ?? assert.fail(title)), false)
    })

    test('what ours has in a wider pattern alone counts as another', () => {
      const all = entries([['*.'], cbc(1)])
      assert.equal(isSameIdentity(name, only(name, all), entries([secrets, cbc(1)])), false)
    })
  })
})
