/**
 * The list of who is revoked, on a control node: copied to where its API server reads it, loaded without a restart,
 * verified there.
 */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import { authorizationConfigFile, authorizationFiles } from '../../../lib/files/auth-dir.ts'
import type { Work } from '../../../lib/graph/target.ts'
import { type Counter, countersOf } from '../../../lib/kubernetes/counters.ts'
import { isCounting, refusedBy, usesIn } from '../../../lib/kubernetes/counts.ts'
import { isAlike, listIn, unknownKeys, waitingKeys } from '../../../lib/kubernetes/revocation.ts'
import { nobody } from '../../../lib/kubernetes/revoked-list.ts'
import { diff } from '../../../lib/node/place.ts'
import { realPath } from '../../../lib/node/state.ts'
import { asFindings, type Change, type CheckResult, factsOf, type Reason } from '../../../lib/results.ts'
import { pasteable, printable } from '../../../lib/wording.ts'
import { compareFolder, filesToCopy, isRight, nothingOnNode } from '../../deploy/check-folder.ts'
import { replaceInFolder } from '../../deploy/copy.ts'
import { installOf, reloadTime, repeat } from '../../inspect/look.ts'
import type { UnitOnNode } from '../../inspect/reads.ts'
import { apiServer } from '../../layouts/layout.ts'
import { serviceOf } from '../../layouts/tables.ts'
import type { Run } from '../../target.ts'
import { isInstalled, lookAtUnits, type UnitsFound } from '../install/look-at-units.ts'
import { openFolders, refuseOpenList } from '../install/open-folders.ts'
import { forgetOld, putBack, replaceAtPlaces } from '../install/replace.ts'
import { wantedAt } from '../install/wanted.ts'
import { guardList, listOf, listsOn } from './guard-list.ts'
import { formatOwned, readCounts, readInForce } from './list-in-force.ts'
import { formatOther, formatSilent } from './other-api-servers.ts'

/** `before`: a look of earlier in this walk. */
export async function checkList(run: Run, node: ClusterNode, before?: UnitsFound): Promise<CheckResult<UnitsFound>> {
  const look = before && checkFound(run, node, before)
  return look?.reasons.length === 0 ? look : checkFound(run, node, await lookAtUnits(run, node))
}

/** With what the API server has counted, where it has loaded the list. */
export async function countUses(
  run: Run,
  node: ClusterNode,
  checked: CheckResult<UnitsFound>,
): Promise<CheckResult<UnitsFound>> {
  const list = listIn(run.auth) ?? nobody
  const isAsked = checked.found?.inForce?.isCounting && countersOf(list).length > 0
  const counts = isAsked ? await readCounts(run, node) : undefined
  const inForce = factsOf(checked, 'list')
  if (!inForce || !counts || !isCounting(counts)) return checked
  const uses = usesIn(list, counts)
  const of = (kind: Counter['counts']) => uses.filter(({ counter }) => counter.counts === kind)
  return {
    ...checked,
    facts: {
      ...inForce,
      uses: of('replaced').map(({ counter: { users }, ...use }) => ({ users, ...use })),
      ...(list.entries.length > 0 && {
        refused: {
          ...{ count: refusedBy(counts), since: counts.started },
          by: of('denied').flatMap(({ counter: { users }, count }) => (count > 0 ? [{ users, count }] : [])),
        },
      }),
    },
  }
}

function checkFound(run: Run, node: ClusterNode, found: UnitsFound): CheckResult<UnitsFound> {
  guardList(run, node, found)
  const { revoked = [] } = run.cluster
  const open = revoked.length === 0 ? [] : whyOpen(run, found)
  const isEnforced = revoked.length > 0 && found.inForce?.isLoaded === true && open.length === 0
  const count = isEnforced ? revoked.length - notListed(run).length : 0
  const owned = found.inForce?.isLoaded === false ? ofApiServer(found)?.owned : undefined
  return {
    reasons: reasonsOf(run, node, found),
    // Its own check compares the files: a deploy alone does not make it stale.
    staysFresh: true,
    found,
    facts: { kind: 'list', revokedInForce: count },
    note: revoked.length > 0 ? `${count} of ${revoked.length} revoked entries enforced` : 'nobody is revoked',
    findings: [
      ...asFindings(open, { kind: 'unreached', owner: 'user', nodes: [node.name] }),
      ...asFindings([
        ...(owned ?? []).map((why) => formatOwned(run, why)),
        found.inForce?.others && formatSilent(found.inForce.others),
      ]),
    ],
  }
}

/** Entries that are not listed yet, or whose users are unknown. */
function notListed({ auth, cluster }: Run): string[] {
  const left = new Set([...waitingKeys({ auth, cluster }), ...unknownKeys({ auth, cluster })])
  const { entries = [] } = listIn(auth) ?? {}
  return (cluster.revoked ?? []).filter((entry) => left.has(entry) || !entries.includes(entry))
}

const ofApiServer = ({ units, places }: UnitsFound) =>
  units.find((unit) => unit.unit === apiServer && isInstalled(unit, places))

const isOfList = ({ file }: { readonly file: string }) => authorizationFiles.includes(file)

/** The API server's unit, with the files of the list alone. */
function listUnit(found: UnitsFound): UnitOnNode | undefined {
  const unit = ofApiServer(found)
  return unit && { ...unit, files: unit.files.filter(isOfList) }
}

/** Its process was started with the list, so it reloads it. */
const reloads = ({ files }: UnitOnNode) => files.some(({ loads }) => loads === 'reload')

function reasonsOf(run: Run, node: ClusterNode, found: UnitsFound): Reason[] {
  const { missing, differ, wrongOwner } = compareFolder(run, node, found)
  const own = (files: readonly string[]) => files.filter((file) => isOfList({ file }))
  const inFolder = { ...nothingOnNode, missing: own(missing), differ: own(differ), wrongOwner: own(wrongOwner) }
  const unit = listUnit(found)
  const places = unit ? diff(wantedAt(run, [unit], found.places), found.places) : []
  const isOld = unit !== undefined && places.length === 0 && reloads(unit) && found.inForce?.isCounting === false
  const notLoaded = isOld ? unit.files.filter(({ loads }) => loads === 'reload').map(({ path }) => path) : []
  const isMissing = places.some(({ what }) => what === 'missing')
  return [
    ...(isRight(inFolder) ? [] : [inFolder]),
    ...(places.length + notLoaded.length > 0
      ? [
          {
            ...{ kind: 'unit' as const, unit: apiServer, places, notLoaded, notServed: [] },
            ...{ restarts: false, isDrained: false },
            ...(!isMissing && isOfCounts(run, node, found) && { isOfCounts: true as const }),
          },
        ]
      : []),
  ]
}

/** Every list there lets in the same as that of auth/. */
function isOfCounts(run: Run, node: ClusterNode, found: UnitsFound): boolean {
  const held = listsOn(node, found)
  const own = listIn(run.auth)
  return held.length > 0 && held.every((each) => isAlike(listOf(run, each), own))
}

/** Why API servers there may not enforce the list, in a clause each, without what this run is about to change. */
export function whyOpen(run: Run, found: UnitsFound): string[] {
  const { inForce, otherProcesses, places } = found
  const unit = ofApiServer(found)
  const { account } = places.units.get(apiServer) ?? {}
  // Any user may start a process of that name, which serves nobody.
  const mayServe = (uid: number) => uid === 0 || uid === account?.uid || places.listeners.has(uid)
  const others = otherProcesses.filter(
    ({ component, isLeftOut, process }) => component === apiServer && !isLeftOut && mayServe(process.uid),
  )
  return [
    ...(unit ? notEnforcing(unit, found) : [`revoked is not enforced, as ${apiServer} is not installed as a unit`]),
    ...others.map(
      ({ process: { id, group } }) =>
        `revoked may not be enforced by ${apiServer}, process ${id} in ${printable(group)}, which belongs to no unit in cluster.yaml`,
    ),
    ...(inForce?.others?.found ?? []).map((where) => `revoked may not be enforced by ${formatOther(where)}`),
    ...(inForce?.others?.unknown ?? []).map(
      (why) => `revoked may not be enforced by API servers that no control node of cluster.yaml has, as ${why}`,
    ),
    ...whyReplaceable(run, found),
  ]
}

/** Whoever can put another list in its place lets in whom they like. */
function whyReplaceable(run: Run, found: UnitsFound): string[] {
  const unit = listUnit(found)
  const open = unit ? openFolders(run, [unit], found.places) : []
  return open.map(
    ({ path, remedy }) =>
      `revoked may not be enforced by ${apiServer}, as users other than root can replace files below ${path}; ${remedy}`,
  )
}

function notEnforcing({ flags, owned, ...unit }: UnitOnNode, { inForce }: UnitsFound): string[] {
  if (inForce?.isLoaded) return []
  if (!inForce) return [`revoked may not be enforced, as ${apiServer} did not answer`]
  // A run loads it, or restarts it with the flag that its unit file has.
  const isChanged = reloads({ ...unit, flags, owned }) || flags.notStartedWith.some(isOfList)
  return isChanged && owned.length === 0 ? [] : [`revoked is not enforced by ${apiServer}`]
}

export function foreseeList({ reasons }: Pick<Work, 'reasons'>): Change {
  const units = reasons.filter((reason) => reason.kind === 'unit')
  return {
    kind: 'installed',
    paths: units.flatMap(({ places }) => places.map(({ path }) => path)),
    removed: [],
    restarts: [],
  }
}

/**
 * Restores the old file if the API server does not load the new one: it would not start with a file that it can't read.
 */
export async function bringList(
  on: { readonly run: Run; readonly node: ClusterNode },
  { found, reasons, signal, tell }: Work<UnitsFound>,
): Promise<{ readonly change: Change }> {
  const { run, node } = on
  const copied = reasons.find((reason) => reason.kind === 'on-node')
  if (copied && filesToCopy(copied).length > 0) await replaceInFolder(run, node, { seen: found, wrong: copied, tell })
  const change = foreseeList({ reasons })
  const unit = listUnit(found)
  if (!unit) return { change }
  const at = { ...on, signal, tell }
  const all = wantedAt(run, [unit], found.places)
  const paths = new Set(diff(all, found.places).map(({ path }) => path))
  const wanted = all.filter(({ path }) => paths.has(path))
  if (wanted.length > 0) {
    refuseOpenList(
      on,
      { ...unit, files: unit.files.filter(({ path }) => paths.has(realPath(found.places, path))) },
      found.places,
    )
    tell({ doing: 'installing', files: wanted.length })
  }
  await replaceAtPlaces(at, found, { wanted, all })
  if (reloads(unit)) {
    tell({ doing: 'waiting for', unit: apiServer, path: authorizationConfigFile })
    const look = async () => ((await readInForce(run, node))?.isCounting ? undefined : 'not loaded')
    if ((await repeat(Math.min(reloadTime, installOf(run).timeout), look, signal)) !== undefined) {
      await putBack(at, found, [...paths])
      throw notLoaded(run, node)
    }
  }
  await forgetOld(at, found, new Map(wanted.map(({ path, sha256 = '' }) => [path, sha256])))
  return { change }
}

function notLoaded({ cluster }: Run, node: ClusterNode): Failure {
  return new Failure(`${apiServer} has not loaded ${authorizationConfigFile}; restored the old file`, {
    node: node.name,
    code: 'not-loaded',
    remedy: `check why: ${pasteable(`journalctl -u ${serviceOf(cluster, apiServer)}`)}`,
  })
}
