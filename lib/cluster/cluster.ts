/** Reads the text of cluster.yaml into a Cluster with every default filled in, or into its problems. Pure. */
import * as v from 'valibot'
import { type Document, isNode, isScalar, isSeq, LineCounter, type Pair, type YAMLMap, isMap as yamlIsMap } from 'yaml'
import { parseCidr } from '../address.ts'
import { once } from '../files/plain-file.ts'
import { type Explained, formatExplained, type Mistake } from '../wording.ts'
import { parseYaml } from '../yaml.ts'
import { isMap, map, type Path, type Problem, type Raw, shown } from './problem.ts'
import { clusterProblems, type Known } from './rules.ts'
import { type ClusterInput, clusterSchema, type keyKinds, layoutNames, type providers, usualLayout } from './schema.ts'
import { type SyntaxProblem, syntaxProblems } from './syntax.ts'

export type KeyKind = (typeof keyKinds)[number]
export type Provider = (typeof providers)[number]
export type LayoutName = (typeof layoutNames)[number]

/** What cluster.yaml says, with every default filled in; durations in milliseconds, addresses in one spelling. */
export type Cluster = Readonly<ReturnType<typeof complete>>
export type ClusterNode = Readonly<Cluster['nodes'][number]>
export type ClusterUser = Readonly<Cluster['users'][number]>

export type PlacedProblem = Omit<Mistake, 'file'>

export type ParsedCluster =
  | {
      readonly cluster: Cluster
      /** Places a problem that is found only when a value is used. */
      readonly problemAt: (path: Path, message: string) => PlacedProblem
    }
  | { readonly problems: readonly PlacedProblem[] }

export function parseCluster(bytes: Uint8Array, known: (layout: LayoutName) => Known): ParsedCluster {
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
  const problemAt = (path: Path, message: string) => place({ path, message })
  if (result.success && problems.length === 0) return { cluster: complete(result.output), problemAt }
  const all = problems.map(place)
  // Two checks of one value may report the same problem.
  const unique = new Map(
    all.map((problem) => [`${problem.line}:${problem.column}: ${formatExplained(problem)}`, problem]),
  )
  return { problems: [...unique.values()].sort((a, b) => a.line - b.line || a.column - b.column) }
}

/** Every problem in the parsed content of a cluster.yaml. */
export function findProblems(value: unknown, known: (layout: LayoutName) => Known): Problem[] {
  return validate(value, known).problems
}

function validate(written: unknown, known: (layout: LayoutName) => Known) {
  const { layout: named = usualLayout } = map(written)
  const name = layoutNames.find((each) => each === named)
  const layout = known(name ?? usualLayout)
  const value = withDefaults(written, layout.defaults)
  const result = v.safeParse(clusterSchema, value)
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

type ParsedYaml =
  | { readonly document: Document; readonly value: unknown }
  | { readonly errors: readonly SyntaxProblem[] }

function parseBytes(bytes: Uint8Array, lineCounter: LineCounter): ParsedYaml {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    const document = parseYaml(text, { lineCounter })
    const errors = syntaxProblems(text, document)
    if (errors.length > 0) return { errors }
    const { contents } = document
    // The content is not quoted: with a wrong --config it may be a key.
    if (!yamlIsMap(contents)) {
      const isEmpty = contents === null || (isScalar(contents) && contents.value === null)
      const what = isEmpty ? 'is empty' : 'has no keys (a key ends with a colon and a blank)'
      return { errors: [{ offset: 0, message: `the file ${what}`, remedy: needed }] }
    }
    return { document, value: withoutNulls(document.toJS({ maxAliasCount: 1000 })) }
  } catch (error) {
    if (error instanceof TypeError)
      return { errors: [{ offset: 0, message: 'the file is not UTF-8 text', remedy: 'save it as UTF-8' }] }
    // Thrown for aliases that multiply.
    if (error instanceof ReferenceError)
      return { errors: [{ offset: 0, message: 'aliases (*) repeat too much here', remedy: 'write the values out' }] }
    if (error instanceof RangeError)
      return {
        errors: [
          {
            offset: 0,
            message: 'the file is nested too deeply, or an alias (*) is inside its own anchor',
            remedy: 'write the value out',
          },
        ],
      }
    throw error
  }
}

/** A key without a value (`subject:` with everything below it commented out) counts as absent. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value).filter(([, inner]) => inner !== null)
  return Object.fromEntries(entries.map(([key, inner]) => [key, withoutNulls(inner)]))
}

/** For a union, the errors inside the variant that was meant say more than "none matches". */
function issueProblems(issue: v.BaseIssue<unknown>, above: Path = []): Problem[] {
  const path = [...above, ...(issue.path ?? []).map(({ key }) => key as string | number)]
  const inner = (issue.issues ?? []).filter((each) => (each.path ?? []).length > 0)
  return inner.length > 0 ? inner.flatMap((each) => issueProblems(each, path)) : [{ path, message: issue.message }]
}

/** A file may have as many problems as keys: each is looked up once. */
const pairsOf = once<Map<string, Pair>, YAMLMap>(
  ({ items }) =>
    new Map(items.flatMap((item) => (isScalar(item.key) ? [[String(item.key.value ?? ''), item] as const] : []))),
)

/** The offset of the value at the path, or of its key; of the enclosing value if it does not exist. */
function offsetOf(document: Document, path: Path, at: 'key' | 'value' = 'value'): number {
  for (let length = path.length; length > 0; length--) {
    const above = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true)
    const key = path[length - 1]
    if (yamlIsMap(above)) {
      const pair = pairsOf(above as YAMLMap).get(String(key))
      const keyAsked = at === 'key' && length === path.length
      const found =
        keyAsked || !isNode(pair?.value) || pair.value.range?.[0] === pair.value.range?.[1] ? pair?.key : pair?.value
      if (isNode(found) && found.range) return found.range[0]
    }
    if (isSeq(above)) {
      const item = above.items[Number(key)]
      if (isNode(item) && item.range) return item.range[0]
    }
  }
  return isNode(document.contents) ? (document.contents.range?.[0] ?? 0) : 0
}

/** nodes[3].role; a key that is not a plain word is quoted. */
export function formatPath(path: Path): string {
  const part = (key: string | number) => (/^[\w.-]{1,60}$/.test(String(key)) ? String(key) : shown(key))
  return path.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i === 0 ? '' : '.'}${part(key)}`)).join('')
}

function complete(input: ClusterInput) {
  const { name, domain = name, network, encryption, ssh, install, users, localKubeconfig, nodes } = input
  return {
    ...input,
    domain,
    network: {
      serviceCIDRs: [network.serviceCIDR]
        .flat()
        .map(parseCidr)
        .filter((cidr) => typeof cidr !== 'string'),
      clusterDomain: network.clusterDomain,
    },
    encryption: { ...encryption, resources: [...new Set(encryption.resources)] },
    ssh: { ...ssh, options: new Map(Object.entries(ssh.options)) },
    users: users.map(({ validity = input.certificates.validity, ...user }) => ({ ...user, validity })),
    install: install && completeInstall(typeof install === 'object' ? install : {}, ssh.user),
    localKubeconfig: localKubeconfig && {
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

/** How files get from a node's folder to where its units read them. */
export type Install = Readonly<ReturnType<typeof completeInstall>>

export function completeInstall(input: Partial<Exclude<ClusterInput['install'], boolean | 'guide'>>, user: string) {
  const { sudo = user === 'root' ? '' : 'sudo -n', drain = '', undrain = '', timeout = 120_000, units = {} } = input
  return { sudo, drain, undrain, timeout, units: new Map(Object.entries(units)) }
}
