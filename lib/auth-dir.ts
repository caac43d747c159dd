/**
 * The folder auth/: its files are the only state there is. Everything is read without following symbolic links,
 * and written beside its place and renamed into it, so that a reader sees the old bytes or the new ones.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { doing, Failure, isErrno } from './failure.ts'

export type AuthFile =
  | { readonly kind: 'file'; readonly bytes: Buffer; readonly mode: number }
  /** A folder, a symbolic link, a socket. */
  | { readonly kind: 'other' }

export const secretMode = 0o600
export const publicMode = 0o644
const folderMode = 0o700
const temporary = '.tmp-'

export class AuthDir {
  readonly path: string
  readonly #derived = new Map<string, { readonly names: readonly string[]; readonly value: unknown }>()

  constructor(path: string) {
    this.path = path
  }

  /** Its bytes, where a target that is needed has just made or checked it. */
  bytes(name: string): Buffer {
    const file = this.read(name)
    if (file?.kind === 'file') return file.bytes
    throw new Failure(`${join(this.path, name)} was there a moment ago and is gone`, {
      remedy: 'run the same command again',
    })
  }

  /** Undefined where nothing stands under that name. */
  read(name: string): AuthFile | undefined {
    return readPlainFile(join(this.path, name))
  }

  names(): string[] {
    return doing('list', this.path, () => {
      try {
        return readdirSync(this.path).sort()
      } catch (error) {
        if (isErrno(error, 'ENOENT')) return []
        throw error
      }
    })
  }

  /** `durable` waits for the disk: for what can't be made again. */
  write(name: string, data: string | Uint8Array, mode: number, { durable = false } = {}): void {
    replaceFile(join(this.path, name), data, mode, { durable })
    this.#forget(name)
  }

  /** What is worked out from some files for many targets: kept until one of these files is written. */
  derive<T>(what: string, names: readonly string[], work: () => T): T {
    const kept = this.#derived.get(what)
    if (kept) return kept.value as T
    const value = work()
    this.#derived.set(what, { names, value })
    return value
  }

  tighten(name: string, mode: number): void {
    const path = join(this.path, name)
    doing('set the mode of', path, () => {
      const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      try {
        fchmodSync(fd, mode)
      } finally {
        closeSync(fd)
      }
    })
  }

  /** With its final mode; one that is there already stays as it is. */
  make(): void {
    doing('make the folder', this.path, () => mkdirSync(this.path, { recursive: true, mode: folderMode }))
  }

  /** Takes from the folder's mode what is too wide. Says whether there was something. */
  tightenFolder(): boolean {
    return doing('set the mode of', this.path, () => {
      const isWide = (statSync(this.path).mode & 0o777 & ~folderMode) !== 0
      if (isWide) chmodSync(this.path, folderMode)
      return isWide
    })
  }

  /** Removes what a killed run left. Only for the holder of the lock. */
  sweep(): void {
    for (const name of this.names().filter((each) => each.startsWith(temporary))) this.remove(name)
  }

  /** A private folder inside auth/; one that is there already stays. */
  makeFolder(name: string): string {
    const path = join(this.path, name)
    doing('make the folder', path, () => {
      try {
        mkdirSync(path, { mode: folderMode })
      } catch (error) {
        // Where a symbolic link stands instead, what goes into the folder would go elsewhere.
        if (!isErrno(error, 'EEXIST') || !lstatSync(path).isDirectory()) throw error
      }
    })
    return path
  }

  /** A new private folder for what is on its way to a node; a killed run's is swept away by the next. */
  makeTemporaryFolder(label: string): string {
    return this.makeFolder(`${temporary}${process.pid}-${label}`)
  }

  remove(name: string): void {
    doing('remove', join(this.path, name), () => rmSync(join(this.path, name), { force: true, recursive: true }))
    this.#forget(name)
  }

  #forget(name: string): void {
    for (const [key, { names }] of this.#derived) if (names.includes(name)) this.#derived.delete(key)
  }
}

/** Undefined where nothing stands there. */
export function readPlainFile(path: string): AuthFile | undefined {
  return doing('read', path, () => {
    let fd: number
    try {
      fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined
      if (isErrno(error, 'ELOOP', 'EMLINK', 'ENXIO')) return { kind: 'other' }
      throw error
    }
    try {
      const stat = fstatSync(fd)
      if (!stat.isFile()) return { kind: 'other' }
      return { kind: 'file', bytes: readFileSync(fd), mode: stat.mode & 0o7777 }
    } finally {
      closeSync(fd)
    }
  })
}

/** Throws where a folder stands in the way; a symbolic link is replaced, never followed. */
export function replaceFile(
  path: string,
  data: string | Uint8Array,
  mode: number,
  { durable }: { durable: boolean },
): void {
  const folder = dirname(path)
  const beside = join(folder, `${temporary}${process.pid}-${path.slice(folder.length + 1)}`)
  doing('write', path, () => {
    try {
      rmSync(beside, { force: true })
      const fd = openSync(beside, 'wx', mode)
      try {
        // The umask may have taken bits away; before the first byte is there nobody can have read one.
        fchmodSync(fd, mode)
        writeFileSync(fd, data)
        if (durable) fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
      renameSync(beside, path)
      if (durable) syncFolder(folder)
    } catch (error) {
      rmSync(beside, { force: true })
      throw error
    }
  })
}

/** The file that a temporary one would have become; undefined for any other name. */
export function temporaryFileOf(name: string): string | undefined {
  return name.startsWith(temporary) ? /^\d+-(.+)$/.exec(name.slice(temporary.length))?.[1] : undefined
}

function syncFolder(path: string): void {
  const fd = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
