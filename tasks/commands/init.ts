/** `init`: the directory of a new cluster, with a cluster.yaml for its nodes. */
import { lookup } from 'node:dns/promises'
import { existsSync, lstatSync, readFileSync, realpathSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { type Document, isScalar, parseDocument } from 'yaml'
import { addressBytes, canonicalAddress, firstAddress, specialUse, tryCidr } from '../../lib/address.ts'
import { type ClusterNode, parseCluster } from '../../lib/cluster/cluster.ts'
import { isMap, map, type Path, type Raw } from '../../lib/cluster/problem.ts'
import { layoutNames, usualLayout } from '../../lib/cluster/schema.ts'
import { doing, usageFailure } from '../../lib/failure.ts'
import {
  AuthDir,
  authorizationConfigFile,
  caName,
  etcdCaName,
  frontProxyCaName,
  kubeconfigFile,
} from '../../lib/files/auth-dir.ts'
import { makeFolders, publicMode, replaceFiles } from '../../lib/files/plain-file.ts'
import { nodeUser, readRevoked } from '../../lib/kubernetes/authorization.ts'
import { readEncryptionConfig } from '../../lib/kubernetes/encryption.ts'
import { readServer } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, isIssuedBy, keyKindOf } from '../../lib/pki/certificate.ts'
import { ownCas, tryCertificate } from '../../lib/pki/pair.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatDuration, formatExplained, hour, parseDuration, printable, quote, suggest } from '../../lib/wording.ts'
import type { Layout } from '../layouts/layout.ts'
import { encryptionConfig, layoutRules, layouts } from '../layouts/tables.ts'
import { refuseNewer, type WithoutCluster } from '../run/command-run.ts'
import type { ExitCause } from '../run/exit-status.ts'
import { formatCommand, packageFile, pathOf } from '../run/host.ts'
import { type Options, usage } from '../run/options.ts'

const roles = ['control', 'worker', 'gateway'] as const

type InitNode = Pick<ClusterNode, 'name' | 'role' | 'ips'> & { readonly sans?: readonly string[] }

/** Throws a usage Failure before anything is written. */
export async function init(given: WithoutCluster): Promise<readonly ExitCause[]> {
  const { host, options } = given
  const [, typed, ...more] = options.names
  if (!typed || more.length > 0)
    throw wrong('init needs one directory for the new cluster.yaml; nodes are named by --control a,b,c --worker d,e')
  if (options.config !== undefined) throw wrong("--config can't be used with init, which creates DIR/cluster.yaml")
  const folder = pathOf(host, typed)
  const file = join(folder, 'cluster.yaml')
  for (const path of [pathOf(host, '.'), folder]) refuseAuth(path)
  // Even a symbolic link.
  if (doing('read', file, () => lstatSync(file, { throwIfNoEntry: false }), 'usage'))
    throw usageFailure(`nothing was written: ${file} already exists`, 'to start over, move it aside')
  const auth = options.from === undefined ? join(folder, 'auth') : pathOf(host, options.from)
  const text = await format(basename(folder), auth, options)
  given.signal.throwIfAborted()
  doing('make', folder, () => makeFolders(folder), 'usage')
  // https://github.com/redhat-developer/yaml-language-server#using-inlined-schema
  const schema = `./${relative(realpathSync(folder), realpathSync(packageFile('docs/cluster.schema.json')))}`
  const data = text.replace(/(?<=\$schema=).*/, () => encodeURI(schema))
  replaceFiles([{ path: file, data, mode: publicMode }], { durable: false })
  return report(file, data, given)
}

/** With init's own help. */
function wrong(message: string) {
  return usage(message, 'init')
}

function refuseAuth(path: string): void {
  const cluster = dirname(path)
  if (basename(path) === 'auth' && (existsSync(join(cluster, 'cluster.yaml')) || layoutIn(path)))
    throw usageFailure(`${path} has the keys of a cluster, whose directory is ${cluster}`)
}

/** The layout by whose name there is a CA's certificate. */
function layoutIn(path: string): Layout | undefined {
  return Object.values(layouts).find(({ files }) => new AuthDir(path, files).read(files.certificate(caName)))
}

/** The text of cluster.yaml. Throws a usage Failure with every problem but the values that are missing. */
async function format(folderName: string, auth: string, options: Options): Promise<string> {
  const { layout: given, from, virtualIP } = options
  const named = layoutNames.find((each) => each === given)
  if (given !== undefined && !named) throw wrong(`--layout ${given}: ${suggest(given, layoutNames)}`)
  const layout = named ? layouts[named] : (layoutIn(auth) ?? layouts[usualLayout])
  const document = parseDocument(readFileSync(packageFile('cluster.yaml'), 'utf8'))
  set(document, [], layout.defaults)
  const adopted = adopt(auth, layout, document.toJS())
  if (!adopted && from !== undefined)
    throw usageFailure(`--from ${from} has no readable ${layout.files.certificate(caName)}`)
  const nodes = await Promise.all(mergeNodes(adopted?.nodes ?? [], options).map(withAddresses))
  if (!nodes.some(({ role }) => role === 'control'))
    throw wrong('--control is missing: name the control nodes, or --from AUTH of an existing cluster')
  const name = options.name ?? adopted?.name ?? folderName
  // The API of a single control node has its address.
  const [entry, ...others] = nodes.filter(({ role }) => role !== 'worker')
  const alone = adopted || others.length > 0 ? undefined : entry?.ips[0]
  set(document, [], {
    domain: layout.defaults.domain ?? name,
    ...adopted,
    name,
    layout: layout.name,
    api: { ...adopted?.api, virtualIP: virtualIP ?? adopted?.api.virtualIP ?? alone ?? null },
    // kubectl has one user of a name, and each cluster needs its own.
    ...(!adopted && { localKubeconfig: { user: `admin-${name}` } }),
  })
  const entries = nodes.map((node) => entryOf(document, node))
  document.set('nodes', entries)
  for (const key of layout.without.keys()) document.deleteIn(key.split('.'))
  const text = document.toString({ lineWidth: 0, nullStr: '' })
  check(text)
  return text
}

/** What only the user knows, by its key. */
const missing: Readonly<Record<string, string>> = {
  virtualIP: 'the address of the load balancer',
  serviceCIDR: 'the --service-cluster-ip-range of kube-apiserver',
}

/** Null is a missing value, undefined none at all. */
function set(document: Document, path: Path, value: unknown): void {
  if (isMap(value)) for (const [key, inner] of Object.entries(value)) set(document, [...path, key], inner)
  else if (value === undefined) document.deleteIn(path)
  else document.setIn(path, Array.isArray(value) ? document.createNode(value, { flow: true }) : value)
  const node = document.getIn(path, true)
  if (value === null && isScalar(node)) node.comment = ` MISSING: ${missing[String(path.at(-1))]}`
}

/** On a line of its own. */
function entryOf(document: Document, { ips, ...node }: InitNode) {
  const [ip = null, ...more] = ips
  const made = document.createNode({ ...node, ...(more.length > 0 ? { ips } : { ip }) }, { flow: true })
  if (ip === null) made.comment = ` MISSING: the address of ${node.name}`
  return made
}

function check(text: string): void {
  const parsed = parseCluster(Buffer.from(text), layoutRules)
  const lines = text.split('\n')
  const all = 'problems' in parsed ? parsed.problems : []
  const problems = all.filter(({ line }) => !lines[line - 1]?.includes('# MISSING: ')).map(formatExplained)
  if (problems.length > 0)
    throw wrong(['cluster.yaml would be invalid with these options and files:', ...problems].join('\n'))
}

/** No certificate has a node's role, and a gateway has no certificate: the command line decides. */
function mergeNodes(found: readonly InitNode[], options: Options): InitNode[] {
  const typed = roles.flatMap((role) =>
    options[role].flatMap((list) => list.split(',')).map((word) => readNode(word, role, found)),
  )
  const others = found.filter(({ name }) => typed.every((node) => node.name !== name))
  return roles.flatMap((role) => [...others, ...typed].filter((node) => node.role === role))
}

/** `control0` or `control0=192.168.1.11`. */
function readNode(word: string, role: InitNode['role'], found: readonly InitNode[]): InitNode {
  const [name = '', ip] = word.split('=')
  const known = found.find((node) => node.name === name)
  return { ...known, name, role, ips: ip === undefined ? (known?.ips ?? []) : [canonicalAddress(ip)] }
}

/** By /etc/hosts and DNS, as every program here: getaddrinfo(3). A loopback address is one of this machine. */
async function withAddresses(node: InitNode): Promise<InitNode> {
  if (node.ips.length > 0) return node
  const found = await lookup(node.name, { all: true }).catch(() => [])
  const ips = found.map(({ address }) => canonicalAddress(address)).filter((each) => specialUse(each) === undefined)
  return { ...node, ips: [...new Set(ips)] }
}

function report(file: string, text: string, { host, options, print }: WithoutCluster): ExitCause[] {
  const { names, from, json, quiet } = options
  const say = (message: string) => print(json ? formatJsonLine({ type: 'note', message }) : printable(message))
  const left = text.split('\n').flatMap((line, i) => {
    const [, what] = / # MISSING: (.*)$/.exec(line) ?? []
    return what === undefined ? [] : [`${file}:${i + 1}: fill in ${what}`]
  })
  if (!quiet && json) print(formatJsonLine({ type: 'file', name: basename(file), path: file }))
  if (!quiet && !json) say(`wrote ${file}`)
  for (const line of left) say(line)
  const config = file === join(host.cwd(), 'cluster.yaml') ? undefined : join(names[1] ?? '', 'cluster.yaml')
  const task = from === undefined ? 'bootstrap --dry-run' : `recover --from ${quote(from)}`
  if (!quiet) say(`${left.length > 0 ? 'then' : 'now'} run:\n    ${formatCommand(task, config)}`)
  return left.length > 0 ? ['stale'] : []
}

/**
 * What the files of an auth/ show of the cluster that they were made for; undefined without a CA's certificate.
 * `usual`: the values that it has by its layout.
 */
function adopt(path: string, layout: Layout, usual: Raw) {
  const { certs, files, without } = layout
  const auth = new AuthDir(path, files)
  refuseNewer(auth)
  const ca = tryCertificate(auth, caName)
  if (!ca) return undefined
  const cas = ownCas(auth)
  const issued = auth.names().flatMap((file): [string, Certificate][] => {
    const { kind, name = caName } = files.parse(file) ?? {}
    const found = kind === 'certificate' && name !== caName ? tryCertificate(auth, name) : undefined
    return found && cas.some((issuer) => isIssuedBy(found, issuer)) ? [[name, found]] : []
  })
  const isOwn = (name: string) => certs.some((kind) => kind.name === name)
  const nodes = issued.filter(([name, { attributes }]) => attributes.includes(`CN=${nodeUser(name)}`))
  const leaves = [...issued.filter(([name]) => isOwn(name)), ...nodes].map(([, leaf]) => leaf)
  const clients = certs.flatMap(({ name, isClient, dials }) => (isClient && dials === undefined ? [name] : []))
  const textOf = (file: string) => auth.tryBytes(file)?.toString() ?? ''
  const [server] = [...clients, ...nodes.map(([name]) => name)].flatMap(
    (name) => readServer(textOf(kubeconfigFile(name))) ?? [],
  )
  const encryption = readEncryptionConfig(auth.tryBytes(encryptionConfig.file) ?? Buffer.alloc(0))
  const revoked = readRevoked(textOf(authorizationConfigFile))
  const sans = tryCertificate(auth, files.names.api)?.sans ?? []
  return {
    name: server?.cluster ?? 'kubernetes',
    subject: readSubject(ca),
    certificates: { key: keyKindOf(ca.publicKey), ...readValidity(ca, leaves, map(usual.certificates)) },
    ...readApi(layout, usual, { server, sans, nodes }),
    ...(encryption && { encryption: { provider: encryption.provider, resources: encryption.resources } }),
    ...(tryCertificate(auth, etcdCaName) && !without.has('etcd.ca') && { etcd: { ca: 'own' } }),
    ...(tryCertificate(auth, frontProxyCaName) && { aggregation: true }),
    // Else a lost cluster.yaml would let them in again.
    ...(revoked && { revoked: revoked.names }),
  }
}

const subjectKeys = { country: 'C', state: 'ST', locality: 'L', organization: 'O', organizationalUnit: 'OU' }

function readSubject({ attributes }: Certificate) {
  const find = (name: string) => attributes.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1)
  return Object.fromEntries(Object.entries(subjectKeys).map(([key, name]) => [key, find(name)]))
}

/** Leaves that were limited by their CA's expiry are valid for less than was requested: the longest counts. */
function readValidity(ca: Certificate, leaves: readonly Certificate[], usual: Raw) {
  // To the hour: a CA and its leaves are not issued in the same second.
  const hoursOf = ({ notBefore, notAfter }: Certificate) =>
    Math.round((notAfter.getTime() - notBefore.getTime()) / hour)
  const formatHours = (hours: number) => formatDuration(Math.max(1, Math.floor(hours)) * hour)
  const [longest, ofCa] = [Math.max(...(leaves.length > 0 ? leaves : [ca]).map(hoursOf)), hoursOf(ca)]
  const shortest = Math.min(longest, ofCa)
  const isLong = shortest * hour > parseDuration(String(usual.renewBefore))
  return {
    validity: formatHours(longest),
    caValidity: formatHours(ofCa),
    renewBefore: isLong ? usual.renewBefore : formatHours(shortest / 3),
  }
}

interface ApiNames {
  /** As in the kubeconfigs. */
  readonly server: { readonly host: string; readonly port: number } | undefined
  /** The SANs of the API server's certificate. */
  readonly sans: readonly string[]
  readonly nodes: readonly (readonly [name: string, certificate: Certificate])[]
}

function readApi(layout: Layout, usual: Raw, { server, sans, nodes: found }: ApiNames) {
  const { host = String(map(usual.api).host), port } = server ?? {}
  const domains = found.flatMap(([name, leaf]) =>
    leaf.sans.filter((san) => san.startsWith(`${name}.`)).map((san) => san.slice(name.length + 1)),
  )
  const domain = domains[0] ?? String(usual.domain)
  const nodes = found.map(([name, leaf]): InitNode => {
    const ips = leaf.sans.filter((san) => addressBytes(san) && specialUse(san) === undefined)
    const more = leaf.sans.filter((san) => !layout.nodeSans({ name, ips }, domain).includes(san))
    const role = sans.includes(name) ? 'control' : 'worker'
    return { name, role, ips, ...(more.length > 0 && { sans: more }) }
  })
  // Of another range the certificate doesn't show the prefix length.
  const range = tryCidr(String(map(usual.network).serviceCIDR))
  const ranges = range && sans.includes(firstAddress(range)) ? [range] : []
  const network = { serviceCIDRs: ranges, clusterDomain: String(map(usual.network).clusterDomain) }
  const known = layout.apiSans({ domain, api: { host, virtualIP: host, extraSANs: [] }, network, nodes })
  const left = sans.filter((san) => !known.includes(san))
  // Of several addresses, any may be the load balancer's.
  const [only, ...others] = layout.without.has('api.virtualIP') ? [] : left.filter(addressBytes)
  const virtualIP = ranges.length > 0 && others.length === 0 ? only : undefined
  return {
    domain,
    api: { host, ...(port && { port }), virtualIP, extraSANs: left.filter((san) => san !== virtualIP) },
    ...(ranges.length === 0 && { network: { serviceCIDR: null } }),
    nodes,
  }
}
