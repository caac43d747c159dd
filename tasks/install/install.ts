/**
 * The targets of phase `install`, one a node, in the order of restarts, and before them the list of who is revoked.
 * Gateways restart first: they must trust a new CA before an API server serves by it. Then control nodes one at a time,
 * then workers. What works on a node is loaded by the first check.
 */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { authorizationConfigFile } from '../../lib/files/auth-dir.ts'
import {
  type BuildContext,
  type Built,
  type Force,
  isFailedOrSkipped,
  Skipped,
  type Waiting,
} from '../../lib/graph/target.ts'
import { type Check, type Diff, hasVerb } from '../../lib/results.ts'
import { formatNames } from '../../lib/wording.ts'
import type { ClusterTarget, Run } from '../cluster-target.ts'
import { deployId, type FolderLook, placeOf } from '../deploy/folder.ts'
import { guard, type Other } from '../deploy/guards.ts'
import { unsetOn } from '../inspect/agreement.ts'
import type { OnNode } from '../inspect/component.ts'
import { controlsOf } from '../layouts/tables.ts'
import { bringList, checkList, guardList, isListPlaced, type ListLook, refuseOldVersion } from '../revoked/revoked.ts'
import { asForced, checkUnitsOf, diffsOfUnit, type UnitCheck } from './check-units.ts'
import { isInstalled, isLeftDrained, lookAtUnits, openFolders, refuseNewKeys, type UnitsLook } from './places.ts'

export function targets(cluster: Cluster): ClusterTarget[] {
  const { install, nodes } = cluster
  if (!install) return []
  const lists = listTargets(cluster)
  const installs = byTurn(nodes).map(
    (node): ClusterTarget<InstallLook> => ({
      id: installId(node),
      phase: 'install',
      node: node.name,
      needs: [deployId(node)],
      makes: [],
      desired: { ...placeOf(node), ...install, units: [...install.units], own: node.units },
      where: 'node',
      check: async (run, force, earlier) => {
        await Promise.all(lists.map(({ id }) => earlier?.whenEnded(id)))
        const before = earlier?.findings.get(deployId(node)) as FolderLook<UnitsLook> | undefined
        return checkInstall({ run, node }, { force, before })
      },
      waitForTurn: turnOf(node, nodes),
      build: (run, work) => updateUnits({ run, node }, work),
      release: (run) => run.disconnect(node),
    }),
  )
  return [...lists, ...installs]
}

/** The list of who is revoked, from auth/ to each API server, without a restart. */
function listTargets({ nodes, install, revoked }: Cluster): ClusterTarget[] {
  if (!install || !revoked) return []
  return controlsOf({ nodes }).map(
    (node): ClusterTarget<ListLook> => ({
      id: `revoked/${node.name}`,
      phase: 'install',
      node: node.name,
      needs: ['revoked', deployId(node)],
      makes: [],
      desired: { list: authorizationConfigFile },
      where: 'node',
      refuse: (run) => refuseOldVersion(run, node),
      check: (run, _force, before) => {
        const copied = before?.findings.get(deployId(node)) as FolderLook<UnitsLook> | undefined
        return checkList(run, node, copied?.units)
      },
      build: (run, work) => bringList({ run, node }, work),
    }),
  )
}

const roles: readonly ClusterNode['role'][] = ['gateway', 'control', 'worker']

export function installId({ name }: ClusterNode): string {
  return `install/${name}`
}

/** Who waits for a turn holds a connection, so those before it have to begin before it. */
export function byTurn(nodes: readonly ClusterNode[]): ClusterNode[] {
  return nodes.toSorted((a, b) => roles.indexOf(a.role) - roles.indexOf(b.role))
}

/** Throws Skipped if a node before it was lost, or its restart failed. Without a restart it need not wait. */
export function turnOf(node: ClusterNode, nodes: readonly ClusterNode[]) {
  const isBefore = (other: ClusterNode) =>
    other.role === node.role
      ? other.role === 'control' && nodes.indexOf(other) < nodes.indexOf(node)
      : roles.indexOf(other.role) < roles.indexOf(node.role)
  const before = nodes.filter(isBefore).map(installId)
  return async ({ diffs, force, earlier, wait }: Waiting): Promise<boolean> => {
    const restarts = force !== undefined || hasVerb(diffs, 'restart', 'undrain')
    // A unit that does not reload is restarted after all, so control nodes take turns in any case.
    if (!restarts && node.role === 'worker') return false
    const turns = before.filter((id) => earlier.whenEnded(id))
    if (turns.some((id) => !earlier.rows.has(id))) wait()
    const rows = await Promise.all(turns.flatMap((id) => earlier.whenEnded(id) ?? []))
    const lost = rows.filter((row) => isFailedOrSkipped(row) && (restarts || (row.state === 'failed' && row.isBegun)))
    if (lost.length > 0) throw new Skipped(lost.map(({ id }) => id))
    return rows.some(({ state }) => state === 'built')
  }
}

export type InstallLook = UnitsLook & {
  readonly others: readonly Other[]
  readonly checks: readonly UnitCheck[]
}

/** `before` is what the check of the node's deploy has found, if nothing was copied since. */
export async function checkInstall(
  on: OnNode,
  { force, before }: { readonly force: Force | undefined; readonly before: FolderLook<UnitsLook> | undefined },
): Promise<Check<InstallLook>> {
  // Much may have happened since, while others were restarted: what is wrong is looked at again.
  if (before?.units && !force) {
    const look = checkFound(on, before.units)
    if (look.diffs.length === 0) return look
  }
  // A plan uses the same look, if files would have to be copied first.
  const made = before && before.differences.length > 0 ? before.look : undefined
  return checkFound(on, await lookAtUnits(on.run, on.node, made), force)
}

function checkFound({ run, node }: OnNode, found: UnitsLook, force?: Force): Check<InstallLook> {
  guardList(run, node, found)
  const others = guard(run, node, found, force !== undefined)
  const installed = found.units.filter((unit) => isInstalled(unit, found.places))
  refuseNewKeys({ run, node }, installed, found.places)
  const checks = checkUnitsOf(run, found)
  const names = formatNames(checks.map(({ unit }) => unit.unit))
  const drained: Diff = { what: 'may be left drained by an interrupted run', verb: 'undrain' }
  return {
    diffs: [
      ...(isLeftDrained(run, found) ? [drained] : []),
      ...(force ? checks.map(asForced) : checks).flatMap(diffsOfUnit),
    ],
    until: found.selfMade?.notAfter,
    hasNothing: checks.length === 0,
    note: checks.length === 0 ? 'not installed yet' : `${names} up to date`,
    warn: stoppedUnits(checks),
    todo: toDoOn(run, found, checks),
    findings: { ...found, others, checks },
  }
}

export async function updateUnits(
  { run, node }: OnNode,
  { findings, diffs, signal, force, tell }: BuildContext<InstallLook>,
): Promise<Built> {
  const { bringUp } = await import('./bring-up.ts')
  const { restarted, warning, found: last } = await bringUp({ run, node, signal, tell }, findings, force !== undefined)
  const names = restarted.map(({ unit }) => unit)
  const restarts: Diff[] = names.length > 0 ? [{ what: `restart ${formatNames(names)}`, verb: 'restart', names }] : []
  return {
    diffs: [...diffs.filter(({ verb }) => verb !== 'restart'), ...restarts],
    warn: warning === undefined ? stoppedUnits(findings.checks) : [warning],
    todo: toDoOn(run, last, findings.checks),
  }
}

function toDoOn(run: Run, found: UnitsLook, checks: readonly UnitCheck[]): string[] {
  const units = checks.map(({ unit }) => unit)
  // An API server could not start with a list that is not there yet.
  const isReady = (file: string) => file !== authorizationConfigFile || isListPlaced(found)
  return [
    ...needReload(found),
    ...unsetOn(found.units, isReady),
    ...openFolders(run, units, found.places).map(({ what, remedy }) => `${what}; ${remedy}`),
  ]
}

/** systemd starts a unit as it was when it read its file. */
export function needReload({ units, places }: UnitsLook): string[] {
  return units.flatMap(({ unit }) =>
    places.units.get(unit)?.needsReload === true
      ? [`${unit}: its unit file has changed since systemd read it; run:\n    systemctl daemon-reload`]
      : [],
  )
}

function stoppedUnits(checks: readonly UnitCheck[]): string[] {
  return checks.flatMap(({ unit, isUp }) => (isUp ? [] : `${unit.unit} does not run; its files are installed`))
}
