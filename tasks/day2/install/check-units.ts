/**
 * The check of a node's units, from a look at them: which files differ where the units read them, and what the units
 * have not loaded. Pure. Each rule below tests one thing, and returns what the unit lacks; what all rules of a unit have
 * returned is its one reason.
 */
import { basename, dirname } from 'node:path'
import { authorizationFiles } from '../../../lib/files/auth-dir.ts'
import { besideOf, type Difference, diff } from '../../../lib/node/place.ts'
import { fileAt, type PlacesState, realPath } from '../../../lib/node/state.ts'
import { tryCertificate } from '../../../lib/pki/pair.ts'
import type { Diff } from '../../../lib/results.ts'
import { formatDate, formatNames, groupAlike } from '../../../lib/wording.ts'
import type { UnitOnNode } from '../../inspect/agreement.ts'
import { isApiServer, renewsFrom } from '../../inspect/component.ts'
import { installOf, isDrainedFor } from '../../inspect/look.ts'
import type { Place, Port, Unit } from '../../layouts/layout.ts'
import { diskOf, type Run } from '../../target.ts'
import { isInstalled, isLoaded, isUp, type UnitsFound } from './look-at-units.ts'
import { wantedAt } from './wanted.ts'

/** What a unit on a node does not have, or has not loaded. */
export interface UnitDifference {
  readonly unit: string
  /** Absolute paths of files to install. */
  readonly places: readonly Difference[]
  /** What else is wrong: clauses. */
  readonly why: readonly string[]
  /** It has to load files, or a certificate, that are new to it. */
  readonly isToLoad: boolean
  /** It does not run as it should. */
  readonly isUnhealthy: boolean
  /** Otherwise it reloads installed files without a restart. */
  readonly restarts: boolean
  readonly isDrained: boolean
}

export function diffsOfUnit({ unit, places, why, isToLoad, restarts, isDrained }: UnitDifference): Diff[] {
  const installed = groupAlike(places, ({ path, what }) => `${what} in ${dirname(path)}`).map((group): Diff => {
    const [{ path, what }] = group
    const names = group.map((each) => each.path)
    const how = what === 'differs' && names.length > 1 ? 'differ' : what
    return { what: `${baseNames(names)} ${how} in ${dirname(path)}`, verb: 'install', names }
  })
  const names = [unit]
  const restart: Diff = { what: `${isDrained ? 'drain and ' : ''}restart ${unit}`, verb: 'restart', names }
  const reload: Diff = { what: `reload ${unit}`, verb: 'reload', names }
  return [...installed, ...why.map((what) => ({ what })), ...(restarts ? [restart] : isToLoad ? [reload] : [])]
}

const baseNames = (paths: readonly string[]) => formatNames(paths.map((path) => basename(path)))

/** By a killed run, and cluster.yaml says how to undo that. */
export function isLeftDrained(run: Pick<Run, 'cluster'>, { places }: UnitsFound): boolean {
  return places.isDrained && installOf(run).undrain !== ''
}

/** The check of one unit. */
export interface UnitCheck {
  /** The unit, with the files that it is to have. */
  readonly unit: UnitOnNode
  /** What the unit lacks; undefined if it lacks nothing. */
  readonly reason: UnitDifference | undefined
  /** True if the unit runs, or tries to. */
  readonly isUp: boolean
  /**
   * When the unit will use a pair that is installed and that it polls for, in seconds since 1970 by the node's clock;
   * undefined if it does already.
   */
  readonly reloadsBy: number | undefined
}

/** The checks of the installed units, in the order of the layout's table. */
export function checkUnitsOf(run: Run, found: UnitsFound): UnitCheck[] {
  const { places } = found
  const there = found.units.filter((unit) => isInstalled(unit, places))
  const units = there.map(withoutList)
  const differences = Map.groupBy(diff(wantedAt(run, units, places), places), ({ path }) => path)
  return units.map((unit) => {
    const differing = unit.files.flatMap(({ path }) =>
      (differences.get(realPath(places, path)) ?? []).map(({ what }) => ({ path, what })),
    )
    return {
      ...{ unit, isUp: isUp(unit, places) },
      reason: checkUnit({ run, unit, found, differing }),
      reloadsBy: isUp(unit, places) ? reloadsBy(run, unit, places) : undefined,
    }
  })
}

/** With --force every file is installed again, and a unit that reads a file only at its start is restarted. */
export function asForced(run: Run, { reason, ...check }: UnitCheck): UnitCheck {
  const { unit, isUp } = check
  const places = unit.files.map(({ path }) => ({ path, what: 'differs' as const }))
  const restarts = isUp && unit.files.some(({ loads }) => loads === 'restart')
  const { why = [], isUnhealthy = false } = reason ?? {}
  const forced = { unit: unit.unit, places, why, isToLoad: places.length > 0, isUnhealthy, restarts }
  return { ...check, reason: { ...forced, isDrained: restarts && isDrainedFor(run, unit) } }
}

/** A target of its own brings the list of the revoked. */
function withoutList(unit: UnitOnNode): UnitOnNode {
  return { ...unit, files: unit.files.filter(({ file }) => !authorizationFiles.includes(file)) }
}

/** What the rules are given. */
interface Examined {
  readonly run: Run
  readonly unit: UnitOnNode
  readonly found: UnitsFound
  /** The files of the unit that differ, each by the path by which the unit reads it. */
  readonly differing: readonly Difference[]
}

/** What a unit lacks by one rule. */
type Lack = { readonly why?: string } & Partial<Pick<UnitDifference, 'isToLoad' | 'isUnhealthy' | 'restarts'>>

function checkUnit(examined: Examined): UnitDifference | undefined {
  const { run, unit, found, differing } = examined
  const isRunning = isUp(unit, found.places)
  const rules = [notInstalled, ...(isRunning ? [notLoaded, notServed, notStartedWith, endingSoon] : []), notHealthy]
  const lacks = rules.flatMap((rule) => rule(examined) ?? [])
  if (lacks.length === 0) return undefined
  const restarts = isRunning && lacks.some((each) => each.restarts)
  return {
    unit: unit.unit,
    places: differing,
    why: lacks.flatMap(({ why }) => why ?? []),
    isToLoad: lacks.some((each) => each.isToLoad),
    isUnhealthy: lacks.some((each) => each.isUnhealthy),
    restarts,
    isDrained: restarts && isDrainedFor(run, unit),
  }
}

function notInstalled({ unit, differing }: Examined): Lack | undefined {
  const paths = differing.map(({ path }) => path)
  return paths.length > 0 ? { isToLoad: true, restarts: readsAtStart(unit, paths) } : undefined
}

/** Files that are as wanted, and that have changed since the unit has read them. */
function notLoaded({ unit, found, differing }: Examined): Lack | undefined {
  const isOld = (place: Place) => !differing.some(({ path }) => path === place.path) && !hasLoaded(unit, place, found)
  const paths = (['restart', 'reload'] as const).flatMap((loads) =>
    unit.files.filter((place) => place.loads === loads && isOld(place)).map(({ path }) => path),
  )
  if (paths.length === 0) return undefined
  const why = `${unit.unit} has not loaded ${baseNames(paths)}`
  return { why, isToLoad: true, restarts: readsAtStart(unit, paths) }
}

/** Whether the unit reads one of these files at its start alone. */
function readsAtStart({ files }: Unit, paths: readonly string[]): boolean {
  return files.some(({ loads, path }) => loads === 'restart' && paths.includes(path))
}

/** While a file differs, the unit will serve another certificate in any case. */
function notServed({ run, unit, found, differing }: Examined): Lack | undefined {
  const ports = differing.length > 0 ? [] : unit.serves.filter((port) => servesAnother(run, port, found))
  if (ports.length === 0) return undefined
  const why = `${unit.unit} serves another certificate on ${ports.map(({ port }) => port).join(', ')}`
  return { why, isToLoad: true }
}

function notStartedWith({ unit }: Examined): Lack | undefined {
  const flags = unit.notStartedWith.map(({ flag, value }) => `${flag}=${value}`)
  return flags.length > 0
    ? { why: `${unit.unit} was started without ${formatNames(flags)}`, restarts: true }
    : undefined
}

/** The certificate that an API server makes itself when it starts. */
function endingSoon({ run, unit, found }: Examined): Lack | undefined {
  const certificate = isApiServer(unit) ? found.selfMade : undefined
  if (!certificate || renewsFrom(run, certificate) > run.now) return undefined
  return { why: `the loopback certificate of ${unit.unit} expires ${formatDate(certificate.notAfter)}`, restarts: true }
}

/** Answers to credentials that a plan would replace do not count: the unit may reject these for a good reason. */
function notHealthy({ run, unit, found, differing }: Examined): Lack | undefined {
  const doAnswersCount = differing.length === 0 && !isReplaced(run, unit.health?.as ?? '')
  const noAnswers = { served: new Map(), unhealthy: new Map() }
  const state =
    whyUnhealthy(unit, doAnswersCount ? found : { ...found, ...noAnswers }) ??
    (isUnfinished(unit, found.places) ? 'it was not healthy in a previous run' : undefined)
  if (state === undefined) return undefined
  const active = found.places.units.get(unit.unit)?.active ?? 'active'
  // Where systemd starts the unit again and again, another start helps only with other files.
  const restarts = active === 'failed' || (active !== 'active' && differing.length > 0)
  return { why: `${unit.unit}: ${state}`, isUnhealthy: true, restarts }
}

function servesAnother({ auth }: Run, { port, name }: Port, { served }: UnitsFound): boolean {
  const [leaf, ours] = [served.get(port), tryCertificate(auth, name)?.der]
  return leaf instanceof Buffer && ours !== undefined && !leaf.equals(ours)
}

/** In a plan: the certificate would be replaced. */
function isReplaced(run: Run, name: string): boolean {
  const [there, planned] = [diskOf(run), run.auth].map((auth) => tryCertificate(auth, name)?.der)
  return there !== undefined && planned !== undefined && !there.equals(planned)
}

/** The digest that an API server reports shows whether it has loaded its encryption config; else its start decides. */
function hasLoaded(unit: Unit, { path, mayReload }: Place, { places, loadedConfig }: UnitsFound): boolean {
  if (mayReload && loadedConfig !== undefined) return loadedConfig === fileAt(places, path)?.sha256
  return isLoaded(unit, path, places)
}

/** Undefined if the unit was started after the last change of the pair, or has polled since. */
function reloadsBy({ waits }: Run, unit: Unit, places: PlacesState): number | undefined {
  const polled = unit.files.filter(({ loads, path }) => loads === 'poll' && !isLoaded(unit, path, places))
  if (polled.length === 0) return undefined
  const by = waits.polled + Math.max(...polled.map(({ path }) => fileAt(places, path)?.changed ?? 0))
  return by > places.now ? by : undefined
}

/** Why a unit that runs, or tries to, is not healthy. */
export function whyUnhealthy(unit: Unit, { places, served, unhealthy }: UnitsFound): string | undefined {
  if (unit.bundle !== undefined || !isUp(unit, places)) return undefined
  const { active = 'active', sub } = places.units.get(unit.unit) ?? {}
  if (active !== 'active') return `it is ${active} (${sub})`
  const silent = unit.serves.filter(({ port }) => served.get(port) === 'nothing')
  if (silent.length > 0) return `it serves no certificate on ${silent.map(({ port }) => port).join(', ')}`
  return unhealthy.get(unit.unit)
}

/** The real paths of the unit's files that a previous run has begun to replace: it has left the old or new file there. */
export function unfinishedPaths({ files }: Unit, places: PlacesState): string[] {
  const paths = files.map(({ path }) => realPath(places, path))
  return paths.filter((path) => besideOf(path).some((each) => places.files.has(each)))
}

export function isUnfinished(unit: Unit, places: PlacesState): boolean {
  return unfinishedPaths(unit, places).length > 0
}
