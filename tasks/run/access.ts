/** How every command has its access to auth/: the lock, a walk over targets, how a failure and the end are reported. */
import { existsSync, realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { asFailure, Failure, tryTo } from '../../lib/failure.ts'
import { type AuthDir, authorizationConfigFile, metricsFile } from '../../lib/files/auth-dir.ts'
import { type Lock, takeLock, waitUntilFree } from '../../lib/files/lock.ts'
import { publicMode } from '../../lib/files/plain-file.ts'
import { findRefusals, openWalk, type RunOptions } from '../../lib/graph/executor.ts'
import { joinFailures, type Phases, type Reporter, type Summary } from '../../lib/show/rows.ts'
import { count, excerpt, formatNames, printable, quote } from '../../lib/wording.ts'
import { setAside } from '../auth/accepted.ts'
import { runPhases } from '../bootstrap.ts'
import type { ClusterGraph, ClusterRows, Run } from '../target.ts'
import { authBeside, type CommandRun, checkConfigFile } from './command-run.ts'
import { causesIn, causesOf, type ExitCause, exitStatus } from './host.ts'

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
  /** Its end counts as that of the last run, in the metrics. */
  readonly isWhole?: boolean
  readonly work: (run: CommandRun) => Promise<{ readonly rows?: ClusterRows; readonly causes: readonly ExitCause[] }>
  /** After the work, whether or not it failed. */
  readonly closing?: (rows: ClusterRows, run: CommandRun) => Promise<Partial<Summary>>
}

/** Works while no other run can change auth/. */
export async function writeAuth(
  given: CommandRun,
  { graph, reporter, isWhole = false, work, closing }: Writer,
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
    if (isWhole && lock) await recordRun(run, status())
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

/** In the metrics, if auth/ has them. Nothing is decided by it, so a run does not fail where it can't be written. */
async function recordRun({ auth, cluster, host }: CommandRun, exit: number): Promise<void> {
  const metrics = tryTo(() => auth.tryBytes(metricsFile))
  if (!metrics) return
  const { replaceLastRun } = await import('../commands/report-metrics.ts')
  const text = replaceLastRun(String(metrics), { cluster: cluster.name, ended: host.now(), exit })
  tryTo(() => auth.write(metricsFile, text, publicMode))
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
  closeFolder(auth, reporter.note)
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

export function closeFolder(auth: AuthDir, note: (text: string) => void): void {
  auth.keepOutOfGit()
  if (auth.tightenFolder() && auth.hasFiles()) note(`permissions of ${auth.path} were too open; its mode is now 0700`)
}
