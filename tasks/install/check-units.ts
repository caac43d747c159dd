/** The check of a node's units: which files differ where they are read, and what is not loaded. Pure. */
import { basename, dirname } from 'node:path'
import { authorizationFiles } from '../../lib/files/auth-dir.ts'
import { type Difference, diff, oldAndNew } from '../../lib/node/place.ts'
import { fileAt, type PlacesState, realPath } from '../../lib/node/state.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { type Diff, texts } from '../../lib/results.ts'
import { formatDate, formatNames, groupAlike } from '../../lib/wording.ts'
import { diskOf, type Run } from '../cluster-target.ts'
import type { UnitOnNode } from '../inspect/agreement.ts'
import { isApiServer, renewsFrom } from '../inspect/component.ts'
import type { Place, Port, Unit } from '../layouts/layout.ts'
import { desiredAt, isInstalled, isLoaded, isUp, type UnitsLook } from './places.ts'

export interface UnitCheck {
  readonly unit: UnitOnNode
  readonly isUp: boolean
  /** Files to install, by the paths by which the unit reads them. */
  readonly places: readonly Difference[]
  readonly why: readonly string[]
  /** It has to load files, or a certificate, that are new to it. */
  readonly isToLoad: boolean
  readonly isUnhealthy: boolean
  /** Otherwise it reloads installed files without a restart. */
  readonly restarts: boolean
  /** Seconds since 1970, by the node's clock, when the unit polls the new pair; undefined if it uses it already. */
  readonly reloadsBy: number | undefined
}

export function isStale({ places, why }: UnitCheck): boolean {
  return places.length > 0 || why.length > 0
}

export function diffsOfUnit(check: Pick<UnitCheck, 'unit' | 'places' | 'why' | 'isToLoad' | 'restarts'>): Diff[] {
  const { places, why, isToLoad, restarts } = check
  const { unit, isDrained } = check.unit
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

export function checkUnitsOf(run: Run, found: UnitsLook): UnitCheck[] {
  const { places } = found
  const there = found.units.filter((unit) => isInstalled(unit, places))
  const units = there.map(withoutList)
  const differences = Map.groupBy(diff(desiredAt(run, units, places), places), ({ path }) => path)
  return units.map((unit) => {
    const differing = unit.files.flatMap(({ path }) =>
      (differences.get(realPath(places, path)) ?? []).map(({ what }) => ({ path, what })),
    )
    return checkUnit(run, unit, found, differing)
  })
}

/** A target of its own brings the list of the revoked. */
function withoutList(unit: UnitOnNode): UnitOnNode {
  return { ...unit, files: unit.files.filter(({ file }) => !authorizationFiles.includes(file)) }
}

/** With --force every file is installed again, and a unit that reads a file only at its start is restarted. */
export function asForced(check: UnitCheck): UnitCheck {
  const { files } = check.unit
  const places = files.map(({ path }) => ({ path, what: 'differs' as const }))
  const restarts = check.isUp && files.some(({ loads }) => loads === 'restart')
  return { ...check, places, isToLoad: places.length > 0, restarts }
}

function checkUnit(run: Run, unit: UnitOnNode, found: UnitsLook, places: readonly Difference[]): UnitCheck {
  const differing = places.map(({ path }) => path)
  const unhealthy = whyUnproven(run, unit, found, places)
  const checked = { unit, places, isUnhealthy: unhealthy !== undefined }
  const health = texts(unhealthy && `${unit.unit}: ${unhealthy}`)
  if (!isUp(unit, found.places)) {
    const none = { isUp: false, restarts: false, reloadsBy: undefined }
    return { ...checked, ...none, why: health, isToLoad: places.length > 0 }
  }
  const notLoaded = unit.files
    .filter((place) => !differing.includes(place.path) && isOld(unit, place, found))
    .map(({ path }) => path)
  // While a file differs, the unit will serve another certificate in any case.
  const ports = places.length > 0 ? [] : unit.serves.filter((port) => servesAnother(run, port, found))
  const flags = unit.notStartedWith.map(({ flag, value }) => `${flag}=${value}`)
  const loopback = expiringLoopback(run, unit, found)
  const isReadAtStart = ({ loads, path }: Place) => loads === 'restart' && [...differing, ...notLoaded].includes(path)
  return {
    ...checked,
    isUp: true,
    why: [
      ...texts(
        notLoaded.length > 0 && `${unit.unit} has not loaded ${baseNames(notLoaded)}`,
        ports.length > 0 && `${unit.unit} serves another certificate on ${ports.map(({ port }) => port).join(', ')}`,
        flags.length > 0 && `${unit.unit} was started without ${formatNames(flags)}`,
        loopback && `the loopback certificate of ${unit.unit} expires ${formatDate(loopback)}`,
      ),
      ...health,
    ],
    isToLoad: [...differing, ...notLoaded, ...ports].length > 0,
    restarts:
      unit.files.some(isReadAtStart) ||
      flags.length > 0 ||
      loopback !== undefined ||
      (unhealthy !== undefined && isStartHelping(unit, found.places, places)),
    reloadsBy: reloadsBy(run, unit, found.places),
  }
}

/** Where systemd starts the unit again and again, another start helps only with other files. */
function isStartHelping({ unit }: Unit, { units }: PlacesState, places: readonly Difference[]): boolean {
  const { active = 'active' } = units.get(unit) ?? {}
  return active === 'failed' || (active !== 'active' && places.length > 0)
}

/** The file has changed since the unit has read it, at its start or as it reports. */
function isOld(unit: Unit, { path, loads, mayReload }: Place, { places, loadedConfig }: UnitsLook): boolean {
  if (loads !== 'restart' && loads !== 'reload') return false
  // An API server that reports the digest of its encryption config shows so whether it has loaded that.
  if (mayReload && loadedConfig !== undefined) return loadedConfig !== fileAt(places, path)?.sha256
  return !isLoaded(unit, path, places)
}

function servesAnother({ auth }: Run, { port, name }: Port, { served }: UnitsLook): boolean {
  const [leaf, ours] = [served.get(port), tryCertificate(auth, name)?.der]
  return leaf instanceof Buffer && ours !== undefined && !leaf.equals(ours)
}

/** When the certificate expires that an API server has made itself at its start, if that is soon. */
function expiringLoopback(run: Run, unit: Unit, { selfMade }: UnitsLook): Date | undefined {
  return isApiServer(unit) && selfMade && renewsFrom(run, selfMade) <= run.now ? selfMade.notAfter : undefined
}

/** What credentials that are about to be replaced were answered does not count. */
function whyUnproven(run: Run, unit: Unit, found: UnitsLook, differing: readonly Difference[]): string | undefined {
  const doAnswersCount = differing.length === 0 && !isReplaced(run, unit.health?.as ?? '')
  const noAnswers = { served: new Map(), unhealthy: new Map() }
  return (
    whyUnhealthy(unit, doAnswersCount ? found : { ...found, ...noAnswers }) ??
    (isUnfinished(unit, found.places) ? 'it was not healthy in a previous run' : undefined)
  )
}

function isReplaced(run: Run, name: string): boolean {
  const [there, planned] = [diskOf(run), run.auth].map((auth) => tryCertificate(auth, name)?.der)
  return there !== undefined && planned !== undefined && !there.equals(planned)
}

/** Undefined if the unit was started after the last change of the pair, or has polled since. */
function reloadsBy({ waits }: Run, unit: Unit, places: PlacesState): number | undefined {
  const polled = unit.files.filter(({ loads, path }) => loads === 'poll' && !isLoaded(unit, path, places))
  if (polled.length === 0) return undefined
  const by = waits.polled + Math.max(...polled.map(({ path }) => fileAt(places, path)?.changed ?? 0))
  return by > places.now ? by : undefined
}

export function whyUnhealthy(
  unit: Unit,
  { places, served, unhealthy }: Pick<UnitsLook, 'places' | 'served' | 'unhealthy'>,
): string | undefined {
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
  return paths.filter((path) => oldAndNew(path).some((each) => places.files.has(each)))
}

export function isUnfinished(unit: Unit, places: PlacesState): boolean {
  return unfinishedPaths(unit, places).length > 0
}
