/** One walk over targets while auth/ is locked: the refusals first, then the builds. */
import { specialUse } from '../../lib/address.ts'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import type { Failure } from '../../lib/failure.ts'
import type { AuthDir } from '../../lib/files/auth-dir.ts'
import { execute, findRefusals, type RunOptions } from '../../lib/graph/executor.ts'
import type { Graph } from '../../lib/graph/graph.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Outcome } from '../../lib/graph/target.ts'
import type { Reporter } from '../../lib/show/reporter.ts'
import { joinFailures } from '../../lib/show/words.ts'
import { formatNames } from '../../lib/wording.ts'
import { type Finding, findingsOf } from './job.ts'

/** Without an outcome if it was refused. */
export async function walk(
  graph: Graph,
  { reporter, ...options }: Pick<RunOptions, 'run' | 'forced' | 'limits' | 'signal'> & { readonly reporter: Reporter },
): Promise<{ outcomes: ReadonlyMap<string, Outcome>; findings: readonly Finding[] }> {
  const run = withClockCheck(options.run, graph, options.limits)
  const { auth } = run
  const refusals = await refusalsBefore(graph, { ...options, run, tell: run.note })
  for (const [id, failure] of refusals) reporter.problem(failure, id)
  if (refusals.length > 0) return { outcomes: new Map(), findings: ['refused'] }
  closeFolder(auth, reporter.note)
  const outcomes = await execute(graph, { ...options, run, dryRun: false, emit: reporter.event })
  return { outcomes, findings: findingsOf(outcomes.values()) }
}

/** What stops a run before it builds anything, and so a plan. */
export async function refusalsBefore(
  graph: Graph,
  { run, forced, ...more }: Pick<RunOptions, 'run' | 'forced' | 'limits' | 'signal'> & { readonly tell: Run['note'] },
): Promise<[string | undefined, Failure][]> {
  const deploys = [...graph.values()].some(({ where }) => where === 'node')
  return joinFailures([
    ...(await findRefusals(graph, run, forced)),
    ...(deploys ? await (await import('../nodes/other-cluster.ts')).findOtherCluster(run, graph, more) : []),
  ])
}

/** For a walk that makes something, or foresees it. */
export function withClockCheck<Given extends Run>(given: Given, graph: Graph, limits: RunOptions['limits']): Given {
  let checked: Promise<void> | undefined
  const check = async () => (await import('../nodes/clocks.ts')).refuseWrongClocks(given, graph, limits.node)
  return {
    ...given,
    checkClocks: () => {
      checked ??= check()
      return checked
    },
  }
}

/** What a run will repair. */
export function notesOnFolder(auth: AuthDir): string[] {
  return holdsFiles(auth) && auth.isWide() ? [`${auth.path} is accessible to others: a run sets its mode to 0700`] : []
}

/** An empty folder, as in a new clone, holds nothing that others could read. */
function holdsFiles(auth: AuthDir): boolean {
  return auth.names().some((name) => !name.startsWith('.'))
}

/** For a run that deploys: only a cluster on one machine can work with loopback addresses. */
export function notesOnAddresses({ api, nodes }: Cluster): string[] {
  const loopback = (addresses: readonly string[]) => addresses.filter((each) => specialUse(each) === 'loopback')
  const found = [
    ...nodes.flatMap(({ name, ips }) => loopback(ips).map((address) => `${address} (${name})`)),
    ...loopback(api.virtualIP === undefined ? [] : [api.virtualIP]).map((address) => `${address} (api.virtualIP)`),
  ]
  if (found.length === 0) return []
  return [`warning: no other machine reaches a loopback address: ${formatNames(found)}`]
}

/** Both forms work for one release: docs/compatibility.md. */
export function notesOnOptions({ ssh }: Cluster): string[] {
  if (ssh.options.size === 0) return []
  return [
    'warning: ssh.options in cluster.yaml is deprecated: put them into the file of ssh.configFile (docs/cluster-yaml.md)',
  ]
}

/** Before anything is written there. */
export function closeFolder(auth: AuthDir, note: (text: string) => void): void {
  auth.keepOutOfGit()
  if (auth.tightenFolder() && holdsFiles(auth)) note(`${auth.path} was accessible to others: its mode is now 0700`)
}
