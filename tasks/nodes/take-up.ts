/** Has the units of one node take up what is in auth/: files in their places, restarts, proof; undone where that is right. */
import type { Change } from '../../lib/change.ts'
import type { Install } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { formatReasons, type UnitReason } from '../../lib/reason.ts'
import { besideOf } from '../../lib/remote/units-look.ts'
import type { Built } from '../../lib/targets/target.ts'
import type { Place, Unit } from '../tables/places.ts'
import { undrain } from './drain.ts'
import { removeMisplaced, splitMisplaced } from './left-over.ts'
import { forgetOld, placeFiles } from './places.ts'
import { guarded, type Standing, standingOf } from './quorum.ts'
import {
  type On,
  restart,
  restartUnproven,
  waitUntilServed,
  waitUntilShown,
  waitUntilWell,
  whyNotWell,
} from './restart.ts'
import { allOrFailure, isOfUnit, tellingTogether } from './together.ts'
import { undo } from './undo.ts'
import { judgeUnits, lookAtUnits, type UnitsFound, type UnitVerdict } from './units.ts'

/** `found` is of this moment. */
export async function bringUp(on: On, found: UnitsFound, isForced: boolean): Promise<Built> {
  const { workspace, node, install } = on
  if (found.look.isDrained && install.undrain !== '') await undrain(workspace, node, install)
  const verdicts = judgeUnits(workspace, node, install, found).map((verdict) =>
    isForced ? asForced(verdict, install) : verdict,
  )
  const stale = verdicts.filter(({ reason }) => typeof reason === 'object')
  const quorum = stale.map(({ unit }) => unit).find(({ isQuorum }) => isQuorum)
  const isWell = await wereWell(on, stale)
  const standing = quorum ? await standingOf(on, quorum) : 'well'
  const canBeWell = standing !== 'without a majority'
  const places = placesOf(stale)
  if (places.length > 0) on.tell({ doing: 'installing', files: places.length })
  await placeFiles(workspace, node, install, found.look, places)
  const restarted = canBeWell ? await takeUpAll(on, stale, { isWell, standing }) : await takeUpUnproven(on, stale)
  on.tell({ doing: 'checking again' })
  await forgetOld(workspace, node, install, [
    ...new Set([...places.map(({ path }) => path), ...keptBefore(stale, found)]),
  ])
  await removeMisplaced(workspace, node, install, splitMisplaced(workspace, found.misplaced)[0])
  const change: Change = {
    kind: 'installed',
    paths: places.map(({ path }) => path),
    restarts: restarted.map(({ unit }) => unit),
  }
  if (!canBeWell) {
    const warning = `${node.name}: ${quorum?.unit} had no majority yet, so nothing there was seen to be well: see that it is, once the others are`
    return { change, warning }
  }
  await refuseUnloaded(on, restarted)
  return places.length + restarted.length > 0 ? { change } : {}
}

/** For --force: every file anew, and whatever reads one only at its start restarted. */
export function asForced({ unit, reason, isUp }: UnitVerdict, { drain }: Install): UnitVerdict {
  if (reason === 'not installed') return { unit, reason, isUp }
  const places = unit.files.map(({ path }) => ({ path, what: 'differs' as const }))
  const none = { kind: 'unit', unit: unit.unit, notLoaded: [], notServed: [] } as const
  const restarts = isUp && unit.files.some(({ by }) => by === 'restart')
  const isDrained = restarts && unit.isDrained === true && drain !== ''
  return { unit, isUp, reason: { ...none, ...reason, places, restarts, isDrained } }
}

/** Before anything is changed: what was not well is no better for its old files. */
async function wereWell(on: On, stale: readonly UnitVerdict[]): Promise<boolean> {
  const whys = await Promise.all(
    stale.map(({ unit, isUp, reason }) =>
      isUp && typeof reason === 'object' && reason.state === undefined ? whyNotWell(on, on.node, unit) : 'not up',
    ),
  )
  return whys.every((why, i) => why === undefined || !stale[i]?.isUp)
}

/** Each once, though several units may read it; a certificate and its key next to each other, as in the table. */
function placesOf(stale: readonly UnitVerdict[]): Place[] {
  const all = stale.flatMap(({ unit, reason }) => {
    const wrong = typeof reason === 'object' ? reason.places.map(({ path }) => path) : []
    return unit.files.filter(({ path }) => wrong.includes(path))
  })
  return [...new Map(all.map((place) => [place.path, place])).values()]
}

function keptBefore(stale: readonly UnitVerdict[], { look }: UnitsFound): string[] {
  return stale
    .flatMap(({ unit }) => unit.files.map(({ path }) => path))
    .filter((path) => besideOf(path).some((each) => look.files.has(each)))
}

/** How the node's units stood before anything was changed. */
interface Before {
  readonly isWell: boolean
  readonly standing: Standing
}

/** The units that were restarted. Where one does not get well that was: undone. */
async function takeUpAll(on: On, stale: readonly UnitVerdict[], { isWell, standing }: Before): Promise<Unit[]> {
  const restarted: Unit[] = []
  const takeUp = async (own: On, { unit, reason, isUp }: UnitVerdict) => {
    if (!isUp || typeof reason !== 'object') return
    if (await isTakenUp(own, unit, reason)) return
    await guarded(own, unit, standing === 'well', async () => {
      restarted.push(unit)
      await restart(own, unit)
      if (!(await waitUntilServed(own, unit))) throw notServed(own, unit)
    })
  }
  try {
    for (const verdict of stale.filter(({ unit }) => unit.isAsked)) await takeUp(on, verdict)
    const others = stale.filter(({ unit }) => !unit.isAsked)
    await allOrFailure(tellingTogether(on.tell, others, (tell, verdict) => takeUp({ ...on, tell }, verdict)))
    return restarted
  } catch (error) {
    // A run that is ended, or can't go on, leaves a valid state, and the next goes on from it.
    if (on.signal.aborted || !isOfUnit(error) || !isWell) throw error
    const paths = placesOf(stale).map(({ path }) => path)
    throw await undo(on, error, paths, restarted)
  }
}

/** By itself, where that comes; it is then asked whether it is well with what is new. */
async function isTakenUp(on: On, unit: Unit, { restarts }: UnitReason): Promise<boolean> {
  if (restarts || !(await waitUntilServed(on, unit))) return false
  await waitUntilWell(on, unit)
  return true
}

/** The store has to show what is new: by that the next member finds its majority. */
async function takeUpUnproven(on: On, stale: readonly UnitVerdict[]): Promise<Unit[]> {
  const restarted: Unit[] = []
  for (const { unit, reason, isUp } of stale) {
    if (!isUp || typeof reason !== 'object') continue
    if (reason.restarts) {
      restarted.push(unit)
      await restartUnproven(on, unit)
    }
    if (unit.isQuorum && !(await waitUntilShown(on, unit))) throw notServed(on, unit)
  }
  return restarted
}

function notServed({ node }: On, { unit }: Unit): Failure {
  return new Failure(`${node.name}: ${unit} shows another certificate than the one in its place`, {
    code: 'not-served',
    remedy: `see on ${node.name} which files its command line names: systemctl cat ${unit}`,
  })
}

/** A restart that starts nothing anew, a unit that fell over or ended since: seen here, and not by the next run alone. */
async function refuseUnloaded({ workspace, node, install }: On, restarted: readonly Unit[]): Promise<void> {
  const again = judgeUnits(workspace, node, install, await lookAtUnits(workspace, node, install))
  const ended = again.find(({ unit, isUp }) => !isUp && restarted.some((each) => each.unit === unit.unit))?.unit.unit
  if (ended !== undefined)
    throw new Failure(`${node.name}: ${ended} was well after its restart, and does not run any more`, {
      code: 'not-loaded',
      remedy: `see there why it ended: journalctl -u ${ended}`,
    })
  const left = again.flatMap(({ reason }) => (typeof reason === 'object' ? [reason] : []))
  if (left.length === 0) return
  throw new Failure(`${node.name}: not as asked after it was installed: ${formatReasons(left)}`, {
    code: 'not-loaded',
    remedy: `see there: ${left.map(({ unit }) => `systemctl status ${unit}`).join('; ')}; then run the same command again`,
  })
}
