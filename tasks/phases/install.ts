/** Phase `install`: from the folder that is deployed to on to where the running units read the files, until they have loaded them. */
import type { Cluster, ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { oldSuffix } from '../../lib/nodes/units.ts'
import type { Reason } from '../../lib/reason.ts'
import type { Look, Target, TargetId } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatNames } from '../../lib/wording.ts'
import { undrainOn } from '../nodes/drain.ts'
import { forgetOld, placeFiles, putBack } from '../nodes/place.ts'
import { type On, restart, waitUntilServed, waitUntilWell } from '../nodes/restart.ts'
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
      build: async (at, { signal }) => {
        await build({ at, node, install, signal })
        return undefined
      },
      release: (at) => at.disconnect(node),
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
  const drained = found.look.drained.length > 0 && install.undrain !== '' ? [leftDrained(found)] : []
  const reasons = [...drained, ...installed.flatMap(({ reason }) => (typeof reason === 'object' ? [reason] : []))]
  const stopped = installed.filter(({ isUp }) => !isUp).map(({ unit }) => unit.unit)
  return {
    reasons,
    found,
    // What is not there has nothing to take up, whatever is deployed.
    isFinal: installed.length === 0,
    note:
      installed.length === 0
        ? 'not installed yet'
        : `${formatNames(installed.map(({ unit }) => unit.unit))} up to date`,
    warning: stopped.length > 0 ? `${node.name}: ${formatNames(stopped)} is installed, and does not run` : undefined,
  }
}

function leftDrained({ look }: UnitsFound): Reason {
  return { kind: 'left-drained', nodes: look.drained }
}

/** Looked at again: much may have happened while others were restarted. */
async function build(on: On): Promise<void> {
  const { at, node, install } = on
  const found = await lookAtUnits(at, node, install)
  await undrainOn(at, node, found.look.drained, install)
  const stale = judgeUnits(at, node, install, found).filter(({ reason }) => typeof reason === 'object')
  const places = placesOf(stale)
  await placeFiles(at, node, install, found.look, places)
  const restarted: Unit[] = []
  try {
    for (const verdict of stale) await takeUp(on, verdict, restarted)
  } catch (error) {
    // A run that is ended leaves a valid state, and the next goes on from it.
    if (on.signal.aborted || !(error instanceof Failure)) throw error
    throw await undo(on, error, stale, restarted)
  }
  const paths = new Set([...places.map(({ path }) => path), ...keptBefore(stale, found)])
  await forgetOld(at, node, install, [...paths])
}

/** Each once, though several units may read it; a certificate and its key next to each other, as in the table. */
function placesOf(stale: readonly UnitVerdict[]): Place[] {
  const all = stale.flatMap(({ unit, reason }) => {
    const wrong = typeof reason === 'object' ? reason?.places.map(({ path }) => path) : []
    return unit.files.filter(({ path }) => wrong?.includes(path))
  })
  return [...new Map(all.map((place) => [place.path, place])).values()]
}

function keptBefore(stale: readonly UnitVerdict[], { look }: UnitsFound): string[] {
  return stale
    .flatMap(({ unit }) => unit.files.map(({ path }) => path))
    .filter((path) => look.files.has(path + oldSuffix))
}

/** By itself where it can, else by a restart; and then a request, with what is new. */
async function takeUp(on: On, { unit, reason, isUp }: UnitVerdict, restarted: Unit[]): Promise<void> {
  if (!isUp || typeof reason !== 'object') return
  const needsRestart = reason?.restarts === true || !(await waitUntilServed(on, unit))
  if (!needsRestart) return waitUntilWell(on, unit)
  restarted.push(unit)
  await restart(on, unit)
  if (!(await waitUntilServed(on, unit)))
    throw new Failure(`${on.node.name}: ${unit.unit} shows another certificate than the one in its place`, {
      code: 'not-served',
      remedy: `see on ${on.node.name} which files its command line names: systemctl cat ${unit.unit}`,
    })
}

/** Where the old files were good for the unit that did not get well, they and a restart get it back. */
async function undo(
  on: On,
  failure: Failure,
  stale: readonly UnitVerdict[],
  restarted: readonly Unit[],
): Promise<Failure> {
  const { at, node, install } = on
  const wasWell = stale.every(({ reason }) => typeof reason !== 'object' || reason?.state === undefined)
  const paths = placesOf(stale).map(({ path }) => path)
  if (!wasWell || paths.length === 0) return failure
  const back = await putBack(at, node, install, paths).then(
    () => true,
    () => false,
  )
  const units = restarted.map(({ unit }) => unit)
  const again = back && (await restartAll(on, restarted))
  const told = back
    ? `the files are as they were${units.length === 0 ? '' : `, and ${formatNames(units)} ${again ? 'well again with them' : 'restarted with them, but not well'}`}`
    : `the old files could not be put back: they are beside the new ones (*${oldSuffix})`
  const { code, remedy, kind } = failure
  return new Failure(`${failure.message}; ${told}`, {
    kind,
    ...(code && { code }),
    ...(remedy && { remedy }),
    cause: failure,
  })
}

async function restartAll(on: On, units: readonly Unit[]): Promise<boolean> {
  try {
    for (const unit of units) await restart(on, unit)
    return true
  } catch {
    return false
  }
}
