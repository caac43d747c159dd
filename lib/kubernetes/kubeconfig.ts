/**
 * A kubeconfig for one client, and our three entries in the user's own kubeconfig, as `kubectl config set-cluster,
 * set-credentials, set-context, use-context` write them; comments and everything else stay there.
 */
import { isUtf8 } from 'node:buffer'
import { mkdirSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { isScalar, isSeq, isMap as isYamlMap, Scalar, YAMLMap, YAMLSeq } from 'yaml'
import { bracketed } from '../address.ts'
import { doing, refusal } from '../failure.ts'
import { filesBeside } from '../files/auth-dir.ts'
import { type LockOptions, takeLock } from '../files/lock.ts'
import { followLinks, readPlainFile } from '../files/plain-file.ts'
import { isMap, map, parseYaml } from '../yaml.ts'

export interface KubeconfigAccess {
  readonly cluster: string
  readonly server: string
  readonly user: string
  readonly context: string
  readonly ca: Buffer
  readonly certificate: Buffer
  readonly key: Buffer
}

export function serverUrl(host: string, port: number): string {
  return `https://${bracketed(host)}:${port}`
}

export function formatKubeconfig({ ca, certificate, key, ...access }: KubeconfigAccess): string {
  const [cluster, server, user, context] = [access.cluster, access.server, access.user, access.context].map(scalarText)
  return `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: ${ca.toString('base64')}
    server: ${server}
  name: ${cluster}
contexts:
- context:
    cluster: ${cluster}
    user: ${user}
  name: ${context}
current-context: ${context}
kind: Config
users:
- name: ${user}
  user:
    client-certificate-data: ${certificate.toString('base64')}
    client-key-data: ${key.toString('base64')}
`
}

/** What YAML 1.1 and 1.2 take for a text as it stands: no boolean, no null, no `key:`, nothing near a number. */
const plainText = /^(?!(?:y|n|yes|no|on|off|true|false|null|e[-+]?\d+)$)[a-z/](?:[\w./@:+=-]*[\w=])?$/i

export function scalarText(text: string): string {
  return plainText.test(text) ? text : JSON.stringify(text)
}

/** Top-level keys whose meaning differs; undefined if the text is not a kubeconfig. */
export function compareKubeconfig(text: string, access: KubeconfigAccess): string[] | undefined {
  const desiredText = formatKubeconfig(access)
  if (text === desiredText) return []
  const [found, desired] = [parseFields(text), parseFields(desiredText)]
  if (!found || !desired || Object.keys(found).length === 0) return undefined
  // kubectl up to 1.33 writes it, and nothing reads it.
  delete found.preferences
  return [...new Set([...Object.keys(desired), ...Object.keys(found)])].filter(
    (key) => !isDeepStrictEqual(found[key], desired[key]),
  )
}

/** The PEM files in a kubeconfig. Not by a YAML parser: the text may be a node's, and of any kind. */
export function readEmbedded(text: string) {
  const [ca, certificate, key] = embedded.map((name) => {
    const [, data] = new RegExp(`${name}-data["']?:[ \\t]*["']?([A-Za-z0-9+/=]+)`).exec(text) ?? []
    return data === undefined ? undefined : Buffer.from(data, 'base64')
  })
  return { ca, certificate, key }
}

const embedded = ['certificate-authority', 'client-certificate', 'client-key']

/**
 * What a component reads of a kubeconfig: the kubeconfig, which names a pair and a CA by files in the same folder, and
 * these files. client-go reloads a pair that is named by file (client-go/transport/cert_rotation.go), and from
 * Kubernetes 1.36 on a CA (ca_rotation.go); it never reloads an embedded one.
 */
export type Part = 'kubeconfig' | 'pair' | 'ca'

const data = embedded.map((name) => new RegExp(`^( *${name})-data: (.*)$`, 'gm'))

/** Undefined if they are not each embedded on a line of their own, as kubectl writes them. */
export function partOf(text: string, part: Part, kubeconfig: string): Buffer | undefined {
  const lines = data.map((line) => [...text.matchAll(line)])
  if (lines.some(({ length }) => length !== 1)) return undefined
  const [ca = Buffer.alloc(0), ...pair] = lines.map(([match]) => Buffer.from(match?.[2] ?? '', 'base64'))
  if (part === 'ca') return ca
  if (part === 'pair') return Buffer.concat(pair.flatMap((pem) => [pem, Buffer.from('\n')]))
  // What kubectl up to 1.33 writes is left out, so that the kubeconfig stays the same when we write it anew: no restart
  // for that.
  const own = text.replace(/^preferences: \{\}\n/m, '')
  const beside = filesBeside(kubeconfig)
  const names = [beside.ca, beside.pair, beside.pair]
  const named = data.reduce((changed, line, i) => changed.replace(line, `$1: ${names[i]}`), own)
  return Buffer.from(named)
}

/** The name and the server of its first cluster; undefined if it is not written as in ours. */
export function readServer(text: string): { cluster: string; host: string; port: number } | undefined {
  const { clusters } = (parseFields(text) ?? {}) as { clusters?: [{ name?: unknown; cluster?: Fields }] }
  const { name, cluster } = clusters?.[0] ?? {}
  const url = URL.parse(String(cluster?.server))
  if (typeof name !== 'string' || url?.protocol !== 'https:') return undefined
  return { cluster: name, host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 443) }
}

export type Fields = Record<string, unknown>

/** The map in the text; undefined for anything else, and for aliases, which may cost the parser without bound. */
export function parseFields(text: string): Fields | undefined {
  try {
    const document = parseYaml(text, { merge: true })
    if (document.errors.length > 0) return undefined
    const value: unknown = document.toJS({ maxAliasCount: 0 }) ?? {}
    return isMap(value) ? value : undefined
  } catch {
    // The error is dropped: it could quote a private key.
    return undefined
  }
}

export type KubeconfigFile = ReturnType<typeof readKubeconfigFile>

const absent = { kind: 'file', bytes: Buffer.alloc(0), mode: undefined } as const

/** `real` has symbolic links resolved, and `mode` is undefined where it does not exist. Throws a Failure. */
export function readKubeconfigFile(path: string) {
  const real = followLinks(path)
  const file = readPlainFile(real) ?? absent
  const text = file.kind === 'file' && isUtf8(file.bytes) ? file.bytes.toString() : undefined
  const content = text === undefined ? undefined : readKubeconfig(text)
  if (file.kind === 'file' && text !== undefined && content) return { path, real, mode: file.mode, text, content }
  throw refusal(`${path} is not a valid kubeconfig, or has YAML aliases; it was left unchanged`, [
    'fix it (kubectl config view --raw prints it without aliases)',
    'or set localKubeconfig.path in cluster.yaml to another file',
    'or write no entry: localKubeconfig: false',
  ])
}

/** The certificates that kubectl trusts for this cluster, in PEM. Throws a Failure if they can't be read. */
export function readTrusted({ path, content }: KubeconfigFile, cluster: string): Buffer | undefined {
  const { 'certificate-authority-data': data, 'certificate-authority': named } = content.clusters.get(cluster) ?? {}
  if (typeof data === 'string' && data !== '') return Buffer.from(data, 'base64')
  if (typeof named !== 'string' || named === '') return undefined
  // Relative to the kubeconfig that names it, as in kubectl.
  const file = readPlainFile(followLinks(resolve(dirname(path), named)))
  return file?.kind === 'file' ? file.bytes : undefined
}

/** Does the work, which is synchronous, under the lock of kubectl. Throws as takeLock does. */
export async function whileLocked<T>(
  path: string,
  options: Pick<LockOptions, 'signal' | 'onWait'>,
  work: () => T,
): Promise<T> {
  doing('create the directory', dirname(path), () => mkdirSync(dirname(path), { recursive: true, mode: 0o700 }))
  const lock = await takeLock(lockOf(path), { ...options, wait: 60_000 })
  try {
    return work()
  } finally {
    lock.release()
  }
}

export const lockOf = (path: string): string => `${path}.lock`

const listKeys = { clusters: 'cluster', users: 'user', contexts: 'context' } as const
type List = keyof typeof listKeys

interface NamedEntry {
  readonly list: List
  readonly name: string
  readonly values: Readonly<Record<string, string>>
  /** Other ways to say the same: kubectl removes them when it sets these values. */
  readonly dropped: readonly string[]
}

function entriesOf({ cluster, server, user, context, ca, certificate, key }: KubeconfigAccess): NamedEntry[] {
  return [
    {
      list: 'clusters',
      name: cluster,
      values: { 'certificate-authority-data': ca.toString('base64'), server },
      dropped: ['certificate-authority', 'insecure-skip-tls-verify', 'tls-server-name'],
    },
    {
      list: 'users',
      name: user,
      values: { 'client-certificate-data': certificate.toString('base64'), 'client-key-data': key.toString('base64') },
      dropped: ['client-certificate', 'client-key'],
    },
    { list: 'contexts', name: context, values: { cluster, user }, dropped: [] },
  ]
}

const currentKey = 'current-context'

/** The entries of each list by their names; undefined for what kubectl would refuse. An empty text is a kubeconfig. */
export function readKubeconfig(text: string) {
  const root = parseFields(text)
  // A text without a kind is a kubeconfig too.
  if (!root || (root.apiVersion || 'v1') !== 'v1' || (root.kind || 'Config') !== 'Config') return undefined
  const [clusters, users, contexts] = [readList(root, 'clusters'), readList(root, 'users'), readList(root, 'contexts')]
  const current = root[currentKey] ?? ''
  if (!clusters || !users || !contexts || typeof current !== 'string') return undefined
  return { clusters, users, contexts, currentContext: current || undefined }
}

/** Two entries of one name are refused, as kubectl does. */
function readList(root: Fields, list: List): Map<string, Fields> | undefined {
  const entries = root[list] ?? []
  if (!Array.isArray(entries)) return undefined
  const found = new Map<string, Fields>()
  for (const entry of entries) {
    if (!isMap(entry) || typeof entry.name !== 'string' || found.has(entry.name)) return undefined
    const fields = entry[listKeys[list]]
    found.set(entry.name, map(fields))
  }
  return found
}

const emptyKubeconfig = 'apiVersion: v1\nclusters: []\ncontexts: []\ncurrent-context: ""\nkind: Config\nusers: []\n'

/** The text with our entries, and what is changed by them. `switches`: to our context, if it is new. */
export function mergeEntries({ text, content }: KubeconfigFile, access: KubeconfigAccess, switches: boolean) {
  // The parser leaves the carriage return in a comment.
  const parse = (from: string) => parseYaml(from.replaceAll('\r\n', '\n'), { schema: 'failsafe' })
  const own = parse(text)
  // Comments alone are kept; `null` is as good as nothing.
  const document = isYamlMap(own.contents) ? own : parse(`${own.contents ? '' : text}\n${emptyKubeconfig}`)
  const root = document.contents as YAMLMap
  const changed = entriesOf(access).flatMap((entry) =>
    setEntry(root, entry) ? `${listKeys[entry.list]} ${entry.name}` : [],
  )
  // Made once: after that the choice is the user's.
  const { contexts, currentContext: current } = content
  if (current === undefined || (switches && !contexts.has(access.context) && current !== access.context)) {
    setText(root, currentKey, access.context)
    changed.push(`${currentKey}${current === undefined ? '' : ` (was ${current})`}`)
  }
  return { changed, text: changed.length > 0 ? document.toString({ indentSeq: false, lineWidth: 0 }) : text }
}

function setEntry(root: YAMLMap, { list, name, values, dropped }: NamedEntry): boolean {
  const entries = listIn(root, list)
  const found = entries.items.find((item): item is YAMLMap => isYamlMap(item) && item.get('name') === name)
  const entry = found ?? new YAMLMap()
  const old = entry.get(listKeys[list], true)
  const fields = isYamlMap(old) ? old : new YAMLMap()
  const set = Object.entries(values).filter(([field, value]) => setText(fields, field, value))
  const removed = dropped.filter((field) => fields.delete(field))
  entry.set(listKeys[list], fields)
  if (!found) {
    setText(entry, 'name', name)
    entries.add(entry)
  }
  return set.length + removed.length > 0
}

function listIn(root: YAMLMap, key: List): YAMLSeq {
  const found = root.get(key, true)
  const list = isSeq(found) ? found : Object.assign(new YAMLSeq(), { comment: found?.comment })
  if (list.items.length === 0) list.flow = false
  root.set(key, list)
  return list
}

/** Returns whether it was another text. A scalar that is there keeps its comment. */
function setText(map: YAMLMap, key: string, text: string): boolean {
  const old = map.get(key, true)
  if (isScalar(old) && old.value === text) return false
  const type = scalarText(text) !== text ? 'QUOTE_DOUBLE' : 'PLAIN'
  map.set(key, Object.assign(isScalar(old) ? old : new Scalar(text), { value: text, type }))
  return true
}
