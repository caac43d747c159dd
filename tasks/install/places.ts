/** The files where a node's units read them: how they are replaced, and whether the path is trusted. */
import { isDeepStrictEqual } from 'node:util'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain, tryToAwait } from '../../lib/failure.ts'
import { authorizationFiles } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import { asUnknown, type Root } from '../../lib/node/node.ts'
import { type Account, accessFor, type DesiredFile, folderOf, root } from '../../lib/node/place.ts'
import { fileAt, isRunning, openFoldersTo, type PlacesState, realPath } from '../../lib/node/state.ts'
import { readCertificates } from '../../lib/pki/certificate.ts'
import { formatDate, formatNames, groupAlike, quote } from '../../lib/wording.ts'
import type { Run } from '../cluster-target.ts'
import type { Beside } from '../deploy/folder.ts'
import { refuseDisagreement, type UnitOnNode } from '../inspect/agreement.ts'
import {
  type Life,
  loadedConfigIn,
  type NodeRun,
  type OnNode,
  readHealth,
  readMetrics,
  readSelfMade,
  readServedCertificate,
  readsCaAgain,
  renewsFrom,
  type ServedCertificate,
} from '../inspect/component.ts'
import { bytesAt, digestAt, installOf, lookAtNode, type NodeLook, placesOf } from '../inspect/look.ts'
import type { Health, Place, Port, Unit } from '../layouts/layout.ts'
import { identityFiles, nodeUnits } from '../layouts/tables.ts'
import { guardList } from '../revoked/revoked.ts'

export type DesiredPlace = DesiredFile & Pick<Place, 'file' | 'part'> & { readonly readers: readonly Account[] }

/** The files of these units, each once, even if several units read it by several paths. */
export function desiredAt(run: Run, units: readonly Unit[], places: PlacesState): DesiredPlace[] {
  const all = units.flatMap(({ unit, files }) =>
    files.map((place) => ({ ...place, path: realPath(places, place.path), unit })),
  )
  return groupAlike(all, ({ path }) => path).map(([row, ...others]) => {
    const { file, path, part } = row
    return {
      ...{ file, path, part },
      sha256: digestAt(run, row),
      accepted: isAccepted(run, row, places) ? places.files.get(path)?.sha256 : undefined,
      isSecret: run.auth.files.mode(file) === secretMode,
      readers: [row, ...others].map(({ unit }) => accountOf(unit, path, places)),
    }
  })
}

/** The account that the unit runs as. If the node does not know that user, it is the present owner of the file. */
function accountOf(unit: string, path: string, { units, files }: PlacesState): Account {
  const state = units.get(unit)
  if (!state) return root
  const { uid = 0, gid = 0 } = files.get(path) ?? {}
  return state.account ?? { uid, gids: [gid] }
}

/** True if other content at the place serves as well: certificates for the same keys, whoever issued them. */
function isAccepted(run: Run, { file, path, isOfKeys }: Place, { contents }: PlacesState): boolean {
  if (!isOfKeys) return false
  const keys = keysOf(run.auth.tryBytes(file))
  return keys.length > 0 && isDeepStrictEqual(keys, keysOf(contents.get(path)))
}

function keysOf(pem: Buffer | undefined): string[] {
  const keys = readCertificates(pem ?? '').map(({ publicKey }) => publicKey.export({ type: 'spki', format: 'pem' }))
  return [...new Set(keys.map(String))].toSorted()
}

/** Throws a Failure if not all files are installed afterwards, or if the old files have changed since the look. */
export async function replaceAtPlaces(
  { run, node }: NodeRun,
  { folder, places: { files: seen } }: UnitsLook,
  { desired, all }: { readonly desired: readonly DesiredPlace[]; readonly all: readonly DesiredPlace[] },
): Promise<void> {
  if (desired.length === 0) return
  if (folder === undefined)
    throw new Failure(`${node.directory} does not exist`, {
      node: node.name,
      code: 'changed-meanwhile',
      remedy: runAgain,
    })
  const files = desired.map((each) => {
    const { path } = each
    const bytes = bytesAt(run, each)
    if (!bytes) throw new Error(`auth/ has nothing for ${path}`)
    return { path, bytes, access: accessFor(each, seen.get(path)) }
  })
  const isGuarded = ({ file }: DesiredPlace) => identityFiles(run.cluster).has(file)
  const unchanged = [...new Set([...desired, ...all.filter(isGuarded)].map(({ path }) => path))]
  const change = { folder, sudo: installOf(run).sudo, files, unchanged, seen }
  await (await run.connect(node)).replace(change, () => run.auth.makeTemporaryFolder(node.name))
}

export async function putBack(on: NodeRun, found: UnitsLook, paths: readonly string[]): Promise<void> {
  await (await on.run.connect(on.node)).back(rootOf(on, found, paths), paths)
}

/** Of files that are proven, each with its digest. Throws a Failure where the old ones could not be removed. */
export async function forgetOld(on: NodeRun, found: UnitsLook, files: ReadonlyMap<string, string>): Promise<void> {
  if (files.size === 0) return
  await (await on.run.connect(on.node)).forget(rootOf(on, found, [...files.keys()]), files)
}

/** The node's folder may be gone: it is only locked here, so that of the first place serves too. */
function rootOf({ run }: NodeRun, { folder }: UnitsLook, [path = '']: readonly string[]): Root {
  return { folder: folder ?? folderOf(path), sudo: installOf(run).sudo }
}

interface OpenFolder {
  readonly what: string
  readonly remedy: string
}

/**
 * Trust: each directory above a path from which a unit reads belongs to root or the unit's user, and nobody else can write
 * it. Elsewhere no list of the revoked is installed, and no key that the unit has not had; what replaces a file of the
 * same name is, so that no cluster expires because of a mode. Each directory where that is not so, once.
 */
export function openFolders(run: Run, units: readonly Unit[], places: PlacesState): OpenFolder[] {
  const readersAt = new Map(desiredAt(run, units, places).map(({ path, readers }) => [path, readers]))
  const open = units.flatMap(({ unit, files }) =>
    files.flatMap(({ path }) => {
      const readers = readersAt.get(realPath(places, path)) ?? [root]
      return openFoldersTo(places, path, readers).map((folder) => ({ ...folder, unit }))
    }),
  )
  return groupAlike(open, ({ path }) => path).map((group) => {
    const [{ path, access }] = group
    const names = new Set(group.map(({ unit }) => unit))
    const read = names.size === 1 ? 'reads' : 'read'
    return {
      what: `${formatNames([...names])} ${read} files below ${path}, where users other than root can replace them`,
      // Others need their home as it is.
      remedy:
        access.uid !== 0
          ? "make it root's alone, or set another path in cluster.yaml (install.units)"
          : `run as root on the node:\n    chmod go-w ${quote(path)}`,
    }
  })
}

/** Throws a Failure if one of these files of the unit would be installed where it is not trusted. */
export function refuseOpen({ run, node }: OnNode, unit: Unit, places: PlacesState): void {
  const [open] = openFolders(run, [unit], places)
  if (!open) return
  const names = formatNames([...new Set(unit.files.map(({ file }) => file))])
  throw new Failure(`${open.what}; not installed: ${names}`, {
    node: node.name,
    code: 'open-folder',
    remedy: `${open.remedy}\nthen ${runAgain}`,
  })
}

/** The same for keys that units have not had. Of the list of the revoked a target of its own says so. */
export function refuseNewKeys(on: OnNode, units: readonly Unit[], places: PlacesState): void {
  for (const unit of units) {
    const isNew = ({ file, path, isUnnamed }: Place) =>
      on.run.auth.files.mode(file) === secretMode &&
      !authorizationFiles.includes(file) &&
      !fileAt(places, path) &&
      (isUnnamed === true || !isRunning(places, unit.unit))
    refuseOpen(on, { ...unit, files: unit.files.filter(isNew) }, places)
  }
}

export interface UnitsLook extends NodeLook {
  readonly places: PlacesState
  readonly served: ReadonlyMap<number, ServedCertificate>
  /** Of the certificate that its API server made itself; undefined where it shows none. */
  readonly selfMade: Life | undefined
  readonly unhealthy: ReadonlyMap<string, string>
  /** SHA-256 of the encryption config that its API server has loaded; undefined if it did not tell. */
  readonly loadedConfig?: string | undefined
}

/**
 * Of all nodes side by side, with the check of their folders: `install` checks them in the order of their restarts.
 * Throws a refusal for a list of who is revoked that is longer than that of cluster.yaml.
 */
export async function lookBeside({ run, node }: OnNode, look: NodeLook, isCopied: boolean): Promise<Beside> {
  guardList(run, node, look)
  const { install } = run.cluster
  if (install) return { units: isCopied ? undefined : await tryToAwait(() => lookAtUnits(run, node, look)) }
  const life = run.isObserved && (await tryToAwait(() => readSelfMade({ run }, node, nodeUnits(run.cluster, node))))
  if (!life) return {}
  const { notAfter: until } = life
  if (renewsFrom(run, life) > run.now) return { until }
  const warning = `on ${node.name}, restart kube-apiserver before ${formatDate(until, run.now)}, when its loopback certificate expires and it fails:\n    sudo systemctl restart kube-apiserver`
  return { until, warn: [warning] }
}

/** Uses the node's one connection. `made`: a look of just now. Throws a Failure if the units could not be looked at. */
export async function lookAtUnits(run: Run, node: ClusterNode, made?: NodeLook): Promise<UnitsLook> {
  try {
    const look = made ?? (await lookAtNode(run, node))
    const places = placesOf(look)
    refuseDisagreement(look.units)
    const units = await Promise.all(look.units.map((unit) => withPolledCa(run, node, unit, places)))
    const asked = units.filter((unit) => isInstalled(unit, places) && mayAnswer(unit, places))
    const answers = await lookAtAnswers(run, node, asked)
    return { ...look, places, units, ...answers, loadedConfig: await readLoadedConfig(run, node, asked, places) }
  } catch (error) {
    throw asUnknown(node.name, error)
  }
}

/** It polls for the CA of its kubeconfig too, if its metrics say so. Asked where it may have to load another CA. */
async function withPolledCa(run: Run, node: ClusterNode, unit: UnitOnNode, places: PlacesState): Promise<UnitOnNode> {
  const { metrics, files } = unit
  const isOpen = ({ part, path, file }: Place) =>
    part === 'ca' &&
    (run.stagedBy === 'ca' ||
      !isLoaded(unit, path, places) ||
      fileAt(places, path)?.sha256 !== digestAt(run, { file, part }))
  const isAsked = metrics && mayAnswer(unit, places) && files.some(isOpen)
  if (!isAsked || !(await readsCaAgain({ run }, node, metrics))) return unit
  const isPolled = ({ part, isUnnamed }: Place) => part === 'ca' && !isUnnamed
  return { ...unit, files: files.map((place) => (isPolled(place) ? { ...place, loads: 'poll' } : place)) }
}

function mayAnswer({ unit }: Unit, { units }: PlacesState): boolean {
  return units.get(unit)?.active === 'active'
}

/** Its metrics are long: they are read only during a rotation, and where its start does not show that it has loaded the file. */
async function readLoadedConfig(
  run: Run,
  node: ClusterNode,
  units: readonly Unit[],
  places: PlacesState,
): Promise<string | undefined> {
  const isRead = (unit: Unit) =>
    unit.files.some(({ mayReload, path }) => mayReload && (run.stagedBy !== undefined || !isLoaded(unit, path, places)))
  return units.some(isRead) ? tryToAwait(async () => loadedConfigIn(await readMetrics({ run }, node))) : undefined
}

type Answers = Pick<UnitsLook, 'served' | 'selfMade' | 'unhealthy'>

async function lookAtAnswers(run: Run, node: ClusterNode, units: readonly Unit[]): Promise<Answers> {
  const served = new Map<number, ServedCertificate>()
  const unhealthy = new Map<string, string>()
  const addServed = async (port: Port) => served.set(port.port, await readServedCertificate({ run }, node, port))
  const healthOf = async ({ unit, serves }: Unit, health: Health) => {
    const seen = await readHealth({ run }, node, health)
    if (seen.why !== undefined) unhealthy.set(unit, seen.why)
    const own = serves.find(({ port }) => port === health.port)
    // A server that is not trusted gives no answer, and still shows a certificate.
    if (own && seen.served) served.set(own.port, seen.served)
    else if (own) await addServed(own)
  }
  const look = ({ health, ...unit }: Unit) => [
    health && healthOf(unit, health),
    ...unit.serves.filter(({ port }) => port !== health?.port).map(addServed),
  ]
  const [selfMade] = await Promise.all([readSelfMade({ run }, node, units), ...units.flatMap(look)])
  return { served, selfMade, unhealthy }
}

export function isInstalled({ unit, bundle, files, isInstalledEarly }: Unit, places: PlacesState): boolean {
  if (bundle !== undefined) return files.some(({ path }) => fileAt(places, path))
  const isThere = files.every(({ path }) => places.folders.has(folderOf(path)))
  if (isInstalledEarly && isThere) return true
  // A unit that runs is installed, even if its unit file is now gone, masked or invalid.
  return isThere && (places.units.get(unit)?.hasUnitFile === true || isRunning(places, unit))
}

/** True if the unit was started after the last change of the file (of a bundle, its certificates), or has none. */
export function isLoaded({ unit, bundle }: Unit, path: string, places: PlacesState): boolean {
  const changed = fileAt(places, path)?.changed
  if (changed === undefined) return true
  const started = bundle === undefined ? places.units.get(unit)?.started : fileAt(places, bundle)?.changed
  return started !== undefined && started > changed
}

/** A unit that its owner stopped is not up, and stays stopped. */
export function isUp({ unit, bundle }: Unit, places: PlacesState): boolean {
  return bundle !== undefined || isRunning(places, unit)
}

/** True if a killed run has drained the node, and cluster.yaml says how to undrain it. */
export function isLeftDrained(run: Run, { places }: UnitsLook): boolean {
  return places.isDrained && installOf(run).undrain !== ''
}
