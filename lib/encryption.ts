/**
 * The EncryptionConfiguration of kube-apiserver. Its keys are what Secrets in etcd are sealed with: they are made
 * once, and kept whatever else changes.
 * https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/
 */
import { type CipherGCMTypes, createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { parse, parseDocument, stringify } from 'yaml'
import type { Provider } from './cluster.ts'

export interface EncryptionConfig {
  /** Of the first entry: what is encrypted with its first provider. */
  readonly resources: readonly string[]
  /** Of the entries after it, which are not ours. */
  readonly otherResources: readonly string[]
  /** Of the first entry: `aescbc`, `aesgcm`, `secretbox`, `kms` or `identity`. The first provider encrypts. */
  readonly provider: string
  /** Of its providers, in order: the first one encrypts, where the first provider has its keys in the file. */
  readonly keys: readonly Buffer[]
}

const keyBytes: Readonly<Record<string, readonly number[]>> = {
  aescbc: [16, 24, 32],
  aesgcm: [16, 24, 32],
  secretbox: [32],
}

export function newEncryptionConfig(provider: Provider, resources: readonly string[]): string {
  const keys = [{ name: 'key1', secret: randomBytes(32).toString('base64') }]
  return stringify(
    {
      apiVersion: 'apiserver.config.k8s.io/v1',
      kind: 'EncryptionConfiguration',
      resources: [{ resources, providers: [{ [provider]: { keys } }, { identity: {} }] }],
    },
    { indentSeq: false, lineWidth: 0, version: '1.1' },
  )
}

/** As kube-apiserver decodes it, strictly: undefined where it would refuse the file. */
export function readEncryptionConfig(text: string): EncryptionConfig | undefined {
  try {
    const config = fields(parse(text, { maxAliasCount: 0 }), ['apiVersion', 'kind', 'resources'])
    const version = `${config.apiVersion} ${config.kind}`
    // The second is what the guide writes: an alias "due to a docs bug", still read by Kubernetes 1.34.
    if (version !== 'apiserver.config.k8s.io/v1 EncryptionConfiguration' && version !== 'v1 EncryptionConfig')
      return undefined
    const [first, ...others] = items(config.resources).map(readEntry)
    return first && { ...first, otherResources: others.flatMap(({ resources }) => resources) }
  } catch (error) {
    // The file holds keys: what exactly could not be read is not passed on.
    if (error instanceof Error) return undefined
    throw error
  }
}

/** The same text with resources added to the first entry; every provider and key stays. */
export function addResources(text: string, resources: readonly string[]): string {
  const document = parseDocument(text)
  for (const resource of resources) document.addIn(['resources', 0, 'resources'], resource)
  return document.toString({ indentSeq: false, lineWidth: 0 })
}

/** A value sealed with the key by the cipher of the provider; OpenSSL has secretbox's only in its IETF form. */
export function opensWhatItSeals(provider: string, key: Buffer): boolean {
  const bits = key.length * 8
  const name = { aescbc: `aes-${bits}-cbc`, aesgcm: `aes-${bits}-gcm`, secretbox: 'chacha20-poly1305' }[provider]
  if (name === undefined) return false
  const secret = randomBytes(100)
  const iv = randomBytes(provider === 'aescbc' ? 16 : 12)
  const options = { authTagLength: 16 }
  const cipher = createCipheriv(name as CipherGCMTypes, key, iv, options)
  const sealed = Buffer.concat([cipher.update(secret), cipher.final()])
  const decipher = createDecipheriv(name as CipherGCMTypes, key, iv, options)
  if (provider !== 'aescbc') decipher.setAuthTag(cipher.getAuthTag())
  return Buffer.concat([decipher.update(sealed), decipher.final()]).equals(secret)
}

function readEntry(value: unknown): Omit<EncryptionConfig, 'otherResources'> {
  const entry = fields(value, ['resources', 'providers'])
  const resources = items(entry.resources).map(textOf)
  const providers = items(entry.providers).map(readProvider)
  return { resources, provider: providers[0]?.provider ?? '', keys: providers.flatMap(({ keys }) => keys) }
}

function readProvider(value: unknown): { provider: string; keys: Buffer[] } {
  const [[provider, inner] = ['', undefined], ...more] = Object.entries(
    fields(value, [...Object.keys(keyBytes), 'identity', 'kms']),
  )
  if (more.length > 0 || provider === '') throw new TypeError('not one provider')
  if (provider === 'identity') fields(inner, [])
  if (provider === 'kms') fields(inner, ['apiVersion', 'name', 'cachesize', 'endpoint', 'timeout'])
  if (!(provider in keyBytes)) return { provider, keys: [] }
  return { provider, keys: items(fields(inner, ['keys']).keys).map((each) => readKey(provider, each)) }
}

function readKey(provider: string, value: unknown): Buffer {
  const { name, secret } = fields(value, ['name', 'secret'])
  const bytes = Buffer.from(textOf(secret), 'base64')
  if (textOf(name) === '' || bytes.toString('base64') !== secret || !keyBytes[provider]?.includes(bytes.length))
    throw new TypeError('no key of that provider')
  return bytes
}

function fields(value: unknown, allowed: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new TypeError('no map')
  if (!Object.keys(value).every((key) => allowed.includes(key))) throw new TypeError('an unknown field')
  return value as Record<string, unknown>
}

function items(value: unknown): unknown[] {
  if (!Array.isArray(value) || value.length === 0) throw new TypeError('no list')
  return value
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('no text')
  return value
}
