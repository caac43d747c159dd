/** Installs deployed files where the units of a node read them: files, restarts, proof, and the rollback on failure. */
import { setTimeout as delay } from 'node:timers/promises'
import { asFailure, Failure, runAgain } from '../../../lib/failure.ts'
import type { Run } from '../../../lib/graph/target.ts'
import { besideOf, oldSuffix } from '../../../lib/node/place.ts'
import { type PlacesState, realPath } from '../../../lib/node/state.ts'
import { type Change, formatReasons, type ReasonOf } from '../../../lib/results.ts'
import { formatNames } from '../../../lib/wording.ts'
import { keepOthers, type Other } from '../../deploy/guards.ts'
import { splitMarks } from '../../deploy/marks.ts'
import type { NodeRun } from '../../inspect/component.ts'
import { installOf, reloadTime, repeat } from '../../inspect/look.ts'
import type { Unit } from '../../layouts/layout.ts'
import { serviceOf } from '../../layouts/tables.ts'
import { checkUnitsOf, type UnitCheck, unfinishedPaths, whyUnsteady } from './check-units.ts'
import { lookAtUnits, type UnitsFound } from './look-at-units.ts'
import { guarded, type QuorumState, quorumStateOf } from './quorum.ts'
import { forgetOld, putBack, replaceAtPlaces } from './replace.ts'
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
import { type WantedPlace, wantedAt } from './wanted.ts'

/** What was done to the units of a node, for whoever has to undo it. */
interface Journal {
  /** Real paths of files that were replaced, by this run or by one before: the old ones are beside them. */
  readonly replaced: readonly string[]
  /** By this run. */
  readonly restarted: Unit[]
}

/** `found` must come from a look made just now. `units`: as a look after all that was done has found them. */
export async function bringUp(
  on: NodeRun,
  found: UnitsFound & { readonly others: readonly Other[] },
  isForced: boolean,
): Promise<{ change?: Change; warning?: string; units: UnitsFound['units'] }> {
  const work = await planWork(on, found, isForced)
  let units = found.units
  const isLeftDrained = await settleMarks(on, work)
  const journal = await replace(on, work)
  try {
    await load(on, work, journal)
    if (work.quorumState !== 'without a quorum') units = await prove(on, work, journal)
  } catch (error) {
    throw await undo(on, work, journal, error)
  }
  if (isLeftDrained && !journal.restarted.some(({ isDrained }) => isDrained)) await undrain(on.run, on.node)
  return { ...(await settle(on, work, journal)), units }
}

/** A unit that differs from what is wanted. */
type StaleUnit = UnitCheck & { readonly reason: ReasonOf<'unit'> }

/** What there is to do, and how the units were before. */
type UnitsWork = Readonly<Awaited<ReturnType<typeof planWork>>>

async function planWork(on: NodeRun, found: Parameters<typeof bringUp>[1], isForced: boolean) {
  const { run } = on
  const checks = checkUnitsOf(run, found).map((check) => (isForced ? asForced(run, check) : check))
  const stale = checks.flatMap(({ reason, ...rest }): StaleUnit[] => (reason ? [{ ...rest, reason }] : []))
  const quorum = stale.find(({ unit }) => unit.isQuorum)
  const isKnown = !quorum || (quorum.isUp && wereHealthy([quorum], found))
  const quorumState: QuorumState = isKnown ? 'healthy' : await quorumStateOf(on, quorum.unit)
  const all = wantedAt(
    run,
    checks.map(({ unit }) => unit),
    found.places,
  )
  const differing = stale.flatMap(({ reason }) => reason.places)
  const paths = new Set(differing.map(({ path }) => realPath(found.places, path)))
  return {
    found,
    checks,
    stale,
    all,
    /** Each file once, even if several units read it. A certificate and its key are adjacent, as in the table. */
    wanted: all.filter(({ path }) => paths.has(path)),
    /** Real paths beside which a previous run left the old files that units were last healthy with. */
    kept: stale.flatMap(({ unit }) => unfinishedPaths(unit, found.places)),
    /** True if each of them was healthy. */
    isHealthy: wereHealthy(stale, found),
    quorumState,
    /** The unit that needs a quorum. */
    quorum: quorum?.unit.unit,
  }
}

/** A unit that was not healthy gains nothing from its old files. */
function wereHealthy(stale: readonly StaleUnit[], found: UnitsFound): boolean {
  return stale.every(({ unit, reason, isUp }) => !isUp || (reason.state ?? whyUnsteady(unit, found)) === undefined)
}

/** All files or none. */
async function replace(on: NodeRun, { found, wanted, all, kept }: UnitsWork): Promise<Journal> {
  keepOthers(on.run, on.node, found.others)
  if (wanted.length > 0) on.tell({ doing: 'installing', files: wanted.length })
  await replaceAtPlaces(on, found, { wanted, all })
  return { replaced: [...new Set([...wanted.map(({ path }) => path), ...kept])], restarted: [] }
}

/**
 * Undrains what a killed run left drained. While a drained unit is not healthy yet, marks the node as ours instead and
 * returns true: the caller undrains it later. Throws a Failure if another run has drained it.
 */
async function settleMarks({ run, node }: NodeRun, { found, checks }: UnitsWork): Promise<boolean> {
  const { left, inUse } = splitMarks(run, found)
  if (inUse.length > 0) throw drainedByAnother(node, inUse)
  if (left.length === 0 || installOf(run).undrain === '') return false
  const isUnhealthy = checks.some(({ unit }) => unit.isDrained && whyUnsteady(unit, found) !== undefined)
  if (isUnhealthy) await markDrained(run, node, left)
  else await undrain(run, node, left)
  return isUnhealthy
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

/** All at once, unless one restarts: then first, one by one, those that others on the node query. */
async function load(on: NodeRun, work: UnitsWork, journal: Journal): Promise<void> {
  const { stale, quorumState } = work
  if (quorumState === 'without a quorum') return loadUnproven(on, stale, journal)
  const first = stale.some(({ reason }) => reason.restarts) ? stale.filter(({ unit }) => unit.isQueried) : []
  for (const each of first) await loadOne(on, each, work, journal)
  const others = stale.filter((each) => !first.includes(each))
  await allOrFailure(others.map((each) => loadOne(on, each, work, journal)))
}

async function loadOne(
  on: NodeRun,
  { unit, reason, isUp }: StaleUnit,
  { found: { places }, quorumState }: UnitsWork,
  { restarted }: Journal,
): Promise<void> {
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

/** Kubeconfigs whose pair is new, or was installed by a run that was killed before it removed the old files. */
export function unprovenClients(unit: Unit, reason: ReasonOf<'unit'>, places: PlacesState): string[] {
  const isLeft = unfinishedPaths(unit, places).length > 0
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

/**
 * True if the unit has reloaded, in time, each file that its command line says it reloads. If not, it needs a restart.
 */
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
async function loadUnproven(on: NodeRun, stale: readonly StaleUnit[], { restarted }: Journal): Promise<void> {
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
  return new Failure(`${unit} does not serve its installed certificate`, {
    node: node.name,
    code: 'not-served',
    remedy: `check on ${node.name} which files its command line names: systemctl cat ${service}`,
  })
}

/**
 * The unit is healthy with the new files, and only gets no requests yet; or another run is at work, maybe with the same
 * files.
 */
function isKept(error: unknown): boolean {
  return error instanceof Failure && (error.code === 'not-undrained' || error.code === 'busy')
}

/** Finds a restart command that restarted nothing, and a unit that has failed since, in this run and not the next. */
async function prove(
  on: NodeRun,
  { found: before, stale }: UnitsWork,
  { replaced, restarted }: Journal,
): Promise<UnitsFound['units']> {
  const { run, node } = on
  on.tell({ doing: 'checking again' })
  const given = stale.flatMap(({ unit, reason }) => (reason.places.length > 0 ? [unit] : []))
  const found = await waitUntilSteady(on, before, [...restarted, ...given])
  // Ignores the old files that this run keeps beside the new ones.
  const kept = new Set(replaced.flatMap(besideOf))
  const files = new Map([...found.places.files].filter(([path]) => !kept.has(path)))
  const again = checkUnitsOf(run, { ...found, places: { ...found.places, files } })
  const isUp = new Map(again.map((each) => [each.unit.unit, each.isUp]))
  const ended = restarted.find(({ unit }) => isUp.get(unit) !== true)?.unit
  if (ended !== undefined)
    throw new Failure(`${ended} stopped after a healthy restart`, {
      node: node.name,
      code: 'not-loaded',
      remedy: `find out why on ${node.name}: journalctl -u ${serviceOf(run.cluster, ended)}`,
    })
  const left = again.flatMap(({ reason }) => reason ?? [])
  if (left.length === 0) return found.units
  throw new Failure(`still out of date after installing; ${formatReasons(left)}`, {
    node: node.name,
    code: 'not-loaded',
    remedy: `check on ${node.name}: ${left.map(({ unit }) => `systemctl status ${serviceOf(run.cluster, unit)}`).join('; ')}; then ${runAgain}`,
  })
}

/**
 * Throws once all have ended: the first error, but with another beside it, `busy` is no reason to keep the new files.
 */
async function allOrFailure(work: readonly Promise<void>[]): Promise<void> {
  const errors = (await Promise.allSettled(work)).flatMap((each) => (each.status === 'rejected' ? [each.reason] : []))
  const [first] = [...errors.filter((error) => !isKept(error)), ...errors]
  if (first !== undefined) throw first
}

/**
 * Puts back what the journal has, and restarts the units with it, unless the new files serve as well or the units were
 * not healthy before. An aborted run leaves a valid state, and the next continues from it. Returns the error, with the
 * outcome of that added.
 */
async function undo(on: NodeRun, work: UnitsWork, { replaced, restarted }: Journal, error: unknown): Promise<unknown> {
  const { found, stale, isHealthy, kept } = work
  if (on.signal.aborted || !(isHealthy || kept.length > 0) || isKept(error)) return error
  const failure = asFailure(error)
  if (replaced.length === 0) return failure
  const isBack = await succeeds(putBack(on, found, replaced))
  // A previous run may have restarted a unit with the files that are put back now.
  const left = stale
    .filter(({ unit, isUp }) => isUp && unfinishedPaths(unit, found.places).length > 0)
    .map(({ unit }) => unit)
  const again = new Set([...restarted, ...left.filter(({ files }) => files.some(({ loads }) => loads === 'restart'))])
  const unhealthy = isBack ? await restartAll(on, again) : []
  const units = formatNames([...again].map(({ unit }) => unit))
  const outcome =
    unhealthy.length === 0
      ? `${units} healthy again`
      : `restarted ${units}, but ${formatNames(unhealthy.map(({ unit }) => unit))} not healthy`
  const done = isBack
    ? `restored the old files${units === '' ? '' : `, ${outcome}`}`
    : `couldn't restore the old files; they are beside the new ones (*${oldSuffix})`
  return failure.with({ what: `${failure.what}; ${done}` })
}

/** Restarts every unit, even if another fails. Returns those that did not become healthy. */
async function restartAll(on: NodeRun, units: Iterable<Unit>): Promise<Unit[]> {
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
async function settle(on: NodeRun, work: UnitsWork, { replaced, restarted }: Journal) {
  const { found, all, wanted, quorum, quorumState } = work
  // What was not replaced may differ from auth/ in what units do not read.
  const digestOf = (each: WantedPlace) => (wanted.includes(each) ? undefined : each.accepted) ?? each.sha256 ?? ''
  const there = all.filter(({ path }) => replaced.includes(path))
  await forgetOld(on, found, new Map(there.map((each) => [each.path, digestOf(each)])))
  const restarts = restarted.map(({ unit }) => unit)
  const change: Change = { kind: 'installed', paths: wanted.map(({ path }) => path), removed: [], restarts }
  if (quorumState !== 'without a quorum') return wanted.length + restarts.length > 0 ? { change } : {}
  const warning = `${quorum} on ${on.node.name} has no quorum yet, so its health was not checked; once all control nodes are done, run ${on.run.command('bootstrap')}`
  return { change, warning }
}
