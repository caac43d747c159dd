/**
 * Trust: each directory above a path from which a unit reads belongs to root or the unit's user, and nobody else can write
 * it. Elsewhere no list of the revoked is installed, and no key that the unit has not had; what replaces a file of the
 * same name is, so that no cluster expires because of a mode.
 */
import { Failure, runAgain } from '../../../lib/failure.ts'
import { authorizationFiles } from '../../../lib/files/auth-dir.ts'
import { secretMode } from '../../../lib/files/plain-file.ts'
import { isOpenFolder, root } from '../../../lib/node/place.ts'
import { fileAt, isRunning, openFoldersTo, type PlacesState, realPath } from '../../../lib/node/state.ts'
import { formatNames, groupAlike, quote } from '../../../lib/wording.ts'
import type { OnNode } from '../../inspect/component.ts'
import type { Place, Unit } from '../../layouts/layout.ts'
import type { Run } from '../../target.ts'
import { wantedAt } from './wanted.ts'

interface OpenFolder {
  readonly path: string
  readonly units: readonly string[]
  readonly remedy: string
}

/** Each folder once. */
export function openFolders(run: Run, units: readonly Unit[], places: PlacesState): OpenFolder[] {
  if (![...places.above.values()].some((access) => isOpenFolder([root], access))) return []
  const readersAt = new Map(wantedAt(run, units, places).map(({ path, readers }) => [path, readers]))
  const open = units.flatMap(({ unit, files }) =>
    files.flatMap(({ path }) => {
      const readers = readersAt.get(realPath(places, path)) ?? [root]
      return openFoldersTo(places, path, readers).map((folder) => ({ ...folder, unit }))
    }),
  )
  return groupAlike(open, ({ path }) => path).map((group) => {
    const { path, access } = group[0]
    // Others need their home as it is.
    const remedy =
      access.uid !== 0
        ? "make it root's alone, or set another path in cluster.yaml (install.units)"
        : `run as root on the node:\n    chmod go-w ${quote(path)}`
    return { path, units: [...new Set(group.map(({ unit }) => unit))], remedy }
  })
}

export function formatOpen({ path, units, remedy }: OpenFolder): string {
  const read = units.length === 1 ? 'reads' : 'read'
  return `${formatNames(units)} ${read} files below ${path}, where users other than root can replace them; ${remedy}`
}

/** Throws a Failure if one of these files would be installed where it is not trusted. */
export function refuseOpen({ run, node }: OnNode, unit: Unit, places: PlacesState): void {
  const [open] = openFolders(run, [unit], places)
  if (!open) return
  const names = formatNames([...new Set(unit.files.map(({ file }) => file))])
  throw new Failure(`users other than root can replace files below ${open.path}; not installed: ${names}`, {
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
