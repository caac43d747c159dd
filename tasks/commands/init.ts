/** `init`: the folder of a new cluster, with a cluster.yaml for its nodes. */
import {
  accessSync,
  closeSync,
  constants,
  lstatSync,
  openSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { findPackageJSON } from 'node:module'
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path'
import { findProblems, formatPath } from '../../lib/cluster/cluster.ts'
import type { Problem } from '../../lib/cluster/problem.ts'
import { usualLayout } from '../../lib/cluster/schema.ts'
import { doing, isErrno, usageFailure } from '../../lib/failure.ts'
import { caName } from '../../lib/files/names.ts'
import { makeFolders } from '../../lib/files/plain-file.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatExplained, formatNames, groupAlike, printable, quote } from '../../lib/wording.ts'
import type { Layout } from '../layouts/layout.ts'
import { layouts } from '../layouts/table.ts'
import { formatCommand } from '../request/host.ts'
import type { Finding } from '../request/job.ts'
import type { Call } from '../request/session.ts'
import { known } from '../tables/files.ts'
import { adopt, layoutsIn } from './init-adoption.ts'
import {
  type Draft,
  type DraftNode,
  findHosts,
  findMissing,
  formatCluster,
  formatWord,
  newDraft,
  parseRequested,
  plainCluster,
  type Requested,
  wrong,
} from './init-draft.ts'

/** Throws a Failure before anything is written. */
export async function init(call: Call): Promise<readonly Finding[]> {
  const requested = parseRequested(call)
  refuseExisting(requested.file)
  const begun = beginDraft(requested)
  // Before a name from it is passed to ssh.
  checkDraft(begun, requested)
  const draft = await findHosts(begun, requested, call)
  checkDraft(draft, requested)
  call.signal.throwIfAborted()
  return report(draft, write(draft, requested), requested, call)
}

/** cluster.yaml is written last: until it exists, the same command may be run again. */
function write(draft: Draft, { folder, file }: Requested): string {
  doing('make', folder, () => makeFolders(folder), 'usage')
  addFile(join(folder, '.gitignore'), 'auth/\n')
  const text = formatCluster(draft, schemaPath(folder))
  if (!addFile(file, text)) throw exists(file)
  return text
}

function report(draft: Draft, text: string, requested: Requested, { options, print, clone, cwd }: Call): Finding[] {
  const say = (message: string) => print(options.json ? formatJsonLine({ type: 'note', message }) : printable(message))
  const missing = findMissing(text)
  if (!options.quiet) {
    for (const { name, role, ips } of draft.nodes)
      say(`${name.padEnd(12)} ${role.padEnd(8)} ${ips.join(', ') || 'address unknown'}`)
    if (options.json) print(formatJsonLine({ type: 'file', name: basename(requested.file), path: requested.file }))
    else say(`${requested.file} is written, for ${layouts[draft.layout].guide}; ssh logs in as ${formatLogins(draft)}`)
  }
  for (const { line, what } of missing) say(`${requested.file}:${line}: missing: ${what}`)
  if (!options.quiet)
    say(`${missing.length > 0 ? 'fill that in, then' : 'now'}: ${nextCommand(requested, cwd(), clone)}`)
  return missing.length > 0 ? ['stale'] : []
}

/** "admin, as root on worker0" */
function formatLogins({ ssh, nodes }: Draft): string {
  const others = groupAlike(
    nodes.filter(({ user }) => user !== undefined),
    ({ user }) => user,
  )
  return [
    ssh.user,
    ...others.map((group) => `as ${group[0].user} on ${formatNames(group.map(({ name }) => name))}`),
  ].join(', ')
}

function nextCommand({ file, typedFile, from }: Requested, cwd: string, clone: string | undefined): string {
  const config = file === join(cwd, 'cluster.yaml') ? undefined : typedFile
  const task = from === undefined ? 'bootstrap --dry-run' : `recover --from ${quote(from)}`
  return formatCommand(task, { config, clone })
}

/** Throws a usage Failure. */
function beginDraft(requested: Requested): Draft {
  const layout = chooseLayout(requested)
  const adopted = adopt(requested.auth, layout)
  if (!adopted && requested.from !== undefined)
    throw usageFailure(`--from ${requested.from}: it has no ${layout.files.certificate(caName)} that can be read`)
  const name = requested.name ?? adopted?.name ?? requested.folderName
  if (name === undefined)
    throw wrong(`the folder's name, ${basename(requested.folder)}, is not a DNS name: give --name`)
  const draft = adopted ?? newDraft(name, layout)
  const nodes = mergeNodes(draft.nodes, requested.nodes)
  if (nodes.length === 0) throw wrong('no node is named: give --control a,b,c --worker d,e')
  return {
    ...draft,
    name,
    api: { ...draft.api, virtualIP: requested.virtualIP ?? draft.api.virtualIP },
    ssh: { ...draft.ssh, user: requested.user ?? draft.ssh.user, configFile: configFile(requested) },
    nodes,
  }
}

/** Throws a usage Failure if the files do not tell. */
function chooseLayout({ auth, layout }: Requested): Layout {
  if (layout) return layouts[layout]
  const [found, ...more] = layoutsIn(auth)
  if (found && more.length > 0)
    throw wrong(`${auth} has a CA of ${formatNames([found, ...more].map(({ name }) => name))}: give --layout`)
  return found ?? layouts[usualLayout]
}

/** No certificate has a node's role: the command line decides. A gateway has no certificate. */
function mergeNodes(known: readonly DraftNode[], requested: readonly DraftNode[]): DraftNode[] {
  const named = (name: string) => requested.find((node) => node.name === name)
  return [
    ...known.map((node) => ({ ...node, host: named(node.name)?.host, role: named(node.name)?.role ?? node.role })),
    ...requested.filter(({ name }) => known.every((node) => node.name !== name)),
  ]
}

/** Relative if it is inside the folder, so that both can be moved together. */
function configFile({ folder, sshConfig }: Requested): string | undefined {
  if (sshConfig === undefined) return undefined
  doing('read', sshConfig, () => accessSync(sshConfig, constants.R_OK), 'usage')
  if (!statSync(sshConfig).isFile()) throw usageFailure(`--ssh-config ${sshConfig} is not a plain file`)
  const path = relative(folder, sshConfig)
  return path.startsWith('..') || isAbsolute(path) ? sshConfig : `./${path}`
}

/** Throws a usage Failure with every problem except values that are not known yet. */
function checkDraft(draft: Draft, requested: Requested): void {
  const problems = findProblems(plainCluster(draft), known).filter((problem) => !isBlank(problem, draft))
  if (problems.length === 0) return
  const lines = problems.map(
    (problem) => `${sourceOf(problem, draft, requested)}: ${formatExplained(problem)}${hintOf(problem, draft)}`,
  )
  throw wrong([...new Set(lines)].join('\n'))
}

/** A hint for a name that Kubernetes refuses but ssh may know: a full name, an address, an alias with a dot. */
function hintOf({ path: [section, key, part] }: Problem, { nodes }: Draft): string {
  const { name = '', host } = (section === 'nodes' && nodes[Number(key)]) || {}
  const isHost = part === 'name' && host === undefined && /[.:_]/.test(name) && /^[\w.:-]+$/.test(name)
  return isHost ? `; if ssh knows it by that, write NAME=${name}` : ''
}

function isBlank({ path: [section, key, ...more] }: Problem, { api, nodes }: Draft): boolean {
  if (more.length > 0) return false
  if (section === 'api' && key === 'virtualIP') return api.virtualIP === undefined
  return section === 'nodes' && typeof key === 'number' && nodes[key]?.ips.length === 0
}

function sourceOf({ path }: Problem, draft: Draft, requested: Requested): string {
  const [section, key, part] = path
  const node = section === 'nodes' && typeof key === 'number' ? draft.nodes[key] : undefined
  const typed = node && requested.nodes.find(({ name, role }) => name === node.name && role === node.role)
  if (typed) return `--${typed.role} ${formatWord(typed)}`
  switch ([section, part === undefined ? key : ''].filter((word) => word !== undefined).join('.')) {
    case 'nodes':
      return '--control'
    case 'name':
      return `--name ${draft.name}`
    case 'api.virtualIP':
      return `--virtual-ip ${draft.api.virtualIP}`
    case 'ssh.user':
      return `--user ${draft.ssh.user}`
    case 'ssh.configFile':
      return `--ssh-config ${draft.ssh.configFile}`
    default:
      return `${requested.auth}: ${formatPath(path)}`
  }
}

/** Throws a usage Failure if anything has that name, even a symbolic link. */
function refuseExisting(file: string): void {
  if (doing('read', file, () => lstatSync(file, { throwIfNoEntry: false }), 'usage')) throw exists(file)
}

/** Returns whether it is new: nothing that is there is replaced. */
function addFile(file: string, text: string): boolean {
  return doing('write', file, () => {
    const opened = openNew(file)
    if (opened === undefined) return false
    try {
      writeFileSync(opened, text)
    } catch (error) {
      // As on a full disk, where a part may be written.
      rmSync(file)
      throw error
    } finally {
      closeSync(opened)
    }
    return true
  })
}

function openNew(file: string): number | undefined {
  try {
    return openSync(file, 'wx')
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return undefined
    throw error
  }
}

function exists(file: string) {
  return usageFailure(
    `${file} exists already: nothing was written`,
    `to start over, move it away: mv ${quote(file)} ${quote(`${file}.old`)}`,
  )
}

/** The path from the existing folder to the schema of the running harderway. */
function schemaPath(folder: string): string {
  const path = relative(
    realpathSync(folder),
    join(realpathSync(dirname(String(findPackageJSON(import.meta.url)))), 'cluster.schema.json'),
  )
  return path.startsWith(`..${sep}`) ? path : `./${path}`
}
