/** Phase `install`: from the folder that is deployed to on to where the running units read the files, until they have loaded them. */
import type { Cluster, ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { oldSuffix } from '../../lib/nodes/units.ts'
import { formatReasons, type Reason, type UnitReason } from '../../lib/reason.ts'
import type { Look, Target, TargetId } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatNames } from '../../lib/wording.ts'
import { leaveGateways, undrain } from '../nodes/drain.ts'
import { type Misplaced, removeMisplaced, splitMisplaced } from '../nodes/misplaced.ts'
import { forgetOld, placeFiles, putBack } from '../nodes/place.ts'
import { refuseWithoutOthers, type Standing, standingOf } from '../nodes/quorum.ts'
import {
  type On,
  restart,
  restartUnproven,
  waitUntilServed,
  waitUntilShown,
  waitUntilWell,
  whyNotWell,
} from '../nodes/restart.ts'
import { judgeUnits, lookAtUnits, type UnitsFound, type UnitVerdict } from '../nodes/units.ts'
import type { Place, Unit } from '../tables/places.ts'
import type { DeployFound } from './deploy.ts'

const phase = 'install'

/** Earlier are the targets that put the files on the nodes. */
export function installTargets({ install, nodes }: Cluster, earlier: readonly Target[]): Target[] {
  if (!install) return []
  const idsOf = (role: ClusterNode['role']) => nodes.filter((node) => node.role === role).map(idOf)
  const [gateways, controls] = [idsOf('gateway'), idsOf('control')]
  return nodes.map((node): Target<UnitsFound> => {
    const [deploy = ''] = earlier.flatMap((target) =>
      target.where === 'node' && target.node === node.name ? [target.id] : [],
    )
    return {
      id: idOf(node),
      phase,
      node: node.name,
      needs: [deploy],
      after: afterOf(node, gateways, controls),
      makes: [],
      where: 'node',
      check: async (at, _, foundBefore) => {
        const before = foundBefore?.get(deploy) as DeployFound | undefined
        return judge(at, node, install, before?.units ?? (await lookAtUnits(at, node, install)))
      },
      build: (at, { signal, force }) => build({ at, node, install, signal }, force !== undefined),
      release: async (at) => {
        await at.disconnect(node)
        if (node.role === 'control') await leaveGateways(at)
      },
    }
  })
}

function idOf({ name }: ClusterNode): TargetId {
  return `${phase}/${name}`
}

/** A gateway trusts what the API servers show before they show it; of these one at a time is restarted, and workers follow. */
function afterOf(node: ClusterNode, gateways: readonly TargetId[], controls: readonly TargetId[]): readonly TargetId[] {
  switch (node.role) {
    case 'gateway':
      return []
    case 'control':
      return [...gateways, ...controls.slice(0, controls.indexOf(idOf(node))).slice(-1)]
    case 'worker':
      return [...gateways, ...controls]
    default:
      return node.role satisfies never
  }
}

function judge(at: Workspace, node: ClusterNode, install: Install, found: UnitsFound): Look<UnitsFound> {
  const verdicts = judgeUnits(at, node, install, found)
  const installed = verdicts.filter(({ reason }) => reason !== 'not installed')
  const [removed, left] = splitMisplaced(at, found.misplaced)
  const reasons: Reason[] = [
    ...(found.look.isDrained && install.undrain !== '' ? [{ kind: 'left-drained', nodes: [node.name] } as const] : []),
    ...installed.flatMap(({ reason }) => (typeof reason === 'object' ? [reason] : [])),
    ...(removed.length > 0 ? [{ kind: 'misplaced', paths: removed.map(({ path }) => path) } as const] : []),
  ]
  const names = formatNames(installed.map(({ unit }) => unit.unit))
  const warning = warningOf(node, installed, left)
  return {
    reasons,
    found,
    // What is not there has nothing to take up, whatever is deployed.
    isFinal: installed.length === 0,
    note: installed.length === 0 ? 'not installed yet' : `${names} up to date`,
    ...(warning !== undefined && { warning }),
  }
}

function warningOf(
  { name }: ClusterNode,
  installed: readonly UnitVerdict[],
  misplaced: readonly Misplaced[],
): string | undefined {
  const stopped = installed.filter(({ isUp }) => !isUp).map(({ unit }) => unit.unit)
  const [inUse, left] = [misplaced.filter(({ isInUse }) => isInUse), misplaced.filter(({ isInUse }) => !isInUse)]
  const paths = (some: readonly Misplaced[]) => formatNames(some.map(({ path }) => path))
  const warnings = [
    stopped.length > 0 && `${name}: ${formatNames(stopped)} is installed, and does not run`,
    left.length > 0 && `${name} holds ${paths(left)}, not for its role: --prune removes what is ours`,
    inUse.length > 0 &&
      `${name} holds ${paths(inUse)}, not for its role, and what reads it still runs: stop that first`,
  ].filter(Boolean)
  return warnings.length > 0 ? warnings.join('; ') : undefined
}

/** Looked at again: much may have happened while others were restarted. What is returned is a warning. */
async function build(on: On, isForced: boolean): Promise<string | undefined> {
  const { at, node, install } = on
  const found = await lookAtUnits(at, node, install)
  if (found.look.isDrained && install.undrain !== '') await undrain(at, node, install)
  const verdicts = judgeUnits(at, node, install, found).map((verdict) =>
    isForced ? asForced(verdict, install) : verdict,
  )
  const stale = verdicts.filter(({ reason }) => typeof reason === 'object')
  const quorum = stale.map(({ unit }) => unit).find(({ isQuorum }) => isQuorum)
  const isWell = await wereWell(on, stale)
  const standing = quorum ? await standingOf(on, quorum) : 'well'
  const canBeWell = standing !== 'without a majority'
  const places = placesOf(stale)
  await placeFiles(at, node, install, found.look, places)
  if (canBeWell) await takeUpAll(on, stale, { isWell, standing })
  else await takeUpUnproven(on, stale)
  await forgetOld(at, node, install, [...new Set([...places.map(({ path }) => path), ...keptBefore(stale, found)])])
  await removeMisplaced(at, node, install, splitMisplaced(at, found.misplaced)[0])
  if (!canBeWell)
    return `${node.name}: ${quorum?.unit} had no majority yet, so nothing there was seen to be well: see that it is, once the others are`
  await refuseUnloaded(on)
  return undefined
}

/** For --force: every file anew, and whatever reads one only at its start restarted. */
function asForced({ unit, reason, isUp }: UnitVerdict, { drain }: Install): UnitVerdict {
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
    .filter((path) => look.files.has(path + oldSuffix))
}

/** How the node's units stood before anything was changed. */
interface Before {
  readonly isWell: boolean
  readonly standing: Standing
}

/** Where one does not get well that was: undone. */
async function takeUpAll(on: On, stale: readonly UnitVerdict[], { isWell, standing }: Before): Promise<void> {
  const restarted: Unit[] = []
  try {
    for (const { unit, reason, isUp } of stale) {
      if (!isUp || typeof reason !== 'object') continue
      if (await isTakenUp(on, unit, reason)) continue
      if (unit.isQuorum && standing === 'well') await refuseWithoutOthers(on, unit)
      restarted.push(unit)
      await restart(on, unit)
      if (!(await waitUntilServed(on, unit))) throw notServed(on, unit)
    }
  } catch (error) {
    // A run that is ended, or can't go on, leaves a valid state, and the next goes on from it.
    const isOfUnit = error instanceof Failure && ['not-well', 'not-served'].includes(error.code ?? '')
    if (on.signal.aborted || !isOfUnit || !isWell) throw error
    throw await undo(on, error, stale, restarted)
  }
}

/** By itself, where that comes; it is then asked whether it is well with what is new. */
async function isTakenUp(on: On, unit: Unit, { restarts }: UnitReason): Promise<boolean> {
  if (restarts || !(await waitUntilServed(on, unit))) return false
  await waitUntilWell(on, unit)
  return true
}

/** The store has to show what is new: by that the next member finds its majority. */
async function takeUpUnproven(on: On, stale: readonly UnitVerdict[]): Promise<void> {
  for (const { unit, reason, isUp } of stale) {
    if (!isUp || typeof reason !== 'object') continue
    if (reason.restarts) await restartUnproven(on, unit)
    if (unit.isQuorum && !(await waitUntilShown(on, unit))) throw notServed(on, unit)
  }
}

function notServed({ node }: On, { unit }: Unit): Failure {
  return new Failure(`${node.name}: ${unit} shows another certificate than the one in its place`, {
    code: 'not-served',
    remedy: `see on ${node.name} which files its command line names: systemctl cat ${unit}`,
  })
}

/** A restart that starts nothing anew, a unit that fell over since: seen here, and not by the next run alone. */
async function refuseUnloaded({ at, node, install }: On): Promise<void> {
  const again = judgeUnits(at, node, install, await lookAtUnits(at, node, install))
  const left = again.flatMap(({ reason }) => (typeof reason === 'object' ? [reason] : []))
  if (left.length === 0) return
  throw new Failure(`${node.name}: not as asked after it was installed: ${formatReasons(left)}`, {
    code: 'not-loaded',
    remedy: `see there: ${left.map(({ unit }) => `systemctl status ${unit}`).join('; ')}; then run the same command again`,
  })
}

/** The old files were good for the unit that did not get well: they and a restart get it back. */
async function undo(
  on: On,
  failure: Failure,
  stale: readonly UnitVerdict[],
  restarted: readonly Unit[],
): Promise<Failure> {
  const { at, node, install } = on
  const paths = placesOf(stale).map(({ path }) => path)
  if (paths.length === 0) return failure
  const isBack = await succeeds(putBack(at, node, install, paths))
  const units = formatNames(restarted.map(({ unit }) => unit))
  const areWell = isBack && (await succeeds(restartAll(on, restarted)))
  const outcome = areWell ? `${units} well again with them` : `${units} restarted with them, but not well`
  const told = isBack
    ? `the files are as they were${units === '' ? '' : `, and ${outcome}`}`
    : `the old files could not be put back: they are beside the new ones (*${oldSuffix})`
  const { code, remedy, kind } = failure
  return new Failure(`${failure.message}; ${told}`, {
    kind,
    ...(code && { code }),
    ...(remedy && { remedy }),
    cause: failure,
  })
}

async function restartAll(on: On, units: readonly Unit[]): Promise<void> {
  for (const unit of units) await restart(on, unit)
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
