/** The target of a node in phase `install`: its check, and its build. */
import { authorizationConfigFile } from '../../lib/files/auth-dir.ts'
import type { BuildContext, Built, Force } from '../../lib/graph/target.ts'
import type { Check, Diff } from '../../lib/results.ts'
import { formatNames } from '../../lib/wording.ts'
import type { DeployFound } from '../deploy/folder.ts'
import { guard, type Other } from '../deploy/guards.ts'
import { unsetOn } from '../inspect/agreement.ts'
import type { OnNode } from '../inspect/component.ts'
import { guardList, isListPlaced } from '../revoked/revoked.ts'
import type { Run } from '../target.ts'
import { asForced, checkUnitsOf, diffsOfUnit, type UnitCheck } from './check-units.ts'
import { isInstalled, isLeftDrained, lookAtUnits, type UnitsFound } from './look-at-units.ts'
import { openFolders, refuseNewKeys } from './places.ts'

export type InstallFound = UnitsFound & {
  readonly others: readonly Other[]
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
  const names = formatNames(checks.map(({ unit }) => unit.unit))
  const drained: Diff = { what: 'may be left drained by an interrupted run', verb: 'undrain' }
  return {
    diffs: [
      ...(isLeftDrained(run, found) ? [drained] : []),
      ...(force ? checks.map(asForced) : checks).flatMap(diffsOfUnit),
    ],
    until: found.selfMade?.notAfter,
    // A unit that is not installed has nothing to load.
    hasNothing: checks.length === 0,
    note: checks.length === 0 ? 'not installed yet' : `${names} up to date`,
    warn: stoppedUnits(checks),
    todo: toDoOn(run, found, checks),
    found: { ...found, others, checks },
  }
}

export async function updateUnits(
  { run, node }: OnNode,
  { found, diffs, signal, force, tell }: BuildContext<InstallFound>,
): Promise<Built> {
  const { bringUp } = await import('./bring-up.ts')
  const { restarted, warning, found: last } = await bringUp({ run, node, signal, tell }, found, force !== undefined)
  const names = restarted.map(({ unit }) => unit)
  const restarts: Diff[] = names.length > 0 ? [{ what: `restart ${formatNames(names)}`, verb: 'restart', names }] : []
  return {
    diffs: [...diffs.filter(({ verb }) => verb !== 'restart'), ...restarts],
    warn: warning === undefined ? stoppedUnits(found.checks) : [warning],
    todo: toDoOn(run, last, found.checks),
  }
}

function toDoOn(run: Run, found: UnitsFound, checks: readonly UnitCheck[]): string[] {
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
export function needReload({ units, places }: UnitsFound): string[] {
  return units.flatMap(({ unit }) =>
    places.units.get(unit)?.needsReload === true
      ? [`${unit}: its unit file has changed since systemd read it; run:\n    systemctl daemon-reload`]
      : [],
  )
}

function stoppedUnits(checks: readonly UnitCheck[]): string[] {
  return checks.flatMap(({ unit, isUp }) => (isUp ? [] : `${unit.unit} does not run; its files are installed`))
}
