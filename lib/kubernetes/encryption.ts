/**
 * The EncryptionConfiguration of kube-apiserver. Its keys encrypt Secrets in etcd: they are made once, and kept
 * whatever else changes. https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/
 */

import { randomBytes } from 'node:crypto'
import * as v from 'valibot'
import { stringify } from 'yaml'
import type { Cluster } from '../cluster/cluster.ts'
import { Failure } from '../failure.ts'
import { memoised } from '../files/plain-file.ts'
import type { Client } from './client.ts'
import { parseFields } from './kubeconfig.ts'

/** A stored value names provider and key (`k8s:enc:aescbc:v1:key1:`): under another name nothing is decrypted. */
export interface EncryptionKey {
  readonly provider: string
  readonly name: string
  readonly secret: string
}

/** Characters: room for some hundred keys. It may be a node's: the parser's time has a bound. */
const longest = 64 * 1024

const some = <T extends v.GenericSchema>(item: T) => v.pipe(v.array(item), v.minLength(1))
/** Standard base64, of as many bytes as a cipher takes. */
const isSecret = (secret: string, bytes = Buffer.from(secret, 'base64')) =>
  bytes.toString('base64') === secret && [16, 24, 32].includes(bytes.length)
const key = v.object({ name: v.pipe(v.string(), v.nonEmpty()), secret: v.pipe(v.string(), v.check(isSecret)) })
const keyed = v.object({ keys: some(key) })
// Not kms: its keys are elsewhere, and no copy of the file restores them.
const provider = v.union([
  v.strictObject({ aescbc: keyed }),
  v.strictObject({ aesgcm: keyed }),
  v.strictObject({ secretbox: keyed }),
  v.strictObject({ identity: v.strictObject({}) }),
])
const schema = v.object({
  resources: some(v.object({ resources: some(v.string()), providers: some(provider) })),
})

type Content = v.InferOutput<typeof schema>
type ConfigEntry = Content['resources'][number]

export function newEncryptionConfig(provider: Cluster['encryption']['provider'], resources: readonly string[]): string {
  const keys = [{ name: 'key1', secret: randomBytes(32).toString('base64') }]
  return format({
    apiVersion: 'apiserver.config.k8s.io/v1',
    kind: 'EncryptionConfiguration',
    resources: [{ resources, providers: [{ [provider]: { keys } }, { identity: {} }] }],
  })
}

function format(content: object): string {
  return stringify(content, { indentSeq: false, lineWidth: 0, version: '1.1' })
}

function parse(text: string): Content | undefined {
  const content = text.length > longest ? undefined : parseFields(text)
  return v.is(schema, content) ? content : undefined
}

/** Undefined for what is no EncryptionConfiguration, and for one with a KMS. */
export const readEncryptionConfig = memoised((bytes) => {
  const content = parse(bytes.toString())
  return content && configOf(content)
})

function configOf({ resources }: Content) {
  /** Every entry, with every key that its resources may be encrypted with. */
  const entries = resources.map((entry) => ({ resources: entry.resources, keys: keysOf(entry) }))
  return {
    entries,
    /** Of the first entry: what is encrypted with its first provider. */
    resources: entries[0]?.resources ?? [],
    /** Of the first entry: `aescbc`, `aesgcm`, `secretbox` or `identity`. The first provider encrypts. */
    provider: Object.keys(resources[0]?.providers[0] ?? {})[0] ?? '',
    /** Of the first entry, in order: the first one encrypts, unless identity is the first provider. */
    keys: entries[0]?.keys ?? [],
  }
}

function keysOf({ providers }: ConfigEntry): EncryptionKey[] {
  const kinds = providers.flatMap((each) =>
    Object.entries<{ readonly keys?: readonly v.InferOutput<typeof key>[] }>(each),
  )
  return kinds.flatMap(([provider, { keys = [] }]) => keys.map((each) => ({ provider, ...each })))
}

export interface EncryptionKeys {
  /**
   * How far a rotation has come. `settled`: one key. `added`: the newest key decrypts, and does not encrypt yet.
   * `encrypting`: the newest key encrypts, and the previous ones decrypt. The keys may be of different providers.
   */
  readonly stage: 'settled' | 'added' | 'encrypting'
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
  const stage = others.length === 0 ? 'settled' : numberOf(newest) > numberOf(first) ? 'added' : 'encrypting'
  return { keys: [first, ...others], newest, stage }
}

/** 0 if its name is not `key<number>`. */
function numberOf(key: EncryptionKey | undefined): number {
  return Number(/^key(\d{1,6})$/.exec(key?.name ?? '')?.[1] ?? 0)
}

export function addResources(text: string, added: readonly string[]): string {
  return editFirst(text, (entry) => ({ ...entry, resources: [...entry.resources, ...added] }))
}

/** Adds a key (base64) that decrypts alone, named after all that are there and in `kept`, earlier texts. */
export function addKey(text: string, secret: string, provider: string, kept: readonly Buffer[] = []): string {
  const texts = [Buffer.from(text), ...kept]
  const numbers = texts.map((each) => numberOf(readEncryptionKeys(each)?.newest))
  const name = `key${Math.max(1, ...numbers) + 1}`
  return editKeys(text, (keys) => [...keys, { provider, name, secret }])
}

export function encryptWithNewest(text: string): string {
  return editKeys(text, (keys) => keys.toSorted((one, other) => numberOf(other) - numberOf(one)))
}

/** The newest key comes last: what it has encrypted can still be decrypted. */
export function encryptWithPrevious(text: string): string {
  return editKeys(text, (keys) => keys.toSorted((one, other) => numberOf(one) - numberOf(other)))
}

export function keepKeys(text: string, kept: readonly Pick<EncryptionKey, 'provider' | 'name'>[]): string {
  const isKept = (key: EncryptionKey) =>
    kept.some(({ provider, name }) => provider === key.provider && name === key.name)
  return editKeys(text, (keys) => keys.filter(isKept))
}

/** Keys that follow each other share a provider where they are of one; identity stays behind them. */
function editKeys(text: string, change: (keys: readonly EncryptionKey[]) => readonly EncryptionKey[]): string {
  return editFirst(text, (entry) => {
    const providers: Record<string, { keys: object[] }>[] = []
    for (const { provider, ...key } of change(keysOf(entry))) {
      const same = providers.at(-1)?.[provider]
      if (same) same.keys.push(key)
      else providers.push({ [provider]: { keys: [key] } })
    }
    return { ...entry, providers: [...providers, ...entry.providers.filter((each) => 'identity' in each)] }
  })
}

/** Written in the form of a new file: whoever made it, it means the same, and its comments go. */
function editFirst(text: string, change: (first: ConfigEntry) => object): string {
  const content = parse(text)
  const [first, ...others] = content?.resources ?? []
  if (!first) throw new Error('not an EncryptionConfiguration')
  return format({ ...content, resources: [change(first), ...others] })
}

type Etcd = Pick<Client, 'read'>

/** Where kube-apiserver keeps objects: its --etcd-prefix. */
export const registry = '/registry/'

/** Objects per query, of at most a megabyte and a half each. */
const page = 25

/** https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/ */
export function encryptedPrefix({ provider, name }: { readonly provider: string; readonly name: string }): string {
  return `k8s:enc:${provider}:v1:${name}:`
}

/** The gateway leaves out what is empty, but never the header. */
const rangeSchema = v.object({
  header: v.object({ revision: v.string() }),
  kvs: v.optional(v.array(v.object({ key: v.string(), value: v.optional(v.string(), '') })), []),
  more: v.optional(v.boolean(), false),
})

/** The sorted keys in etcd, below a folder, of values with a matching prefix; '' stands for not encrypted. */
export async function findStored(etcd: Etcd, folder: string, isMeant: (prefix: string) => boolean): Promise<string[]> {
  const found: string[] = []
  for await (const { key, encryptedBy } of list(etcd, folder)) if (isMeant(encryptedBy)) found.push(key)
  return found
}

/** The number of objects by prefix. Throws a Failure if there is none, as with another --etcd-prefix. */
export async function countEncrypted(etcd: Etcd): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for await (const { encryptedBy } of list(etcd, registry)) counts.set(encryptedBy, (counts.get(encryptedBy) ?? 0) + 1)
  if (counts.size > 0) return counts
  throw new Failure(`etcd has nothing under ${registry}`, { remedy: 'check --etcd-prefix of kube-apiserver' })
}

async function* list(
  etcd: Etcd,
  prefix: string,
): AsyncGenerator<{ readonly key: string; readonly encryptedBy: string }> {
  let from = prefix
  for (;;) {
    const { kvs, more } = await range(etcd, { key: from, range_end: endOf(prefix), limit: page })
    const stored = kvs.map(({ key, value }) => ({ key: decode(key).toString(), encryptedBy: prefixOf(value) }))
    yield* stored
    const last = stored.at(-1)
    if (!more) return
    if (!last || last.key < from) throw new Failure(`etcd returned the keys of ${prefix} out of order`)
    from = `${last.key}\0`
  }
}

/** The prefix of the value; throws a Failure if nothing has that key. */
export async function readEncryptedBy(etcd: Etcd, key: string): Promise<string> {
  const {
    kvs: [found],
  } = await range(etcd, { key })
  if (!found) throw new Failure(`${key} is not in etcd`, { remedy: 'check --etcd-prefix of kube-apiserver' })
  return prefixOf(found.value)
}

async function range(etcd: Etcd, { key, range_end, ...more }: { key: string; range_end?: string; limit?: number }) {
  const query = { key: encode(key), ...(range_end && { range_end: encode(range_end) }), ...more }
  return await etcd.read(rangeSchema, 'POST', '/v3/kv/range', query)
}

function decode(base64: string): Buffer {
  return Buffer.from(base64, 'base64')
}

/** `k8s:enc:<provider>:<version>:<key>:`; '' if it is not encrypted. */
function prefixOf(value: string): string {
  const start = decode(value.slice(0, 1024)).toString('latin1')
  return /^k8s:enc:[^:]+:[^:]+:[^:]+:/.exec(start)?.[0] ?? ''
}

/** The first key after all that begin with the prefix. */
function endOf(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)
}

const encode = (text: string) => Buffer.from(text).toString('base64')
