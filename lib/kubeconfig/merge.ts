/**
 * Our three entries in a kubeconfig of the user's, with the effect of `kubectl config set-cluster, set-credentials,
 * set-context, use-context`, and everything else left byte for byte. Pure.
 */
import { isDeepStrictEqual } from 'node:util'
import { parseYaml } from '../yaml.ts'
import { type Access, type Fields, isFields, parseFields } from './kubeconfig.ts'
import { addItem, editMap, offsetOfKey, type Parsed, parseText, removeKey, SpliceError, setKey } from './yaml-splice.ts'

/** One of the three named things. */
export interface Stanza {
  readonly list: 'clusters' | 'users' | 'contexts'
  readonly key: 'cluster' | 'user' | 'context'
  readonly name: string
  readonly values: Readonly<Record<string, string>>
  /** What kubectl takes away when it sets these values: other ways to say the same. */
  readonly dropped: readonly string[]
}

export type Change = Stanza | { readonly currentContext: string }

export function stanzasOf({ cluster, server, user, context, ca, certificate, key }: Access): Stanza[] {
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
/** Of one anchor, as the library's own default. */
const mostAliases = 100

/** What a kubeconfig says, as far as it is asked here. */
export interface ReadKubeconfig {
  readonly currentContext: string | undefined
  find(list: Stanza['list'], name: string): Fields | undefined
  readonly contexts: readonly { readonly name: string; readonly cluster: unknown; readonly user: unknown }[]
}

/** Undefined if the text is not a kubeconfig; an empty text is one. */
export function readKubeconfig(text: string): ReadKubeconfig | undefined {
  const root = parseFields(text, mostAliases)
  return root && isOfKind(root) ? readFields(root) : undefined
}

/** As kubectl takes it: what names no kind is one, what names another is none. */
function isOfKind({ apiVersion, kind }: Fields): boolean {
  return (apiVersion || 'v1') === 'v1' && (kind || 'Config') === 'Config'
}

function readFields(root: Fields): ReadKubeconfig {
  const entries = (list: string) => (Array.isArray(root[list]) ? root[list] : []).filter(isFields)
  const inner = (entry: Fields, key: string) => (isFields(entry[key]) ? entry[key] : {})
  const current = root[currentKey]
  return {
    currentContext: typeof current === 'string' && current !== '' ? current : undefined,
    find: (list, name) => {
      const entry = entries(list).find((each) => each.name === name)
      return entry && inner(entry, list.slice(0, -1))
    },
    contexts: entries('contexts').map((entry) => {
      const { cluster, user } = inner(entry, 'context')
      return { name: String(entry.name), cluster, user }
    }),
  }
}

/** Whether the entry says what it should; what else stands in it is the user's. */
export function isAsAsked(found: Fields | undefined, { values, dropped }: Stanza): boolean {
  return (
    found !== undefined &&
    Object.entries(values).every(([key, value]) => found[key] === value) &&
    dropped.every((key) => !found[key])
  )
}

/** What kubectl starts from, so that the result equals kubectl's. */
const emptyKubeconfig = 'apiVersion: v1\nclusters: []\ncontexts: []\ncurrent-context: ""\nkind: Config\nusers: []\n'

/** The changed text, of at most one change to a list; undefined where it can't be changed without touching what is not ours. */
export function applyChanges(text: string, changes: readonly Change[]): string | undefined {
  const document = parseYaml(text, { merge: true })
  const data: unknown = document.errors.length === 0 ? document.toJS() : undefined
  if (data === null)
    return applyChanges(text + (text === '' || text.endsWith('\n') ? '' : '\n') + emptyKubeconfig, changes)
  if (!isFields(data)) return undefined
  try {
    const changed = applyFromLast({ text, root: document.contents }, changes, data)
    // A copy, in which an alias is an entry like any other.
    const expected = changes.reduce(expect, JSON.parse(JSON.stringify(data)))
    return isDeepStrictEqual(parseFields(changed, mostAliases), expected) ? changed : undefined
  } catch (error) {
    if (error instanceof SpliceError) return undefined
    throw error
  }
}

/** What is added at the same place is added in reverse, so that it stands there in the order of the changes. */
function applyFromLast(parsed: Parsed, changes: readonly Change[], data: Fields): string {
  const offset = (change: Change) => offsetOfKey(parsed, 'currentContext' in change ? currentKey : change.list)
  return changes
    .toReversed()
    .toSorted((a, b) => (offset(a) === offset(b) ? 0 : offset(b) - offset(a)))
    .reduce((text, change) => applyChange({ ...parsed, text }, change, data), parsed.text)
}

function applyChange(parsed: Parsed, change: Change, data: Fields): string {
  if ('currentContext' in change) return setKey(parsed, currentKey, change.currentContext)
  const { list, key, name, values, dropped } = change
  if (!readFields(data).find(list, name))
    return addItem(parsed, list, key < 'name' ? { [key]: values, name } : { name, [key]: values })
  return editMap(parsed, [list, { name }, key], (text) => {
    const set = Object.entries(values).reduce((now, [field, value]) => setKey(parseText(now), field, value), text)
    return dropped.reduce((now, field) => removeKey(parseText(now), field), set)
  })
}

/** The same change on the data. */
function expect(data: Record<string, unknown>, change: Change): Record<string, unknown> {
  if ('currentContext' in change) return { ...data, [currentKey]: change.currentContext }
  const { list, key, name, values, dropped } = change
  const entries = Array.isArray(data[list]) ? data[list] : []
  const entry = entries.find((each) => each?.name === name)
  if (!entry) return { ...data, [list]: [...entries, { [key]: values, name }] }
  Object.assign(entry[key], values)
  for (const field of dropped) delete entry[key][field]
  return data
}
