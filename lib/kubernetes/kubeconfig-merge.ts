/**
 * Our three entries in the user's own kubeconfig, with the effect of `kubectl config set-cluster, set-credentials,
 * set-context, use-context`; comments and everything else stay. Pure.
 */
import { isUtf8 } from 'node:buffer'
import { dirname, resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { isAlias, isMap, isScalar, isSeq, Scalar, YAMLMap, YAMLSeq } from 'yaml'
import { isMap as isFields, map } from '../cluster/problem.ts'
import { doing, refusal } from '../failure.ts'
import { type LockOptions, takeLock } from '../files/lock.ts'
import { followLinks, makeFolders, readPlainFile } from '../files/plain-file.ts'
import { parseYaml } from '../yaml.ts'
import { type Fields, type KubeconfigAccess, parseFields, scalarText } from './kubeconfig.ts'

export type KubeconfigFile = ReturnType<typeof readKubeconfigFile>

const absent = { kind: 'file', bytes: Buffer.alloc(0), mode: undefined } as const

/** `real` has symbolic links resolved, and `mode` is undefined where it does not exist. Throws a Failure. */
export function readKubeconfigFile(path: string) {
  const real = followLinks(path)
  const file = readPlainFile(real) ?? absent
  const text = file.kind === 'file' && isUtf8(file.bytes) ? file.bytes.toString() : undefined
  const content = text === undefined ? undefined : readKubeconfig(text)
  if (file.kind === 'file' && text !== undefined && content) return { path, real, mode: file.mode, text, content }
  throw refusal(`${path} is not a valid kubeconfig, and was left unchanged`, [
    '- fix it\n- or set localKubeconfig.path in cluster.yaml to another file\n- or write no entry: localKubeconfig: false',
  ])
}

/** The changes that the file needs. `switches`: another current context gives way to a new one of ours. */
export function planChanges(
  { content }: Pick<KubeconfigFile, 'content'>,
  access: KubeconfigAccess,
  switches: boolean,
): EntryChange[] {
  const entries = entriesOf(access).filter((entry) => !isCurrent(content[entry.list].get(entry.name), entry))
  // Made once: after that the choice is the user's.
  const isNew = !content.contexts.has(access.context) && content.currentContext !== access.context
  const isSet = content.currentContext === undefined || (switches && isNew)
  return isSet ? [...entries, { currentContext: access.context }] : entries
}

/**
 * The certificates that kubectl trusts for this cluster, in PEM; undefined if its entry names none. Throws a Failure
 * if they can't be read.
 */
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
  doing('create the directory', dirname(path), () => makeFolders(dirname(path), 0o700))
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

/** One of the three named entries. */
interface NamedEntry {
  readonly list: List
  readonly key: (typeof listKeys)[List]
  readonly name: string
  readonly values: Readonly<Record<string, string>>
  /** Other ways to say the same: kubectl removes them when it sets these values. */
  readonly dropped: readonly string[]
}

export type EntryChange = NamedEntry | { readonly currentContext: string }

export function entriesOf({ cluster, server, user, context, ca, certificate, key }: KubeconfigAccess): NamedEntry[] {
  return [
    {
      list: 'clusters',
      key: 'cluster',
      name: cluster,
      values: { 'certificate-authority-data': ca.toString('base64'), server },
      dropped: ['certificate-authority', 'insecure-skip-tls-verify', 'tls-server-name'],
    },
    {
      list: 'users',
      key: 'user',
      name: user,
      values: { 'client-certificate-data': certificate.toString('base64'), 'client-key-data': key.toString('base64') },
      dropped: ['client-certificate', 'client-key'],
    },
    { list: 'contexts', key: 'context', name: context, values: { cluster, user }, dropped: [] },
  ]
}

const currentKey = 'current-context'
/** Aliases of one anchor: the library's own default. */
const mostAliases = 100

/** The entries of each list by their names. */
export interface ReadKubeconfig extends Readonly<Record<List, ReadonlyMap<string, Fields>>> {
  readonly currentContext: string | undefined
}

/** Undefined for what kubectl would refuse; an empty text is a kubeconfig. */
export function readKubeconfig(text: string): ReadKubeconfig | undefined {
  const root = parseFields(text, mostAliases)
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
    if (!isFields(entry) || typeof entry.name !== 'string' || found.has(entry.name)) return undefined
    const fields = entry[listKeys[list]]
    found.set(entry.name, map(fields))
  }
  return found
}

/** Whether the entry has our values; other fields in it are the user's. */
export function isCurrent(found: Fields | undefined, { values, dropped }: NamedEntry): boolean {
  return (
    found !== undefined &&
    Object.entries(values).every(([key, value]) => found[key] === value) &&
    dropped.every((key) => !found[key])
  )
}

/** What kubectl starts a new file with. */
const emptyKubeconfig = 'apiVersion: v1\nclusters: []\ncontexts: []\ncurrent-context: ""\nkind: Config\nusers: []\n'

/**
 * The changed text; undefined if it can't be read, or if something else would change its meaning too, as when an
 * alias leads into an entry of ours.
 */
export function applyChanges(text: string, changes: readonly EntryChange[]): string | undefined {
  const before = parseFields(text, mostAliases)
  // The parser leaves the carriage return in a comment.
  const document = parseYaml(text.replaceAll('\r\n', '\n'), { schema: 'failsafe' })
  if (!before || document.errors.length > 0) return undefined
  const { contents } = document
  if (!isMap(contents)) return applyChanges(`${text}\n${emptyKubeconfig}`, changes)
  for (const change of changes) applyChange(contents, change)
  const changed = document.toString({ indentSeq: false, lineWidth: 0 })
  const expected = changes.reduce(changeFields, before)
  return isDeepStrictEqual(parseFields(changed, mostAliases), expected) ? changed : undefined
}

function applyChange(root: YAMLMap, change: EntryChange): void {
  if ('currentContext' in change) {
    setText(root, currentKey, change.currentContext)
    return
  }
  const { list, key, name, values, dropped } = change
  const entries = listIn(root, list)
  const found = entries.items.find((item): item is YAMLMap => isMap(item) && item.get('name') === name)
  const entry = found ?? new YAMLMap()
  const fields = entry.get(key, true)
  const inner = isMap(fields) ? fields : new YAMLMap()
  // An alias stays, so that the file is refused.
  if (!isAlias(fields)) entry.set(key, inner)
  for (const [field, value] of Object.entries(values)) setText(inner, field, value)
  for (const field of dropped) inner.delete(field)
  if (found) return
  setText(entry, 'name', name)
  entries.add(entry)
}

/** It may be absent or null. */
function listIn(root: YAMLMap, key: List): YAMLSeq {
  const found = root.get(key, true)
  const list = isSeq(found) ? found : Object.assign(new YAMLSeq(), { comment: found?.comment })
  if (list.items.length === 0) list.flow = false
  root.set(key, list)
  return list
}

function setText(map: YAMLMap, key: string, text: string): void {
  const old = map.get(key, true)
  const type = scalarText(text) !== text ? 'QUOTE_DOUBLE' : 'PLAIN'
  // A scalar that is there keeps its comment.
  map.set(key, Object.assign(isScalar(old) ? old : new Scalar(text), { value: text, type }))
}

/** The same change, applied to the parsed content. */
function changeFields(root: Fields, change: EntryChange): Fields {
  if ('currentContext' in change) return { ...root, [currentKey]: change.currentContext }
  const { list, key, name, values, dropped } = change
  const entries = Array.isArray(root[list]) ? root[list] : []
  const kept = (fields: unknown) => Object.entries(map(fields)).filter(([field]) => !dropped.includes(field))
  const changed = entries.map((entry) =>
    entry?.name === name ? { ...entry, [key]: { ...Object.fromEntries(kept(entry[key])), ...values } } : entry,
  )
  const isThere = entries.some((entry) => entry?.name === name)
  return { ...root, [list]: isThere ? changed : [...entries, { [key]: values, name }] }
}
