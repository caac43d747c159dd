import { authorizationConfigFile } from '../../../lib/files/auth-dir.ts'
import type { Built, Force, Work } from '../../../lib/graph/target.ts'
import type { Check, Diff } from '../../../lib/results.ts'
import { formatNames } from '../../../lib/wording.ts'
import type { DeployFound } from '../../deploy/folder.ts'
import { guard, type Other } from '../../deploy/guards.ts'
import { unsetOn } from '../../inspect/agreement.ts'
import type { OnNode } from '../../inspect/component.ts'
import type { Run } from '../../target.ts'
import { isListPlaced } from '../revoked/on-node.ts'
import { guardList } from '../revoked/revoked.ts'
import { asForced, checkUnitsOf, diffsOfUnit, isLeftDrained, type UnitCheck } from './check-units.ts'
import { isInstalled, lookAtUnits, type UnitsFound } from './look-at-units.ts'
import { formatOpen, openFolders, refuseNewKeys } from './open-folders.ts'

export type InstallFound = UnitsFound & {
  /** What would be overwritten. */
  readonly others: readonly Other[]
  /** Of the units that are installed. */
  readonly checks: readonly UnitCheck[]
}

/** `before` is what the check of the node's deploy has found, if nothing was copied since. */
export async function checkUnits(
  on: OnNode,
  { force, before }: { readonly force: Force | undefined; readonly before: DeployFound<UnitsFound> | undefined },
): Promise<Check<InstallFound>> {
  // Much may have happened since, while others were restarted: what is wrong is looked at again.
  if (before?.units && !force) {
    const look = checkFound(on, before.units)
    if (look.diffs.length === 0) return look
  }
  // A plan uses the same look, if files would have to be copied first.
  const made = before && before.differences.length > 0 ? before.look : undefined
  return checkFound(on, await lookAtUnits(on.run, on.node, made), force)
}

function checkFound({ run, node }: OnNode, found: UnitsFound, force?: Force): Check<InstallFound> {
  guardList(run, node, found)
  const others = guard(run, node, found, force !== undefined)
  const installed = found.units.filter((unit) => isInstalled(unit, found.places))
  refuseNewKeys({ run, node }, installed, found.places)
  const checks = checkUnitsOf(run, found)
  const toDo = force ? checks.map((check) => asForced(run, check)) : checks
  const names = formatNames(checks.map(({ unit }) => unit.unit))
  return {
    diffs: [...leftDrained(run, found), ...toDo.flatMap(({ reason }) => (reason ? diffsOfUnit(reason) : []))],
    until: found.selfMade?.notAfter,
    // A unit that is not installed has nothing to load.
    hasNothing: checks.length === 0,
    note: checks.length === 0 ? 'not installed yet' : `${names} up to date`,
    warn: warningsOn(checks),
    todo: toDoOn(run, found, checks),
    found: { ...found, others, checks },
  }
}

export async function updateUnits(
  { run, node }: OnNode,
  { found, diffs, signal, force, tell }: Work<InstallFound>,
): Promise<Built> {
  const { bringUp } = await import('./bring-up.ts')
  const { warning, units, restarted } = await bringUp({ run, node, signal, tell }, found, force !== undefined)
  const restarts: Diff[] =
    restarted.length > 0 ? [{ what: `restart ${formatNames(restarted)}`, verb: 'restart', names: restarted }] : []
  const now = { ...found, units }
  return {
    diffs: [...diffs.filter(({ verb }) => verb !== 'restart'), ...restarts],
    warn: warning === undefined ? warningsOn(found.checks) : [warning],
    // What its owner has to change once the files are in place: a process may still have the old ones.
    todo: toDoOn(run, now, found.checks, { arePlaced: true }),
  }
}

function leftDrained(run: Run, found: UnitsFound): Diff[] {
  return isLeftDrained(run, found) ? [{ what: 'may be left drained by an interrupted run', verb: 'undrain' }] : []
}

/** What its owner has to change in the units. `arePlaced`: the files that would be installed are. */
function toDoOn(
  run: Run,
  found: UnitsFound,
  checks: readonly UnitCheck[],
  { arePlaced = isListPlaced(found) } = {},
): string[] {
  const units = found.units.filter(({ unit }) => checks.some((each) => each.unit.unit === unit))
  return [
    ...needReload(found),
    ...unsetOn(found.units, (file) => arePlaced || file !== authorizationConfigFile),
    ...openFolders(run, units, found.places).map(formatOpen),
  ]
}

/** systemd starts a unit as it was when it read its file. */
export function needReload({ units, places }: UnitsFound): string[] {
  return units.flatMap(({ unit }) =>
    places.units.get(unit)?.needsReload === true
      ? [`${unit}: its unit file has changed since systemd read it; run:\n    systemctl daemon-reload`]
      : [],
  )
}

function warningsOn(checks: readonly UnitCheck[]): string[] {
  return checks.flatMap(({ unit, isUp }) => (isUp ? [] : `${unit.unit} does not run; its files are installed`))
}
