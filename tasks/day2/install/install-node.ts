/** Phase `install`: copies the deployed files to where the units read them, until the units have loaded them. */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { authorizationConfigFile } from '../../../lib/files/auth-dir.ts'
import type { Force, Work } from '../../../lib/graph/target.ts'
import { marksFolder } from '../../../lib/node/place.ts'
import { asFindings, type Change, type CheckResult, type Finding, type Reason, silenced } from '../../../lib/results.ts'
import { formatNames } from '../../../lib/wording.ts'
import type { DeployFound } from '../../deploy/deploy-node.ts'
import { guard, type Other } from '../../deploy/guards.ts'
import { splitMarks } from '../../deploy/marks.ts'
import { type OnNode, renewsFrom } from '../../inspect/component.ts'
import { installOf } from '../../inspect/look.ts'
import { unsetOn } from '../../inspect/reads.ts'
import type { Unit } from '../../layouts/layout.ts'
import type { Run } from '../../target.ts'
import { isListPlaced } from '../revoked/on-node.ts'
import { guardList } from '../revoked/revoked.ts'
import { asForced, checkUnitsOf, type UnitCheck } from './check-units.ts'
import { lookAtUnits, type UnitsFound } from './look-at-units.ts'
import { formatOpen, openFolders } from './open-folders.ts'

/** With what would be overwritten. */
export type InstallFound = UnitsFound & { readonly others: readonly Other[] }

/** `before` is what the check of the node's deploy has found, if nothing was copied since. */
export async function checkUnits(
  on: OnNode,
  { force, before }: { readonly force: Force | undefined; readonly before: DeployFound<UnitsFound> | undefined },
): Promise<CheckResult<InstallFound>> {
  // Much may have happened since, while others were restarted: what is wrong is looked at again.
  if (before?.units && !force) {
    const look = checkFound(on, before.units)
    if (look.reasons.length === 0) return look
  }
  // A plan uses the same look, if files would have to be copied first.
  const made = before?.checked.wrong && before.look
  return checkFound(on, await lookAtUnits(on.run, on.node, made), force)
}

function checkFound({ run, node }: OnNode, found: UnitsFound, force?: Force): CheckResult<InstallFound> {
  guardList(run, node, found)
  const others = guard(run, node, found, force !== undefined)
  const checked = checkInstalled(run, node, found)
  const change = changeOfUnits(force ? forcedReasons(run, found) : checked.reasons)
  return { ...checked, change, found: { ...found, others } }
}

export async function updateUnits({ run, node }: OnNode, { found, signal, force, tell }: Work<InstallFound>) {
  const { bringUp } = await import('./bring-up.ts')
  const { warning, units, ...built } = await bringUp({ run, node, signal, tell }, found, force !== undefined)
  // What its owner has to change once the files are in place: a process may still have the old ones.
  const { findings = [] } = checkInstalled(run, node, { ...found, units }, { arePlaced: true })
  return {
    ...built,
    findings: warning === undefined ? findings : [...asFindings([warning]), ...findings.map(silenced)],
  }
}

export function changeOfUnits(reasons: readonly Reason[]): Change {
  const units = reasons.filter((reason) => reason.kind === 'unit')
  return {
    kind: 'installed',
    paths: [...new Set(units.flatMap(({ places }) => places.map(({ path }) => path)))],
    removed: [],
    restarts: units.flatMap(({ unit, restarts }) => (restarts ? [unit] : [])),
  }
}

/** Of all that is installed, as if none of it were there. */
function forcedReasons(run: Run, found: UnitsFound): Reason[] {
  const verdicts = checkUnitsOf(run, found).map((verdict) => asForced(run, verdict))
  return verdicts.flatMap(({ reason }) => reason ?? [])
}

/** `arePlaced`: the files that would be installed are. */
function checkInstalled(run: Run, node: ClusterNode, found: UnitsFound, { arePlaced = false } = {}): CheckResult {
  const installed = checkUnitsOf(run, found)
  const marks = splitMarks(run, found)
  const reasons: Reason[] = [
    ...(marks.left.length > 0 && installOf(run).undrain !== ''
      ? [{ kind: 'left-drained', nodes: [node.name] } as const]
      : []),
    ...installed.flatMap(({ reason }) => reason ?? []),
  ]
  const names = formatNames(installed.map(({ unit }) => unit.unit))
  const reloading = installed.filter(({ reloadsBy }) => reloadsBy !== undefined)
  return {
    reasons,
    ...(found.selfMade && { until: found.selfMade.notAfter, renewsFrom: renewsFrom(run, found.selfMade) }),
    // A unit that is not installed has nothing to load.
    hasNothing: installed.length === 0,
    findings: findingsOn(run, { node, found, arePlaced }, installed),
    facts: { kind: 'units', units: installed.map(({ unit }) => unit.unit) },
    note: [
      installed.length === 0 ? 'not installed yet' : `${names} up to date`,
      ...(reloading.length > 0 ? [formatReloads(reloading, found)] : []),
    ].join('; '),
  }
}

/** What is said of its units; what its owner has to change in them once the files are in place. */
function findingsOn(
  run: Run,
  { node, found, arePlaced }: { readonly node: ClusterNode; readonly found: UnitsFound; readonly arePlaced: boolean },
  installed: readonly UnitCheck[],
): Finding[] {
  const nodes = [node.name]
  const unverified = found.units.flatMap(({ unit, unreached }) => unreached.map((what) => `${unit}: ${what}`))
  const isReady = arePlaced || isListPlaced(found)
  const ready = unsetOn(found.units, (file) => isReady || file !== authorizationConfigFile)
  const marks = splitMarks(run, found)
  const stopped = installed.filter(({ isUp }) => !isUp).map(({ unit }) => unit.unit)
  return [
    ...asFindings(unverified, { owner: 'user', kind: 'unreached', nodes }),
    ...asFindings(unsetOn(found.units), { owner: 'user', nodes }).map((each) =>
      ready.includes(each.text) ? each : silenced(each),
    ),
    ...asFindings(openFolders(run, withUnits(installed, found), found.places).map(formatOpen), {
      owner: 'user',
      nodes,
    }),
    ...asFindings(
      installed.map(({ unit: { unit }, heldBack }) => heldBack.length > 0 && formatHeldBack(unit, heldBack)),
      { owner: 'user', kind: 'unreached', nodes },
    ),
    ...asFindings([
      marks.inUse.length > 0 && `${node.name} may be drained by another run, active or interrupted`,
      marks.left.length > 0 &&
        installOf(run).undrain === '' &&
        `${node.name} may be left drained (cluster.yaml has no install.undrain); undrain it, then remove ${marksFolder} there`,
    ]),
    ...asFindings(
      stopped.map((unit) => `${unit} does not run; its files are installed`),
      { owner: 'run', nodes },
    ),
  ]
}

/** With all files of each unit, also those that the check leaves out. */
const withUnits = (installed: readonly UnitCheck[], { units }: UnitsFound): Unit[] =>
  units.filter(({ unit }) => installed.some((each) => each.unit.unit === unit))

const formatHeldBack = (unit: string, files: readonly string[]) =>
  `${formatNames(files)} of ${unit} ${files.length === 1 ? 'is' : 'are'} not installed where other users could replace ${files.length === 1 ? 'it' : 'them'}`

/** "kubelet, kube-proxy: new client certificate in use by 15:20", in local time. */
function formatReloads(units: readonly UnitCheck[], { places: { now } }: UnitsFound): string {
  const seconds = Math.max(...units.map(({ reloadsBy = now }) => reloadsBy)) - now
  const by = new Date(Date.now() + seconds * 1000)
  const time = [by.getHours(), by.getMinutes()].map((each) => String(each).padStart(2, '0')).join(':')
  return `${formatNames(units.map(({ unit }) => unit.unit))}: new client certificate in use by ${time}`
}
