/**
 * The folder auth/: its files are the only state there is. Everything is read without following symbolic links,
 * and written beside its place and renamed into it, so that a reader sees the old bytes or the new ones.
 */
import * as fs from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { doing, Failure, isErrno } from './failure.ts'
import type { Reason } from './reason.ts'

/** `other` is a folder, a symbolic link, a socket. */
export type AuthFile =
  | { readonly kind: 'file'; readonly bytes: Buffer; readonly mode: number }
  | { readonly kind: 'other' }

export const secretMode = 0o600
export const publicMode = 0o644
const folderMode = 0o700
const temporary = '.tmp-'
const readOnly = fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK

export class AuthDir {
  readonly path: string
  readonly #read = new Map<string, AuthFile | undefined>()
  readonly #derived = new Map<string, { readonly names: readonly string[]; readonly value: unknown }>()

  constructor(path: string) {
    this.path = path
  }

  /** Undefined where nothing stands under that name. Read once: who holds the lock is the only one to change it. */
  read(name: string): AuthFile | undefined {
    if (!this.#read.has(name)) this.#read.set(name, readPlainFile(join(this.path, name)))
    return this.#read.get(name)
  }

  /** Undefined where no plain file stands under that name. */
  tryBytes(name: string): Buffer | undefined {
    const file = this.read(name)
    return file?.kind === 'file' ? file.bytes : undefined
  }

  /** Its bytes, where a target that is needed has just made or checked it. */
  bytes(name: string): Buffer {
    const bytes = this.tryBytes(name)
    if (bytes) return bytes
    throw new Failure(`${join(this.path, name)} was there a moment ago and is gone`, {
      remedy: 'run the same command again',
    })
  }

  /** What is in a file that must be there, with its mode; and all that is wrong with it. */
  judge<T>(
    name: string,
    mode: number,
    what: string,
    read: (bytes: Buffer) => T | undefined,
  ): { value: T | undefined; reasons: Reason[] } {
    const file = this.read(name)
    if (!file) return { value: undefined, reasons: [{ kind: 'missing', path: name }] }
    if (file.kind === 'other') return { value: undefined, reasons: [{ kind: 'not-a-file', path: name }] }
    const value = read(file.bytes)
    const reasons: Reason[] = value === undefined ? [{ kind: 'unreadable', path: name, what }] : []
    if (file.mode !== mode) reasons.push({ kind: 'wrong-mode', path: name, was: file.mode, asked: mode })
    return { value, reasons }
  }

  names(): string[] {
    return doing('list', this.path, () => (fs.existsSync(this.path) ? fs.readdirSync(this.path).sort() : []))
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

  /** Of a plain file, by its name in the folder or its absolute path. */
  setMode(name: string, mode: number): void {
    const path = resolve(this.path, name)
    doing('set the mode of', path, () => {
      const fd = fs.openSync(path, readOnly)
      try {
        fs.fchmodSync(fd, mode)
      } finally {
        fs.closeSync(fd)
      }
    })
    this.#forget(name)
  }

  /** Makes the folder with its final mode; one that is there already stays as it is. */
  make(): void {
    doing('make the folder', this.path, () => {
      if (fs.mkdirSync(this.path, { recursive: true, mode: folderMode })) fs.chmodSync(this.path, folderMode)
    })
  }

  /** Takes from the folder's mode what is too wide. Says whether there was something. */
  tightenFolder(): boolean {
    return doing('set the mode of', this.path, () => {
      const isWide = (fs.statSync(this.path).mode & 0o777 & ~folderMode) !== 0
      if (isWide) fs.chmodSync(this.path, folderMode)
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
        fs.mkdirSync(path, { mode: folderMode })
        fs.chmodSync(path, folderMode)
      } catch (error) {
        // Where a symbolic link stands instead, what goes into the folder would go elsewhere.
        if (!isErrno(error, 'EEXIST') || !fs.lstatSync(path).isDirectory()) throw error
      }
    })
    return path
  }

  /** A new private folder for what is on its way to a node; a killed run's is swept away by the next. */
  makeTemporaryFolder(label: string): string {
    return this.makeFolder(`${temporary}${process.pid}-${label}`)
  }

  remove(name: string): void {
    doing('remove', join(this.path, name), () => fs.rmSync(join(this.path, name), { force: true, recursive: true }))
    this.#forget(name)
  }

  #forget(name: string): void {
    this.#read.delete(name)
    for (const [key, { names }] of this.#derived) if (names.includes(name)) this.#derived.delete(key)
  }
}

/** Undefined where nothing stands there. */
export function readPlainFile(path: string): AuthFile | undefined {
  return doing('read', path, () => {
    let fd: number
    try {
      fd = fs.openSync(path, readOnly)
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined
      if (isErrno(error, 'ELOOP', 'EMLINK', 'ENXIO')) return { kind: 'other' }
      throw error
    }
    try {
      const stat = fs.fstatSync(fd)
      return stat.isFile() ? { kind: 'file', bytes: fs.readFileSync(fd), mode: stat.mode & 0o7777 } : { kind: 'other' }
    } finally {
      fs.closeSync(fd)
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
  const beside = join(dirname(path), `${temporary}${process.pid}-${basename(path)}`)
  doing('write', path, () => {
    try {
      fs.rmSync(beside, { force: true })
      writeNew(beside, data, mode, durable)
      fs.renameSync(beside, path)
      if (durable) syncFolder(dirname(path))
    } catch (error) {
      fs.rmSync(beside, { force: true })
      throw error
    }
  })
}

function writeNew(path: string, data: string | Uint8Array, mode: number, durable: boolean): void {
  const fd = fs.openSync(path, 'wx', mode)
  try {
    // The umask may have taken bits away; before the first byte is there nobody can have read one.
    fs.fchmodSync(fd, mode)
    fs.writeFileSync(fd, data)
    if (durable) fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

/** The file that a temporary one would have become; undefined for any other name. */
export function temporaryFileOf(name: string): string | undefined {
  return name.startsWith(temporary) ? /^\d+-(.+)$/.exec(name.slice(temporary.length))?.[1] : undefined
}

/** Makes a rename in it durable: fsync(2). */
function syncFolder(path: string): void {
  const fd = fs.openSync(path, fs.constants.O_RDONLY)
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}
