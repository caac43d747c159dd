/** One run: a walk over the graph, and what it reports at its end. */
import { createInterface } from 'node:readline'
import { refusal } from '../../lib/failure.ts'
import { kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import {
  byPhase,
  closure,
  clusterGraph,
  type Force,
  type Graph,
  isDone,
  isLeftOut,
  isLost,
  nameInPhase,
  type Row,
  type Rows,
  type Run,
} from '../../lib/graph/target.ts'
import { asFindings, type Finding } from '../../lib/reason.ts'
import { adviseAfter } from '../../lib/show/rows.ts'
import { fit, formatNames, joinClauses, printable } from '../../lib/wording.ts'
import { phases } from '../phases/bootstrap.ts'
import { writeAuth } from '../request/access.ts'
import type { CommandRun } from '../request/command-run.ts'
import type { ExitCause } from '../request/exit-status.ts'
import { formerFiles } from '../request/former-files.ts'
import { columnsOf } from '../request/host.ts'
import {
  adviseOnRotations,
  findBeside,
  hasNewKubeconfig,
  isCaNew,
  isNewIdentity,
  nextToExpire,
} from '../request/notices.ts'
import { usage } from '../request/options.ts'
import { namesToForce, select } from '../request/selection.ts'
import { walk } from '../request/walk.ts'

/** Throws a usage Failure before anything is printed or changed. */
export async function run(given: CommandRun): Promise<readonly ExitCause[]> {
  const { auth, command, now, options, signal } = given
  if (options.offline) throw usage('--offline can only be used with --dry-run')
  if (options.format !== undefined) throw usage('--format can only be used with --dry-run')
  const graph = await clusterGraph(phases, given.cluster)
  const { ids, forced } = select(given, graph)
  const wanted = closure(graph, ids)
  const replaced = [...forced].flatMap(([id, force]) => (force === 'replace' ? id : []))
  const loss = joinClauses(
    replaced.length > 0 && `replacing ${formatNames(replaced)} breaks everything that uses the current one`,
    options.replaceIdentity && '--replace-identity overwrites any other cluster identity',
  )
  const restAfter = (rows: Rows) => formatRest(given, graph, { forced, rows })
  if (loss) await confirm(given, loss, restAfter(new Map()))
  const wasWide = auth.isWide()
  const moves = formerFiles(given).length > 0
  const shown = byPhase(phases, wanted)
  const reporter = await given.reporterFor(shown, false)
  return writeAuth(given, {
    graph: wanted,
    reporter,
    isWhole: wanted.size === graph.size,
    work: async (run) => {
      const isPlanned = options.expectPlan !== undefined
      const planned = isPlanned ? await (await import('./plan.ts')).readPlanned(run, wanted, forced) : wanted
      const walked = await walk(planned, { phases: shown, run, signal, forced, reporter })
      if (walked.rows.size === 0) reporter.note('no file was created or changed')
      return walked
    },
    closing: async (rows) => ({
      findings: await findAfter({ ...given, note: reporter.note }, { all: graph, wasWide, moves, rows }, restAfter),
      nextToExpire: nextToExpire(given, wanted.values()),
      now,
      goOn: signal.aborted ? command(restAfter(rows)) : undefined,
    }),
  })
}

interface RunScope {
  readonly all: Graph
  /** Of the targets of this run. */
  readonly rows: Rows
  /** It moved files of who left to auth/backup. */
  readonly moves: boolean
  /** Others could read auth/ before it. */
  readonly wasWide: boolean
}

/** After an interruption only what must not wait for the next run. */
async function findAfter(given: CommandRun, scope: RunScope, restAfter: (rows: Rows) => string): Promise<Finding[]> {
  const { command, options, signal } = given
  const { rows } = scope
  const all = [...rows.values()]
  const reachesNodes = all.some(({ target }) => target.where === 'node')
  const isIdle = !reachesNodes && !scope.moves && all.every(({ kind }) => kind === 'fresh')
  const isRestNamed = (options.force || options.renew) && all.some(isLost) && !signal.aborted
  const afterwards = (texts: readonly (string | false | undefined)[]) => asFindings(texts, { owner: 'afterwards' })
  return [
    ...asFindings(noteOnNewIdentity(rows)),
    ...adviseAfter(rows),
    ...afterwards(signal.aborted ? [] : [...adviseUsers(given, rows), ...adviseOthers(given, scope)]),
    ...(await findBeside(given, rows, { isIdle })),
    ...afterwards([
      ...(scope.wasWide && !signal.aborted ? adviseExposed(given, rows) : []),
      isRestNamed && `run the rest: ${command(restAfter(rows))}`,
    ]),
    ...(await adviseOnRotations(given)),
  ]
}

/** Users hold copies of their kubeconfigs. */
function adviseUsers({ cluster }: Run, rows: Rows): string[] {
  const names = cluster.users.flatMap(({ name }) => (hasNewKubeconfig(rows, name) ? [name] : []))
  if (names.length === 0) return []
  return [`give ${names.length === 1 ? names[0] : 'each user'} the new ${formatNames(names.map(kubeconfigFile))}`]
}

/** After a phase that was run alone: other targets still hold what it replaced, or take further what it copied. */
function adviseOthers({ command }: Run, { all, rows }: RunScope): string[] {
  const isUsed = (isMade: (row: Row) => boolean) =>
    isLeftOut(all, rows, (id) => {
      const row = rows.get(id)
      return row?.kind === 'built' && isMade(row)
    })
  // A replaced identity has a warning of its own, which says what comes next.
  const isRemade = ({ change }: Row) =>
    change?.kind === 'made' && !change.isNew && !change.isReplaced && !change.isRestored
  if (isUsed(isRemade)) return [`run ${command('bootstrap')}; until then kubeconfigs or nodes have the old files`]
  const isCopied = ({ change }: Row) => change?.kind === 'deployed' && change.files.length > 0
  return isUsed(isCopied) ? [`run ${command('bootstrap')}; until then units do not have the new files`] : []
}

/** A deploy refuses nodes that hold another one. */
function noteOnNewIdentity(rows: Rows): string[] {
  if (!isCaNew(rows)) return []
  const made = [...rows.values()].filter(isNewIdentity).map(({ target }) => nameInPhase(target))
  return [`made a new cluster identity (${formatNames(made)})`]
}

/** The modes are repaired by now, but whoever has read a key still has it. */
function adviseExposed({ auth }: Run, rows: Rows): string[] {
  const files = [...rows.values()].flatMap(({ kind, reasons }) =>
    (kind === 'built' ? reasons : []).flatMap((reason) =>
      reason.kind === 'wrong-mode' && reason.wanted === secretMode && (reason.was & 0o044) !== 0 ? [reason.path] : [],
    ),
  )
  if (files.length === 0) return []
  return [
    `other users of this machine could read ${formatNames(files)} in ${auth.path}; if any logs in here, replace these files (docs/bad-day.md, "A key that may have leaked")`,
  ]
}

/** The same command for what is left: nothing is replaced or renewed twice. */
function formatRest(
  given: CommandRun,
  graph: Graph,
  { forced, rows }: { readonly forced: ReadonlyMap<string, Force>; readonly rows: Rows },
): string {
  const { names, nodes, prune, renew, replaceIdentity, yes } = given.options
  const left = new Map([...forced].filter(([id]) => !isDone(rows.get(id))))
  const own = renew ? [] : namesToForce(given, graph, left)
  return [
    ...(own.length > 0 ? own : names),
    ...nodes.map((node) => `--node ${node}`),
    ...(own.length > 0 ? ['--force'] : []),
    ...(renew && left.size > 0 ? ['--renew'] : []),
    ...(prune ? ['--prune'] : []),
    ...(replaceIdentity ? ['--replace-identity'] : []),
    ...(yes && (replaceIdentity || [...left.values()].includes('replace')) ? ['--yes'] : []),
  ].join(' ')
}

/**
 * `loss` is what it does, `again` the task. Throws a refusal unless the cluster's name is typed on a terminal, or --yes
 * is given.
 */
export async function confirm(run: CommandRun, loss: string, again: string): Promise<void> {
  const { cluster, command, file, host, options, signal } = run
  if (options.yes) return
  const [stdin, stderr] = [host.stdin?.(), host.stderr]
  const at = `${cluster.name} (${file})`
  const yes = `confirm on a terminal, or add --yes: ${command(`${again} --yes`)}`
  const retype = `run the same command again, and type ${cluster.name}`
  if (!stdin?.isTTY || !stderr.isTTY) throw refusal(`nothing was done to ${at}: ${loss}`, [yes])
  stderr.write(`${fit(printable(`${at}: ${loss}`), columnsOf(stderr))}\nTo continue, type the cluster name: `)
  const lines = createInterface({ input: stdin, signal })
  let typed = ''
  for await (const line of lines) {
    typed = line.trim()
    break
  }
  // A terminal that is still read keeps the process.
  lines.close()
  signal.throwIfAborted()
  if (typed !== cluster.name) throw refusal(`nothing was done: the typed name is not ${cluster.name}`, [retype])
}
