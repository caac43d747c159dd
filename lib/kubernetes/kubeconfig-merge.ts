/**
 * Our three entries in the user's own kubeconfig, with the effect of `kubectl config set-cluster, set-credentials,
 * set-context, use-context`; comments and everything else stay. Pure.
 */
import { isUtf8 } from 'node:buffer'
import { accessSync, constants } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { isAlias, isMap, isScalar, isSeq, Scalar, YAMLMap, YAMLSeq } from 'yaml'
import { isMap as isFields, map } from '../cluster/problem.ts'
import { doing, refusal } from '../failure.ts'
import { type Lock, type LockOptions, takeLock } from '../files/lock.ts'
import { followLinks, makeFolders, readPlainFile } from '../files/plain-file.ts'
import { parseYaml } from '../yaml.ts'
import { type Fields, type KubeconfigAccess, parseFields, scalarText } from './kubeconfig.ts'

export type KubeconfigFile = ReturnType<typeof readKubeconfigs>[number]

const absent = { kind: 'file', bytes: Buffer.alloc(0), mode: undefined } as const

/**
 * Each file once, by the first of its paths; `real` has symbolic links resolved, and `mode` is undefined where it does
 * not exist. Throws a Failure for one that can't be read.
 */
export function readKubeconfigs(paths: readonly string[]) {
  const firsts = new Map<string, string>()
  for (const path of paths) {
    const real = followLinks(path)
    if (!firsts.has(real)) firsts.set(real, path)
  }
  return [...firsts].map(([real, path]) => {
    const file = readPlainFile(real) ?? absent
    const text = file.kind === 'file' && isUtf8(file.bytes) ? file.bytes.toString() : undefined
    const content = text === undefined ? undefined : readKubeconfig(text)
    if (file.kind === 'file' && text !== undefined && content) return { path, real, mode: file.mode, text, content }
    throw refusal(`${path} is not a valid kubeconfig, and was left unchanged`, [
      '- fix it\n- or set localKubeconfig.path in cluster.yaml to another file\n- or write no entry: localKubeconfig: false',
    ])
  })
}

/** The first file that has the entry counts. */
function fileOf(files: readonly KubeconfigFile[], list: List, name: string) {
  return files.find(({ content }) => content[list].has(name))
}

export function findEntry(files: readonly KubeconfigFile[], list: List, name: string): Fields | undefined {
  return fileOf(files, list, name)?.content[list].get(name)
}

/** The first one that is set counts. */
export function currentContextIn(files: readonly KubeconfigFile[]): string | undefined {
  return files.find(({ content }) => content.currentContext !== undefined)?.content.currentContext
}

/** The changes that are needed, by file. `switches`: another current context gives way to a new one of ours. */
export function planChanges(
  files: readonly KubeconfigFile[],
  access: KubeconfigAccess,
  { switches }: { readonly switches: boolean },
) {
  // A new entry and the current context go to the first file that exists, else to the last of the list.
  const target = files.find(({ mode }) => mode !== undefined) ?? files.at(-1)
  const changes = new Map<KubeconfigFile, EntryChange[]>()
  const add = (file: KubeconfigFile | undefined, change: EntryChange) =>
    file && changes.set(file, [...(changes.get(file) ?? []), change])
  for (const entry of entriesOf(access)) {
    const { list, name } = entry
    if (!isCurrent(findEntry(files, list, name), entry)) add(fileOf(files, list, name) ?? target, entry)
  }
  // Made once: after that the choice is the user's.
  const current = currentContextIn(files)
  const isNew = findEntry(files, 'contexts', access.context) === undefined
  if (current === undefined || (switches && isNew && current !== access.context))
    add(target, { currentContext: access.context })
  return changes
}

/**
 * The certificates that kubectl trusts for this cluster, in PEM; undefined if its entry names none. Throws a Failure
 * if they can't be read.
 */
export function readTrusted(files: readonly KubeconfigFile[], cluster: string): Buffer | undefined {
  const at = fileOf(files, 'clusters', cluster)
  return at && readPem(at.path, at.content.clusters.get(cluster) ?? {}, 'certificate-authority')
}

/** What the entry of a kubeconfig embeds, else the file that it names. Throws a Failure if that can't be read. */
export function readPem(
  kubeconfig: string,
  entry: Fields,
  field: 'certificate-authority' | 'client-certificate' | 'client-key',
): Buffer | undefined {
  const [data, path] = [entry[`${field}-data`], entry[field]]
  if (typeof data === 'string' && data !== '') return Buffer.from(data, 'base64')
  if (typeof path !== 'string' || path === '') return undefined
  // Relative to the kubeconfig that names it, as in kubectl.
  const file = readPlainFile(followLinks(resolve(dirname(kubeconfig), path)))
  return file?.kind === 'file' ? file.bytes : undefined
}

/** Does the work, which is synchronous, while all of them are locked. Throws as takeLock does. */
export async function whileLocked<T>(
  paths: readonly string[],
  options: Pick<LockOptions, 'signal' | 'onWait'>,
  work: () => T,
): Promise<T> {
  const locks: Lock[] = []
  try {
    // kubectl locks the path that it was given; a file with several paths is also locked by its resolved path, if we
    // may.
    const names = new Set([...paths, ...paths.map(followLinks).filter((real) => mayWriteBeside(real))])
    // Always in the same order, as kubectl does, so that two runs can't deadlock.
    for (const path of [...names].toSorted()) {
      doing('create the directory', dirname(path), () => makeFolders(dirname(path), 0o700))
      locks.push(await takeLock(`${path}.lock`, { ...options, wait: 60_000 }))
    }
    return work()
  } finally {
    for (const each of locks.reverse()) each.release()
  }
}

function mayWriteBeside(path: string): boolean {
  try {
    accessSync(dirname(path), constants.W_OK)
    return true
  } catch {
    return false
  }
}

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
  const quoted = contents.flow && ({ defaultKeyType: 'QUOTE_DOUBLE' } as const)
  const changed = document.toString({ indentSeq: false, lineWidth: 0, ...quoted })
  const expected = changes.reduce(changeFields, before)
  return isDeepStrictEqual(parseFields(changed, mostAliases), expected) ? changed : undefined
}

function applyChange(root: YAMLMap, change: EntryChange): void {
  if ('currentContext' in change) {
    setText(root, currentKey, change.currentContext, root.flow)
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
  for (const [field, value] of Object.entries(values)) setText(inner, field, value, root.flow)
  for (const field of dropped) inner.delete(field)
  if (found) return
  setText(entry, 'name', name, root.flow)
  entries.add(entry)
}

/** It may be absent or null. */
function listIn(root: YAMLMap, key: List): YAMLSeq {
  const found = root.get(key, true)
  const list = isSeq(found) ? found : Object.assign(new YAMLSeq(), { comment: found?.comment })
  if (list.items.length === 0) list.flow = root.flow ?? false
  root.set(key, list)
  return list
}

/** In flow style the file may be JSON, where each text is quoted. */
function setText(map: YAMLMap, key: string, text: string, isFlow = false): void {
  const old = map.get(key, true)
  const type = isFlow || scalarText(text) !== text ? 'QUOTE_DOUBLE' : 'PLAIN'
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
