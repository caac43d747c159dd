/** `init`: the directory of a new cluster, with a cluster.yaml for its nodes. */
import { lookup } from 'node:dns/promises'
import { existsSync, mkdirSync, readFileSync, realpathSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { type Document, isScalar, parseDocument } from 'yaml'
import { addressBytes, canonicalAddress, firstAddress, specialUse, tryCidr } from '../../lib/address.ts'
import { type ClusterNode, parseCluster } from '../../lib/cluster/cluster.ts'
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
import { publicMode, replaceFiles } from '../../lib/files/plain-file.ts'
import { nodeUser, readRevoked } from '../../lib/kubernetes/authorization.ts'
import { readEncryptionConfig } from '../../lib/kubernetes/encryption.ts'
import { readServer } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, keyKindOf } from '../../lib/pki/certificate.ts'
import { isOfOwnCa, tryCertificate } from '../../lib/pki/pair.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatExplained, printable, quote, suggest } from '../../lib/wording.ts'
import { isMap, map, type Path, type Raw } from '../../lib/yaml.ts'
import type { Layout } from '../layouts/layout.ts'
import { encryptionConfig, layoutRules, layouts } from '../layouts/tables.ts'
import { refuseNewer, type WithoutCluster } from '../run/command-run.ts'
import { type ExitCause, formatCommand, packageFile, pathOf } from '../run/host.ts'
import { type Options, usage } from '../run/options.ts'

const roles = ['control', 'worker', 'gateway'] as const

type InitNode = Pick<ClusterNode, 'name' | 'role' | 'ips'> & { readonly sans?: readonly string[] }

export async function init(given: WithoutCluster): Promise<readonly ExitCause[]> {
  const { host, options, signal } = given
  const [, typed, ...more] = options.names
  if (!typed || more.length > 0)
    throw wrong('init needs one directory for the new cluster.yaml; nodes are named by --control a,b,c --worker d,e')
  if (options.config !== undefined) throw wrong("--config can't be used with init, which creates DIR/cluster.yaml")
  const folder = pathOf(host, typed)
  const file = join(folder, 'cluster.yaml')
  for (const path of [pathOf(host, '.'), folder]) refuseInAuth(path)
  if (existsSync(file))
    throw usageFailure(`nothing was written: ${file} already exists`, 'to start over, move it aside')
  const auth = options.from === undefined ? join(folder, 'auth') : pathOf(host, options.from)
  const text = await formatCluster(basename(folder), auth, options)
  signal.throwIfAborted()
  doing('make', folder, () => mkdirSync(folder, { recursive: true }), 'usage')
  // https://github.com/redhat-developer/yaml-language-server#using-inlined-schema
  const schema = `./${relative(realpathSync(folder), realpathSync(packageFile('docs/cluster.schema.json')))}`
  const data = text.replace(/(?<=\$schema=).*/, () => encodeURI(schema))
  replaceFiles([{ path: file, data, mode: publicMode }], { durable: false })
  return report(file, data, given)
}

function wrong(message: string) {
  return usage(message, 'init')
}

/** Throws a usage Failure for the auth/ of a cluster, and for any directory in it. */
function refuseInAuth(path: string): void {
  const cluster = dirname(path)
  if (basename(path) === 'auth' && (existsSync(join(cluster, 'cluster.yaml')) || layoutIn(path)))
    throw usageFailure(`${path} has the keys of a cluster, whose directory is ${cluster}`)
  if (cluster !== path) refuseInAuth(cluster)
}

function layoutIn(path: string): Layout | undefined {
  return Object.values(layouts).find(({ files }) => new AuthDir(path, files).read(files.certificate(caName)))
}

/** Throws a usage Failure with every problem but the values that are missing. */
async function formatCluster(folderName: string, auth: string, options: Options): Promise<string> {
  const named = layoutNames.find((each) => each === options.layout)
  if (options.layout !== undefined && !named)
    throw wrong(`--layout ${options.layout}: ${suggest(options.layout, layoutNames)}`)
  const layout = named ? layouts[named] : (layoutIn(auth) ?? layouts[usualLayout])
  const document = parseDocument(readFileSync(packageFile('cluster.yaml'), 'utf8'))
  set(document, [], layout.defaults)
  const found = clusterIn(auth, layout, document.toJS())
  if (!found && options.from !== undefined)
    throw usageFailure(`--from ${options.from} has no readable ${layout.files.certificate(caName)}`)
  const nodes = await Promise.all(mergeNodes(found?.nodes ?? [], options).map(withAddresses))
  if (!nodes.some(({ role }) => role === 'control'))
    throw wrong('no control node: name them with --control, or an auth/ that has their certificates with --from')
  const name = options.name ?? found?.name ?? folderName
  // The API of a single control node has its address.
  const [entry, ...others] = nodes.filter(({ role }) => role !== 'worker')
  const alone = found || others.length > 0 ? undefined : entry?.ips[0]
  set(document, [], {
    domain: layout.defaults.domain ?? name,
    ...found,
    name,
    layout: layout.name,
    api: { ...found?.api, virtualIP: options.virtualIp ?? found?.api.virtualIP ?? alone ?? null },
    // kubectl has one user of a name, and each cluster needs its own.
    ...(!found && { localKubeconfig: { user: `admin-${name}` } }),
  })
  document.set(
    'nodes',
    nodes.map((node) => entryOf(document, node)),
  )
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

/** Null is a missing value, and so is '' where there is a default; undefined is none at all. */
function set(document: Document, path: Path, value: unknown): void {
  if (isMap(value)) for (const [key, inner] of Object.entries(value)) set(document, [...path, key], inner)
  else if (value === undefined) document.deleteIn(path)
  else document.setIn(path, Array.isArray(value) ? document.createNode(value, { flow: true }) : value)
  const node = document.getIn(path, true)
  if ((value === null || value === '') && isScalar(node)) node.comment = ` MISSING: ${missing[String(path.at(-1))]}`
}

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
  if (json) print(formatJsonLine({ type: 'file', name: basename(file), path: file }))
  else if (!quiet) say(`wrote ${file}`)
  const left = text.split('\n').flatMap((line, i) => {
    const [, what] = / # MISSING: (.*)$/.exec(line) ?? []
    return what === undefined ? [] : [`${file}:${i + 1}: fill in ${what}`]
  })
  for (const line of left) say(line)
  const config = file === join(host.cwd(), 'cluster.yaml') ? undefined : join(names[1] ?? '', 'cluster.yaml')
  const task = from === undefined ? 'bootstrap --dry-run' : `recover --from ${quote(from)}`
  if (!quiet) say(`${left.length > 0 ? 'then' : 'now'} run:\n    ${formatCommand(task, config)}`)
  return left.length > 0 ? ['stale'] : []
}

/** The cluster that an auth/ was made for; undefined without a CA. `usual`: values by its layout. */
function clusterIn(path: string, layout: Layout, usual: Raw) {
  const { files, without } = layout
  const auth = new AuthDir(path, files)
  refuseNewer(auth)
  const ca = tryCertificate(auth, caName)
  if (!ca) return undefined
  const issued = auth.names().flatMap((file): [string, Certificate][] => {
    const { kind, name = caName } = files.parse(file) ?? {}
    const found = kind === 'certificate' && name !== caName ? tryCertificate(auth, name) : undefined
    return found && isOfOwnCa(auth, found) ? [[name, found]] : []
  })
  const nodes = issued.filter(([name, { attributes }]) => attributes.includes(`CN=${nodeUser(name)}`))
  const textOf = (file: string) => auth.tryBytes(file)?.toString() ?? ''
  const [server] = nodes.flatMap(([name]) => readServer(textOf(kubeconfigFile(name))) ?? [])
  const encryption = readEncryptionConfig(Buffer.from(textOf(encryptionConfig.file)))
  const revoked = readRevoked(textOf(authorizationConfigFile))
  const sans = tryCertificate(auth, files.names.api)?.sans ?? []
  return {
    name: server?.cluster ?? 'kubernetes',
    subject: readSubject(ca),
    certificates: { key: keyKindOf(ca.publicKey) },
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

interface Found {
  readonly server: ReturnType<typeof readServer>
  readonly sans: readonly string[]
  readonly nodes: readonly (readonly [name: string, certificate: Certificate])[]
}

function readApi(layout: Layout, usual: Raw, { server, sans, nodes: found }: Found) {
  const { host = String(map(usual.api).host), port } = server ?? {}
  const domainIn = ([name, leaf]: (typeof found)[number]) =>
    leaf.sans.find((san) => san.startsWith(`${name}.`))?.slice(name.length + 1)
  const domain = found.map(domainIn).find(Boolean) ?? String(usual.domain)
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
    ...(ranges.length === 0 && { network: { serviceCIDR: '' } }),
    nodes,
  }
}
