/** The check of a node's units: which files differ where they read them, and what they have not loaded. */
import { authorizationConfigFile, authorizationFiles } from '../../../lib/files/auth-dir.ts'
import type { Run } from '../../../lib/graph/target.ts'
import { besideOf, diff } from '../../../lib/node/place.ts'
import { fileAt, type PlacesState, realPath } from '../../../lib/node/state.ts'
import { tryCertificate } from '../../../lib/pki/pair.ts'
import type { Difference, ReasonOf } from '../../../lib/results.ts'
import { count } from '../../../lib/wording.ts'
import { isApiServer, renewsFrom } from '../../inspect/component.ts'
import { installOf } from '../../inspect/look.ts'
import { processesOf, type UnitSeen } from '../../inspect/reads.ts'
import { apiServer, type Place, type Port, type Unit } from '../../layouts/layout.ts'
import { embedsCa, isInstalled, isLoaded, isUp, sameClock, type UnitsFound } from './look-at-units.ts'
import { isHeldBack } from './open-folders.ts'
import { wantedAt } from './wanted.ts'

/** The check of one unit; the checks are in the table's order. */
export type UnitCheck = Readonly<ReturnType<typeof checkUnitsOf>[number]>

/** Of the units that are installed there. */
export function checkUnitsOf(run: Run, found: UnitsFound) {
  const { places } = found
  const installed = found.units
    .filter((unit) => isInstalled(unit, places))
    .map((unit) => {
      const isLeft = (place: Place) => place.part === 'ca' && embedsCa(run, place, unit, places)
      const isHeld = isHeldBack(run, unit, places, isUp(unit, places))
      const held = heldSecrets(run, { ...unit, files: unit.files.filter(isHeld) }, places)
      const files = unit.files.filter((place) => !isLeft(place) && !isHeld(place))
      return { unit: { ...unit, files }, held }
    })
  const units = installed.map(({ unit }) => unit)
  const drifts = Map.groupBy(diff(wantedAt(run, units, places), places), ({ path }) => path)
  return installed.map(({ unit, held }) => ({
    unit,
    /** Undefined if everything matches. */
    reason: checkUnit(run, unit, found, drifts),
    /** True if it runs, or tries to. */
    isUp: isUp(unit, places),
    /**
     * By then it will use a pair that is in its place; undefined if it does already. In seconds since 1970 by the
     * node's clock.
     */
    reloadsBy: reloadsBy(run, unit, places),
    /** Its files that are not installed, since other users could replace them there. */
    held,
  }))
}

/** The list of the revoked has a row of its own, which fails. */
function heldSecrets(run: Run, unit: UnitSeen, places: PlacesState): string[] {
  const differing = new Set(diff(wantedAt(run, [unit], places), places).map(({ path }) => path))
  return unit.files.flatMap(({ file, path }) =>
    differing.has(realPath(places, path)) && !authorizationFiles.includes(file) ? [file] : [],
  )
}

interface Judged {
  readonly run: Run
  readonly unit: UnitSeen
  readonly found: UnitsFound
  /** Its files that differ. */
  readonly places: ReasonOf<'unit'>['places']
}

/** What one thing about a unit lacks. */
interface Lack extends Partial<ReasonOf<'unit'>> {
  /** Only a restart mends it; `for key` if that is needed since an old key is revoked, and only then. */
  readonly needs?: 'restart' | 'for key' | undefined
}

/** What a unit does not have, or has not loaded, by a rule for each; one that is stopped has nothing loaded. */
function checkUnit(
  run: Run,
  unit: UnitSeen,
  found: UnitsFound,
  drifts: ReadonlyMap<string, readonly Difference[]>,
): ReasonOf<'unit'> | undefined {
  const places = unit.files.flatMap((place) => differenceAt(place, found.places, drifts))
  const judged = { run, unit, found, places }
  const up = isUp(unit, found.places)
  const rules = [inPlace, ...(up ? [loaded, served, startedWith, selfMade] : []), healthy]
  const lacks = rules.flatMap((rule) => rule(judged) ?? [])
  if (lacks.length === 0) return undefined
  const needs = up ? lacks.flatMap(({ needs: each }) => each ?? []) : []
  const restarts = needs.length > 0
  const isRenewed = (port: Port) => isReplaced(run, port.name) || servesAnother(run, port, found)
  const { needs: _, ...all }: Lack = Object.assign({}, ...lacks)
  return {
    ...{ kind: 'unit', unit: unit.unit, places, notLoaded: [], notServed: [], ...all, restarts },
    restartsBefore: up && !restarts ? unit.serves.find(isRenewed)?.restartsBefore : undefined,
    isDrained: restarts && unit.isDrained === true && installOf(run).drain !== '',
    ...(restarts && needs.every((each) => each === 'for key') && { isForKey: true }),
  }
}

function inPlace({ unit, places }: Judged): Lack | undefined {
  if (places.length === 0) return undefined
  return {
    places,
    needs: startFor(
      unit,
      places.map(({ path }) => path),
    ),
  }
}

/** In place, and changed since the unit has read them. */
function loaded({ unit, found, places }: Judged): Lack | undefined {
  const isOld = (place: Place) => !places.some(({ path }) => path === place.path) && !hasLoaded(unit, place, found)
  const notLoaded = (['restart', 'reload'] as const).flatMap((loads) =>
    unit.files.filter((place) => place.loads === loads && isOld(place)).map(({ path }) => path),
  )
  return notLoaded.length > 0 ? { notLoaded, needs: startFor(unit, notLoaded) } : undefined
}

/** Whether the unit reads these only at its start. */
function startFor({ files }: Unit, paths: readonly string[]): Lack['needs'] {
  const atStart = files.filter(({ loads, path }) => loads === 'restart' && paths.includes(path))
  if (atStart.length === 0) return undefined
  return atStart.every(({ isCutOff }) => isCutOff) ? 'for key' : 'restart'
}

/** If a file differs, what is served will change anyway. */
function served({ run, unit, found, places }: Judged): Lack | undefined {
  const ports = places.length > 0 ? [] : unit.serves.filter((port) => servesAnother(run, port, found))
  return ports.length > 0 ? { notServed: ports.map(({ port }) => port) } : undefined
}

function startedWith({ unit: { flags } }: Judged): Lack | undefined {
  const notStartedWith = flags.notStartedWith.map(({ flag, value }) => `${flag}=${value}`)
  return notStartedWith.length > 0 ? { notStartedWith, needs: 'restart' } : undefined
}

function selfMade({ run, unit, found }: Judged): Lack | undefined {
  const certificate = isApiServer(unit) ? found.selfMade : undefined
  if (!certificate || renewsFrom(run, certificate) > run.now) return undefined
  return { selfMadeEnds: certificate.notAfter, needs: 'restart' }
}

/** Credentials that a plan replaces do not count: the unit may refuse them for a good reason. */
function healthy({ run, unit, found, places }: Judged): Lack | undefined {
  const isHeard = places.length === 0 && !isReplaced(run, unit.health?.as ?? '')
  const state = stateOf(unit, isHeard ? found : { ...found, served: new Map(), unhealthy: new Map() })
  if (state === undefined) return undefined
  const active = found.places.units.get(unit.unit)?.active ?? 'active'
  // One that systemd starts again and again gains nothing from a start with the same files.
  const isAgain = active === 'failed' || (active !== 'active' && places.length > 0)
  return { state, ...(isAgain && { needs: 'restart' }) }
}

function servesAnother({ auth }: Run, { port, name }: Port, { served }: UnitsFound): boolean {
  const [leaf, ours] = [served.get(port), tryCertificate(auth, name)?.der]
  return leaf instanceof Buffer && ours !== undefined && !leaf.equals(ours)
}

/** In a plan. */
function isReplaced({ auth, pending }: Run, name: string): boolean {
  return pending?.has(auth.files.certificate(name)) === true
}

/**
 * By what the API server denies, and by the digest that it reports for its encryption config; without one, by clocks.
 */
function hasLoaded(unit: Unit, { file, path, loads, mayReload }: Place, found: UnitsFound): boolean {
  if (file === authorizationConfigFile) return found.inForce?.isLoaded === true
  const { places, config } = found
  if (mayReload && config?.digest !== undefined) return config.digest === fileAt(places, path)?.sha256
  return isLoaded(unit, path, places) || (loads === 'reload' && isReloaded(path, found))
}

/** True if the API server has reloaded it since its last change. A time in the future proves nothing. */
function isReloaded(path: string, { places, config }: UnitsFound): boolean {
  const changed = fileAt(places, path)?.changed ?? Number.POSITIVE_INFINITY
  const { process, started = 0 } = places.units.get(apiServer) ?? {}
  const setBack = typeof process === 'object' ? started - process.started : 0
  // It may have reloaded before the clock was set back: then its time is too late by that much.
  const latest = setBack > sameClock ? changed + setBack : changed
  const reloaded = config?.reloaded
  return reloaded !== undefined && reloaded > latest && reloaded <= places.now + 1
}

/**
 * A unit polls from its start on, and has read a pair that was there then. If the node's clock was set since, the time
 * must be over by the clock of the start, too.
 */
function reloadsBy({ waits }: Run, unit: Unit, places: PlacesState): number | undefined {
  const { process, started } = places.units.get(unit.unit) ?? {}
  const polled = unit.files.filter(({ loads, path }) => loads === 'poll' && !isLoaded(unit, path, places))
  if (polled.length === 0 || !isUp(unit, places)) return undefined
  const byClockOfStart = typeof process === 'object' && started !== undefined ? started + process.age : places.now
  const changed = Math.max(...polled.map(({ path }) => fileAt(places, path)?.changed ?? 0))
  const left = changed + waits.polled - Math.min(places.now, byClockOfStart)
  return left > 0 ? places.now + left : undefined
}

/** Undefined if there is nothing to report. */
function stateOf(unit: Unit, found: UnitsFound): string | undefined {
  const { places } = found
  if (unit.bundle === undefined && isUp(unit, places) && !places.units.get(unit.unit)?.isLoaded)
    return "it runs, but systemd can't use its unit file"
  return (
    whyUnsteady(unit, found) ?? (keptFor(unit, places).length > 0 ? 'it was not healthy in a previous run' : undefined)
  )
}

/** Seconds: a unit that systemd restarted later than that may be about to end again. */
const settlingTime = 300
/** Seconds: the same for a client of an API server that was restarted meanwhile. */
const settlingTimeOfClients = 30

/** Why a unit that runs, or tries to, is not healthy, or may not stay so. Only time, or its owner, changes that. */
export function whyUnsteady(unit: Unit, { places, served, unhealthy }: UnitsFound): string | undefined {
  const state = places.units.get(unit.unit)
  if (unit.bundle !== undefined || state === undefined || !isUp(unit, places)) return undefined
  const { active, sub, process, restarts, started = 0 } = state
  if (active !== 'active') return `it is ${active} (${sub})`
  if (process === 'gone') return 'its main process has just ended'
  if (process?.isStopped) return 'its main process is stopped (SIGSTOP)'
  const left = process && processesOf(unit, places).find(({ age = 0 }) => age > process.age + sameClock)
  if (left) return `process ${left.id} of an earlier start still runs (on the node, kill ${left.id})`
  const age = process?.age ?? places.now - started
  if (restarts > 0 && age < (lostItsApiServer(unit, age, places) ? settlingTimeOfClients : settlingTime))
    return `systemd restarted it ${Math.max(0, Math.floor(age))} s ago (${count(restarts, 'restart')})`
  const silent = unit.serves.filter(({ port }) => served.get(port) === 'nothing')
  if (silent.length > 0) return `it serves no certificate on ${silent.map(({ port }) => port).join(', ')}`
  return unhealthy.get(unit.unit)
}

/**
 * True if this node's API server was started since a unit with a kubeconfig was, whose process is that old, or up to a
 * minute before. Clients that hold a lease end if they can't renew it for 10 s (--leader-elect-renew-deadline). An API
 * server stops for up to two minutes, and a rotation restarts it more than once: which of its starts a client waited
 * for can't be seen any more.
 */
function lostItsApiServer({ files }: Unit, age: number, { units }: PlacesState): boolean {
  const server = units.get(apiServer)?.process
  return typeof server === 'object' && files.some(({ part }) => part === 'kubeconfig') && server.age < age + 60
}

/** Real paths of its files beside which a previous run has left something. */
export function keptFor({ files }: Unit, places: PlacesState): string[] {
  const paths = files.map(({ path }) => realPath(places, path))
  return paths.filter((path) => besideOf(path).some((each) => places.files.has(each)))
}

function differenceAt(
  { path }: Place,
  places: PlacesState,
  drifts: ReadonlyMap<string, readonly Difference[]>,
): ReasonOf<'unit'>['places'] {
  const found = drifts.get(realPath(places, path)) ?? []
  if (found.length > 0) return found.map(({ what }) => ({ path, what }))
  // The clock was set back: no start could be later, so every run would restart the unit.
  return (fileAt(places, path)?.changed ?? 0) > places.now + 1 ? [{ path, what: 'dated in the future' }] : []
}
