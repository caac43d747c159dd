/** Folders from which units read, and in which other users than root and the unit's own may put another file. */
import { Failure, runAgain } from '../../../lib/failure.ts'
import { authorizationFiles } from '../../../lib/files/auth-dir.ts'
import { secretMode } from '../../../lib/files/plain-file.ts'
import { isOpenFolder, root } from '../../../lib/node/place.ts'
import { fileAt, foldersTo, type PlacesState, realPath } from '../../../lib/node/state.ts'
import { formatNames, groupAlike, pasteable, quote } from '../../../lib/wording.ts'
import type { NodeRun } from '../../inspect/component.ts'
import type { Place, Unit } from '../../layouts/layout.ts'
import type { Run } from '../../target.ts'
import { wantedAt } from './wanted.ts'

interface OpenFolder {
  readonly path: string
  readonly units: readonly string[]
  /** A command of root's on the node, or another way. */
  readonly remedy: string
}

/** Above the files of the units, each folder once. */
export function openFolders(run: Run, units: readonly Unit[], places: PlacesState): OpenFolder[] {
  if (![...places.above.values()].some((access) => isOpenFolder([root], access, true))) return []
  const readersAt = new Map(wantedAt(run, units, places).map(({ path, readers }) => [path, readers]))
  const open = units.flatMap(({ unit, files }) =>
    files.flatMap(({ path }) => {
      const readers = readersAt.get(realPath(places, path)) ?? [root]
      return foldersTo(places, path).flatMap(({ path: folder, access, isParent }) =>
        isOpenFolder(readers, access, isParent) ? [{ folder, unit, mode: access.mode, isRoots: access.uid === 0 }] : [],
      )
    }),
  )
  return groupAlike(open, ({ folder }) => folder).map((group) => ({
    path: group[0].folder,
    units: [...new Set(group.map(({ unit }) => unit))],
    remedy: remedyOf(group[0].folder, group[0], places.homes),
  }))
}

function remedyOf(
  path: string,
  { mode, isRoots }: { readonly mode: number; readonly isRoots: boolean },
  homes: readonly string[],
): string {
  const isHome = homes.some((home) => `${path}/`.startsWith(`${home}/`) || `${home}/`.startsWith(`${path}/`))
  // As /tmp, or somebody's home: others need it as it is.
  if (isRoots ? (mode & 0o1000) !== 0 : isHome) return 'set another path in cluster.yaml (install.units)'
  const owned = isRoots ? [] : [`chown root ${quote(path)}`]
  const closed = (mode & 0o022) === 0 ? [] : [`chmod go-w ${quote(path)}`]
  return `run as root on the node: ${pasteable([...owned, ...closed].join(' && '))}`
}

export function formatOpen({ path, units, remedy }: OpenFolder): string {
  const read = units.length === 1 ? 'reads' : 'read'
  return `${formatNames(units)} ${read} files below ${path}, where users other than root can replace them; ${remedy}`
}

/**
 * True for what is not installed while a folder above it is open: a list of the revoked, and a secret that the unit has
 * not had. A new certificate is; and whatever a unit that runs needs for its next start.
 */
export function isHeldBack(run: Run, unit: Unit, places: PlacesState, isUp: boolean): (place: Place) => boolean {
  return (place) => {
    const isList = authorizationFiles.includes(place.file)
    if (!isList && run.auth.files.mode(place.file) !== secretMode) return false
    const isNeeded = isUp && place.isUnnamed !== true
    const isNew = fileAt(places, place.path) ? isList : !isNeeded
    return isNew && openFolders(run, [{ ...unit, files: [place] }], places).length > 0
  }
}

export function refuseOpenList({ run, node }: Pick<NodeRun, 'run' | 'node'>, unit: Unit, places: PlacesState): void {
  const [open] = openFolders(run, [unit], places)
  if (!open || !unit.files.some(isHeldBack(run, unit, places, true))) return
  throw new Failure(
    `users other than root can replace files below ${open.path}, so no list of the revoked is installed there`,
    {
      node: node.name,
      code: 'open-folder',
      remedy: `${open.remedy}; then ${runAgain}`,
    },
  )
}
