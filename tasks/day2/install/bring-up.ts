/**
 * Installs the deployed files where the units of a node read them, so that the units use the files. In this order:
 *
 * 1. plan: what differs by a look, and whether the units were healthy before;
 * 2. replace: the new files are at their places, all or none, with the old ones beside them;
 * 3. load: each unit reloads or is restarted, and has to be healthy with the new files;
 * 4. prove: another look finds nothing out of date;
 * 5. forget: the old files are removed.
 *
 * If 3 or 4 fails, the old files are put back, and the units restarted with them. The new ones stay if the run was
 * aborted (the next run continues with them), if the units were not healthy before, or if the failure is not theirs. A
 * killed run leaves the old files beside the new ones: for the next run these units were never proven.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { asFailure, Failure, runAgain } from '../../../lib/failure.ts'
import { besideOf, oldSuffix } from '../../../lib/node/place.ts'
import { realPath } from '../../../lib/node/state.ts'
import { formatDiffs } from '../../../lib/results.ts'
import { count, formatNames } from '../../../lib/wording.ts'
import { keepOthers, type Other } from '../../deploy/guards.ts'
import type { NodeRun } from '../../inspect/component.ts'
import { installOf, reloadTime, repeat } from '../../inspect/look.ts'
import type { Unit } from '../../layouts/layout.ts'
import { serviceOf } from '../../layouts/tables.ts'
import {
  asForced,
  checkUnitsOf,
  diffsOfUnit,
  isLeftDrained,
  isUnfinished,
  type UnitCheck,
  type UnitDifference,
  unfinishedPaths,
  whyUnhealthy,
} from './check-units.ts'
import { lookAtUnits, type UnitsFound } from './look-at-units.ts'
import { guarded, type QuorumState, quorumStateOf } from './quorum.ts'
import { forgetOld, putBack, replaceAtPlaces } from './replace.ts'
import {
  restart,
  restartUnproven,
  undrain,
  waitUntilHealthy,
  waitUntilOneServes,
  waitUntilServed,
  whyNotHealthy,
} from './restart.ts'
import { waitUntilSteady } from './steady.ts'
import { type WantedPlace, wantedAt } from './wanted.ts'

/** What was done to the units, for whoever has to undo it. */
interface Journal {
  /** The real paths of files that this run or an interrupted one has replaced: the old files are beside them. */
  readonly replaced: readonly string[]
  /** The units that this run has restarted, so far. */
  readonly restarted: Unit[]
}

/** An installation after its files were replaced. */
interface Installation {
  readonly on: NodeRun
  readonly work: UnitsWork
  readonly journal: Journal
}

interface BroughtUp {
  /** The names of the units that were restarted. */
  readonly restarted: readonly string[]
  readonly warning?: string
  /** The units as the last look has found them. */
  readonly units: UnitsFound['units']
}

/** `found` must come from a look made just now. Throws a Failure. */
export async function bringUp(
  on: NodeRun,
  found: UnitsFound & { readonly others: readonly Other[] },
  isForced: boolean,
): Promise<BroughtUp> {
  const work = await planWork(on, found, isForced)
  const installation = { on, work, journal: await replace(on, work) }
  let { units } = found
  try {
    await load(installation)
    if (work.quorumState !== 'without a quorum') units = await prove(installation)
  } catch (error) {
    throw await undo(installation, error)
  }
  // A killed run has left it drained.
  const { restarted } = installation.journal
  if (isLeftDrained(on.run, found) && !restarted.some(({ isDrained }) => isDrained)) await undrain(on.run, on.node)
  return { ...(await forget(installation)), units }
}

/** A unit that differs from what is wanted. */
type StaleUnit = UnitCheck & { readonly reason: UnitDifference }

/** What there is to do, and how the units were before. */
interface UnitsWork {
  readonly found: Parameters<typeof bringUp>[1]
  readonly checks: readonly UnitCheck[]
  readonly stale: readonly StaleUnit[]
  /** All files of the checked units, each once, even if several units read it. */
  readonly all: readonly WantedPlace[]
  /** Those of `all` that differ. A certificate and its key are adjacent, as in the table. */
  readonly wanted: readonly WantedPlace[]
  /** Real paths beside which an interrupted run has left the old files: with them the units were last healthy. */
  readonly unfinished: readonly string[]
  /** True if each stale unit was healthy. */
  readonly areHealthy: boolean
  /** Of the store's cluster, if the store is stale. */
  readonly quorumState: QuorumState
  /** The stale unit that needs a quorum: the store. */
  readonly store: string | undefined
}

async function planWork(on: NodeRun, found: UnitsWork['found'], isForced: boolean): Promise<UnitsWork> {
  const { run } = on
  const { places } = found
  const checks = checkUnitsOf(run, found).map((check) => (isForced ? asForced(run, check) : check))
  const stale = checks.flatMap(({ reason, ...rest }): StaleUnit[] => (reason ? [{ ...rest, reason }] : []))
  const units = checks.map(({ unit }) => unit)
  const all = wantedAt(run, units, places)
  const paths = new Set(stale.flatMap(({ reason }) => reason.places.map(({ path }) => realPath(places, path))))
  const store = stale.find(({ unit }) => unit.isQuorum)
  const isQuorumKnown = !store || (store.isUp && wereHealthy([store], found))
  return {
    ...{ found, checks, stale, all },
    wanted: all.filter(({ path }) => paths.has(path)),
    unfinished: stale.flatMap(({ unit }) => unfinishedPaths(unit, places)),
    areHealthy: wereHealthy(stale, found),
    quorumState: isQuorumKnown ? 'healthy' : await quorumStateOf(on, store.unit),
    store: store?.unit.unit,
  }
}

/** A stopped unit counts as healthy: it is not restarted, so nothing that is installed can harm it. */
function wereHealthy(units: readonly StaleUnit[], found: UnitsFound): boolean {
  return units.every(
    ({ unit, reason, isUp }) => !isUp || (!reason.isUnhealthy && whyUnhealthy(unit, found) === undefined),
  )
}

/** Replaces all files or none. */
async function replace(on: NodeRun, { found, wanted, all, unfinished }: UnitsWork): Promise<Journal> {
  keepOthers(on.run, on.node, found.others)
  if (wanted.length > 0) on.tell(`installing ${count(wanted.length, 'file')}`)
  await replaceAtPlaces(on, found, { wanted, all })
  return { replaced: [...new Set([...wanted.map(({ path }) => path), ...unfinished])], restarted: [] }
}

/** Loads all units at once; but if one restarts, those that others on the node query come first, one by one. */
async function load(installation: Installation): Promise<void> {
  const { stale, quorumState } = installation.work
  if (quorumState === 'without a quorum') return loadUnproven(installation)
  const first = stale.some(({ reason }) => reason.restarts) ? stale.filter(({ unit }) => unit.isQueried) : []
  for (const each of first) await loadOne(installation, each)
  const others = stale.filter((each) => !first.includes(each))
  await allOrFailure(others.map((each) => loadOne(installation, each)))
}

async function loadOne({ on, work, journal }: Installation, { unit, reason, isUp }: StaleUnit): Promise<void> {
  if (!isUp) return
  if (!reason.restarts && !reason.isToLoad) await waitUntilHealthy(on, unit)
  else if (!(await hasReloaded(on, unit, reason)))
    await guarded(on, unit, work.quorumState === 'healthy', async () => {
      journal.restarted.push(unit)
      await restart(on, unit)
      if (!(await waitUntilServed(on, unit))) throw notServed(on, unit)
    })
}

/** True if the unit has reloaded without a restart, and is healthy. Throws a Failure if it is not healthy. */
async function hasReloaded(on: NodeRun, unit: Unit, { restarts }: UnitDifference): Promise<boolean> {
  if (restarts || !(await waitUntilServed(on, unit)) || !(await waitUntilReloaded(on, unit))) return false
  await waitUntilHealthy(on, unit)
  return true
}

/** Milliseconds from one look to the next. A unit polls its file once a minute. */
const reloadPause = 1000

/** True if the unit has reloaded, in time, each file that it reloads by its command line; else it needs a restart. */
async function waitUntilReloaded({ run, node, signal, tell }: NodeRun, { unit, files }: Unit): Promise<boolean> {
  if (!files.some(({ loads }) => loads === 'reload')) return true
  tell(`waiting for /metrics of ${unit}`)
  const look = async () => {
    await delay(reloadPause, undefined, { signal })
    const checks = checkUnitsOf(run, await lookAtUnits(run, node))
    const reason = checks.find((check) => check.unit.unit === unit)?.reason
    return reason?.isToLoad ? 'not loaded' : undefined
  }
  return (await repeat(Math.min(reloadTime, installOf(run).timeout), look, signal)) === undefined
}

/**
 * Restarts units without a quorum, so their health can't be proven. But the store has to serve its new certificate, so that
 * the next member can find a quorum.
 */
async function loadUnproven({ on, work, journal }: Installation): Promise<void> {
  for (const { unit, reason, isUp } of work.stale) {
    if (!isUp) continue
    if (reason.restarts) {
      journal.restarted.push(unit)
      await restartUnproven(on, unit)
    }
    if (unit.isQuorum && !(await waitUntilOneServes(on, unit))) throw notServed(on, unit)
  }
}

function notServed({ node }: NodeRun, { unit, service }: Unit): Failure {
  return new Failure(`${unit} does not serve its installed certificate`, {
    node: node.name,
    code: 'not-served',
    remedy: `check on ${node.name} which files its command line names:\n    systemctl cat ${service}`,
  })
}

/** True for a failure after which the new files stay: the unit is healthy with them, but the node is still drained. */
function leavesNewFiles(error: unknown): boolean {
  return error instanceof Failure && error.code === 'not-undrained'
}

/**
 * Looks once more: a restart command may have restarted nothing, or a unit may have failed since its restart. Returns the
 * units as found. Throws a Failure if anything is out of date.
 */
async function prove({ on, work, journal }: Installation): Promise<UnitsFound['units']> {
  const { run } = on
  const { replaced, restarted } = journal
  on.tell('checking again')
  const found = await waitUntilSteady(on, work.found)
  // Without the old files beside the new ones: they are this run's own.
  const own = new Set(replaced.flatMap(besideOf))
  const files = new Map([...found.places.files].filter(([path]) => !own.has(path)))
  const checks = checkUnitsOf(run, { ...found, places: { ...found.places, files } })
  const isUp = new Map(checks.map((each) => [each.unit.unit, each.isUp]))
  const stopped = restarted.find(({ unit }) => isUp.get(unit) !== true)
  if (stopped) throw stoppedSince(on, stopped)
  const reasons = checks.flatMap(({ reason }) => reason ?? [])
  if (reasons.length > 0) throw stillStale(on, reasons)
  return found.units
}

function stoppedSince({ run, node }: NodeRun, { unit }: Unit): Failure {
  return new Failure(`${unit} stopped after a healthy restart`, {
    node: node.name,
    code: 'not-loaded',
    remedy: `find out why on ${node.name}:\n    journalctl -u ${serviceOf(run.cluster, unit)}`,
  })
}

function stillStale({ run, node }: NodeRun, reasons: readonly UnitDifference[]): Failure {
  const commands = reasons.map(({ unit }) => `\n    systemctl status ${serviceOf(run.cluster, unit)}`)
  return new Failure(`still out of date after installing; ${formatDiffs(reasons.flatMap(diffsOfUnit))}`, {
    node: node.name,
    code: 'not-loaded',
    remedy: `check on ${node.name}:${commands.join('')}\nthen ${runAgain}`,
  })
}

/** Waits for all. Then throws the first error after which the old files are put back, or else the first. */
async function allOrFailure(work: readonly Promise<void>[]): Promise<void> {
  const errors = (await Promise.allSettled(work)).flatMap((each) => (each.status === 'rejected' ? [each.reason] : []))
  const [first] = [...errors.filter((error) => !leavesNewFiles(error)), ...errors]
  if (first !== undefined) throw first
}

/**
 * Puts the old files back, and restarts the units with them, unless the new files stay (the header says when). Returns the
 * error, with what this has done added to it.
 */
async function undo({ on, work, journal }: Installation, error: unknown): Promise<unknown> {
  const areOldFilesProven = work.areHealthy || work.unfinished.length > 0
  if (on.signal.aborted || !areOldFilesProven || leavesNewFiles(error)) return error
  const failure = asFailure(error)
  if (journal.replaced.length === 0) return failure
  const isRestored = await succeeds(putBack(on, work.found, journal.replaced))
  const units = unitsToRestore(work, journal)
  const unhealthy = isRestored ? await restartAll(on, units) : []
  const done = isRestored
    ? `restored the old files${formatRestarts(units, unhealthy)}`
    : `couldn't restore the old files; they are beside the new ones (*${oldSuffix})`
  return failure.with({ what: `${failure.what}; ${done}` })
}

/** The units that use new files, as this run has restarted them, or as an interrupted run may have. */
function unitsToRestore({ stale, found }: UnitsWork, { restarted }: Journal): Unit[] {
  const mayUseNew = ({ unit, isUp }: StaleUnit) =>
    isUp && isUnfinished(unit, found.places) && unit.files.some(({ loads }) => loads === 'restart')
  return [...new Set([...restarted, ...stale.filter(mayUseNew).map(({ unit }) => unit)])]
}

function formatRestarts(units: readonly Unit[], unhealthy: readonly Unit[]): string {
  if (units.length === 0) return ''
  const [all, failed] = [units, unhealthy].map((some) => formatNames(some.map(({ unit }) => unit)))
  return unhealthy.length === 0 ? `, ${all} healthy again` : `, restarted ${all}, but ${failed} not healthy`
}

/** Restarts each unit, even if another one fails. Returns the units that did not become healthy. */
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

/** Removes the old files. */
async function forget({ on, work, journal }: Installation): Promise<Omit<BroughtUp, 'units'>> {
  const { found, all, wanted, store, quorumState } = work
  // A file that this run has not replaced may differ from auth/ in a part that units do not read.
  const digestOf = (each: WantedPlace) => (wanted.includes(each) ? undefined : each.accepted) ?? each.sha256 ?? ''
  const proven = all.filter(({ path }) => journal.replaced.includes(path))
  await forgetOld(on, found, new Map(proven.map((each) => [each.path, digestOf(each)])))
  const restarted = journal.restarted.map(({ unit }) => unit)
  if (quorumState !== 'without a quorum') return { restarted }
  const warning = `${store} on ${on.node.name} has no quorum yet, so its health was not checked; once all control nodes are done, run:\n    ${on.run.command('bootstrap')}`
  return { restarted, warning }
}
