/** The folder auth/: its files are the only state there is. What is about to be replaced is kept in auth/backup/. */
import * as fs from 'node:fs'
import { dirname, join } from 'node:path'
import { doing, Failure, isErrno, runAgain } from '../failure.ts'
import { type Diff, missing } from '../results.ts'
import { octal } from '../wording.ts'
import {
  type PlainFile,
  publicMode,
  readOnly,
  readPlainFile,
  replaceFiles,
  secretMode,
  sha256,
  syncFolder,
  temporary,
  whileOpen,
} from './plain-file.ts'

export type FileKind = 'certificate' | 'key' | 'kubeconfig' | 'encryption-config' | 'authorization'

export const caName = 'ca'
/** It signs those of etcd and its clients, where etcd has a CA of its own. */
export const etcdCaName = 'etcd-ca'
/** It signs the client by which an API server speaks for its users, where there is an aggregation layer. */
export const frontProxyCaName = 'front-proxy-ca'
export const rotatedCas = [caName, etcdCaName] as const
export type RotatedCa = (typeof rotatedCas)[number]
export const caNames = [...rotatedCas, frontProxyCaName] as const
export const encryptionConfigFile = 'encryption-config.yaml'
export const authorizationConfigFile = 'authorization-config.yaml'
/** The kubeconfig that authorization-config.yaml names: it has to be there first. */
export const authorizationWebhookFile = 'authorization-webhook.yaml'
export const authorizationFiles: readonly string[] = [authorizationWebhookFile, authorizationConfigFile]
/** An empty file, with the oldest version that reads this auth/ aright: one before it refuses to run. */
export const neededMarker = 'needs-harderway-'
export const markersIn = (auth: Pick<AuthDir, 'names'>): string[] =>
  auth.names().filter((name) => name.startsWith(neededMarker))
export const metricsFile = 'report.prom'
export const nextName = (name: string): string => `${name}-next`
/** Of a next CA's key, signed by the present CA of that name. */
export const crossName = (name: string): string => `${name}-cross`

const kubeconfigEnding = '.kubeconfig'
export const kubeconfigFile = (name: string): string => name + kubeconfigEnding

interface Naming {
  /** The ends of the names of certificates and keys: `.pem` and `-key.pem`. */
  readonly endings: { readonly certificate: string; readonly key: string }
  /** The names that the rest of the code needs to tell apart, besides the CA's. */
  readonly names: {
    /** What the API server serves, and its identity as a client. */
    readonly api: string
    readonly admin: string
    /** Its key signs the tokens of service accounts. */
    readonly tokens: string
  }
}

export type FileNames = ReturnType<typeof fileNames>

export function fileNames({ endings, names }: Naming) {
  // A key's ending may end as a certificate's does.
  const byEnding = [
    [endings.key, 'key'],
    [endings.certificate, 'certificate'],
    [kubeconfigEnding, 'kubeconfig'],
  ] as const
  const certificate = (name: string) => name + endings.certificate
  const key = (name: string) => name + endings.key
  /** The name is without the ending. Undefined for a file that is not one of ours. */
  const parse = (file: string): { readonly kind: FileKind; readonly name: string } | undefined => {
    if (file === encryptionConfigFile) return { kind: 'encryption-config', name: file.replace(/\.yaml$/, '') }
    if (authorizationFiles.includes(file)) return { kind: 'authorization', name: file.replace(/\.yaml$/, '') }
    const [ending, kind] = byEnding.find(([end]) => file.endsWith(end) && file.length > end.length) ?? []
    return kind && { kind, name: file.slice(0, -ending.length) }
  }
  return {
    names,
    certificate,
    key,
    pair: (name: string): [certificate: string, key: string] => [certificate(name), key(name)],
    parse,
    /** In auth/ and on a node: others may read only certificates. */
    mode: (file: string) => (parse(file)?.kind === 'certificate' ? publicMode : secretMode),
    /** Shell patterns that match each certificate and key once. */
    patterns: [certificate('*'), ...(endings.key.endsWith(endings.certificate) ? [] : [key('*')])] as const,
  }
}

/** The files that an installed kubeconfig names: certificate and key, which one rename replaces, and its CA. */
export function filesBeside(kubeconfig: string): { readonly pair: string; readonly ca: string } {
  const name = kubeconfig.slice(0, -kubeconfigEnding.length)
  return { pair: `${name}-client.pem`, ca: `${name}-ca.pem` }
}

const folderMode = 0o700
const gitIgnore = '.gitignore'

export type AuthFiles = Pick<AuthDir, 'files' | 'tryBytes'>

export type AuthFile = readonly [name: string, data: string | Uint8Array, mode: number]

export class AuthDir {
  readonly path: string
  readonly files: FileNames
  readonly #read = new Map<string, PlainFile | undefined>()

  constructor(path: string, files: FileNames) {
    this.path = path
    this.files = files
  }

  inMemory(): AuthDir {
    return new MemoryAuthDir(this.path, this.files, this)
  }

  /** Undefined where nothing stands under that name. Cached: only the holder of the lock changes it. */
  read(name: string): PlainFile | undefined {
    if (!this.#read.has(name)) this.#read.set(name, readPlainFile(join(this.path, name)))
    return this.#read.get(name)
  }

  /** Undefined where no plain file stands under that name. */
  tryBytes(name: string): Buffer | undefined {
    const file = this.read(name)
    return file?.kind === 'file' ? file.bytes : undefined
  }

  bytes(name: string): Buffer {
    const bytes = this.tryBytes(name)
    if (bytes) return bytes
    throw new Failure(`${join(this.path, name)} was removed during the run`, { remedy: runAgain })
  }

  /** The content of a required file, and everything that is wrong with the file. `what` it has to be. */
  checkFile<T>(
    name: string,
    what: string,
    read: (bytes: Buffer) => T | undefined,
  ): { value: T | undefined; diffs: Diff[]; isMissing: boolean } {
    const [file, mode, names] = [this.read(name), this.files.mode(name), [name]]
    if (!file) return { value: undefined, diffs: missing(names), isMissing: true }
    const value = file.kind === 'file' ? read(file.bytes) : undefined
    const wrong = file.kind === 'file' ? `not ${what}` : 'not a regular file'
    const diffs: Diff[] = value === undefined ? [{ what: `${name} is ${wrong}`, verb: 'replace', names }] : []
    if (file.kind === 'file' && file.mode !== mode)
      diffs.push({ what: `${name} has mode ${octal(file.mode)}, not ${octal(mode)}`, verb: 'chmod', names })
    return { value, diffs, isMissing: false }
  }

  names(folder = '.'): string[] {
    const path = join(this.path, folder)
    return doing('list', path, () =>
      fs.lstatSync(path, { throwIfNoEntry: false })?.isDirectory() || (folder === '.' && fs.existsSync(path))
        ? fs.readdirSync(path).sort()
        : [],
    )
  }

  /** For what can be made again: it does not wait for the disk. */
  write(...file: AuthFile): void {
    this.replace([file], { durable: false })
  }

  /** Waits for the disk; a power cut leaves each file as it was, or whole. A kill leaves the first ones new. */
  writeDurably(...files: readonly AuthFile[]): void {
    this.replace(files, { durable: true })
  }

  protected replace(files: readonly AuthFile[], options: { readonly durable: boolean }): void {
    replaceFiles(
      files.map(([name, data, mode]) => ({ path: join(this.path, name), data, mode })),
      options,
    )
    for (const [name] of files) this.#read.delete(name)
  }

  setMode(name: string, mode: number): void {
    const path = join(this.path, name)
    doing('set the mode of', path, () => whileOpen(fs.openSync(path, readOnly), (fd) => fs.fchmodSync(fd, mode)))
    this.#read.delete(name)
  }

  remove(name: string): void {
    const path = join(this.path, name)
    doing('remove', path, () => fs.rmSync(path, { force: true }))
    this.#read.delete(name)
  }

  makeFolder(name: string): void {
    const path = join(this.path, name)
    doing('create the directory', path, () => {
      try {
        fs.mkdirSync(path, { mode: folderMode })
        fs.chmodSync(path, folderMode)
        syncFolder(dirname(path))
      } catch (error) {
        // Files written through a symbolic link would end up elsewhere.
        if (!isErrno(error, 'EEXIST') || !fs.lstatSync(path).isDirectory()) throw error
      }
    })
  }

  make(): void {
    const path = this.folder()
    doing('create the directory', path, () => {
      if (fs.mkdirSync(path, { recursive: true, mode: folderMode })) fs.chmodSync(path, folderMode)
    })
  }

  /** Whether there is a file that is not hidden: the folder of a new clone has none. */
  hasFiles(): boolean {
    return this.names().some((name) => !name.startsWith('.'))
  }

  /** Takes permissions of group and others from the folder; true if there were any. A symbolic link is not followed. */
  tightenFolder(): boolean {
    const path = this.folder()
    const stat = doing('read', path, () => fs.lstatSync(path, { throwIfNoEntry: false }))
    const isWide = stat?.isDirectory() === true && (stat.mode & 0o777 & ~folderMode) !== 0
    if (isWide) doing('set the mode of', path, () => fs.chmodSync(path, folderMode))
    return isWide
  }

  /** Called by the holder of the lock before it reads: removes what a killed run left. */
  removeLeftovers(): void {
    this.#read.clear()
    for (const folder of ['.', ...this.names('backup').map((name) => join('backup', name))])
      for (const name of this.names(folder).filter((each) => each.startsWith(temporary))) {
        const path = join(this.folder(), folder, name)
        doing('remove', path, () => fs.rmSync(path, { recursive: true, force: true }))
      }
  }

  /** Keeps the keys out of the git repository around it; a .gitignore of the user's stays as it is. */
  keepOutOfGit(): void {
    if (!this.read(gitIgnore)) this.write(gitIgnore, '*\n', secretMode)
  }

  /** A new private folder for files on their way to a node; the next run removes one that a killed run left. */
  makeTemporaryFolder(label: string): string {
    const path = join(this.folder(), temporary + label)
    this.makeFolder(temporary + label)
    return path
  }

  protected folder(): string {
    return this.path
  }
}

/** What is under it is only read, and nothing reaches the disk: a plan, the trial of a rotation. */
export class MemoryAuthDir extends AuthDir {
  readonly #under: Pick<AuthDir, 'read' | 'names'> | undefined
  readonly #own = new Map<string, PlainFile | undefined>()

  constructor(path: string, files: FileNames, under?: Pick<AuthDir, 'read' | 'names'>) {
    super(path, files)
    this.#under = under
  }

  override read(name: string): PlainFile | undefined {
    return this.#own.has(name) ? this.#own.get(name) : this.#under?.read(name)
  }

  override names(folder = '.'): string[] {
    const names = new Set(this.#under?.names(folder))
    const above = folder === '.' ? '' : `${folder}/`
    for (const [name, file] of this.#own) {
      const [first = '', ...deeper] = name.startsWith(above) ? name.slice(above.length).split('/') : []
      if (first !== '' && file) names.add(first)
      else if (first !== '' && deeper.length === 0) names.delete(first)
    }
    return [...names].sort()
  }

  protected override replace(files: readonly AuthFile[]): void {
    for (const [name, data, mode] of files) this.#own.set(name, { kind: 'file', bytes: Buffer.from(data), mode })
  }

  override setMode(name: string, mode: number): void {
    const file = this.read(name)
    if (file?.kind === 'file') this.#own.set(name, { ...file, mode })
  }

  override remove(name: string): void {
    this.#own.set(name, undefined)
  }

  override makeFolder(): void {}

  protected override folder(): string {
    throw new Error(`${this.path} is in memory`)
  }
}

/** Copies the files to backup/<time>/; returns that folder if there was one to copy. A link is left out. */
export function backUp(auth: AuthDir, names: readonly string[], now: Date): string | undefined {
  const time = backupTime(now)
  const isTaken = (folder: string) => names.some((name) => auth.read(join('backup', folder, name)))
  let folder = time
  for (let i = 2; isTaken(folder); i++) folder = `${time}-${i}`
  const copies = names.flatMap((name): [string, Buffer][] => {
    const bytes = auth.tryBytes(name)
    return bytes ? [[name, bytes]] : []
  })
  if (copies.length === 0) return undefined
  keep(auth, folder, new Map(copies))
  return join(auth.path, 'backup', folder)
}

/** Keeps files that are about to be overwritten elsewhere, in a folder that `backups` never reads. */
export function keepOverwritten(auth: AuthDir, from: string, files: ReadonlyMap<string, Buffer>, now: Date): void {
  const named = [...files].map(([at, bytes]) => [at.replace(/^\//, '').replaceAll('/', '%2F'), bytes] as const)
  if (named.length > 0) keep(auth, `${from}-${backupTime(now)}`, new Map(named))
}

function keep(auth: AuthDir, folder: string, files: ReadonlyMap<string, Buffer>): void {
  for (const each of ['backup', join('backup', folder)]) auth.makeFolder(each)
  auth.writeDurably(...[...files].map(([name, bytes]): AuthFile => [join('backup', folder, name), bytes, secretMode]))
}

/** Copies what the other folder has kept, and overwrites nothing. True if there was anything to copy. */
export function copyBackups(from: AuthDir, auth: AuthDir): boolean {
  let isAny = false
  for (const folder of from.names('backup')) {
    const missing = new Map<string, Buffer>()
    for (const name of from.names(join('backup', folder))) {
      const bytes = readBackup(from, folder, name)
      if (bytes && !name.startsWith(temporary) && !auth.read(join('backup', folder, name))) missing.set(name, bytes)
    }
    if (missing.size > 0) keep(auth, folder, missing)
    isAny ||= missing.size > 0
  }
  return isAny
}

export const backupTime = (now: Date): string => now.toISOString().replace(/[:.]/g, '-')

/** The folders in auth/backup/ of files that were replaced, by their time, the latest first. */
export function backupFolders(auth: Pick<AuthDir, 'names'>): string[] {
  return auth
    .names('backup')
    .filter((folder) => /^\d{4}-\d\d-\d\dT/.test(folder))
    .reverse()
}

export function readBackup(auth: Pick<AuthDir, 'tryBytes'>, folder: string, name: string): Buffer | undefined {
  return auth.tryBytes(join('backup', folder, name))
}

/** Whether the file of that name, or a kept one, has this SHA-256, in hex. */
export function hasDigest(
  auth: Pick<AuthDir, 'tryBytes' | 'names'>,
  name: string,
  digest: string | undefined,
): boolean {
  const isIt = (bytes: Buffer | undefined) => bytes !== undefined && sha256(bytes) === digest
  return digest !== undefined && (isIt(auth.tryBytes(name)) || backups(auth, name).some(isIt))
}

export function backups(auth: Pick<AuthDir, 'tryBytes' | 'names'>, name: string): Buffer[] {
  return backupFolders(auth).flatMap((folder) => readBackup(auth, folder, name) ?? [])
}
