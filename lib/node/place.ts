/** Files on a node: what is there, what is desired, and the one comparison of the two. Pure. */
import { publicMode, secretMode } from '../files/plain-file.ts'

/** Bytes. Our files have a few thousand; the content of a larger file is not sent (node.sh). */
export const largestFile = 256 * 1024

/** Beside a file that is replaced: the old one, until the units that read it are healthy, and the new one (node.sh). */
export const oldSuffix = '.harderway-old'
export const newSuffix = '.harderway-new'
export const oldAndNew = (path: string): string[] => [path + oldSuffix, path + newSuffix]

export const folderOf = (path: string): string => path.replace(/\/[^/]*$/, '')

export interface FileState {
  /** `other`: a device, a pipe, a socket. */
  readonly kind: 'file' | 'folder' | 'link' | 'other'
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  /** ctime, in seconds since 1970 by the node's clock. A rename changes it. */
  readonly changed: number
  /** In hex; undefined if it is not a plain file, can't be read, or was changed meanwhile. */
  readonly sha256: string | undefined
  /** The lines of the answer about it, verbatim. A change is refused if they differ by then. */
  readonly lines: string
}

export interface FilesSeen {
  /** By name in the node's folder, by absolute path elsewhere. */
  readonly files: ReadonlyMap<string, FileState>
  /** The contents of files that differ from what was expected, unless they are too large. */
  readonly contents: ReadonlyMap<string, Buffer>
}

export interface Account {
  readonly uid: number
  /** The primary group first. */
  readonly gids: readonly [number, ...number[]]
}

export const root: Account = { uid: 0, gids: [0] }

export interface DesiredFile {
  /** A key of `FilesSeen.files`. */
  readonly path: string
  /** In hex; undefined if auth/ does not have the file yet. It is compared once auth/ does. */
  readonly sha256: string | undefined
  /** The digest of other content that serves its readers as well. */
  readonly accepted?: string | undefined
  readonly isSecret: boolean
  readonly readers: readonly Account[] | { readonly login: number }
}

export interface Difference {
  readonly path: string
  readonly what:
    | 'missing'
    | 'not a file'
    | 'differs'
    | 'wrong owner'
    | 'wrong mode'
    | 'unreadable for its unit'
    | 'permissions too open'
}

/** At most one per file, except that owner and mode may both be wrong. */
export function diff(desired: readonly DesiredFile[], { files }: Pick<FilesSeen, 'files'>): Difference[] {
  return desired.flatMap((file) => differencesOf(file, files.get(file.path)).map((what) => ({ path: file.path, what })))
}

function differencesOf(file: DesiredFile, there: FileState | undefined): Difference['what'][] {
  if (!there) return ['missing']
  if (there.kind !== 'file') return ['not a file']
  const isRight = there.sha256 !== undefined && [file.sha256, file.accepted].includes(there.sha256)
  if (file.sha256 !== undefined && !isRight) return ['differs']
  return accessDifferences(file, there)
}

function accessDifferences({ readers, isSecret }: DesiredFile, there: FileState): Difference['what'][] {
  if ('login' in readers) {
    const wrong: Difference['what'][] = there.uid === readers.login ? [] : ['wrong owner']
    return there.mode === modeOf(isSecret) ? wrong : [...wrong, 'wrong mode']
  }
  if (readers.some((account) => !mayRead(account, there))) return ['unreadable for its unit']
  return isOpen(readers, isSecret, there) ? ['permissions too open'] : []
}

const modeOf = (isSecret: boolean) => (isSecret ? secretMode : publicMode)

/** Decided by the mode alone: path_resolution(7), "Permissions". */
function mayRead({ uid, gids }: Account, { uid: owner, gid, mode }: FileState): boolean {
  if (uid === 0) return true
  if (uid === owner) return (mode & 0o400) !== 0
  return gids.includes(gid) ? (mode & 0o040) !== 0 : (mode & 0o004) !== 0
}

/** True if a user who is neither root nor a reader may change the file, or read it although it is a secret. */
function isOpen(readers: readonly Account[], isSecret: boolean, { uid, gid, mode }: FileAccess): boolean {
  const isOurs = uid === 0 || readers.some((each) => each.uid === uid)
  const isOurGroup = gid === 0 || readers.some(({ gids }) => gids.includes(gid))
  const ofOthers = (isOurGroup ? 0 : mode & 0o070) | (mode & 0o007)
  const forbidden = isSecret ? 0o077 : 0o022
  return !isOurs || (ofOthers & forbidden) !== 0
}

/** The same for renaming files in a folder. In one with the sticky bit only the owner of a name may change it. */
export function isOpenFolder(readers: readonly Account[], access: FileAccess): boolean {
  const isSticky = (access.mode & 0o1000) !== 0
  return isOpen(readers, false, isSticky ? { ...access, mode: access.mode & 0o755 } : access)
}

export type FileAccess = Pick<FileState, 'uid' | 'gid' | 'mode'>

/** An existing file that is right keeps its access; any other gets the least that its readers need. */
export function accessFor(
  file: DesiredFile & { readonly readers: readonly Account[] },
  there: FileState | undefined,
): FileAccess {
  if (there?.kind === 'file' && accessDifferences(file, there).length === 0) return there
  const [first, ...others] = file.readers.filter(({ uid }) => uid !== 0)
  const second = others.find(({ uid }) => uid !== first?.uid)
  if (!first) return { uid: 0, gid: 0, mode: modeOf(file.isSecret) }
  const mode = file.isSecret && second ? 0o640 : modeOf(file.isSecret)
  return { uid: first.uid, gid: (second ?? first).gids[0], mode }
}

/** Root's folder, which replace locks; node.sh names the same. */
export const marksFolder = '/var/lib/harderway'
export const drainMark = `${marksFolder}/drained`
