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
import { asFailure, Failure, runAgain, tryToAwait } from '../../lib/failure.ts'
import { oldAndNew, oldSuffix } from '../../lib/node/place.ts'
import { realPath } from '../../lib/node/state.ts'
import { formatDiffs } from '../../lib/results.ts'
import { count, formatNames } from '../../lib/wording.ts'
import { keepOthers, type Other } from '../deploy/guards.ts'
import type { UnitOnNode } from '../inspect/agreement.ts'
import type { NodeRun } from '../inspect/component.ts'
import { installOf, reloadTime, repeat } from '../inspect/look.ts'
import {
  asForced,
  checkUnitsOf,
  diffsOfUnit,
  isStale,
  isUnfinished,
  type UnitCheck,
  unfinishedPaths,
  whyUnhealthy,
} from './check-units.ts'
import {
  type DesiredPlace,
  desiredAt,
  forgetOld,
  isInstalled,
  isLeftDrained,
  isUp,
  lookAtUnits,
  putBack,
  replaceAtPlaces,
  type UnitsLook,
} from './places.ts'
import {
  notHealthy,
  type QuorumState,
  quorumStateOf,
  restart,
  restartWithoutDrain,
  startAgain,
  undrain,
  waitForOthers,
  waitUntilHealthy,
  waitUntilServed,
  whyNotHealthy,
} from './restart.ts'

interface Installation {
  readonly on: NodeRun
  readonly found: UnitsLook
  readonly stale: readonly UnitCheck[]
  readonly all: readonly DesiredPlace[]
  /** Those of `all` that differ. A certificate and its key are adjacent, as in the table. */
  readonly desired: readonly DesiredPlace[]
  /** Real paths beside which an interrupted run has left the old files: with them the units were last healthy. */
  readonly unfinished: readonly string[]
  readonly areHealthy: boolean
  /** Of the store's cluster, if the store is stale. */
  readonly quorumState: QuorumState
  readonly restarted: UnitOnNode[]
}

interface BroughtUp {
  readonly restarted: readonly UnitOnNode[]
  readonly warning: string | undefined
  readonly found: UnitsLook
}

/** `found` must come from a look made just now. Throws a Failure. */
export async function bringUp(
  on: NodeRun,
  found: UnitsLook & { readonly others: readonly Other[] },
  isForced: boolean,
): Promise<BroughtUp> {
  const installation = await planInstallation(on, found, isForced)
  const { all, desired, quorumState, restarted } = installation
  const isProvable = quorumState !== 'without a quorum'
  keepOthers(on.run, on.node, found.others)
  if (desired.length > 0) on.tell(`installing ${count(desired.length, 'file')}`)
  await replaceAtPlaces(on, found, { desired, all })
  let last: UnitsLook = found
  try {
    if (isProvable) {
      await load(installation)
      last = await prove(installation)
    } else await loadUnproven(installation)
  } catch (error) {
    throw await undo(installation, error)
  }
  // A killed run has left it drained.
  if (isLeftDrained(on.run, found) && !restarted.some(({ isDrained }) => isDrained)) await undrain(on.run, on.node)
  await forget(installation)
  const warning = `etcd on ${on.node.name} has no quorum yet, so its health was not checked; once all control nodes are done, run:\n    ${on.run.command('bootstrap')}`
  return { restarted, warning: isProvable ? undefined : warning, found: last }
}

async function planInstallation(on: NodeRun, found: UnitsLook, isForced: boolean): Promise<Installation> {
  const { run } = on
  const { places } = found
  const checks = checkUnitsOf(run, found).map((check) => (isForced ? asForced(check) : check))
  const stale = checks.filter(isStale)
  const units = checks.map(({ unit }) => unit)
  const all = desiredAt(run, units, places)
  const paths = new Set(stale.flatMap((check) => check.places.map(({ path }) => realPath(places, path))))
  const store = stale.find(({ unit }) => unit.isQuorum)
  const isQuorumKnown = !store || (store.isUp && wasHealthy(store, found))
  return {
    ...{ on, found, stale, all, restarted: [] },
    desired: all.filter(({ path }) => paths.has(path)),
    unfinished: stale.flatMap(({ unit }) => unfinishedPaths(unit, places)),
    areHealthy: stale.every((check) => wasHealthy(check, found)),
    quorumState: isQuorumKnown ? 'healthy' : await quorumStateOf(on, store.unit),
  }
}

/** A stopped unit counts as healthy: it is not restarted, so nothing that is installed can harm it. */
function wasHealthy(check: UnitCheck, found: UnitsLook): boolean {
  return !check.isUp || (!check.isUnhealthy && whyUnhealthy(check.unit, found) === undefined)
}

/** Loads all units at once; but if one restarts, those that others on the node query come first, one by one. */
async function load(installation: Installation): Promise<void> {
  const { stale } = installation
  const first = stale.some(({ restarts }) => restarts) ? stale.filter(({ unit }) => unit.isQueried) : []
  for (const each of first) await loadOne(installation, each)
  const others = stale.filter((each) => !first.includes(each)).map((each) => loadOne(installation, each))
  const errors = (await Promise.allSettled(others)).flatMap((each) => (each.status === 'rejected' ? [each.reason] : []))
  // The first one after which the old files are put back, if any.
  const [error] = [...errors.filter((each) => !leavesNewFiles(each)), ...errors]
  if (error !== undefined) throw error
}

async function loadOne({ on, quorumState, restarted }: Installation, check: UnitCheck): Promise<void> {
  const { unit, isUp, isToLoad, restarts } = check
  if (!isUp) return
  if (!restarts && !isToLoad) return waitUntilHealthy(on, unit)
  if (!restarts && (await hasReloaded(on, unit))) return
  // With one etcd of three down already, restarting another loses the quorum.
  if (unit.isQuorum && quorumState === 'healthy') await waitForOthers(on, unit)
  restarted.push(unit)
  await restart(on, unit)
  if (!(await waitUntilServed(on, unit))) throw notServed(on, unit)
}

/** True if the unit has reloaded without a restart, and is healthy. Throws a Failure if it is not healthy. */
async function hasReloaded(on: NodeRun, unit: UnitOnNode): Promise<boolean> {
  if (!(await waitUntilServed(on, unit)) || !(await waitUntilReloaded(on, unit))) return false
  await waitUntilHealthy(on, unit)
  return true
}

/** Milliseconds from one look to the next. A unit polls its file once a minute. */
const reloadPause = 1000

/** True if the unit has reloaded, in time, each file that it reloads by its command line; else it needs a restart. */
async function waitUntilReloaded({ run, node, signal, tell }: NodeRun, { unit, files }: UnitOnNode): Promise<boolean> {
  if (!files.some(({ loads }) => loads === 'reload')) return true
  tell(`waiting for /metrics of ${unit}`)
  const look = async () => {
    await delay(reloadPause, undefined, { signal })
    const checks = checkUnitsOf(run, await lookAtUnits(run, node))
    return checks.find((check) => check.unit.unit === unit)?.isToLoad ? 'not loaded' : undefined
  }
  return (await repeat(Math.min(reloadTime, installOf(run).timeout), look, signal)) === undefined
}

/** Without a quorum nothing proves health, but the store has to serve its new certificate to the next member. */
async function loadUnproven({ on, stale, restarted }: Installation): Promise<void> {
  for (const { unit, restarts, isUp } of stale) {
    if (!isUp) continue
    if (restarts) {
      restarted.push(unit)
      await startAgain(on, unit)
    }
    if (unit.isQuorum && !(await waitUntilServed(on, unit, 'some'))) throw notServed(on, unit)
  }
}

function notServed({ node }: NodeRun, { unit, service }: UnitOnNode): Failure {
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

/** The real paths of files that this run or an interrupted one has replaced: the old files are beside them. */
function replacedPaths({ desired, unfinished }: Installation): string[] {
  return [...new Set([...desired.map(({ path }) => path), ...unfinished])]
}

/** Looks once more, as a unit may have failed since its restart. Throws a Failure if anything is out of date. */
async function prove(installation: Installation): Promise<UnitsLook> {
  const { run, node, tell } = installation.on
  tell('checking again')
  const found = await waitUntilStable(installation)
  // Without the old files beside the new ones: they are this run's own.
  const own = new Set(replacedPaths(installation).flatMap(oldAndNew))
  const files = new Map([...found.places.files].filter(([path]) => !own.has(path)))
  const stale = checkUnitsOf(run, { ...found, places: { ...found.places, files } }).filter(isStale)
  if (stale.length === 0) return found
  const commands = stale.map(({ unit }) => `\n    systemctl status ${unit.service}`)
  throw new Failure(`still out of date after installing; ${formatDiffs(stale.flatMap(diffsOfUnit))}`, {
    node: node.name,
    code: 'not-loaded',
    remedy: `check on ${node.name}:${commands.join('')}\nthen ${runAgain}`,
  })
}

/** Milliseconds from one look to the next while a unit is not healthy. */
const pause = 500

/** A look that finds every unit healthy, with the same processes as some seconds before, within install.timeout. */
async function waitUntilStable({ on, unfinished, restarted }: Installation): Promise<UnitsLook> {
  const { run, node, signal, tell } = on
  const until = performance.now() + installOf(run).timeout
  const seconds = run.waits.healthy
  const isWatched = unfinished.length > 0 || restarted.some(({ bundle }) => bundle === undefined)
  let healthy: UnitsLook | undefined
  for (;;) {
    const seen = await lookAtUnits(run, node)
    const unstable = findUnstable(seen, { healthy, restarted })
    if (!unstable && (healthy || !isWatched)) return seen
    if (unstable && performance.now() > until) throw await notHealthy(on, ...unstable)
    healthy = unstable ? undefined : seen
    if (healthy) tell(`checking that it stays healthy for ${seconds} s`)
    await delay(healthy ? seconds * 1000 : pause, undefined, { signal })
  }
}

/** The first unit that is not healthy, has stopped since its restart, or has another main process than before. */
export function findUnstable(
  seen: UnitsLook,
  { healthy, restarted }: { readonly healthy: UnitsLook | undefined; readonly restarted: readonly UnitOnNode[] },
): readonly [UnitOnNode, string] | undefined {
  const mainProcess = (unit: UnitOnNode, { places }: UnitsLook) => places.units.get(unit.unit)?.process
  for (const unit of seen.units.filter((each) => isInstalled(each, seen.places))) {
    const hasStopped = !isUp(unit, seen.places) && restarted.some((each) => each.unit === unit.unit)
    const hasRestarted = healthy && mainProcess(unit, healthy) !== mainProcess(unit, seen)
    const why =
      whyUnhealthy(unit, seen) ??
      (hasStopped ? 'it stopped after its restart' : hasRestarted ? 'it was healthy, then restarted' : undefined)
    if (why !== undefined) return [unit, why]
  }
  return undefined
}

/** Puts the old files back and restarts the units, unless the new ones stay (see above). Returns the error. */
async function undo(installation: Installation, error: unknown): Promise<unknown> {
  const { on, found, areHealthy, unfinished } = installation
  const areOldFilesProven = areHealthy || unfinished.length > 0
  if (on.signal.aborted || !areOldFilesProven || leavesNewFiles(error)) return error
  const failure = asFailure(error)
  const replaced = replacedPaths(installation)
  if (replaced.length === 0) return failure
  const isRestored = await succeeds(putBack(on, found, replaced))
  const done = isRestored
    ? `restored the old files${await restartRestored(installation)}`
    : `couldn't restore the old files; they are beside the new ones (*${oldSuffix})`
  return failure.with({ what: `${failure.what}; ${done}` })
}

/** Restarts, undrained, each unit that uses a new file, even if another one fails. Returns what was done. */
async function restartRestored({ on, stale, found, restarted }: Installation): Promise<string> {
  const mayUseNew = ({ unit, isUp }: UnitCheck) =>
    isUp && isUnfinished(unit, found.places) && unit.files.some(({ loads }) => loads === 'restart')
  const units = [...new Set([...restarted, ...stale.filter(mayUseNew).map(({ unit }) => unit)])]
  const unhealthy: UnitOnNode[] = []
  for (const unit of units) {
    const isMember = unit.isQuorum === true && (await whyNotHealthy(on, on.node, unit)) === undefined
    const again = async () => {
      if (isMember) await waitForOthers(on, unit)
      await restartWithoutDrain(on, unit)
    }
    if (!(await succeeds(again()))) unhealthy.push(unit)
  }
  const [all, failed] = [units, unhealthy].map((some) => formatNames(some.map(({ unit }) => unit)))
  if (units.length === 0) return ''
  return unhealthy.length === 0 ? `, ${all} healthy again` : `, restarted ${all}, but ${failed} not healthy`
}

async function succeeds(work: Promise<void>): Promise<boolean> {
  return (await tryToAwait(() => work.then(() => true))) ?? false
}

async function forget(installation: Installation): Promise<void> {
  const { on, found, all, desired } = installation
  const replaced = replacedPaths(installation)
  const digestOf = (each: DesiredPlace) => {
    // A file that this run has not replaced may differ from auth/ in a part that units do not read.
    const accepted = desired.includes(each) ? undefined : each.accepted
    return accepted ?? each.sha256 ?? ''
  }
  const proven = all.filter(({ path }) => replaced.includes(path))
  await forgetOld(on, found, new Map(proven.map((each) => [each.path, digestOf(each)])))
}
