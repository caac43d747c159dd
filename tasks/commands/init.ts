/** `init`: the folder of a new cluster, with a cluster.yaml for its nodes. */

import { lookup } from 'node:dns/promises'
import { lstatSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { basename, isAbsolute, join, relative, sep } from 'node:path'
import pLimit from 'p-limit'
import { addressBytes, canonicalAddress, specialUse } from '../../lib/address.ts'
import { formatPath, validate } from '../../lib/cluster/cluster.ts'
import { isDnsName, type Problem } from '../../lib/cluster/problem.ts'
import { layoutNames, usualLayout } from '../../lib/cluster/schema.ts'
import { doing, isErrno, tryTo, usageFailure } from '../../lib/failure.ts'
import { caName } from '../../lib/files/auth-dir.ts'
import { makeFolders } from '../../lib/files/plain-file.ts'
import { readKubeconfigFile } from '../../lib/kubernetes/kubeconfig-merge.ts'
import { printConfig } from '../../lib/node/route.ts'
import { type ConfigUse, first, parseSshConfig } from '../../lib/node/ssh-config.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatExplained, formatNames, pasteable, printable, quote, suggest } from '../../lib/wording.ts'
import type { Layout } from '../layouts/layout.ts'
import { layoutRules, layouts } from '../layouts/tables.ts'
import { type CommandRun, kubectlFiles, type WithoutCluster } from '../run/command-run.ts'
import type { ExitCause } from '../run/exit-status.ts'
import { formatCommand, type Host, packageFile, pathOf } from '../run/host.ts'
import { type Options, usage } from '../run/options.ts'
import {
  adopt,
  type ClusterDraft,
  type DraftNode,
  formatCluster,
  layoutsIn,
  newDraft,
  plainCluster,
} from './init-draft.ts'

/** Throws a Failure before anything is written. */
export async function init(given: WithoutCluster): Promise<readonly ExitCause[]> {
  const requested = parseRequested(given)
  // Even a symbolic link.
  if (doing('read', requested.file, () => lstatSync(requested.file, { throwIfNoEntry: false }), 'usage'))
    throw exists(requested.file)
  const begun = beginDraft(requested, given)
  // Before a name from it is passed to ssh.
  checkDraft(begun)
  const draft = await findHosts(begun, requested.sshConfig, given)
  checkDraft(draft)
  given.signal.throwIfAborted()
  return report(draft, write(draft, requested), requested, given)
}

/** With init's own help. */
function wrong(message: string) {
  return usage(message, 'init')
}

type Requested = ReturnType<typeof parseRequested>

/** Absolute paths: the folder and its cluster.yaml, an auth/ that may be there. Throws a usage Failure. */
function parseRequested({ host, options }: WithoutCluster) {
  const { names, config, from, sshConfig } = options
  const [, typed, ...more] = names
  if (!typed || more.length > 0)
    throw wrong('init needs one directory for the new cluster.yaml; nodes are named by --control a,b,c --worker d,e')
  if (config !== undefined) throw wrong("--config can't be used with init, which creates DIR/cluster.yaml")
  const folder = pathOf(host, typed)
  const roles = ['control', 'worker', 'gateway'] as const
  return {
    typed,
    folder,
    file: join(folder, 'cluster.yaml'),
    auth: from === undefined ? join(folder, 'auth') : pathOf(host, from),
    nodes: [
      ...roles.flatMap((role) => options[role].flatMap((list) => parseNodes(list, role))),
      ...options.nodes.flatMap((list) => parseNodes(list)),
    ],
    sshConfig: sshConfig === undefined ? undefined : pathOf(host, sshConfig),
  }
}

/** `control0,control1`; `NAME=HOST` for a node that ssh knows by another name than Kubernetes. */
function parseNodes(list: string, role?: DraftNode['role']): DraftNode[] {
  return list.split(',').map((word) => {
    const [, name = '', host] = /^([^=]*)(?:=(.*))?$/s.exec(word) ?? []
    if (name === '' || host === '') throw wrong(`--${role ?? 'node'} ${list}: a name is empty`)
    return { name, role, host: host === name ? undefined : host, ips: [], sans: [] }
  })
}

/** Throws a usage Failure. */
function beginDraft(requested: Requested, { host, options }: WithoutCluster): ClusterDraft {
  const { from, name: given, user, virtualIP } = options
  const layout = chooseLayout(requested.auth, options)
  const adopted = adopt(requested.auth, layout)
  if (!adopted && from !== undefined)
    throw usageFailure(
      `--from ${from} has no readable ${layout.files.certificate(caName)}`,
      layoutsIn(join(requested.auth, 'auth')).length > 0 ? `did you mean ${join(from, 'auth')}?` : undefined,
    )
  const own = basename(requested.folder)
  const name = given ?? adopted?.name ?? (isDnsName(own) ? own : undefined)
  if (name === undefined) throw wrong(`directory name ${own} is not a DNS name; add --name NAME`)
  const draft = adopted ?? newDraft(name, layout)
  // kubectl has one user of a name, and each cluster needs its own. An entry that is there keeps the one that it has.
  const hasContext = (path: string) => tryTo(() => readKubeconfigFile(path))?.content.contexts.has(name)
  const isNew = !kubectlFiles(host).some(hasContext)
  const nodes = mergeNodes(draft.nodes, requested.nodes)
  if (nodes.length === 0)
    throw wrong('no nodes given; add --control a,b,c --worker d,e, or --from AUTH of an existing cluster')
  if (nodes.every(({ role }) => role === 'worker' || role === 'gateway'))
    throw wrong('--control is missing: a cluster has a control node')
  return {
    ...draft,
    name,
    api: { ...draft.api, virtualIP: virtualIP ?? draft.api.virtualIP },
    ssh: { ...draft.ssh, user: user ?? draft.ssh.user, configFile: configFile(requested) },
    ...(isNew && { localKubeconfig: { user: `admin-${name}` } }),
    nodes,
  }
}

/** Throws a usage Failure if neither the option nor the files tell. */
function chooseLayout(auth: string, { layout: given }: Options): Layout {
  const named = layoutNames.find((name) => name === given)
  if (named) return layouts[named]
  if (given !== undefined) throw wrong(`--layout ${given}: ${suggest(given, layoutNames)}`)
  const [found, ...more] = layoutsIn(auth)
  if (found && more.length > 0)
    throw wrong(
      `${auth} has CAs of the layouts ${formatNames([found, ...more].map(({ name }) => name))}; add --layout NAME`,
    )
  return found ?? layouts[usualLayout]
}

/** No certificate has a node's role: the command line decides. A gateway has no certificate. */
function mergeNodes(known: readonly DraftNode[], requested: readonly DraftNode[]): DraftNode[] {
  const named = new Map(requested.map((node) => [node.name, node]))
  return [
    ...known.map((node) => ({
      ...node,
      host: named.get(node.name)?.host,
      role: named.get(node.name)?.role ?? node.role,
    })),
    ...requested.filter(({ name }) => known.every((node) => node.name !== name)),
  ]
}

/** Relative if it is inside the folder, so that both can be moved together. */
function configFile({ folder, sshConfig }: Requested): string | undefined {
  if (sshConfig === undefined) return undefined
  if (!doing('read', sshConfig, () => statSync(sshConfig), 'usage').isFile())
    throw usageFailure(`--ssh-config ${sshConfig} is not a regular file`)
  const path = relative(folder, sshConfig)
  return path.startsWith('..') || isAbsolute(path) ? sshConfig : `./${path}`
}

/** Throws a usage Failure with every problem, by its key in cluster.yaml, except values that are not known yet. */
function checkDraft(draft: ClusterDraft): void {
  const { network } = draft
  // No address is in a range that is not known yet.
  const plain = { ...plainCluster(draft), network: { ...network, serviceCIDR: network.serviceCIDR ?? [] } }
  const found = validate(plain, layoutRules)
  const problems = found.problems.filter((problem) => !isBlank(problem, draft))
  if (problems.length === 0) return
  const lines = problems.map((problem) => `${formatPath(problem.path)}: ${formatExplained(problem)}`)
  throw wrong(['cluster.yaml would be invalid with these options and files:', ...lines].join('\n'))
}

function isBlank({ path: [section, key, ...more] }: Problem, { api, network, nodes }: ClusterDraft): boolean {
  const node = section === 'nodes' && typeof key === 'number' ? nodes[key] : undefined
  if (node && more.length === 1 && more[0] === 'role') return node.role === undefined
  if (more.length > 0) return false
  if (section === 'network' && key === 'serviceCIDR') return network.serviceCIDR === undefined
  if (section === 'api' && key === 'virtualIP') return api.virtualIP === undefined
  if (node) return node.ips.length === 0
  // Which is a control node has to be filled in, too.
  return section === 'nodes' && nodes.some(({ role }) => role === undefined)
}

/** cluster.yaml is written last: until it exists, the same command may be run again. */
function write(draft: ClusterDraft, { folder, file }: Requested): string {
  doing('make', folder, () => makeFolders(folder), 'usage')
  addFile(join(folder, '.gitignore'), 'auth/\n')
  const text = formatCluster(draft, schemaPath(folder))
  if (!addFile(file, text)) throw exists(file)
  return text
}

function report(
  draft: ClusterDraft,
  text: string,
  { file }: Requested,
  { host, options, print }: WithoutCluster,
): ExitCause[] {
  const say = (message: string) => print(options.json ? formatJsonLine({ type: 'note', message }) : printable(message))
  const missing = text.split('\n').flatMap((line, i) => {
    const [, what] = / # MISSING: (.*)$/.exec(line) ?? []
    return what === undefined ? [] : [`${file}:${i + 1}: fill in ${what}`]
  })
  if (!options.quiet) {
    for (const { name, role, ips } of draft.nodes)
      say(`${name.padEnd(12)} ${(role ?? 'role unknown').padEnd(8)} ${ips.join(', ') || 'address unknown'}`)
    if (options.json) print(formatJsonLine({ type: 'file', name: basename(file), path: file }))
    else say(`wrote ${file} for ${layouts[draft.layout].guide} (ssh user: ${draft.ssh.user ?? 'unknown'})`)
  }
  for (const line of missing) say(line)
  if (!options.quiet) say(`${missing.length > 0 ? 'then' : 'now'} run ${nextCommand(file, options, host)}`)
  return missing.length > 0 ? ['stale'] : []
}

function nextCommand(file: string, { names, from }: Options, { cwd }: Host): string {
  const [, folder = ''] = names
  const config = file === join(cwd(), 'cluster.yaml') ? undefined : join(folder, 'cluster.yaml')
  const task = from === undefined ? 'bootstrap --dry-run' : `recover --from ${quote(from)}`
  return formatCommand(task, config)
}

/** Returns whether it is new: nothing that is there is replaced. */
function addFile(file: string, text: string): boolean {
  return doing('write', file, () => {
    try {
      writeFileSync(file, text, { flag: 'wx' })
      return true
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return false
      // As on a full disk, where a part may be written.
      rmSync(file, { force: true })
      throw error
    }
  })
}

function exists(file: string) {
  let aside = `${file}.old`
  for (let i = 2; lstatSync(aside, { throwIfNoEntry: false }); i++) aside = `${file}.old${i}`
  return usageFailure(
    `nothing was written: ${file} already exists`,
    `to start over, move it aside: ${pasteable(`mv ${quote(file)} ${quote(aside)}`)}`,
  )
}

/** The path from the existing folder to the schema of the running harderway. */
function schemaPath(folder: string): string {
  const path = relative(realpathSync(folder), realpathSync(packageFile('docs/cluster.schema.json')))
  return path.startsWith(`..${sep}`) ? path : `./${path}`
}

/** Processes at once. */
const concurrency = 16

/** Fills in unknown values that can be found. Throws a usage Failure if ssh can't read its configuration. */
async function findHosts(
  draft: ClusterDraft,
  configFile: string | undefined,
  given: Pick<CommandRun, 'host' | 'options' | 'signal'>,
): Promise<ClusterDraft> {
  const { user } = given.options
  const limit = pLimit(concurrency)
  const use = { folder: given.host.cwd(), ssh: { configFile } }
  const at = { env: given.host.env, signal: given.signal }
  const found = await Promise.all(draft.nodes.map(({ name, host = name }) => limit(() => findHost(host, use, at))))
  // Where they differ, cluster.yaml needs one, and a node whose user is another its own.
  const [login = draft.ssh.user, ...others] = new Set(found.flatMap((host) => user ?? host.user ?? []))
  const nodes = draft.nodes.map((node, i) => ({
    ...node,
    ips: node.ips.length > 0 ? node.ips : (found[i]?.addresses ?? []),
  }))
  // A single control node needs no load balancer: without one, the API has the node's address. An address that a
  // certificate has besides may be that of one.
  const [entry, ...more] = nodes.filter(({ role }) => role !== 'worker')
  const isAlone =
    more.length === 0 &&
    !layouts[draft.layout].without.has('api.virtualIP') &&
    !draft.api.extraSANs.some((san) => addressBytes(san))
  const { virtualIP = isAlone ? entry?.ips[0] : undefined } = draft.api
  return {
    ...draft,
    api: { ...draft.api, virtualIP },
    ssh: { ...draft.ssh, user: others.length > 0 ? undefined : login },
    nodes,
  }
}

/**
 * The name has been checked: ssh can't take it for an option. `user` is undefined if ssh has no setting for this host.
 */
async function findHost(host: string, use: ConfigUse, at: Parameters<typeof printConfig>[2]) {
  const { exitCode, stdout, stderr } = await printConfig(use, ['--', host], at)
  if (exitCode !== 0)
    throw usageFailure(
      `ssh can't read its configuration for ${host} (${stderr.trim().split(/\r?\n/)[0]?.slice(0, 300)})`,
    )
  const config = parseSshConfig(stdout)
  const hostname = first(config, 'hostname') ?? host
  const user = first(config, 'user')
  // As ssh prints a host without a HostName.
  const isItself = hostname === canonicalAddress(host.toLowerCase())
  const addresses = addressBytes(hostname) ? [canonicalAddress(hostname)] : await resolve(hostname)
  return {
    // A host given as an address is that address.
    addresses:
      isItself && addressBytes(host) ? addresses : addresses.filter((address) => specialUse(address) === undefined),
    user: isItself && user === userInfo().username ? undefined : user,
  }
}

/** Uses /etc/hosts and DNS, as every program here does: getaddrinfo(3). */
async function resolve(hostname: string): Promise<string[]> {
  try {
    const found = await lookup(hostname, { all: true })
    return [...new Set(found.map(({ address }) => canonicalAddress(address)))]
  } catch (error) {
    if (isErrno(error)) return []
    throw error
  }
}
