import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parse, stringify } from 'yaml'
import {
  addKey,
  addResources,
  encryptWithNewest,
  encryptWithPrevious,
  keepKeys,
  newEncryptionConfig,
  readEncryptionConfig,
  readEncryptionKeys,
} from '../../../lib/kubernetes/encryption.ts'
import { encryptionConfig } from '../../guide/genauth.ts'

const secretOf = (length: number, fill = 1) => Buffer.alloc(length, fill).toString('base64')
const secret = secretOf(32)

const guide = encryptionConfig(secret)

const key1 = { name: 'key1', secret }
const entry = { resources: ['secrets'], providers: [{ aescbc: { keys: [key1] } }, { identity: {} }] }
const header = { apiVersion: 'apiserver.config.k8s.io/v1', kind: 'EncryptionConfiguration' }
const read = (config: object | string) =>
  readEncryptionConfig(Buffer.from(typeof config === 'string' ? config : stringify(config)))
const withProviders = (...providers: unknown[]) => read({ ...header, resources: [{ ...entry, providers }] })
const withKeys = (provider: string, ...keys: unknown[]) => withProviders({ [provider]: { keys } })

describe('a new config', () => {
  for (const provider of ['aescbc', 'aesgcm', 'secretbox'] as const)
    test(`encrypts with ${provider} and a key of 32 bytes of its own, and is read back`, () => {
      const [config, other] = [1, 2].map(() => read(newEncryptionConfig(provider, ['secrets', 'events'])))
      assert.deepEqual([config?.resources, config?.provider], [['secrets', 'events'], provider])
      assert.equal(Buffer.from(config?.keys[0]?.secret ?? '', 'base64').length, 32)
      assert.notEqual(config?.keys[0]?.secret, other?.keys[0]?.secret)
    })

  test('is in the current form, and what is not yet encrypted can be read: identity is last', () => {
    const { apiVersion, kind, resources } = parse(newEncryptionConfig('aescbc', ['secrets']))
    assert.deepEqual({ apiVersion, kind }, header)
    assert.deepEqual(Object.keys(resources[0].providers[0]), ['aescbc'])
    assert.deepEqual(resources[0].providers.slice(1), [{ identity: {} }])
  })
})

describe('what kube-apiserver reads is read', () => {
  test("the guide's own file, and the same in JSON", () => {
    const keys = [{ provider: 'aescbc', ...key1 }]
    const entries = [{ resources: ['secrets'], keys }]
    for (const text of [guide, JSON.stringify(parse(guide))])
      assert.deepEqual(read(text), { resources: ['secrets'], provider: 'aescbc', keys, entries })
  })

  test('a key of each length', () => {
    for (const length of [16, 24, 32])
      assert.equal(withKeys('aescbc', { name: 'a', secret: secretOf(length) })?.keys.length, 1, `${length}`)
  })

  test('every key of every provider, in the order in which they are tried; none of identity', () => {
    const keys = [1, 2, 3].map((fill) => ({ name: `key${fill}`, secret: secretOf(32, fill) }))
    const rest = [{ secretbox: { keys: keys.slice(0, 2) } }, { aescbc: { keys: keys.slice(2) } }]
    const config = withProviders({ identity: {} }, ...rest)
    assert.equal(config?.provider, 'identity')
    assert.deepEqual(
      config?.keys.map(({ name }) => name),
      ['key1', 'key2', 'key3'],
    )
  })

  test('of several entries, the first', () => {
    const second = { resources: ['configmaps'], providers: [{ identity: {} }] }
    const config = read({ ...header, resources: [entry, second] })
    assert.deepEqual([config?.resources, config?.entries.length], [['secrets'], 2])
  })
})

describe('what has no keys that could be kept is no config', () => {
  test('as a whole', () => {
    const aliases = guide.replace('- secrets', '- &a secrets\n  - *a')
    for (const text of [guide.slice(0, 60), `${guide}kind: EncryptionConfig\n`, `${guide}---\n${guide}`, aliases])
      assert.equal(read(text), undefined, text)
    assert.equal(read({ ...header, resources: [] }), undefined)
    assert.equal(read({ ...header, resources: [entry, { resources: ['configmaps'] }] }), undefined)
    assert.equal(read({ ...header, resources: [{ ...entry, resources: [] }] }), undefined)
  })

  test('for a provider, the first or the second', () => {
    const good = { secretbox: { keys: [key1] } }
    const kms = { kms: { apiVersion: 'v2', name: 'vault', endpoint: 'unix:///run/kms.sock' } }
    for (const provider of [{ aesctr: { keys: [key1] } }, kms, { aescbc: { keys: [] } }])
      assert.deepEqual([withProviders(provider, good), withProviders(good, provider)], [undefined, undefined])
  })

  test('for a key', () => {
    const withoutPadding = { name: 'key1', secret: secret.replace('=', '') }
    for (const key of [{ secret }, { name: 'key1' }, withoutPadding, { name: 'key1', secret: secretOf(15) }])
      assert.equal(withKeys('aescbc', key1, key), undefined)
  })
})

describe('added resources', () => {
  const old = `kind: EncryptionConfig # as the guide has it
apiVersion: v1
resources:
- resources:
  - secrets # what else
  providers:
  - aescbc:
      keys:
      - name: key2
        secret: "${secretOf(32, 2)}" # in quotes
      - name: 'yes'
        secret: ${secret}
  - secretbox:
      keys: [{ name: 'box', secret: ${secretOf(32, 3)} }]
  - identity: {}
- resources: [configmaps]
  providers:
  - identity: {}
`

  test('stand behind those of the first entry, and all else keeps its meaning', () => {
    for (const text of [old, JSON.stringify(parse(old))]) {
      const [before, after] = [
        parse(text),
        parse(addResources(text, ['deployments.apps', 'events']), { version: '1.1' }),
      ]
      before.resources[0].resources.push('deployments.apps', 'events')
      assert.deepEqual(after, before)
    }
  })

  test('leave the file of the guide in its form', () =>
    assert.equal(addResources(guide, ['events']), guide.replace('  - secrets\n', '  - secrets\n  - events\n')))
})

describe('a next key', () => {
  const next = secretOf(32, 2)
  /** `aescbc:key1`, in order. */
  const keysOf = (text: string) =>
    readEncryptionKeys(Buffer.from(text))?.keys.map(({ provider, name }) => `${provider}:${name}`)

  test('of the same provider stands behind its key, and before it once it encrypts', () => {
    const added = addKey(guide, next, 'aescbc')
    assert.equal(added, guide.replace(/( +- name: key)1\n( +secret: ).*\n/, `$&$12\n$2${next}\n`))
    assert.deepEqual(keysOf(added), ['aescbc:key1', 'aescbc:key2'])
    const first = encryptWithNewest(added)
    assert.deepEqual(keysOf(first), ['aescbc:key2', 'aescbc:key1'])
    assert.equal(encryptWithPrevious(first), added)
  })

  for (const [form, old] of Object.entries({ YAML: guide, JSON: JSON.stringify(parse(guide)) }))
    test(`of another provider is of a provider behind the present one, and before it once it encrypts, in ${form}`, () => {
      const kinds = (text: string) => parse(text).resources[0].providers.map((each: object) => Object.keys(each)[0])
      const added = addKey(old, next, 'secretbox')
      assert.deepEqual(kinds(added), ['aescbc', 'secretbox', 'identity'])
      assert.deepEqual(keysOf(added), ['aescbc:key1', 'secretbox:key2'])
      assert.equal(read(added)?.provider, 'aescbc')
      const first = encryptWithNewest(added)
      assert.deepEqual(kinds(first), ['secretbox', 'aescbc', 'identity'])
      assert.deepEqual(keysOf(first), ['secretbox:key2', 'aescbc:key1'])
      assert.deepEqual(parse(encryptWithPrevious(first)), parse(added))
      const finished = keepKeys(first, [{ provider: 'secretbox', name: 'key2' }])
      assert.deepEqual(kinds(finished), ['secretbox', 'identity'])
      assert.equal(read(finished)?.keys[0]?.secret, next)
      assert.deepEqual(parse(keepKeys(added, [{ provider: 'aescbc', name: 'key1' }])), parse(old))
    })
})
