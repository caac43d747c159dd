/**
 * The EncryptionConfiguration of kube-apiserver. Its keys encrypt Secrets in etcd: they are made once, and kept
 * whatever else changes. https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/
 */
import { randomBytes } from 'node:crypto'
import * as v from 'valibot'
import { stringify } from 'yaml'
import type { Cluster } from '../cluster/cluster.ts'
import { memoised } from '../files/plain-file.ts'
import { parseFields } from './kubeconfig.ts'

export type EncryptionConfig = Readonly<ReturnType<typeof configOf>>

/**
 * A stored value names its provider and key (`k8s:enc:aescbc:v1:key1:`): the same secret under another name decrypts
 * nothing.
 */
export interface EncryptionKey {
  readonly provider: string
  readonly name: string
  /** In base64; of a KMS, where it is. */
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
const schema = v.strictObject({
  apiVersion: v.string(),
  kind: v.string(),
  resources: some(v.strictObject({ resources: some(v.string()), providers: some(provider) })),
})

/** What the schema lets pass. */
interface Content {
  readonly apiVersion: string
  readonly kind: string
  readonly resources: readonly [ConfigEntry, ...ConfigEntry[]]
}

interface ConfigEntry {
  readonly resources: readonly string[]
  readonly providers: readonly Readonly<Record<string, Inner>>[]
}

interface Inner {
  readonly keys?: readonly Omit<EncryptionKey, 'provider'>[]
  readonly name?: unknown
  readonly endpoint?: unknown
}

export function newEncryptionConfig(provider: Cluster['encryption']['provider'], resources: readonly string[]): string {
  const keys = [{ name: 'key1', secret: randomBytes(32).toString('base64') }]
  return format({
    apiVersion: 'apiserver.config.k8s.io/v1',
    kind: 'EncryptionConfiguration',
    resources: [{ resources, providers: [{ [provider]: { keys } }, { identity: {} }] }],
  })
}

function format(content: Content): string {
  return stringify(content, { indentSeq: false, lineWidth: 0, version: '1.1' })
}

/** As kube-apiserver decodes it, strictly: undefined where it would refuse the file. */
function parse(text: string): Content | undefined {
  const content = text.length > longest ? undefined : parseFields(text)
  if (!v.is(schema, content)) return undefined
  // The second is what the guide writes: an alias "due to a docs bug", still read by Kubernetes 1.34.
  const versions = ['apiserver.config.k8s.io/v1 EncryptionConfiguration', 'v1 EncryptionConfig']
  return versions.includes(`${content.apiVersion} ${content.kind}`) ? (content as unknown as Content) : undefined
}

/** Undefined where kube-apiserver would refuse the file. */
export const readEncryptionConfig = memoised((bytes) => {
  const content = parse(bytes.toString())
  return content && configOf(content)
})

function configOf({ resources: [first, ...others] }: Content) {
  const keys: readonly EncryptionKey[] = keysOf(first).filter(({ provider }) => provider !== 'kms')
  return {
    /** Of the first entry: what is encrypted with its first provider. */
    resources: first.resources,
    /** Of the first entry: `aescbc`, `aesgcm`, `secretbox`, `kms` or `identity`. The first provider encrypts. */
    provider: Object.keys(first.providers[0] ?? {})[0] ?? '',
    /** Of its providers, in order: the first one encrypts, where the first provider has its keys in the file. */
    keys,
    /** Every entry, with every key that its resources may be encrypted with. */
    entries: [first, ...others].map((entry) => ({ resources: entry.resources, keys: keysOf(entry) })),
  }
}

function keysOf({ providers }: ConfigEntry): readonly EncryptionKey[] {
  return providers
    .flatMap((each) => Object.entries(each))
    .flatMap(([provider, { keys = [], name, endpoint }]) =>
      provider === 'kms'
        ? [{ provider, name: String(name), secret: String(endpoint) }]
        : keys.map((key) => ({ provider, ...key })),
    )
}

/** The keys that may encrypt what the first entry names. */
export interface EncryptionKeys {
  /**
   * How far a rotation has come. `settled`: one key. `added`: the newest key decrypts, and does not encrypt yet.
   * `first`: the newest key encrypts, and the previous ones decrypt. The keys may be of different providers.
   */
  readonly stage: 'settled' | 'added' | 'first'
  /** In order: the first one encrypts; all of them decrypt. */
  readonly keys: readonly [EncryptionKey, ...EncryptionKey[]]
  /** The key with the highest number: a rotation names keys `key2`, `key3`, … */
  readonly newest: EncryptionKey
}

/** Undefined for what is no EncryptionConfiguration, or whose first provider has no key in it. */
export function readEncryptionKeys(bytes: Buffer): EncryptionKeys | undefined {
  const { provider, keys = [] } = readEncryptionConfig(bytes) ?? {}
  const [first, ...others] = keys
  if (first?.provider !== provider || first === undefined) return undefined
  const newest = others.reduce((newest, key) => (numberOf(key) > numberOf(newest) ? key : newest), first)
  const stage = others.length === 0 ? 'settled' : numberOf(newest) > numberOf(first) ? 'added' : 'first'
  return { keys: [first, ...others], newest, stage }
}

/** 0 if its name is not `key<number>`. */
function numberOf(key: Pick<EncryptionKey, 'name'> | undefined): number {
  return Number(/^key(\d{1,6})$/.exec(key?.name ?? '')?.[1] ?? 0)
}

/** The text with resources added to the first entry; every provider and key stays. */
export function addResources(text: string, added: readonly string[]): string {
  return editFirst(text, (entry) => ({ ...entry, resources: [...entry.resources, ...added] }))
}

/**
 * Adds a key, in base64, behind those that are there: it decrypts, and does not encrypt yet. It is named after all of
 * them, and after those of `kept`, earlier texts: what an undone rotation has encrypted names another key.
 */
export function addKey(text: string, secret: string, kind: string, kept: readonly Buffer[] = []): string {
  const { newest } = readEncryptionKeys(Buffer.from(text)) ?? {}
  const numbers = kept.map((each) => numberOf(readEncryptionKeys(each)?.newest))
  const key = { name: `key${Math.max(1, numberOf(newest), ...numbers) + 1}`, secret }
  return editProviders(text, (providers) => {
    // An entry may have several of one kind.
    const same = providers.findLastIndex((each) => each.kind === kind)
    if (same >= 0) return providers.map((each, i) => (i === same ? { ...each, keys: [...each.keys, key] } : each))
    const last = providers.findLastIndex(({ keys }) => keys.length > 0)
    return providers.toSpliced(last + 1, 0, { kind, keys: [key] })
  })
}

export function encryptWithNewest(text: string): string {
  return sortKeys(text, -1)
}

/** The newest key comes last: what it has encrypted can still be decrypted. */
export function encryptWithPrevious(text: string): string {
  return sortKeys(text, 1)
}

/** Of a provider, the key that would come first counts. Providers without keys, such as identity, stay behind. */
function sortKeys(text: string, direction: 1 | -1): string {
  const byNumber = (one: Parameters<typeof numberOf>[0], other: typeof one) =>
    direction * (numberOf(one) - numberOf(other))
  return editProviders(text, (providers) => {
    const sorted = providers.map((each) => ({ ...each, keys: each.keys.toSorted(byNumber) }))
    const { keyed = [], others = [] } = Object.groupBy(sorted, ({ keys }) => (keys.length > 0 ? 'keyed' : 'others'))
    return [...keyed.toSorted((one, other) => byNumber(one.keys[0], other.keys[0])), ...others]
  })
}

/** Removes every other key, and a provider whose keys are all removed. */
export function keepKeys(text: string, kept: readonly Pick<EncryptionKey, 'provider' | 'name'>[]): string {
  return editProviders(text, (providers) =>
    providers.flatMap((each) => {
      const keys = each.keys.filter(({ name }) => kept.some((key) => key.provider === each.kind && key.name === name))
      return each.keys.length > 0 && keys.length === 0 ? [] : [{ ...each, keys }]
    }),
  )
}

/** A provider of the first entry; `keys` are empty for one without. */
interface ProviderKeys {
  readonly kind: string
  readonly keys: NonNullable<Inner['keys']>
  readonly inner?: Inner
}

function editProviders(text: string, change: (all: readonly ProviderKeys[]) => readonly ProviderKeys[]): string {
  return editFirst(text, (entry) => {
    const all = entry.providers.flatMap((each) => Object.entries(each))
    const changed = change(all.map(([kind, inner]) => ({ kind, keys: inner.keys ?? [], inner })))
    const providers = changed.map(({ kind, keys, inner }) => ({
      [kind]: { ...inner, ...(keys.length > 0 && { keys }) },
    }))
    return { ...entry, providers }
  })
}

/** Written in the form of a new file: whoever made it, it means the same, and its comments go. */
function editFirst(text: string, change: (first: ConfigEntry) => ConfigEntry): string {
  const content = parse(text)
  if (!content) throw new Error('not an EncryptionConfiguration')
  const [first, ...others] = content.resources
  return format({ ...content, resources: [change(first), ...others] })
}
