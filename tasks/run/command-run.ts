/** What a command is given: a run; and its access to auth/: the lock, a walk, how its end is reported. */

import { accessSync, constants, existsSync, readFileSync, realpathSync } from 'node:fs'
import { availableParallelism, homedir } from 'node:os'
import { basename, delimiter, dirname, join, resolve } from 'node:path'
import pLimit from 'p-limit'
import {
  type Cluster,
  type ClusterNode,
  type PlacedProblem,
  parseCluster,
  sshConfigPath,
} from '../../lib/cluster/cluster.ts'
import { asFailure, doing, Failure, refusal, usageFailure } from '../../lib/failure.ts'
import { AuthDir, authorizationConfigFile, caName, markersIn, neededMarker } from '../../lib/files/auth-dir.ts'
import { type Lock, takeLock, waitUntilFree } from '../../lib/files/lock.ts'
import { followLinks } from '../../lib/files/plain-file.ts'
import { findRefusals, openWalk, type RunOptions } from '../../lib/graph/executor.ts'
import type { Ssh, SshRun } from '../../lib/node/ssh.ts'
import { joinFailures, type Phases, type Reporter, type Summary } from '../../lib/show/rows.ts'
import { count, excerpt, formatExplained, formatNames, printable, quote } from '../../lib/wording.ts'
import type { Path } from '../../lib/yaml.ts'
import { setAside } from '../auth/accepted.ts'
import { runPhases } from '../bootstrap.ts'
import type { ClusterGraph, ClusterRows, Run } from '../cluster-target.ts'
import { layoutOf, layoutRules, layouts } from '../layouts/tables.ts'
import {
  causesIn,
  causesOf,
  type ExitCause,
  exitStatus,
  findsClusterIn,
  formatCommand,
  type Host,
  ownVersion,
  pathOf,
} from './host.ts'
import type { Options } from './options.ts'

/** What a command is given that runs before there is a cluster.yaml. */
export interface WithoutCluster {
  readonly host: Host
  readonly options: Options
  readonly signal: AbortSignal
  readonly print: (line: string) => void
}

interface Call extends WithoutCluster {
  /** 128 + signal, if a signal has ended the run. */
  readonly endedStatus: () => number | undefined
  readonly reporterFor: (phases: Phases, isPlan: boolean) => Promise<Reporter>
  readonly progressFor: (phases: Phases) => Promise<Reporter>
  readonly printError: (text: string) => void
}

export interface CommandRun extends Run, Call, ClusterFile {
  readonly options: Options
  readonly file: string
}

/** Throws a usage Failure for mistakes in cluster.yaml, and a refusal for an auth/ of another layout. */
export function openRun(call: Call): CommandRun & { close(): Promise<void> } {
  const { host, options, signal, printError } = call
  const file = configOf(host, options.config)
  const isFound = file === join(host.cwd(), 'cluster.yaml') && findsClusterIn(host.cwd())
  const config = isFound ? undefined : options.config
  const { cluster, mistake } = readCluster(file)
  return {
    ...call,
    ...connector(cluster, { folder: dirname(file), env: host.env, signal }),
    cluster,
    mistake,
    file,
    auth: authBeside({ file, cluster }),
    now: host.now(),
    clock: host.now,
    waits: host.waits,
    kubeconfig: () => kubeconfigPath(cluster, dirname(file), host),
    command: (task) => formatCommand(task, config),
    note: printError,
    limits: {
      // One more than there are cores: while a certificate is signed, every core goes on making keys.
      auth: pLimit(availableParallelism() + 1),
      node: pLimit(cluster.ssh.concurrency),
      kubeconfig: pLimit(1),
    },
    builtInPlan: 'auth',
  }
}

/** Throws if it is a link to nothing, of a newer harderway, or of another layout. */
export function authBeside(run: Pick<CommandRun, 'file' | 'cluster'>): AuthDir {
  return openAuth(join(dirname(run.file), 'auth'), run)
}

export function openAuth(path: string, { file, cluster }: Pick<CommandRun, 'file' | 'cluster'>): AuthDir {
  const auth = new AuthDir(path, layoutOf(cluster).files)
  const target = followLinks(path)
  if (target !== path && !existsSync(target))
    throw new Failure(`${path} links to ${target}, which does not exist; is its disk mounted?`)
  refuseNewer(auth)
  const other = Object.values(layouts).find(({ files }) => files !== auth.files && auth.read(files.certificate(caName)))
  if (!other || auth.read(auth.files.certificate(caName))) return auth
  const its = other.files.certificate(caName)
  throw refusal(`${auth.path} has ${its} (layout ${other.name}), but cluster.yaml has layout ${cluster.layout}`, [
    `correct layout in ${file}`,
  ])
}

/** Throws a refusal for an auth/ that this version may misread. */
export function refuseNewer(auth: AuthDir): void {
  const own = ownVersion()
  for (const file of markersIn(auth)) {
    const needed = file.slice(neededMarker.length)
    if (needed.localeCompare(own, 'en', { numeric: true }) > 0)
      throw refusal(`${auth.path} needs a newer harderway (${file}); this is ${own}`, [
        `update to harderway ${needed} or later; the update alone changes nothing on nodes`,
      ])
  }
}

/** localKubeconfig.path, else of kubectl's list the first that exists, or the last. */
function kubeconfigPath({ localKubeconfig }: Cluster, folder: string, host: Host): string {
  const path = localKubeconfig ? localKubeconfig.path : undefined
  if (path !== undefined) return path.startsWith('~/') ? join(home(host), path.slice(2)) : resolve(folder, path)
  const list = kubectlFiles(host)
  return list.find((each) => existsSync(each)) ?? list.at(-1) ?? ''
}

/** Of kubectl, where nothing else is said: $KUBECONFIG, a list, else ~/.kube/config. */
export function kubectlFiles(host: Host): string[] {
  const list = (host.env.KUBECONFIG ?? '').split(delimiter).filter(Boolean)
  return list.length > 0 ? [...new Set(list.map((each) => pathOf(host, each)))] : [join(home(host), '.kube', 'config')]
}

const home = ({ env }: Host): string => env.HOME || homedir()

/** ssh.configFile is checked only if a node is contacted. Throws a usage Failure. */
export function checkConfigFile({ cluster: { ssh }, file, mistake }: CommandRun, graph: ClusterGraph): void {
  const path = sshConfigPath(dirname(file), ssh)
  if (path === undefined || ![...graph.values()].some(({ where }) => where === 'node')) return
  try {
    doing('read', path, () => accessSync(path, constants.R_OK))
  } catch (error) {
    throw mistake(['ssh', 'configFile'], `can't be used: ${asFailure(error).message}`)
  }
}

/** zx is loaded by the first connection: most commands make none. */
function connector(cluster: Cluster, place: SshRun) {
  let ssh: Promise<Ssh> | undefined
  const open = async () => new (await import('../../lib/node/ssh.ts')).Ssh(cluster, place)
  // A failure to open it has already been reported.
  const opened = async () => ssh?.catch(() => undefined)
  return {
    connect: async (node: ClusterNode) => {
      ssh ??= open()
      return (await ssh).node(node)
    },
    // Where all may be connected at once, a rotation's next walk needs it again.
    disconnect: async (node: ClusterNode) => {
      if (cluster.nodes.length > cluster.ssh.concurrency) await (await opened())?.disconnect(node)
    },
    close: async () => (await opened())?.close(),
  }
}

interface ClusterFile {
  readonly cluster: Cluster
  readonly mistake: (path: Path, message: string, remedy?: string) => Failure
}

function readCluster(file: string): ClusterFile {
  if (!existsSync(file)) throw usageFailure(`${file} does not exist`, `create one:\n    ${formatCommand('init DIR')}`)
  const bytes = doing('read', file, () => readFileSync(file), 'usage')
  const parsed = parseCluster(bytes, layoutRules)
  const format = (problem: PlacedProblem) => `${file}:${problem.line}:${problem.column}: ${formatExplained(problem)}`
  const wrong = (problems: readonly PlacedProblem[]) => {
    const mistakes = problems.map((problem) => ({ file, ...problem }))
    return new Failure(problems.map(format).join('\n'), { kind: 'usage', mistakes })
  }
  if ('problems' in parsed) throw wrong(parsed.problems)
  const { cluster, problemAt } = parsed
  return { cluster, mistake: (...problem) => wrong([problemAt(...problem)]) }
}

/** The cluster.yaml in use: npm runs scripts in the folder of the clone. Throws a usage Failure if there is none. */
function configOf(host: Host, typed?: string): string {
  if (typed !== undefined) return pathOf(host, typed)
  const file = join(host.cwd(), 'cluster.yaml')
  if (existsSync(file)) return file
  const remedy = `give one with --config FILE, or create one:\n    ${formatCommand('init DIR')}`
  throw usageFailure(`${file} does not exist`, remedy)
}

/** Reads, without writing, once no run holds auth/. `graph` has the nodes that may be contacted. */
export async function readAuth(
  run: CommandRun,
  graph: ClusterGraph,
  read: (run: CommandRun) => Promise<readonly ExitCause[]>,
  { isPlan = false } = {},
): Promise<readonly ExitCause[]> {
  const auth = authBeside(run)
  await refuseTracked(auth, run.host.env)
  checkConfigFile(run, graph)
  if (isPlan) await announce(run)
  const { host, options, printError, signal } = run
  const onWait = options.quiet ? () => {} : printError
  await waitUntilFree(lockFile(auth), { signal, onWait })
  return read({ ...run, auth: authBeside(run), now: host.now(), note: () => {} })
}

interface Writer {
  readonly graph?: ClusterGraph
  /** Without one, a failure ends the command, and a wait for another run is reported on stderr. */
  readonly reporter?: Pick<Reporter, 'note' | 'problem' | 'end'>
  readonly work: (run: CommandRun) => Promise<{ readonly rows?: ClusterRows; readonly causes: readonly ExitCause[] }>
  /** After the work, whether or not it failed. */
  readonly closing?: (rows: ClusterRows, run: CommandRun) => Promise<Partial<Summary>>
}

/** Works while no other run can change auth/. */
export async function writeAuth(
  given: CommandRun,
  { graph, reporter, work, closing }: Writer,
): Promise<readonly ExitCause[]> {
  await refuseTracked(given.auth, given.host.env)
  if (graph) checkConfigFile(given, graph)
  if (reporter) await announce(given)
  const started = performance.now()
  let run = { ...given, note: reporter?.note ?? given.note }
  const { auth, host, signal } = run
  let lock: Lock | undefined
  let worked: Awaited<ReturnType<Writer['work']>>
  let end: Partial<Summary> | undefined
  let causes: readonly ExitCause[]
  const status = () => exitStatus(causes, run.endedStatus())
  try {
    try {
      auth.make()
      lock = await takeLock(lockFile(auth), { signal, onWait: run.note })
      // After the wait: what another run has issued meanwhile is valid by now.
      run = { ...run, now: host.now() }
      auth.removeLeftovers()
      worked = await work(run)
    } catch (error) {
      if (!reporter) throw error
      const failure = asFailure(error)
      worked = { causes: [failure.kind] }
      if (!signal.aborted) reporter.problem(failure)
    }
    end = await closing?.(worked.rows ?? new Map(), run)
    for (const { kind, text } of end?.notices ?? []) if (kind === 'note') run.note(text)
    causes = [...worked.causes, ...causesIn(end?.notices)]
  } finally {
    lock?.release()
  }
  const seconds = (performance.now() - started) / 1000
  await reporter?.end({ rows: worked.rows ?? new Map(), seconds, exit: status(), ...end })
  return causes
}

function lockFile({ path }: AuthDir): string {
  return join(path, '.lock')
}

/** Printed first, so that a wrong folder is noticed before anything is done to its cluster. */
async function announce({ cluster, file, options, print }: CommandRun): Promise<void> {
  const { name, nodes } = cluster
  const size = count(nodes.length, 'node')
  if (options.json) {
    const { formatJsonLine } = await import('../../lib/show/lines.ts')
    print(formatJsonLine({ type: 'cluster', name, file, nodes: nodes.length }))
  } else if (!options.quiet) print(printable(`${name}: ${file}, ${size}`))
}

/** Throws a refusal if git tracks a file of auth/, or does not answer: who may commit one would choose the CA. */
async function refuseTracked({ path, files }: AuthDir, env: NodeJS.ProcessEnv): Promise<void> {
  if (!existsSync(path)) return
  const cwd = realpathSync(path)
  const tree = workTreeOf(cwd)
  if (tree === undefined) return
  const { spawnSync } = await import('node:child_process')
  // The repository may name programs: one that watches files, and hooks.
  const off = ['core.fsmonitor=false', 'core.hooksPath=/dev/null'].flatMap((each) => ['-c', each])
  const args = [`--git-dir=${join(tree, '.git')}`, `--work-tree=${tree}`, ...off, 'ls-files', '-z']
  const { status, stdout, stderr, error } = spawnSync('git', args, { cwd, env, encoding: 'utf8', timeout: 10_000 })
  const git = (words: string) => `git -C ${quote(cwd)} ${words}`
  if (status !== 0)
    throw new Failure(`can't tell whether git tracks files in ${path} (${error?.message ?? excerpt(stderr)})`, {
      kind: 'refused',
      remedy: `- make this work:\n      ${git('ls-files')}\n- or move the cluster's directory out of ${tree}`,
    })
  const tracked = stdout.split('\0').filter((name) => files.parse(basename(name)))
  if (tracked.length > 0)
    throw new Failure(`git tracks ${formatNames(tracked)} in ${path}; see docs/bad-day.md, "auth/ is in git"`, {
      kind: 'refused',
      remedy: [
        `- see who committed what, and remove what others did:\n      ${git('log --all --stat -- .')}`,
        `- untrack yours, and commit that:\n      ${git('rm -rfq --cached .')}`,
      ].join('\n'),
    })
}

/** The nearest folder, from this one on, that may be a work tree. */
function workTreeOf(folder: string): string | undefined {
  if (existsSync(join(folder, '.git'))) return folder
  return folder === dirname(folder) ? undefined : workTreeOf(dirname(folder))
}

export async function walk(
  graph: ClusterGraph,
  {
    phases,
    reporter,
    ...options
  }: Pick<RunOptions<Run>, 'run' | 'forced' | 'signal'> & { readonly phases: Phases; readonly reporter: Reporter },
): Promise<{ rows: ClusterRows; causes: readonly ExitCause[] }> {
  const { run } = options
  const { auth } = run
  const refusals = await refusalsBefore(graph, { ...options, run, tell: run.note })
  for (const [id, failure] of refusals) reporter.problem(failure, id)
  if (refusals.length > 0) return { rows: new Map(), causes: ['refused'] }
  makePrivate(auth, reporter.note)
  setAside({ ...run, note: reporter.note })
  const opened = openWalk(graph, { ...options, run, mode: 'run', emit: reporter.event })
  const rows = await runPhases(phases, opened, reporter.renderer)
  return { rows, causes: causesOf(rows.values()) }
}

/** What stops a run before it builds anything, and so a plan. */
export async function refusalsBefore(
  graph: ClusterGraph,
  { run, forced, tell }: Pick<RunOptions<Run>, 'run' | 'forced'> & { readonly tell: Run['note'] },
): Promise<[string | undefined, Failure][]> {
  const list = run.auth.read(authorizationConfigFile) && (await import('../revoked/revoked.ts')).findRefusedList(run)
  if (list) return [['revoked', list]]
  const refusals = await findRefusals(graph, run, forced)
  if (![...graph.values()].some(({ where }) => where === 'node')) return joinFailures(refusals)
  const { findOtherCluster } = await import('../deploy/guards.ts')
  const other = await findOtherCluster(run, graph, tell)
  return joinFailures(other ? [...refusals, other] : refusals)
}

export function makePrivate(auth: AuthDir, note: (text: string) => void): void {
  auth.keepOutOfGit()
  if (auth.tightenFolder() && auth.hasFiles()) note(`permissions of ${auth.path} were too open; its mode is now 0700`)
}
