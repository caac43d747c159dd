/** Reads the text of cluster.yaml into a Cluster with every default filled in, or into its problems. */

import { isUtf8 } from 'node:buffer'
import { homedir } from 'node:os'
import { resolve } from 'node:path'
import * as v from 'valibot'
import {
  type Document,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  visit,
  type YAMLMap,
  isMap as yamlIsMap,
} from 'yaml'
import { tryCidr } from '../address.ts'
import { memoised } from '../files/plain-file.ts'
import { type Explained, excerpt, type Mistake } from '../wording.ts'
import { isMap, map, type Path, type Problem, parseYaml, quoted, type Raw } from '../yaml.ts'
import { clusterProblems, type LayoutRules } from './rules.ts'
import { clusterSchema, type keyKinds, layoutNames, usualLayout } from './schema.ts'

type ClusterInput = v.InferOutput<typeof clusterSchema>

export type KeyKind = (typeof keyKinds)[number]
export type LayoutName = (typeof layoutNames)[number]

/** What cluster.yaml says, with every default filled in; durations in milliseconds, addresses in one spelling. */
export type Cluster = Readonly<ReturnType<typeof complete>>
export type ClusterNode = Readonly<Cluster['nodes'][number]>
export type ClusterUser = Readonly<Cluster['users'][number]>

export type PlacedProblem = Omit<Mistake, 'file'>

type ParsedCluster =
  | {
      readonly cluster: Cluster
      /** Places a problem that is found only when a value is used. */
      readonly problemAt: (path: Path, message: string, remedy?: string) => PlacedProblem
    }
  | { readonly problems: readonly PlacedProblem[] }

export function parseCluster(bytes: Uint8Array, known: RulesOf): ParsedCluster {
  const lines = new LineCounter()
  const placed = (offset: number, { message, remedy }: Explained): PlacedProblem => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col), message, remedy: remedy || undefined }
  }
  const parsed = parseBytes(bytes, lines)
  if ('errors' in parsed) return { problems: parsed.errors.map((error) => placed(error.offset, error)) }
  const { document, value } = parsed
  const { result, problems } = validate(value, known)
  const place = ({ path, at, message, remedy }: Problem) => {
    const name = formatPath(path)
    return placed(offsetOf(document, path, at), { message: name === '' ? message : `${name} ${message}`, remedy })
  }
  const problemAt = (path: Path, message: string, remedy?: string) => place({ path, message, remedy })
  if (result.success && problems.length === 0) return { cluster: complete(result.output), problemAt }
  return { problems: problems.map(place).sort((a, b) => a.line - b.line || a.column - b.column) }
}

type RulesOf = (cluster: Pick<Cluster, 'layout' | 'etcd' | 'aggregation'>) => LayoutRules

function validate(written: unknown, known: RulesOf) {
  const { layout: named = usualLayout, etcd, aggregation } = map(written)
  const name = layoutNames.find((each) => each === named)
  const layout = known({
    layout: name ?? usualLayout,
    etcd: { ca: map(etcd).ca === 'own' ? 'own' : 'shared' },
    aggregation: aggregation === true,
  })
  const value = withDefaults(written, layout.defaults)
  const result = v.safeParse(clusterSchema, value, { abortPipeEarly: true })
  const problems = [
    ...(result.issues ?? []).flatMap((issue) => issueProblems(issue)),
    // By the rules of another layout everything could be wrong.
    ...(name ? clusterProblems(value, layout) : []),
  ]
  return { result, problems }
}

/** What is no map, and should be one, stays as it is: the schema reports it. */
function withDefaults(value: unknown, defaults: Raw): unknown {
  if (value !== undefined && !isMap(value)) return value
  const all: Record<string, unknown> = { ...defaults, ...value }
  for (const [key, inner] of Object.entries(defaults))
    if (Object.keys(map(inner)).length > 0) all[key] = withDefaults(map(value)[key], map(inner))
  return all
}

const needed = 'write name, api.virtualIP and nodes; docs/cluster-yaml.md begins with an example'

/** `offset` counts characters from the start of the text. */
type TextProblem = Explained & { readonly offset: number }

function parseBytes(
  bytes: Uint8Array,
  lineCounter: LineCounter,
): { readonly document: Document; readonly value: unknown } | { readonly errors: readonly TextProblem[] } {
  const wrong = (message: string, remedy: string) => ({ errors: [{ offset: 0, message, remedy }] })
  if (!isUtf8(bytes)) return wrong('the file is not UTF-8 text', 'save it as UTF-8')
  try {
    const text = new TextDecoder().decode(bytes)
    const document = parseYaml(text, { lineCounter })
    const errors = syntaxErrors(document)
    if (errors.length > 0) return { errors }
    const { contents } = document
    // The content is not quoted: with a wrong --config it may be a key.
    if (!yamlIsMap(contents)) {
      const isEmpty = contents === null || (isScalar(contents) && contents.value === null)
      return wrong(`the file ${isEmpty ? 'is empty' : 'has no keys (a key ends with a colon and a space)'}`, needed)
    }
    return { document, value: document.toJS({ reviver: withoutNull }) }
  } catch (error) {
    if (error instanceof RangeError) return wrong('the file is nested too deeply', 'write each section once')
    throw error
  }
}

/** Of what the parser reports the first: those after it follow from it. Of an alias (*) a list could multiply. */
function syntaxErrors(document: Document.Parsed): TextProblem[] {
  const [error] = document.errors
  if (error) {
    const message = excerpt(error.message.split(';')[0] ?? '')
    return [{ offset: error.pos[0], message }]
  }
  const aliases: TextProblem[] = []
  visit(document, {
    Alias: (_, { range }) => {
      const message = 'this is an alias (*), which cluster.yaml does not support'
      aliases.push({ offset: range?.[0] ?? 0, message, remedy: 'put a value that begins with * in quotes' })
    },
  })
  return aliases
}

/** A key without a value (`subject:` with everything below it commented out) counts as absent. */
function withoutNull(this: unknown, _key: unknown, value: unknown): unknown {
  return value === null && !Array.isArray(this) ? undefined : value
}

/** For a union, the errors inside the variant that was meant say more than "none matches". */
function issueProblems(issue: v.BaseIssue<unknown>, above: Path = []): Problem[] {
  const path = [...above, ...(issue.path ?? []).map(({ key }) => key as string | number)]
  const inner = (issue.issues ?? []).filter((each) => (each.path ?? []).length > 0)
  return inner.length > 0 ? inner.flatMap((each) => issueProblems(each, path)) : [{ path, message: issue.message }]
}

/** A file may have as many problems as keys: each is looked up once. */
const pairsOf = memoised<Map<string, Pair>, YAMLMap>(
  ({ items }) =>
    new Map(items.flatMap((item) => (isScalar(item.key) ? [[String(item.key.value ?? ''), item] as const] : []))),
)

/** The offset of the value at the path, or of its key; of the enclosing value if it does not exist. */
function offsetOf({ contents }: Document, path: Path, at: 'key' | 'value' = 'value'): number {
  let node: unknown = contents
  let offset = isNode(contents) ? (contents.range?.[0] ?? 0) : 0
  for (const [i, key] of path.entries()) {
    const pair = yamlIsMap(node) ? pairsOf(node as YAMLMap).get(String(key)) : undefined
    node = isSeq(node) ? node.items[Number(key)] : pair?.value
    const hasNoText = !isNode(node) || node.range?.[0] === node.range?.[1]
    const place = pair && (hasNoText || (at === 'key' && i === path.length - 1)) ? pair.key : node
    if (!isNode(place) || !place.range) break
    offset = place.range[0]
  }
  return offset
}

/** nodes[3].role; a key that is not a plain word is quoted. */
function formatPath(path: Path): string {
  const part = (key: string | number) => (/^[\w.-]{1,39}$/.test(String(key)) ? String(key) : quoted(key))
  return path.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i === 0 ? '' : '.'}${part(key)}`)).join('')
}

function complete(input: ClusterInput) {
  const { name, domain = name, network, encryption, ssh, install, users, localKubeconfig, nodes } = input
  return {
    ...input,
    domain,
    network: {
      serviceCIDRs: [network.serviceCIDR].flat().flatMap((block) => tryCidr(block) ?? []),
      clusterDomain: network.clusterDomain,
    },
    encryption: { ...encryption, resources: [...new Set(encryption.resources)] },
    ssh,
    users: users.map(({ validity = input.certificates.validity, ...user }) => ({ ...user, validity })),
    install: install && completeInstall(typeof install === 'object' ? install : {}, ssh.user),
    localKubeconfig: localKubeconfig && {
      as: localKubeconfig.as,
      path: localKubeconfig.path,
      context: localKubeconfig.context ?? name,
      user: localKubeconfig.user ?? 'admin',
    },
    nodes: nodes.map(({ ip, ips = [], host, user, directory, ...node }) => ({
      ...node,
      ips: ip === undefined ? ips : [ip],
      host: host ?? node.name,
      user: user ?? ssh.user,
      directory: directory ?? ssh.directory,
    })),
  }
}

export type Install = Readonly<ReturnType<typeof completeInstall>>

export function completeInstall(input: Partial<Exclude<ClusterInput['install'], boolean>>, user: string) {
  const { sudo = user === 'root' ? '' : 'sudo -n', drain = '', undrain = '', timeout = 120_000, units = {} } = input
  return { sudo, drain, undrain, timeout, units: new Map(Object.entries(units)) }
}

/** For `ssh -F`; absolute. `folder`: that of cluster.yaml. */
export function sshConfigPath(folder: string, { configFile }: Pick<Cluster['ssh'], 'configFile'>): string | undefined {
  return configFile && resolve(folder, configFile.replace(/^~(?=\/)/, homedir()))
}
