/** Files are read without following links, and replaced so that a reader sees the old bytes or the new. */
import { hash } from 'node:crypto'
import * as fs from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { doing, Failure, isErrno, usageFailure } from '../failure.ts'

/** `other` is a symbolic link, a socket: what a rename replaces. */
export type PlainFile =
  | { readonly kind: 'file'; readonly bytes: Buffer; readonly mode: number }
  | { readonly kind: 'folder' | 'other' }

/** Bytes; no file that is read here comes near it. */
const largest = 64 * 1024 * 1024

export const secretMode = 0o600
export const publicMode = 0o644
export const temporary = '.tmp-'

/** Does not follow a symbolic link, nor wait for a writer of a pipe. */
export const readOnly = fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK

/** Undefined if the path does not exist. Never blocks, even on a pipe. */
export function readPlainFile(path: string): PlainFile | undefined {
  return doing('read', path, () => {
    let opened: number
    try {
      opened = fs.openSync(path, readOnly)
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined
      if (isErrno(error, 'ELOOP', 'EMLINK', 'ENXIO')) return { kind: 'other' }
      throw error
    }
    return whileOpen(opened, (fd) => {
      const stat = fs.fstatSync(fd)
      if (!stat.isFile()) return { kind: stat.isDirectory() ? 'folder' : 'other' }
      if (stat.size > largest) throw new Failure(`${path} is too large to read (${stat.size} bytes)`)
      return { kind: 'file', bytes: fs.readFileSync(fd), mode: stat.mode & 0o7777 }
    })
  })
}

export function whileOpen<T>(fd: number, work: (fd: number) => T): T {
  try {
    return work(fd)
  } finally {
    fs.closeSync(fd)
  }
}

/** Resolves links; the last may lead to where nothing is. A path in a loop of links is returned unchanged. */
export function followLinks(path: string): string {
  return doing('read', path, () => {
    let at = path
    // As many as the kernel follows: path_resolution(7).
    for (let followed = 0; followed < 40; followed++) {
      if (!fs.lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink())
        return fs.existsSync(at) ? fs.realpathSync(at) : at
      at = resolve(fs.realpathSync(dirname(at)), fs.readlinkSync(at))
    }
    return path
  })
}

export function isInside(path: string, folder: string): boolean {
  const realOf = (each: string) => (fs.existsSync(each) ? fs.realpathSync(each) : each)
  const target = followLinks(path)
  const way = relative(realOf(folder), join(realOf(dirname(target)), basename(target)))
  return way !== '..' && !way.startsWith('../')
}

/** Throws a usage Failure for a path of the command line that is no regular file, or leads into the folder. */
export function checkOutput(path: string, folder: string): void {
  if (isInside(path, folder)) throw usageFailure(`${path} is in ${folder}, where only harderway's own files are`)
  const stat = doing('write', path, () => fs.statSync(path, { throwIfNoEntry: false }))
  if (stat && !stat.isFile()) throw usageFailure(`${path} is not a regular file`)
}

export function writeOutput(path: string, text: string): void {
  replaceFiles([{ path: followLinks(path), data: text, mode: publicMode }], { durable: false })
}

export interface NewFile {
  readonly path: string
  readonly data: string | Uint8Array
  readonly mode: number
}

interface ReplaceOptions {
  /** fsync of the content before the rename, and of the directory after it: rename(2) waits for neither. */
  readonly durable: boolean
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined
}

/** In their order, under the lock. A link is replaced, never followed. Throws where a folder is in the way. */
export function replaceFiles(files: readonly NewFile[], options: ReplaceOptions): void {
  for (const { path, data, mode } of files) {
    // Without the ending of its name, by which others pick what they read: node_exporter's collector reads *.prom.
    const beside = join(dirname(path), `${temporary}${basename(path)}~`)
    doing('write', path, () => {
      try {
        fs.rmSync(beside, { force: true, recursive: true })
        writeNew(beside, data, mode, options)
        fs.renameSync(beside, path)
      } catch (error) {
        fs.rmSync(beside, { force: true })
        throw error
      }
    })
  }
  if (!options.durable) return
  for (const folder of new Set(files.map(({ path }) => dirname(path)))) doing('write', folder, () => syncFolder(folder))
}

export function syncFolder(path: string): void {
  whileOpen(fs.openSync(path, fs.constants.O_RDONLY), fs.fsyncSync)
}

/** Throws where something stands there. */
export function writeNew(
  path: string,
  data: string | Uint8Array,
  mode: number,
  { durable, owner }: ReplaceOptions = { durable: true },
): void {
  whileOpen(fs.openSync(path, 'wx', mode), (fd) => {
    // open(2) applies the umask; the mode is set before the first byte is written.
    fs.fchmodSync(fd, mode)
    const made = owner && fs.fstatSync(fd)
    if (owner && made && (made.uid !== owner.uid || made.gid !== owner.gid)) fs.fchownSync(fd, owner.uid, owner.gid)
    fs.writeFileSync(fd, data)
    if (durable) fs.fsyncSync(fd)
  })
}

/** Absolute, and what a shell leaves as it is; in one spelling, since a folder above may be behind a link. */
export const isPlainPath = (path: string): boolean => /^(\/(?!\.\.?(\/|$))[\w@%+=:,.-]+)+$/.test(path)

/** Memoised by object: auth/ returns the same Buffer until the file is written. */
export function memoised<T, K extends object = Buffer>(work: (key: NoInfer<K>) => T): (key: K) => T {
  const known = new WeakMap<K, T>()
  return (key) => {
    if (!known.has(key)) known.set(key, work(key))
    return known.get(key) as T
  }
}

export const sha256 = memoised((bytes) => hash('sha256', bytes))
