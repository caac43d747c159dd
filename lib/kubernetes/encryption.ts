/**
 * The EncryptionConfiguration of kube-apiserver. Its keys encrypt Secrets in etcd: they are made once, and kept whatever
 * else changes.
 * https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/
 */
import { randomBytes } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import * as v from 'valibot'
import { isMap, isScalar, isSeq, stringify, type YAMLSeq } from 'yaml'
import type { Provider } from '../cluster/cluster.ts'
import { editYaml, parseYaml } from '../yaml.ts'

export interface EncryptionConfig {
  /** Of the first entry: what is encrypted with its first provider. */
  readonly resources: readonly string[]
  /** Of the entries after it, which are not ours. */
  readonly otherResources: readonly string[]
  /** Of the first entry: `aescbc`, `aesgcm`, `secretbox`, `kms` or `identity`. The first provider encrypts. */
  readonly provider: string
  /** Of its providers, in order: the first one encrypts, where the first provider has its keys in the file. */
  readonly keys: readonly Buffer[]
  /** Every entry, with every key that its resources may be encrypted with. */
  readonly entries: readonly EncryptionEntry[]
}

interface EncryptionEntry {
  readonly resources: readonly string[]
  readonly keys: readonly EncryptionKey[]
}

/** A stored value names its provider and key (`k8s:enc:aescbc:v1:key1:`): the same secret under another name decrypts nothing. */
interface EncryptionKey {
  readonly provider: string
  readonly name: string
  /** Of a KMS, where it is. */
  readonly secret: string
}

/** Characters: room for some hundred keys. It may be a node's: the parser's time has a bound. */
const longest = 64 * 1024

const some = <T extends v.GenericSchema>(item: T) => v.pipe(v.array(item), v.minLength(1))

/** Providers that have keys in the file: standard base64 of so many bytes. */
const keyed = (...lengths: readonly number[]) => {
  const isKey = (secret: string, bytes = Buffer.from(secret, 'base64')) =>
    bytes.toString('base64') === secret && lengths.includes(bytes.length)
  const key = v.strictObject({ name: v.pipe(v.string(), v.nonEmpty()), secret: v.pipe(v.string(), v.check(isKey)) })
  return v.strictObject({ keys: some(key) })
}
const anything = v.optional(v.unknown())
const kms = { apiVersion: anything, name: anything, cachesize: anything, endpoint: anything, timeout: anything }
const provider = v.union([
  v.strictObject({ aescbc: keyed(16, 24, 32) }),
  v.strictObject({ aesgcm: keyed(16, 24, 32) }),
  v.strictObject({ secretbox: keyed(32) }),
  v.strictObject({ identity: v.strictObject({}) }),
  v.strictObject({ kms: v.strictObject(kms) }),
])
const config = v.strictObject({
  apiVersion: v.string(),
  kind: v.string(),
  resources: some(v.strictObject({ resources: some(v.string()), providers: some(provider) })),
})

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

type Inner = {
  readonly keys?: readonly { readonly name: string; readonly secret: string }[]
  readonly name?: unknown
  readonly endpoint?: unknown
}
type Providers = readonly Readonly<Record<string, Inner>>[]

function keysOf(providers: Providers): EncryptionKey[] {
  return providers
    .flatMap(Object.entries)
    .flatMap(([provider, { keys = [], name, endpoint }]: [string, Inner]) =>
      provider === 'kms'
        ? [{ provider, name: String(name), secret: String(endpoint) }]
        : keys.map((key) => ({ provider, name: key.name, secret: key.secret })),
    )
}

let last: { readonly text: string; readonly config: EncryptionConfig | undefined } | undefined

/** As kube-apiserver decodes it, strictly: undefined where it would refuse the file. A run reads the same text several times. */
export function readEncryptionConfig(text: string): EncryptionConfig | undefined {
  if (last?.text !== text) last = { text, config: decode(text) }
  return last.config
}

function decode(text: string): EncryptionConfig | undefined {
  const { success, output } = v.safeParse(config, parseOrNothing(text))
  // The second is what the guide writes: an alias "due to a docs bug", still read by Kubernetes 1.34.
  const versions = ['apiserver.config.k8s.io/v1 EncryptionConfiguration', 'v1 EncryptionConfig']
  if (!success || !versions.includes(`${output.apiVersion} ${output.kind}`)) return undefined
  const entries = output.resources.map(({ resources, providers }) => ({
    resources,
    keys: keysOf(providers as Providers),
  }))
  const [first, ...others] = entries
  return {
    resources: first?.resources ?? [],
    otherResources: others.flatMap(({ resources }) => resources),
    provider: Object.keys(output.resources[0]?.providers[0] ?? {})[0] ?? '',
    keys:
      first?.keys.filter(({ provider }) => provider !== 'kms').map(({ secret }) => Buffer.from(secret, 'base64')) ?? [],
    entries,
  }
}

/** What theirs encrypts and none of ours could decrypt: keys by name, or resources. */
export function unopenedBy(ours: readonly EncryptionConfig[], theirs: EncryptionConfig): string[] {
  return theirs.entries
    .filter(({ keys }) => keys.length > 0)
    .flatMap(({ resources, keys }) => [...new Set(resources)].flatMap((resource) => unopened(ours, resource, keys)))
    .filter((words, i, all) => all.indexOf(words) === i)
}

function unopened(ours: readonly EncryptionConfig[], resource: string, keys: readonly EncryptionKey[]): string[] {
  const entries = ours.flatMap(
    (each) => each.entries.find(({ resources }) => resources.some((pattern) => covers(pattern, resource))) ?? [],
  )
  if (entries.length === 0) return [`${resource} under ${keys[0]?.provider}`]
  return keys
    .filter((key) => !entries.some((entry) => entry.keys.some((our) => isDeepStrictEqual(our, key))))
    .map(({ provider, name }) => `the ${provider} key ${name}`)
}

/** `*.` is the core group, `*.*` all: https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/ */
function covers(pattern: string, resource: string): boolean {
  if (pattern === resource || pattern === '*.*') return true
  const group = resource.includes('.') ? resource.slice(resource.indexOf('.') + 1) : ''
  return pattern === `*.${group}`
}

/** Errors are dropped: they could quote a key. */
function parseOrNothing(text: string): unknown {
  if (text.length > longest) return undefined
  try {
    const document = parseYaml(text)
    return document.errors.length > 0 ? undefined : document.toJS({ maxAliasCount: 0 })
  } catch {
    return undefined
  }
}

/** The same text with resources added to the first entry; every provider and key stays. */
export function addResources(text: string, resources: readonly string[]): string {
  return editYaml(text, (document) => {
    for (const resource of resources) document.addIn(['resources', 0, 'resources'], resource)
  })
}

/** The keys that may encrypt what the first entry names. */
export interface EncryptionKeys {
  /** In order: the first one encrypts; all of them decrypt. */
  readonly keys: readonly [NamedKey, ...NamedKey[]]
  /** The key with the highest number: a rotation names keys `key2`, `key3`, … */
  readonly newest: NamedKey
}

export interface NamedKey {
  /** Such as aescbc. */
  readonly provider: string
  readonly name: string
  /** 0 if its name is not `key<number>`. */
  readonly number: number
}

/** Undefined for a text that is no EncryptionConfiguration, or whose first provider has no key in it. */
export function readEncryptionKeys(text: string): EncryptionKeys | undefined {
  const config = readEncryptionConfig(text)
  const keys = (config?.entries[0]?.keys ?? [])
    .filter(({ provider }) => provider !== 'kms')
    .map(({ provider, name }) => ({ provider, name, number: numberOf(name) }))
  const [first, ...others] = keys
  if (first?.provider !== config?.provider || first === undefined) return undefined
  return {
    keys: [first, ...others],
    newest: others.reduce((newest, key) => (key.number > newest.number ? key : newest), first),
  }
}

function numberOf(name: string): number {
  return Number(/^key(\d{1,6})$/.exec(name)?.[1] ?? 0)
}

/**
 * Adds a key, in base64, behind those that are there: it decrypts, and does not encrypt yet. It is named after all of them, and
 * after those of `kept`, earlier texts: what an undone rotation has encrypted names another key.
 */
export function addKey(text: string, secret: string, provider?: string, kept: readonly Buffer[] = []): string {
  const { keys: [first] = [], newest } = readEncryptionKeys(text) ?? {}
  const kind = provider ?? first?.provider
  const numbers = kept.map((each) => readEncryptionKeys(each.toString())?.newest.number ?? 0)
  const key = { name: `key${Math.max(1, newest?.number ?? 0, ...numbers) + 1}`, secret }
  return editProviders(text, (providers, create) => {
    const own = providers.findIndex((each) => each.kind === kind)
    if (own >= 0) return providers.map((each, i) => (i === own ? { ...each, keys: [...each.keys, create(key)] } : each))
    const last = providers.findLastIndex(({ keys }) => keys.length > 0)
    return providers.toSpliced(last + 1, 0, { kind, node: create({ [`${kind}`]: { keys: [] } }), keys: [create(key)] })
  })
}

export function encryptWithNewest(text: string): string {
  return sortKeys(text, (one, other) => other - one)
}

/** The newest key comes last: what it has encrypted can still be decrypted. */
export function encryptWithPrevious(text: string): string {
  return sortKeys(text, (one, other) => one - other)
}

/** Of a provider, the key that would come first counts. Providers without keys, such as identity, stay behind. */
function sortKeys(text: string, compare: (one: number, other: number) => number): string {
  return editProviders(text, (providers) => {
    const sorted = providers.map(({ keys, ...each }) => ({
      ...each,
      keys: keys.toSorted((one, other) => compare(numberOf(nameOf(one)), numberOf(nameOf(other)))),
    }))
    const keyed = sorted.filter(({ keys }) => keys.length > 0)
    const first = ({ keys: [key] }: ProviderNode) => numberOf(nameOf(key))
    return [
      ...keyed.toSorted((one, other) => compare(first(one), first(other))),
      ...sorted.filter((each) => !keyed.includes(each)),
    ]
  })
}

/** Removes every other key, and a provider whose keys are all removed. */
export function keepKeys(text: string, kept: readonly Pick<NamedKey, 'provider' | 'name'>[]): string {
  return editProviders(text, (providers) =>
    providers.flatMap((each) => {
      if (each.keys.length === 0) return [each]
      const keys = each.keys.filter((key) =>
        kept.some(({ provider, name }) => provider === each.kind && name === nameOf(key)),
      )
      return keys.length > 0 ? [{ ...each, keys }] : []
    }),
  )
}

function nameOf(key: unknown): string {
  return isMap(key) ? String(key.get('name')) : ''
}

/** A provider of the first entry, as it stands in the text. */
interface ProviderNode {
  readonly kind: string | undefined
  readonly node: unknown
  /** Empty for a provider without keys. */
  readonly keys: readonly unknown[]
}

type EditProviders = (providers: readonly ProviderNode[], create: (value: object) => unknown) => readonly ProviderNode[]

function editProviders(text: string, change: EditProviders): string {
  return editYaml(text, (document) => {
    const list = document.getIn(['resources', 0, 'providers'])
    if (!isSeq(list)) throw new Error('there are no providers')
    const providers = list.items.map(
      (node): ProviderNode => ({ kind: kindOf(node), node, keys: keysIn(node)?.items ?? [] }),
    )
    list.items = change(providers, (value) => document.createNode(value)).map(({ node, keys }) => {
      const own = keysIn(node)
      if (own) own.items = [...keys]
      return node
    })
  })
}

function kindOf(provider: unknown): string | undefined {
  const key = isMap(provider) ? provider.items[0]?.key : undefined
  return isScalar(key) ? String(key.value) : undefined
}

function keysIn(provider: unknown): YAMLSeq | undefined {
  const inner = isMap(provider) ? provider.items[0]?.value : undefined
  const keys = isMap(inner) ? inner.get('keys') : undefined
  return isSeq(keys) ? keys : undefined
}
