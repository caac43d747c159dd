/** Phase `install`: from the folder that is deployed to on to where the running units read the files, until they have loaded them. */
import type { Change } from '../../lib/change.ts'
import type { Cluster, ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import type { Reason } from '../../lib/reason.ts'
import type { Look, Target, TargetId } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatNames } from '../../lib/wording.ts'
import { guardIdentity, guardNewer } from '../nodes/guards.ts'
import { asForced, bringUp } from '../nodes/install.ts'
import { type LeftOver, splitLeftOver } from '../nodes/left-over.ts'
import { judgeUnits, lookAtUnits, type UnitsFound, type UnitVerdict } from '../nodes/units.ts'
import type { DeployFound } from './deploy.ts'

const phase = 'install'

interface InstallFound {
  readonly units: UnitsFound
  /** The check made this look itself, just before the build. */
  readonly isCurrent: boolean
}

/** Earlier are the targets that put the files on the nodes. */
export function installTargets({ install, nodes }: Cluster, earlier: readonly Target[]): Target[] {
  if (!install) return []
  const idsOf = (role: ClusterNode['role']) => nodes.filter((node) => node.role === role).map(idOf)
  const [gateways, controls] = [idsOf('gateway'), idsOf('control')]
  return nodes.map((node): Target<InstallFound> => {
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
      check: async (workspace, force, foundBefore) => {
        const before = (foundBefore?.get(deploy) as DeployFound | undefined)?.units
        const units = before ?? (await lookAtUnits(workspace, node, install))
        guardIdentity(workspace, node, units.look)
        if (!force) guardNewer(workspace, node, units.look)
        return { ...judge(workspace, node, install, units), found: { units, isCurrent: before === undefined } }
      },
      build: async (workspace, { found, signal, force, tell }) => {
        // Much may have happened since, while others were restarted.
        const units = found.isCurrent ? found.units : await lookAtUnits(workspace, node, install)
        return bringUp({ workspace, node, install, signal, tell }, units, force !== undefined)
      },
      foresee: (workspace, { reasons, found, force }) =>
        changeOf(force ? forcedReasons(workspace, node, install, found.units) : reasons),
      release: (workspace) => workspace.disconnect(node),
    }
  })
}

function changeOf(reasons: readonly Reason[]): Change {
  const units = reasons.filter((reason) => reason.kind === 'unit')
  return {
    kind: 'installed',
    paths: [...new Set(units.flatMap(({ places }) => places.map(({ path }) => path)))],
    restarts: units.flatMap(({ unit, restarts }) => (restarts ? [unit] : [])),
  }
}

/** Of all that is installed, as if none of it were there. */
function forcedReasons(workspace: Workspace, node: ClusterNode, install: Install, found: UnitsFound): Reason[] {
  const verdicts = judgeUnits(workspace, node, install, found).map((verdict) => asForced(verdict, install))
  return verdicts.flatMap(({ reason }) => (typeof reason === 'object' ? [reason] : []))
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

function judge(workspace: Workspace, node: ClusterNode, install: Install, found: UnitsFound): Look {
  const verdicts = judgeUnits(workspace, node, install, found)
  const installed = verdicts.filter(({ reason }) => reason !== 'not installed')
  const [removed, left] = splitLeftOver(workspace, found.leftOver)
  const reasons: Reason[] = [
    ...(found.look.folder.isDrained && install.undrain !== ''
      ? [{ kind: 'left-drained', nodes: [node.name] } as const]
      : []),
    ...installed.flatMap(({ reason }) => (typeof reason === 'object' ? [reason] : [])),
    ...(removed.length > 0 ? [{ kind: 'misplaced', paths: removed.map(({ path }) => path) } as const] : []),
  ]
  const names = formatNames(installed.map(({ unit }) => unit.unit))
  const warning = warningOf(node, installed, left)
  return {
    reasons,
    // What is not there has nothing to take up, whatever is deployed.
    isFinal: installed.length === 0,
    note: installed.length === 0 ? 'not installed yet' : `${names} up to date`,
    ...(warning !== undefined && { warning }),
  }
}

function warningOf(
  { name }: ClusterNode,
  installed: readonly UnitVerdict[],
  leftOver: readonly LeftOver[],
): string | undefined {
  const stopped = installed.filter(({ isUp }) => !isUp).map(({ unit }) => unit.unit)
  const [inUse, left] = [leftOver.filter(({ isInUse }) => isInUse), leftOver.filter(({ isInUse }) => !isInUse)]
  const paths = (some: readonly LeftOver[]) => formatNames(some.map(({ path }) => path))
  const warnings = [
    stopped.length > 0 && `${name}: ${formatNames(stopped)} is installed, and does not run`,
    left.length > 0 && `${name} holds ${paths(left)}, not for its role: --prune removes what is ours`,
    inUse.length > 0 &&
      `${name} holds ${paths(inUse)}, not for its role, and what reads it still runs: stop that first`,
  ].filter(Boolean)
  return warnings.length > 0 ? warnings.join('; ') : undefined
}
