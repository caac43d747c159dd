/**
 * The files that belong where the units of a node read them: what they are to be, how they are replaced, and whether a
 * directory above them can be trusted.
 */
import { isDeepStrictEqual } from 'node:util'
import { Failure, runAgain } from '../../lib/failure.ts'
import { authorizationFiles } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import type { Root } from '../../lib/node/node.ts'
import { type Account, accessFor, type DesiredFile, folderOf, root } from '../../lib/node/place.ts'
import { fileAt, isRunning, openFoldersTo, type PlacesState, realPath } from '../../lib/node/state.ts'
import { readCertificates } from '../../lib/pki/certificate.ts'
import { formatNames, groupAlike, quote } from '../../lib/wording.ts'
import type { NodeRun, OnNode } from '../inspect/component.ts'
import { bytesAt, digestAt, installOf } from '../inspect/look.ts'
import type { Place, Unit } from '../layouts/layout.ts'
import { identityFiles } from '../layouts/tables.ts'
import type { Run } from '../target.ts'
import type { UnitsFound } from './look-at-units.ts'

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
  { folder, places: { files: seen } }: UnitsFound,
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

export async function putBack(on: NodeRun, found: UnitsFound, paths: readonly string[]): Promise<void> {
  await (await on.run.connect(on.node)).back(rootOf(on, found, paths), paths)
}

/** Of files that are proven, each with its digest. Throws a Failure where the old ones could not be removed. */
export async function forgetOld(on: NodeRun, found: UnitsFound, files: ReadonlyMap<string, string>): Promise<void> {
  if (files.size === 0) return
  await (await on.run.connect(on.node)).forget(rootOf(on, found, [...files.keys()]), files)
}

/** The node's folder may be gone: it is only locked here, so that of the first place serves too. */
function rootOf({ run }: NodeRun, { folder }: UnitsFound, [path = '']: readonly string[]): Root {
  return { folder: folder ?? folderOf(path), sudo: installOf(run).sudo }
}

interface OpenFolder {
  /** "kubelet reads files below /srv, where …" */
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
