/**
 * The EncryptionConfiguration of kube-apiserver. Its keys are what Secrets in etcd are sealed with: they are made
 * once, and kept whatever else changes.
 * https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/
 */
import { randomBytes } from 'node:crypto'
import * as v from 'valibot'
import { parse, parseDocument, stringify } from 'yaml'
import type { Provider } from '../cluster/cluster.ts'

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

type Inner = { readonly keys?: readonly { readonly secret: string }[] }

/** As kube-apiserver decodes it, strictly: undefined where it would refuse the file. */
export function readEncryptionConfig(text: string): EncryptionConfig | undefined {
  const { success, output } = v.safeParse(config, parseOrNothing(text))
  // The second is what the guide writes: an alias "due to a docs bug", still read by Kubernetes 1.34.
  const versions = ['apiserver.config.k8s.io/v1 EncryptionConfiguration', 'v1 EncryptionConfig']
  if (!success || !versions.includes(`${output.apiVersion} ${output.kind}`)) return undefined
  const [first, ...others] = output.resources
  const providers = (first?.providers ?? []).flatMap((each) => Object.entries(each as Record<string, Inner>))
  return {
    resources: first?.resources ?? [],
    otherResources: others.flatMap(({ resources }) => resources),
    provider: providers[0]?.[0] ?? '',
    keys: providers.flatMap(([, { keys = [] }]) => keys.map(({ secret }) => Buffer.from(secret, 'base64'))),
  }
}

/** The file holds keys: what exactly could not be read is not passed on. */
function parseOrNothing(text: string): unknown {
  try {
    return parse(text, { maxAliasCount: 0 })
  } catch {
    return undefined
  }
}

/** The same text with resources added to the first entry; every provider and key stays. */
export function addResources(text: string, resources: readonly string[]): string {
  const document = parseDocument(text)
  for (const resource of resources) document.addIn(['resources', 0, 'resources'], resource)
  return document.toString({ indentSeq: false, lineWidth: 0 })
}
