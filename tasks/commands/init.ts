/** `init`: the folder of a new cluster, with a cluster.yaml for its nodes. */
import { accessSync, constants, lstatSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path'
import { findProblems, formatPath } from '../../lib/cluster/cluster.ts'
import type { Problem } from '../../lib/cluster/problem.ts'
import { usualLayout } from '../../lib/cluster/schema.ts'
import { isDnsName } from '../../lib/cluster/values.ts'
import { doing, isErrno, usageFailure } from '../../lib/failure.ts'
import { caName } from '../../lib/files/names.ts'
import { makeFolders } from '../../lib/files/plain-file.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatExplained, formatNames, groupAlike, printable, quote } from '../../lib/wording.ts'
import type { Layout } from '../layouts/layout.ts'
import { layouts } from '../layouts/table.ts'
import { formatCommand } from '../request/host.ts'
import type { Finding } from '../request/job.ts'
import type { Options } from '../request/options.ts'
import type { Call } from '../request/session.ts'
import { known } from '../tables/files.ts'
import { adopt, layoutsIn } from './init-adoption.ts'
import {
  type Draft,
  type DraftNode,
  findHosts,
  findMissing,
  formatCluster,
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
  const begun = beginDraft(requested, call.options)
  // Before a name from it is passed to ssh.
  checkDraft(begun)
  const draft = await findHosts(begun, requested, call)
  checkDraft(draft)
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

function report(draft: Draft, text: string, { file }: Requested, call: Call): Finding[] {
  const { options, print } = call
  const say = (message: string) => print(options.json ? formatJsonLine({ type: 'note', message }) : printable(message))
  const missing = findMissing(text)
  if (!options.quiet) {
    for (const { name, role, ips } of draft.nodes)
      say(`${name.padEnd(12)} ${role.padEnd(8)} ${ips.join(', ') || 'address unknown'}`)
    if (options.json) print(formatJsonLine({ type: 'file', name: basename(file), path: file }))
    else say(`${file} is written, for ${layouts[draft.layout].guide}; ssh logs in as ${formatLogins(draft)}`)
  }
  for (const { line, what } of missing) say(`${file}:${line}: missing: ${what}`)
  if (!options.quiet) say(`${missing.length > 0 ? 'fill that in, then' : 'now'}: ${nextCommand(file, call)}`)
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

function nextCommand(file: string, { options: { names, from }, cwd, clone }: Call): string {
  const [, folder = ''] = names
  const config = file === join(cwd(), 'cluster.yaml') ? undefined : join(folder, 'cluster.yaml')
  const task = from === undefined ? 'bootstrap --dry-run' : `recover --from ${quote(from)}`
  return formatCommand(task, { config, clone })
}

/** Throws a usage Failure. */
function beginDraft(requested: Requested, { from, name: given, user, virtualIP }: Options): Draft {
  const layout = chooseLayout(requested)
  const adopted = adopt(requested.auth, layout)
  if (!adopted && from !== undefined)
    throw usageFailure(`--from ${from}: it has no ${layout.files.certificate(caName)} that can be read`)
  const own = basename(requested.folder)
  const name = given ?? adopted?.name ?? (isDnsName(own) ? own : undefined)
  if (name === undefined) throw wrong(`the folder's name, ${own}, is not a DNS name: give --name`)
  const draft = adopted ?? newDraft(name, layout)
  const nodes = mergeNodes(draft.nodes, requested.nodes)
  if (nodes.length === 0) throw wrong('no node is named: give --control a,b,c --worker d,e')
  return {
    ...draft,
    name,
    api: { ...draft.api, virtualIP: virtualIP ?? draft.api.virtualIP },
    ssh: { ...draft.ssh, user: user ?? draft.ssh.user, configFile: configFile(requested) },
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

/** Throws a usage Failure with every problem, by its key in cluster.yaml, except values that are not known yet. */
function checkDraft(draft: Draft): void {
  const problems = findProblems(plainCluster(draft), known).filter((problem) => !isBlank(problem, draft))
  if (problems.length === 0) return
  const lines = problems.map((problem) => `${formatPath(problem.path)}: ${formatExplained(problem)}`)
  throw wrong(
    ['cluster.yaml would not be valid with these options and the files that were found:', ...new Set(lines)].join('\n'),
  )
}

function isBlank({ path: [section, key, ...more] }: Problem, { api, nodes }: Draft): boolean {
  if (more.length > 0) return false
  if (section === 'api' && key === 'virtualIP') return api.virtualIP === undefined
  return section === 'nodes' && typeof key === 'number' && nodes[key]?.ips.length === 0
}

/** Throws a usage Failure if anything has that name, even a symbolic link. */
function refuseExisting(file: string): void {
  if (doing('read', file, () => lstatSync(file, { throwIfNoEntry: false }), 'usage')) throw exists(file)
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
