/** A read-only walk over targets, whose rows `status`, `verify`, `report` and a dry run show; and the expiries in auth/. */
import { tryTo } from '../../lib/failure.ts'
import { type AuthDir, caName } from '../../lib/files/auth-dir.ts'
import { openWalk } from '../../lib/graph/executor.ts'
import { byPhase, closure, type Event, type Force, nameInPhase } from '../../lib/graph/target.ts'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, endOf, readCertificate } from '../../lib/pki/certificate.ts'
import { ownCas, tryCertificate } from '../../lib/pki/pair.ts'
import type { Phases, Summary } from '../../lib/show/rows.ts'
import { phases as allPhases, runPhases } from '../bootstrap.ts'
import type { CommandRun } from '../run/command-run.ts'
import { causesIn, causesOf, type ExitCause, exitStatus } from '../run/exit-status.ts'
import {
  type ClusterGraph,
  type ClusterRow,
  type ClusterRows,
  type ClusterTarget,
  clusterGraph,
  inMemory,
  type Run,
} from '../target.ts'

export type Observation = Readonly<Awaited<ReturnType<typeof observe>>>

/** All of auth/; with --on-nodes the nodes too, or those of --node. */
export async function wholeCluster({ cluster, options: { onNodes, nodes } }: CommandRun): Promise<ClusterGraph> {
  const all = await clusterGraph(allPhases, cluster)
  const isDesired = (node = '') => onNodes && (nodes.length === 0 || nodes.includes(node))
  const ids = [...all.values()].filter(({ where, node }) => where !== 'node' || isDesired(node)).map(({ id }) => id)
  return closure(all, ids)
}

/** Only checked, and made of nothing else. Its phase is what comes before the slash. */
export function checkTarget(
  id: string,
  check: ClusterTarget['check'],
  more: Partial<ClusterTarget> = {},
): ClusterTarget {
  const [phase = id] = id.split('/')
  return { id, phase, needs: [], makes: [], where: 'auth', check, ...more }
}

interface HowToObserve {
  readonly phases?: Phases
  readonly forced?: ReadonlyMap<string, Force>
  readonly mode?: 'look' | 'plan'
}

/** Of a plan, whose `auth` is in memory, the run that is returned has auth/ as it is. */
export async function observe(
  given: CommandRun,
  graph: ClusterGraph,
  { phases = byPhase(allPhases, graph), forced = new Map(), mode = 'look' }: HowToObserve = {},
) {
  const { signal } = given
  const started = performance.now()
  const reporter = await given.progressFor(phases)
  const noting = { ...given, note: reporter.note }
  const run: Run = mode === 'plan' ? noting : { ...noting, isObserved: true as const }
  const events: Event[] = []
  const emit = (event: Event) => {
    events.push(event)
    reporter.event(event)
  }
  const walk = openWalk(graph, { run: mode === 'plan' ? inMemory(run) : run, mode, forced, signal, emit })
  const rows = await runPhases(phases, walk, reporter.renderer)
  await reporter.end({ rows, seconds: 0, exit: 0 })
  return { run, rows, phases, events, seconds: (performance.now() - started) / 1000 }
}

interface End extends Pick<Summary, 'notices' | 'planHash' | 'next'> {
  readonly isPlan?: boolean
  readonly beside?: readonly ExitCause[]
}

/** Shows the events, the notices and the end as a run would. Returns the causes of the exit status. */
export async function showObservation(
  { reporterFor, endedStatus }: CommandRun,
  { phases, events, rows, seconds }: Observation,
  { isPlan = false, beside = [], notices = [], ...more }: End,
): Promise<readonly ExitCause[]> {
  const causes = [...causesOf(rows.values()), ...causesIn(notices), ...beside]
  const reporter = await reporterFor(phases, isPlan)
  for (const event of events) reporter.event(event)
  const ended = { start: async (id: string) => rows.get(id) as ClusterRow, rows: async () => rows }
  if (reporter.renderer) await runPhases(phases, ended, reporter.renderer)
  for (const { kind, text } of notices) if (kind === 'note') reporter.note(text)
  await reporter.end({ rows, seconds, exit: exitStatus(causes, endedStatus()), notices, ...more })
  return causes
}

export interface Item {
  readonly row: ClusterRow
  readonly name: string
  /** Its own, or the one in the kubeconfig. */
  readonly certificate: Certificate | undefined
  /** The effective expiry: the earliest along the chain. */
  readonly end: Date | undefined
}

export function takeInventory({ auth }: Run, rows: ClusterRows): ReadonlyMap<string, Item> {
  const cas = ownCas(auth)
  const made = [...rows.values()].filter(({ target: { where, makes } }) => where === 'auth' && makes.length > 0)
  return new Map(
    made.map((row) => {
      const file = row.target.makes[0] ?? ''
      const { certificate, ca } = readFile(auth, file)
      const name = auth.files.parse(file)?.name ?? nameInPhase(row.target)
      const end = certificate && endOf(certificate, ca ? [ca, ...cas] : cas)
      return [row.id, { row, name, certificate, end }] as const
    }),
  )
}

function readFile(
  auth: AuthDir,
  file: string,
): { certificate?: Certificate | undefined; ca?: Certificate | undefined } {
  const { kind, name = caName } = auth.files.parse(file) ?? {}
  if (kind === 'certificate') return { certificate: tryCertificate(auth, name) }
  const { certificate = '', ca = '' } = readEmbedded(String(tryTo(() => auth.tryBytes(file)) ?? ''))
  return { certificate: readCertificate(certificate), ca: readCertificate(ca) }
}

export function findExpiries(items: ReadonlyMap<string, Item>, now: Date) {
  const dated = [...items.values()].flatMap(({ name, end }) => (end ? [{ name, end }] : []))
  const namesOf = (some: typeof dated) => [...new Set(some.map(({ name }) => name))]
  const left = dated.filter(({ end }) => end > now).toSorted((a, b) => Number(a.end) - Number(b.end))
  const [first] = left
  return {
    expired: namesOf(dated.filter(({ end }) => end <= now)),
    next: first && { end: first.end, names: namesOf(left.filter(({ end }) => Number(end) === Number(first.end))) },
  }
}
