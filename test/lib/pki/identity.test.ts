import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { describe, test } from 'node:test'
import { stringify } from 'yaml'
import { isSameIdentity } from '../../../lib/pki/identity.ts'
import { privateKeyPem, selfSign } from '../../../lib/pki/x509.ts'
import { identityFiles } from '../../../tasks/tables/files.ts'

const only = (name: string, bytes: Buffer) => (file: string) => (file === name ? bytes : undefined)

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
      'the same bytes: the same': [ours, true],
      'another certificate over the same key: the same': [certificate(key, 'Kubernetes', 20), true],
      'another name over the same key: the same': [certificate(key, 'Other'), true],
      'line ends of Windows: the same': [Buffer.from(ours.toString().replaceAll('\n', '\r\n')), true],
      'another key under the same name: another': [certificate(otherKey), false],
      'a private key: another': [Buffer.from(privateKeyPem(key)), false],
      'what is no certificate: another': [Buffer.from('half a fi'), false],
      'a blank line: another': [Buffer.from('\n'), false],
      'nothing in it: nothing that could be lost': [Buffer.alloc(0), true],
    }
    for (const [title, [theirs, isSame]] of Object.entries(cases))
      test(title, () => assert.equal(isSameIdentity(name, only(name, ours), theirs), isSame))

    test('ours is missing: another', () =>
      assert.equal(
        isSameIdentity(name, () => undefined, ours),
        false,
      ))
    test('ours is missing and theirs is empty: nothing that could be lost', () =>
      assert.equal(
        isSameIdentity(name, () => undefined, Buffer.alloc(0)),
        true,
      ))
    test('ours can not be read: another', () =>
      assert.equal(isSameIdentity(name, only(name, Buffer.from('x')), ours), false))

    const keyName = name.replace('.pem', '-key.pem')
    const pemOf = (held: KeyObject) => Buffer.from(privateKeyPem(held))
    for (const [what, lost] of [
      ['lost', undefined],
      ['garbage', Buffer.from('x')],
    ] as const) {
      test(`our certificate is ${what} and our key is there: the key tells`, () => {
        const holding = (held: KeyObject) => (file: string) => ({ [name]: lost, [keyName]: pemOf(held) })[file]
        assert.equal(isSameIdentity(name, holding(key), ours), true)
        assert.equal(isSameIdentity(name, holding(otherKey), ours), false)
      })
      test(`our key is ${what} and our certificate is there: the certificate tells`, () => {
        const holding = (file: string) => ({ [name]: ours, [keyName]: lost })[file]
        assert.equal(isSameIdentity(keyName, holding, pemOf(key)), true)
        assert.equal(isSameIdentity(keyName, holding, pemOf(otherKey)), false)
      })
    }
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

  const cases: Readonly<Record<string, readonly [ours: Buffer, theirs: Buffer, isSame: boolean]>> = {
    'the same key: the same': [config(cbc(1), identity), config(cbc(1), identity), true],
    'the same key in the other form, with another name: the same': [
      config(cbc(1), identity),
      Buffer.from(
        JSON.stringify({
          apiVersion: 'apiserver.config.k8s.io/v1',
          kind: 'EncryptionConfiguration',
          resources: [{ resources: ['*.*'], providers: [{ aescbc: { keys: [{ ...secret(1), name: 'old' }] } }] }],
        }),
      ),
      true,
    ],
    'another key: another': [config(cbc(1), identity), config(cbc(2), identity), false],
    'the key that encrypts there is our second: the same': [config(cbc(2, 1)), config(cbc(1)), true],
    'the key that encrypts there is of our second provider: the same': [
      config({ secretbox: { keys: [secret(2)] } }, cbc(1)),
      config(cbc(1)),
      true,
    ],
    'only a further key there is ours: another': [config(cbc(1)), config(cbc(2, 1)), false],
    'identity encrypts on both sides and they share the next key: the same': [
      config(identity, cbc(1)),
      config(identity, cbc(1)),
      true,
    ],
    'no key there at all: another': [config(cbc(1)), config(identity), false],
    'theirs can not be read: another': [config(cbc(1)), Buffer.from('half a fi'), false],
    'ours can not be read: another': [Buffer.from('half a fi'), config(cbc(1)), false],
    'theirs is empty: nothing that could be lost': [config(cbc(1)), Buffer.alloc(0), true],
  }
  for (const [title, [our, their, isSame]] of Object.entries(cases))
    test(title, () => assert.equal(isSameIdentity(name, only(name, our), their), isSame))

  test('ours is missing: another', () =>
    assert.equal(
      isSameIdentity(name, () => undefined, config(cbc(1))),
      false,
    ))
})

test('five files carry an identity', () =>
  assert.deepEqual(
    [...identityFiles.keys()],
    ['ca.pem', 'ca-key.pem', 'service-account.pem', 'service-account-key.pem', 'encryption-config.yaml'],
  ))
