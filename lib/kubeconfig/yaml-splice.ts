/**
 * Changes a few values in a YAML (or JSON) text and leaves every other byte as it is: text is put in and taken out at
 * the places where the parser found the nodes. Pure. What comes out is for the caller to read again and compare: where
 * an anchor or an odd layout makes the places mean something else, that comparison fails.
 *
 * A text is parsed once for several edits: each leaves the places before it as they were, so the last place comes first.
 */
import { isMap, isScalar, isSeq, type Node, type Pair, type YAMLMap, type YAMLSeq } from 'yaml'
import { parseYaml } from '../yaml.ts'
import { scalarText, stringifyAsKubectl } from './kubeconfig.ts'

/** Why a text can't be changed. */
export class SpliceError extends Error {}

type Step = string | { readonly name: string }
/** From the root: keys, and entries of a list by what stands in them under `name`. */
export type YamlPath = readonly Step[]

/** The root is what the parser found in the text; the text may have been edited since, behind the place of the next edit. */
export interface Parsed {
  readonly text: string
  readonly root: unknown
}

export function parseText(text: string): Parsed {
  return { text, root: parseYaml(text).contents }
}

/** Where the root's key stands; Infinity where it does not, since it would be added at the end. */
export function offsetOfKey({ root }: Parsed, key: string): number {
  const pair = pairOf(mapAt(root, []), key)
  return pair ? rangeOf(pair.key)[0] : Number.POSITIVE_INFINITY
}

/** Edits the map at the place as a text of its own: what is around it need not be parsed again. */
export function editMap({ text, root }: Parsed, path: YamlPath, edit: (text: string) => string): string {
  const map = mapAt(root, path)
  if (isFlow(map)) {
    const [start, end] = rangeOf(map)
    return text.slice(0, start) + edit(text.slice(start, end)) + text.slice(end)
  }
  const [start] = rangeOf(map.items[0]?.key)
  const end = lineAfter(text, leafEnd(map))
  // Behind a dash its first key has no indent of its own.
  const indent = ' '.repeat(start - lineStart(text, start))
  return text.slice(0, start) + edit(indent + text.slice(start, end)).slice(indent.length) + text.slice(end)
}

/** Sets the key in the map at the root. */
export function setKey({ text, root }: Parsed, key: string, value: string): string {
  const map = mapAt(root, [])
  const pair = pairOf(map, key)
  if (!pair) return insertPair(text, map, key, value)
  const [start, end] = rangeOf(pair.value)
  const old = text.slice(start, end)
  const written = isFlow(map) ? JSON.stringify(value) : scalarText(value)
  return text.slice(0, start) + (old === '' ? ' ' : '') + written + (/\r?\n$/.exec(old)?.[0] ?? '') + text.slice(end)
}

export function removeKey({ text, root }: Parsed, key: string): string {
  const map = mapAt(root, [])
  const at = map.items.findIndex((pair) => keyOf(pair) === key)
  const pair = map.items[at]
  if (!pair) return text
  const [start] = rangeOf(pair.key)
  const next = map.items[at + 1]
  if (next && isFlow(map)) return text.slice(0, start) + text.slice(rangeOf(next.key)[0])
  const previous = map.items[at - 1]
  if (!previous && !next) throw new SpliceError(`${key} is alone in its map`)
  if (previous && isFlow(map)) return text.slice(0, leafEnd(previous.value)) + text.slice(leafEnd(pair.value))
  return text.slice(0, lineStart(text, start)) + text.slice(lineAfter(text, leafEnd(pair.value)))
}

/** Adds the item at the end of the list under a key of the root map, which gets the list where it has none. */
export function addItem({ text, root: contents }: Parsed, listKey: string, item: object): string {
  const root = mapAt(contents, [])
  const list = pairOf(root, listKey)?.value
  if (isFlow(root) || (isSeq(list) && list.flow && list.items.length > 0)) return addFlowItem(text, root, listKey, item)
  if (isSeq(list) && list.items.length > 0) {
    const indent = rangeOf(list)[0] - lineStart(text, rangeOf(list)[0])
    return insertLines(text, leafEnd(list), itemText(item, indent))
  }
  if (!list && !pairOf(root, listKey)) return insertLines(text, leafEnd(root), `${listKey}:\n${itemText(item, 0)}`)
  if (!isSeq(list) && !(isScalar(list) && list.value === null)) throw new SpliceError(`${listKey} is not a list`)
  // An empty list, or nothing behind the key.
  const [start, end] = rangeOf(list)
  const rest = lineAfter(text, end)
  const lines = `\n${itemText(item, 0)}`.replaceAll('\n', lineEnd(text))
  return text.slice(0, start).trimEnd() + text.slice(end, rest).trimEnd() + lines + text.slice(rest)
}

function addFlowItem(text: string, root: YAMLMap, listKey: string, item: object): string {
  const list = pairOf(root, listKey)?.value
  const json = JSON.stringify(item)
  if (!isSeq(list)) {
    const pair = pairOf(root, listKey)
    if (!pair) return insertFlow(text, root, `${JSON.stringify(listKey)}: [${json}]`)
    const [start, end] = rangeOf(pair.value)
    return `${text.slice(0, start)} [${json}]${text.slice(end)}`
  }
  return insertFlow(text, list, json)
}

function insertPair(text: string, map: YAMLMap, key: string, value: string): string {
  if (isFlow(map)) return insertFlow(text, map, `${JSON.stringify(key)}: ${JSON.stringify(value)}`)
  const [first] = map.items
  if (!first) throw new SpliceError('an empty map')
  const start = rangeOf(first.key)[0]
  return insertLines(text, leafEnd(map), `${' '.repeat(start - lineStart(text, start))}${key}: ${scalarText(value)}\n`)
}

/** Behind the last item, or into the empty brackets. */
function insertFlow(text: string, collection: YAMLMap | YAMLSeq, inner: string): string {
  const last = collection.items.at(-1)
  if (last === undefined) {
    const at = rangeOf(collection)[1] - 1
    // What was put there already is to come behind it.
    const comma = /[}\]]/.test(text.charAt(at)) ? '' : ', '
    return `${text.slice(0, at)}${inner}${comma}${text.slice(at)}`
  }
  const at = leafEnd(isMap(collection) ? (last as Pair).value : last)
  return `${text.slice(0, at)}, ${inner}${text.slice(at)}`
}

/** On lines of their own, behind the line on which the offset is; with the line ends that the text has. */
function insertLines(text: string, offset: number, lines: string): string {
  const at = lineAfter(text, offset)
  const before = text.slice(0, at)
  const eol = lineEnd(text)
  return before + (before === '' || before.endsWith('\n') ? '' : eol) + lines.replaceAll('\n', eol) + text.slice(at)
}

function itemText(item: object, indent: number): string {
  return stringifyAsKubectl([item]).replace(/^(?=.)/gm, ' '.repeat(indent))
}

function mapAt(root: unknown, path: YamlPath): YAMLMap {
  let node = root
  for (const step of path)
    node = typeof step === 'string' ? isMap(node) && pairOf(node, step)?.value : itemNamed(node, step.name)
  if (!isMap(node))
    throw new SpliceError(`${path.map((step) => (typeof step === 'string' ? step : step.name)).join('.')} is not a map`)
  return node
}

function itemNamed(list: unknown, name: string): unknown {
  return isSeq(list) ? list.items.find((item) => isMap(item) && item.get('name') === name) : undefined
}

function pairOf(map: YAMLMap, key: string): Pair | undefined {
  return map.items.find((pair) => keyOf(pair) === key)
}

function keyOf({ key }: Pair): unknown {
  return isScalar(key) ? key.value : undefined
}

function isFlow(collection: YAMLMap | YAMLSeq): boolean {
  return collection.flow === true
}

function rangeOf(node: unknown): [start: number, end: number] {
  const range = (node as Node | null)?.range
  if (!range) throw new SpliceError('a part of it has no place in the text')
  return [range[0], range[1]]
}

/** A block collection's own range may reach over comments and blank lines behind it: what counts is its last value. */
function leafEnd(node: unknown): number {
  if ((isMap(node) || isSeq(node)) && !isFlow(node)) {
    const last = node.items.at(-1)
    if (last !== undefined) return leafEnd(isMap(node) ? ((last as Pair).value ?? (last as Pair).key) : last)
  }
  return rangeOf(node)[1]
}

function lineEnd(text: string): string {
  return text.includes('\r\n') ? '\r\n' : '\n'
}

function lineStart(text: string, offset: number): number {
  return text.lastIndexOf('\n', offset - 1) + 1
}

/** The start of the next line; a block scalar's end is already there. */
function lineAfter(text: string, offset: number): number {
  if (offset > 0 && text[offset - 1] === '\n') return offset
  const end = text.indexOf('\n', offset)
  return end === -1 ? text.length : end + 1
}
