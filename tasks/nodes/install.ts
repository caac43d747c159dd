/** Installs deployed files where the units of a node read them: files, restarts, proof, and the rollback on failure. */
import { setTimeout as delay } from 'node:timers/promises'
import { asFailure, Failure, runAgain } from '../../lib/failure.ts'
import type { Run } from '../../lib/graph/target.ts'
import { besideOf, oldSuffix } from '../../lib/node/place.ts'
import { type PlacesState, realPath } from '../../lib/node/state.ts'
import { type Change, formatReasons, type ReasonOf } from '../../lib/reason.ts'
import { formatNames } from '../../lib/wording.ts'
import type { Unit } from '../layouts/layout.ts'
import { serviceOf } from '../layouts/tables.ts'
import { splitMarks } from './folder.ts'
import { keepOthers, type Other } from './guards.ts'
import { installOf, reloadTime, repeat } from './look.ts'
import { guarded, type QuorumState, quorumStateOf } from './quorum.ts'
import { prunedAt } from './reads.ts'
import { forgetOld, type NodeRun, putBack, removeAtPlaces, replaceAtPlaces } from './replace.ts'
import {
  drainedByAnother,
  markDrained,
  proveClient,
  restart,
  restartUnproven,
  undrain,
  waitUntilHealthy,
  waitUntilOneServes,
  waitUntilServed,
  whyNotHealthy,
} from './restart.ts'
import { waitUntilSteady } from './steady.ts'
import {
  checkUnitsOf,
  keptFor,
  lookAtUnits,
  type UnitCheck,
  type UnitsFound,
  type WantedPlace,
  wantedAt,
  whyUnsteady,
} from './units.ts'

/** `found` must come from a look made just now. */
export async function bringUp(
  on: NodeRun,
  found: UnitsFound & { readonly others: readonly Other[] },
  isForced: boolean,
): Promise<{ change?: Change; warning?: string }> {
  const { run, node } = on
  const verdicts = checkUnitsOf(run, found).map((verdict) => (isForced ? asForced(run, verdict) : verdict))
  const stale = verdicts.flatMap(({ reason, ...rest }): StaleUnit[] => (reason ? [{ ...rest, reason }] : []))
  const isLeftDrained = await settleMarks(on, found, verdicts)
  const before = await lookBefore(on, stale, found)
  const units = verdicts.map(({ unit }) => unit)
  const all = wantedAt(run, units, found.places)
  const wanted = changedOf(stale, all, found)
  keepOthers(run, node, found.others)
  if (wanted.length > 0) on.tell({ doing: 'installing', files: wanted.length })
  await replaceAtPlaces(on, found, { wanted, all })
  const paths = [...new Set([...wanted.map(({ path }) => path), ...before.kept])]
  const restarted = await loadOrPutBack(on, { before, found, stale, paths })
  if (isLeftDrained && !restarted.some(({ isDrained }) => isDrained)) await undrain(run, node)
  await forgetOld(on, found, digestsIn(paths, all, wanted))
  const removed = prunedAt(run, found.units, found.places)
  await removeAtPlaces(on, found, removed)
  const restarts = restarted.map(({ unit }) => unit)
  const change: Change = { kind: 'installed', paths: wanted.map(({ path }) => path), removed, restarts }
  if (before.quorumState !== 'without a quorum')
    return wanted.length + removed.length + restarts.length > 0 ? { change } : {}
  const warning = `${node.name}: ${before.quorum} has no quorum yet; health was not checked: once all control nodes are done, ${run.command('bootstrap')}`
  return { change, warning }
}

/**
 * Undrains what a killed run left drained. While a drained unit is not healthy yet, marks the node as ours instead and returns true: the
 * caller undrains it later. Throws a Failure if another run has drained it.
 */
async function settleMarks(
  { run, node }: NodeRun,
  found: UnitsFound,
  verdicts: readonly UnitCheck[],
): Promise<boolean> {
  const { left, inUse } = splitMarks(run, found)
  if (inUse.length > 0) throw drainedByAnother(node, inUse)
  if (left.length === 0 || installOf(run).undrain === '') return false
  const isUnhealthy = verdicts.some(({ unit }) => unit.isDrained && whyUnsteady(unit, found) !== undefined)
  if (isUnhealthy) await markDrained(run, node, left)
  else await undrain(run, node, left)
  return isUnhealthy
}

interface Loading {
  readonly before: Before
  readonly found: UnitsFound
  readonly stale: readonly StaleUnit[]
  /** Real paths of the files that were replaced, by this run or the one before. */
  readonly paths: readonly string[]
}

/** Returns the units that it restarted. If anything fails where they were healthy before, has the old files back and loaded, and throws. */
async function loadOrPutBack(on: NodeRun, loading: Loading): Promise<Unit[]> {
  const { found, stale } = loading
  const { isHealthy, kept, quorumState } = loading.before
  const restarted: Unit[] = []
  try {
    if (quorumState === 'without a quorum') await loadUnproven(on, stale, restarted)
    else {
      await loadAll(on, stale, found, quorumState, restarted)
      on.tell({ doing: 'checking again' })
      await refuseUnloaded(on, loading, restarted)
    }
    return restarted
  } catch (error) {
    // An aborted run leaves a valid state, and the next run continues from it.
    const isLeft = on.signal.aborted || !(isHealthy || kept.length > 0)
    if (isLeft || isKept(error)) throw error
    throw await backOut(on, error, loading, toRestart(stale, found, restarted))
  }
}

/** For --force: installs every file again, and restarts the units that read one only at their start. */
export function asForced(run: Run, { reason, ...check }: UnitCheck): UnitCheck {
  const { unit, isUp } = check
  const places = unit.files.map(({ path }) => ({ path, what: 'differs' as const }))
  const none = { kind: 'unit', unit: unit.unit, notLoaded: [], notServed: [] } as const
  const restarts = isUp && unit.files.some(({ loads }) => loads === 'restart')
  const isDrained = restarts && unit.isDrained === true && installOf(run).drain !== ''
  return { ...check, reason: { ...none, ...reason, places, restarts, isDrained } }
}

/** A unit that differs from what is wanted. */
type StaleUnit = UnitCheck & { readonly reason: ReasonOf<'unit'> }

/** The state of the node's units before anything was changed. */
type Before = Readonly<Awaited<ReturnType<typeof lookBefore>>>

async function lookBefore(on: NodeRun, stale: readonly StaleUnit[], found: UnitsFound) {
  const quorum = stale.find(({ unit }) => unit.isQuorum)
  const isKnown = !quorum || (quorum.isUp && wereHealthy([quorum], found))
  const quorumState: QuorumState = isKnown ? 'healthy' : await quorumStateOf(on, quorum.unit)
  return {
    /** True if each of them was healthy. */
    isHealthy: wereHealthy(stale, found),
    quorumState,
    /** The unit that needs a quorum. */
    quorum: quorum?.unit.unit,
    /** Real paths beside which a previous run left the old files that units were last healthy with. */
    kept: stale.flatMap(({ unit }) => keptFor(unit, found.places)),
  }
}

/** What is on the disk by now: what was not placed may differ from auth/ in what units do not read. */
function digestsIn(paths: readonly string[], all: readonly WantedPlace[], placed: readonly WantedPlace[]) {
  return new Map(
    all
      .filter(({ path }) => paths.includes(path))
      .map((each) => [each.path, (placed.includes(each) ? undefined : each.accepted) ?? each.sha256 ?? '']),
  )
}

/** A unit that was not healthy gains nothing from its old files. */
function wereHealthy(stale: readonly StaleUnit[], found: UnitsFound): boolean {
  return stale.every(({ unit, reason, isUp }) => !isUp || (reason.state ?? whyUnsteady(unit, found)) === undefined)
}

/** Each file once, even if several units read it. A certificate and its key are adjacent, as in the table. */
function changedOf(stale: readonly StaleUnit[], all: readonly WantedPlace[], { places }: UnitsFound): WantedPlace[] {
  const drifting = stale.flatMap(({ reason }) => reason.places)
  const paths = new Set(drifting.map(({ path }) => realPath(places, path)))
  return all.filter(({ path }) => paths.has(path))
}

/** A previous run may have restarted a unit with the files that are put back now. */
function toRestart(stale: readonly StaleUnit[], { places }: UnitsFound, restarted: readonly Unit[]): Unit[] {
  const left = stale.filter(({ unit, isUp }) => isUp && keptFor(unit, places).length > 0).map(({ unit }) => unit)
  return [...new Set([...restarted, ...left.filter(({ files }) => files.some(({ loads }) => loads === 'restart'))])]
}

/** All at once, unless one restarts: then first, one by one, those that others on the node query. */
async function loadAll(
  on: NodeRun,
  stale: readonly StaleUnit[],
  { places }: UnitsFound,
  quorumState: QuorumState,
  restarted: Unit[],
): Promise<void> {
  const load = async ({ unit, reason, isUp }: StaleUnit) => {
    if (!isUp) return
    // Nothing that it has to load: the unit is only waited for.
    if (!reason.restarts && reason.places.length + reason.notServed.length + reason.notLoaded.length === 0)
      await waitUntilHealthy(on, unit)
    else if (!(await isReloaded(on, unit, reason)))
      await guarded(on, unit, quorumState === 'healthy', async () => {
        restarted.push(unit)
        await restart(on, unit)
        if (!(await waitUntilServed(on, unit, 'restart'))) throw notServed(on, unit)
      })
    for (const kubeconfig of unprovenClients(unit, reason, places)) await proveClient(on, kubeconfig)
  }
  const first = stale.some(({ reason }) => reason.restarts) ? stale.filter(({ unit }) => unit.isQueried) : []
  for (const verdict of first) await load(verdict)
  const others = stale.filter((verdict) => !first.includes(verdict))
  await allOrFailure(others.map(load))
}

/** Kubeconfigs whose pair is new, or was installed by a run that was killed before it removed the old files. */
export function unprovenClients(unit: Unit, reason: ReasonOf<'unit'>, places: PlacesState): string[] {
  const isLeft = keptFor(unit, places).length > 0
  const isNew = (path: string) => isLeft || reason.places.some((place) => place.path === path)
  return unit.files.flatMap(({ part, path, file }) => (part === 'pair' && isNew(path) ? [file] : []))
}

/** True if the unit has reloaded without a restart. Then it must be healthy with the new files. */
async function isReloaded(on: NodeRun, unit: Unit, { restarts }: ReasonOf<'unit'>): Promise<boolean> {
  if (restarts || !(await waitUntilServed(on, unit, 'reload')) || !(await waitUntilReloaded(on, unit))) return false
  await waitUntilHealthy(on, unit)
  return true
}

/** Milliseconds from one look to the next: the unit polls its file once a minute. */
const reloadPause = 1000

/** True if the unit has reloaded, in time, each file that its command line says it reloads. If not, it needs a restart. */
async function waitUntilReloaded({ run, node, signal, tell }: NodeRun, { unit, files }: Unit): Promise<boolean> {
  if (!files.some(({ loads }) => loads === 'reload')) return true
  tell({ doing: 'waiting for', unit, path: '/metrics' })
  const look = async () => {
    await delay(reloadPause, undefined, { signal })
    const checks = checkUnitsOf(run, await lookAtUnits(run, node))
    return checks.find((check) => check.unit.unit === unit)?.reason?.notLoaded[0]
  }
  return (await repeat(Math.min(reloadTime, installOf(run).timeout), look, signal)) === undefined
}

/** The store has to serve its new certificate, so that the next member can find a quorum. */
async function loadUnproven(on: NodeRun, stale: readonly StaleUnit[], restarted: Unit[]): Promise<void> {
  for (const { unit, reason, isUp } of stale) {
    if (!isUp) continue
    if (reason.restarts) {
      restarted.push(unit)
      await restartUnproven(on, unit)
    }
    if (unit.isQuorum && !(await waitUntilOneServes(on, unit))) throw notServed(on, unit)
  }
}

function notServed({ node }: NodeRun, { unit, service }: Unit): Failure {
  return new Failure(`${unit} serves another certificate than the one in its place`, {
    node: node.name,
    code: 'not-served',
    remedy: `see on ${node.name} which files its command line names: systemctl cat ${service}`,
  })
}

/** The unit is healthy with the new files, and only gets no requests yet; or another run is at work, maybe with the same files. */
function isKept(error: unknown): boolean {
  return error instanceof Failure && (error.code === 'not-undrained' || error.code === 'busy')
}

/** Finds a restart command that restarted nothing, and a unit that has failed since, in this run and not the next. */
async function refuseUnloaded(on: NodeRun, loading: Loading, restarted: readonly Unit[]): Promise<void> {
  const { run, node } = on
  const { found: before, stale, paths } = loading
  const given = stale.flatMap(({ unit, reason }) => (reason.places.length > 0 ? [unit] : []))
  const found = await waitUntilSteady(on, before, [...restarted, ...given])
  // Ignores the old files that this run keeps beside the new ones.
  const kept = new Set(paths.flatMap(besideOf))
  const files = new Map([...found.places.files].filter(([path]) => !kept.has(path)))
  const again = checkUnitsOf(run, { ...found, places: { ...found.places, files } })
  const isUp = new Map(again.map((each) => [each.unit.unit, each.isUp]))
  const ended = restarted.find(({ unit }) => isUp.get(unit) !== true)?.unit
  if (ended !== undefined)
    throw new Failure(`${ended} was healthy after its restart, and does not run any more`, {
      node: node.name,
      code: 'not-loaded',
      remedy: `see there why it ended: journalctl -u ${serviceOf(run.cluster, ended)}`,
    })
  const left = again.flatMap(({ reason }) => reason ?? [])
  if (left.length === 0) return
  throw new Failure(`does not match auth/ after it was installed: ${formatReasons(left)}`, {
    node: node.name,
    code: 'not-loaded',
    remedy: `see there: ${left.map(({ unit }) => `systemctl status ${serviceOf(run.cluster, unit)}`).join('; ')}; then ${runAgain}`,
  })
}

/** Throws once all have ended: the first error, but with another beside it, `busy` is no reason to keep the new files. */
async function allOrFailure(work: readonly Promise<void>[]): Promise<void> {
  const errors = (await Promise.allSettled(work)).flatMap((each) => (each.status === 'rejected' ? [each.reason] : []))
  const [first] = [...errors.filter((error) => !isKept(error)), ...errors]
  if (first !== undefined) throw first
}

/** Puts the old files back and restarts these units with them. Returns the error, with the outcome of that added. */
async function backOut(
  on: NodeRun,
  error: unknown,
  { found, paths }: Loading,
  restarted: readonly Unit[],
): Promise<Failure> {
  const failure = asFailure(error)
  if (paths.length === 0) return failure
  const isBack = await succeeds(putBack(on, found, paths))
  const unhealthy = isBack ? await restartAll(on, restarted) : []
  const units = formatNames(restarted.map(({ unit }) => unit))
  const outcome =
    unhealthy.length === 0
      ? `${units} healthy again with them`
      : `${units} restarted with them, but not healthy: ${formatNames(unhealthy.map(({ unit }) => unit))}`
  const done = isBack
    ? `the files are as they were${units === '' ? '' : `, and ${outcome}`}`
    : `the old files could not be put back: they are beside the new ones (*${oldSuffix})`
  return failure.with({ what: `${failure.what}; ${done}` })
}

/** Restarts every unit, even if another fails. Returns those that did not become healthy. */
async function restartAll(on: NodeRun, units: readonly Unit[]): Promise<Unit[]> {
  const unhealthy: Unit[] = []
  for (const unit of units) {
    const isHealthy = unit.isQuorum === true && (await whyNotHealthy(on, on.node, unit)) === undefined
    if (!(await succeeds(guarded(on, unit, isHealthy, () => restart(on, unit, { isBackOut: true })))))
      unhealthy.push(unit)
  }
  return unhealthy
}

async function succeeds(work: Promise<void>): Promise<boolean> {
  return work.then(
    () => true,
    (error) => {
      if (error instanceof Failure) return false
      throw error
    },
  )
}
