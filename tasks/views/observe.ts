/** A read-only walk over targets, whose rows `status`, `verify`, `report` and a dry run show; and what every view tells beside. */
import { tryTo } from '../../lib/failure.ts'
import { type AuthDir, caName, rotatedCas } from '../../lib/files/auth-dir.ts'
import { openWalk } from '../../lib/graph/executor.ts'
import { byPhase, closure, type Event, type Force, nameInPhase } from '../../lib/graph/target.ts'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, endOf, readCertificate } from '../../lib/pki/certificate.ts'
import { ownCas, tryCertificate } from '../../lib/pki/pair.ts'
import { hasVerb, isRepair, namesOf } from '../../lib/results.ts'
import { type Notice, notices, type Phases, type Summary } from '../../lib/show/rows.ts'
import { formatDate, formatLeftInWords, formatNames } from '../../lib/wording.ts'
import { noteOnFormer, notesOnHolders } from '../auth/accepted.ts'
import { readCaState, readEncryptionState, readTokenState } from '../auth/states.ts'
import { phases as allPhases, runPhases } from '../bootstrap.ts'
import {
  type ClusterGraph,
  type ClusterRow,
  type ClusterRows,
  type ClusterTarget,
  clusterGraph,
  endsSoon,
  inMemory,
  type Run,
} from '../cluster-target.ts'
import { certTable } from '../layouts/tables.ts'
import type { UnderWay } from '../rotations/rotations.ts'
import type { CommandRun } from '../run/command-run.ts'
import { causesIn, causesOf, type ExitCause, exitStatus } from '../run/host.ts'

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

/** If a CA expires within renewBefore: no run renews it, and everything stops with it. An expired one is refused. */
function adviseOnCa(run: Run): Notice[] {
  const { auth, now, command, cluster } = run
  const cas = certTable(cluster).flatMap(({ phase, name, irreplaceable }) => {
    const expires = phase === 'ca' ? tryCertificate(auth, name)?.notAfter : undefined
    return expires && expires > now && endsSoon(run, expires) ? [{ name, label: irreplaceable?.label, expires }] : []
  })
  const [first] = cas.toSorted((a, b) => Number(a.expires) - Number(b.expires))
  if (!first) return []
  const { name, label, expires } = first
  const isRotating = stagesIn(run).some((each) => each.startsWith(`${name} `))
  const commands = isRotating ? [command(`rotate ${name} --finish`)] : [command('ca --renew'), command('bootstrap')]
  const left = expires.getTime() - now.getTime()
  const when = `on ${formatDate(expires, now)} (in ${formatLeftInWords(left)})`
  const text = `the ${label} expires ${when}, and its certificates with it; before that, run:\n    ${commands.join('\n    ')}`
  return notices('todo', text)
}

/** What there is beside the targets, for every view. A run that `isIdle` opens no certificates of others. */
export function findBeside(run: Run, rows: ClusterRows, { isIdle = false } = {}): Notice[] {
  const ca = rows.get(caName)
  return [
    ...(isIdle ? [] : [...notices('note', noteOnFormer(run)), ...(isCaNew(rows) ? [] : notesOnHolders(run))]),
    ...(run.isObserved ? [] : adviseBackup(run, rows)),
    ...(ca && !hasVerb(ca.diffs, 'renew', 'replace') ? adviseOnCa(run) : []),
  ]
}

/** Only for files that were replaced, and that no `install` takes further. */
export function adviseAfter({ cluster }: Pick<Run, 'cluster'>, rows: ClusterRows): Notice[] {
  if (cluster.install) return []
  const nodes = [...rows.values()].flatMap(({ state, target: { node = '' }, diffs }) =>
    state === 'built' && hasVerb(diffs, 'update') ? node : [],
  )
  const text = `on ${formatNames(nodes)}, one node at a time, copy the deployed files to where the units read them, then restart what reads them (docs/install.md, "What a unit reads")`
  return notices('after', nodes.length > 0 && text)
}

/** After what made or replaced something that can't be made again; of a plan, what would. */
export function adviseBackup({ auth }: Run, rows: ClusterRows): Notice[] {
  const [first] = [...rows.values()].filter((row) => {
    const { state, diffs, target } = row
    if (!target.irreplaceable || !['built', 'stale'].includes(state) || isRepair(diffs)) return false
    return target.phase === caName || hasVerb(diffs, 'make', 'replace')
  })
  const when = first?.state === 'stale' ? 'after the run, ' : ''
  return notices('after', first && when + backupAdvice(auth))
}

/** Not the next one of a rotation, which is beside the one that is there. */
function isNewIdentity({ state, diffs, target: { irreplaceable, makes } }: ClusterRow): boolean {
  const isMade = state === 'built' || state === 'stale'
  return irreplaceable !== undefined && isMade && makes.every((file) => namesOf(diffs, 'make').includes(file))
}

/** Of a run, and of a plan, where it comes first: a deploy refuses nodes that hold another one. */
export function noteOnNewIdentity(rows: ClusterRows): string | undefined {
  if (!isCaNew(rows)) return undefined
  const made = [...rows.values()].filter(isNewIdentity)
  const isPlanned = made.some(({ state }) => state === 'stale')
  const does = isPlanned ? 'creates a new cluster identity' : 'made a new cluster identity'
  return `${does} (${formatNames(made.map(({ target }) => nameInPhase(target)))})`
}

export function hasNewKubeconfig(rows: ClusterRows, user: string): boolean {
  const row = rows.get(`kubeconfigs/${user}`)
  return row?.state === 'built' && !isRepair(row.diffs)
}

/** Nobody has a certificate of it yet. */
function isCaNew(rows: ClusterRows): boolean {
  const ca = rows.get(caName)
  return ca !== undefined && isNewIdentity(ca)
}

export const backupAdvice = ({ path }: AuthDir): string => `back up ${path} (docs/everyday.md)`

/** How the stage of each rotation is read, without what its stages load. */
const states = new Map<string, (run: Run) => { readonly stage: string } | undefined>([
  ...rotatedCas.map((name) => [name, (run: Run) => readCaState(run, name)] as const),
  ['service-account', readTokenState],
  ['encryption-key', readEncryptionState],
])

/** "ca both": the stage of each rotation in progress. Files that do not fit together have no stage. */
export function stagesIn(run: Run): string[] {
  return [...states].flatMap(([name, read]) => {
    const stage = tryTo(() => read(run)?.stage) ?? 'settled'
    return stage === 'settled' ? [] : `${name} ${stage}`
  })
}

/** Loads the stages only if a rotation is under way: most runs don't need them. */
export async function rotationsUnderWay(run: Run): Promise<UnderWay[]> {
  if (stagesIn(run).length === 0) return []
  const { underWay } = await import('../rotations/rotations.ts')
  // The target of files that do not fit together reports them.
  return tryTo(() => underWay(run)) ?? []
}

export async function adviseOnRotations(run: Run): Promise<Notice[]> {
  return (await rotationsUnderWay(run)).map((each) => noticeOfRotation(each, run))
}

function noticeOfRotation({ name, what, title, stage, of, isLastNext }: UnderWay, { command }: Run): Notice {
  const text = `rotation of ${what} in progress, stage ${stage} of ${of} (${title})`
  const next = `continue:\n    ${command(`rotate ${name}${isLastNext ? ' --finish' : ''}`)}\nundo:\n    ${command(`rotate ${name} --undo`)}`
  return { kind: 'after', text: `${text}; ${next}` }
}
