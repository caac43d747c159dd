/** A node: what is looked at and changed there, each by one command over its connection. */
import { randomBytes } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { doing, Failure, runAgain } from '../failure.ts'
import { authorizationFiles, encryptionConfigFile, type FileNames, kubeconfigFile } from '../files/auth-dir.ts'
import { secretMode, sha256 } from '../files/plain-file.ts'
import { excerpt } from '../wording.ts'
import type { Connection } from './connection.ts'
import { type FileAccess, type FileState, newSuffix } from './place.ts'
import { message, type NodeState, notWhole, readAnswer, readState, shellEnded, type Verb } from './state.ts'

/** Stands for a digest that no file has: any file differs from it. */
export const noDigest = '-'

export interface Query {
  readonly directory: string
  readonly names: FileNames
  /** Name → SHA-256 in hex. The answer includes the content of a file that differs. */
  readonly expected: ReadonlyMap<string, string>
  readonly places?: PlacesQuery | undefined
}

interface PlacesQuery {
  /** The command to become root; '' if the login user is root. */
  readonly sudo: string
  readonly units: readonly string[]
  /** Absolute path → SHA-256 in hex. The answer includes the content of a file that differs; with '' it never does. */
  readonly paths: ReadonlyMap<string, string>
  /** Files and folders, one of which is there where a unit is installed: else nobody becomes root. */
  readonly signs: readonly string[]
}

export function lookLines({ directory, names, expected, places }: Query): string[] {
  return [
    ...folderLines(directory, names),
    ...[...expected].map(([name, digest]) => `expect ${name} ${digest}`),
    ...(places ? placesLines(places) : []),
  ]
}

function folderLines(directory: string, names: FileNames): string[] {
  const patterns = [...names.patterns, kubeconfigFile('*'), encryptionConfigFile, ...authorizationFiles]
  return [`folder ${directory}`, ...patterns.map((pattern) => `pattern ${pattern}`)]
}

function placesLines({ sudo, units, paths, signs }: PlacesQuery): string[] {
  return [
    `sudo ${sudo}`,
    ...units.map((unit) => `unit ${unit}`),
    ...[...paths].map(([path, digest]) => `place ${path} ${digest || 'none'}`),
    ...signs.map((path) => `sign ${path}`),
  ]
}

/** Files to replace as one set: in the folder, or with `sudo` where units read. */
export interface Replacement {
  /** Absolute: the archive of the new files is copied there. */
  readonly folder: string
  readonly sudo?: string
  readonly files: readonly NewFile[]
  /** Files that must not have changed since the look. */
  readonly unchanged: readonly string[]
  readonly seen: ReadonlyMap<string, FileState>
  readonly tidied?: Tidied
}

interface Tidied {
  readonly pruned: readonly string[]
  readonly modes: readonly { name: string; mode: number }[]
  readonly leftovers: readonly string[]
}

interface NewFile {
  /** A name in the folder, or absolute, as the node resolves it. */
  readonly path: string
  readonly bytes: Buffer
  /** In the folder the login user is the owner. */
  readonly access: Pick<FileAccess, 'mode'> & Partial<FileAccess>
}

export function replaceLines(
  { folder, sudo, files, unchanged, seen, tidied }: Replacement,
  archive?: string,
): string[] {
  const lines = unchanged.flatMap((name) => seen.get(name)?.lines.split('\n') ?? [])
  const isStat = (line: string) => line.startsWith('file ')
  return [
    `folder ${folder}`,
    ...(sudo === undefined ? [] : [`sudo ${sudo}`]),
    ...(archive === undefined ? [] : [`archive ${archive}`]),
    ...files.map(({ path, bytes }) => `file ${path} ${sha256(bytes)}`),
    ...(tidied?.modes ?? []).map(({ name, mode }) => `mode ${mode.toString(8)} ${name}`),
    ...(tidied?.pruned ?? []).map((name) => `remove ${name}`),
    ...(tidied?.leftovers ?? []).map((name) => `leftover ${name}`),
    ...unchanged.map((name) => `unchanged ${name}`),
    ...[...lines.filter(isStat), ...lines.filter((line) => !isStat(line))].map((line) => `was ${line}`),
  ]
}

/** Absolute: the folder that deploy copies to, and the command to become root. */
export interface Root {
  readonly folder: string
  readonly sudo: string
}

const runLines = (sudo: string, command: string) => [`sudo ${sudo}`, ...command.split('\n').map((line) => `do ${line}`)]
const rootLines = ({ folder, sudo }: Root) => [`folder ${folder}`, `sudo ${sudo}`]

const works: Readonly<Record<Verb, string>> = {
  look: 'its inspection',
  replace: 'replacing its files',
  back: 'restoring its files',
  forget: 'removing its old files',
  run: 'a command',
}

interface Request {
  readonly trouble?: string
  readonly limit?: number | undefined
  readonly work?: string
}

export class Node {
  readonly name: string
  readonly #connection: Connection

  constructor(name: string, connection: Connection) {
    this.name = name
    this.#connection = connection
  }

  /** Throws a Failure if the folder could not be looked at. */
  look(query: Query): Promise<NodeState> {
    const read = (output: string, nonce: string) => readState(output, nonce, query.places !== undefined)
    return this.#ask('look', lookLines(query), read)
  }

  /** Makes the folder. Throws a Failure if it is not there then. */
  makeFolder({ directory, names }: Pick<Query, 'directory' | 'names'>): Promise<NodeState> {
    return this.#ask('look', ['make', ...folderLines(directory, names)], readState, {
      trouble: 'could not create its directory',
    })
  }

  /**
   * Replaces all of the files or none of them, from an archive that is made in a local `temporary` folder and copied there
   * first. In the folder the old ones are gone afterwards; where units read they are kept beside the new ones. Throws a
   * Failure: nothing was changed, unless it says otherwise.
   */
  async replace(change: Replacement, temporary: () => string): Promise<void> {
    const archive = change.files.length > 0 ? `.harderway-${newNonce().slice(16)}` : undefined
    try {
      if (archive !== undefined) await this.#copy(change.files, temporary(), `${change.folder}/${archive}`)
      const nonce = newNonce()
      // What fails before it has answered has replaced nothing.
      const sent = message('replace', replaceLines(change, archive), nonce)
      const output = await this.#connection.run(sent, undefined, works.replace)
      try {
        this.#done(output, nonce, 'replace')
      } catch (error) {
        throw asUnknown(this.name, error, 'could not be inspected afterwards')
      }
    } catch (error) {
      if (archive !== undefined) {
        const discard = [`folder ${change.folder}`, `archive ${archive}`]
        await this.#connection.runLast(message('forget', discard, newNonce()))
      }
      throw error
    }
  }

  /** Puts the old files back at these paths. Throws a Failure where they are not back. */
  async back(at: Root, paths: readonly string[]): Promise<void> {
    const lines = [...rootLines(at), ...paths.map((path) => `file ${path}`)]
    await this.#ask('back', lines, (output, nonce) => this.#done(output, nonce, 'back'))
  }

  /** Removes the old files of each path that still has its digest. Throws a Failure where they could not be removed. */
  async forget(at: Root, files: ReadonlyMap<string, string>): Promise<void> {
    const lines = [...rootLines(at), ...[...files].map(([path, digest]) => `file ${path} ${digest}`)]
    await this.#ask('forget', lines, (output, nonce) => this.#done(output, nonce, 'forget'))
  }

  /** In root's shell if sudo is not ''. `limit` in milliseconds. Throws a Failure (`hung`, or of no status). */
  run({ sudo, command, limit }: { readonly sudo: string; readonly command: string; readonly limit?: number }) {
    const read = (output: string, nonce: string) => {
      const [first = '', ...said] = this.#done(output, nonce, 'run').map((record) => record.replace(/^said /, ''))
      const [, status] = /^status (\d{1,3})$/.exec(first) ?? []
      if (status === undefined) throw notWhole()
      return { status: Number(status), said: said.join('\n') }
    }
    return this.#ask('run', runLines(sudo, command), read, { limit, work: excerpt(command) })
  }

  /** Runs the command as the login user on an open connection, even after the run was interrupted. Never throws. */
  runLast(command: string): Promise<void> {
    return this.#connection.runLast(message('run', runLines('', command), newNonce()))
  }

  tunnel(host: string, port: number): Promise<Duplex> {
    return this.#connection.tunnel(host, port)
  }

  /** Throws a Failure if the answer is incomplete, which says `trouble`. `limit` in milliseconds. */
  async #ask<T>(
    verb: Verb,
    lines: readonly string[],
    read: (output: string, nonce: string) => T,
    { trouble, limit, work = works[verb] }: Request = {},
  ): Promise<T> {
    const nonce = newNonce()
    try {
      return read(await this.#connection.run(message(verb, lines, nonce), limit, work), nonce)
    } catch (error) {
      throw asUnknown(this.name, error, trouble)
    }
  }

  async #copy(files: readonly NewFile[], folder: string, to: string): Promise<void> {
    try {
      const path = join(folder, 'files.tar')
      doing('write', path, () => writeFileSync(path, buildTar(files), { flag: 'wx', mode: secretMode }))
      await this.#connection.copyFile(path, to)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  #done(output: string, nonce: string, verb: Verb): readonly string[] {
    const { records, stopped } = readAnswer(output, nonce, verb)
    if (!stopped) return records
    if (stopped.why === 'shell') throw shellEnded(stopped.said)
    const stop = stops.get(stopped.why)
    if (!stop) throw notWhole().with({ node: this.name })
    const { what, code, remedy } = stop
    throw new Failure(stopped.said === '' ? what : `${what} (${stopped.said})`, { node: this.name, code, remedy })
  }
}

/** A command that failed, or an incomplete answer: the state of the node is unknown. */
export function asUnknown<E>(node: string, error: E, trouble = 'could not be inspected'): E | Failure {
  if (!(error instanceof Failure) || !(error.code === 'other' || error.code === 'no-answer')) return error
  const remedy = error.remedy ?? `fix that on the node, then ${runAgain}`
  return new Failure(`${trouble}; ${error.what}`, { node, code: 'not-looked-at', remedy })
}

/** Why files were not replaced. Nothing was changed, unless it says otherwise. */
const stops: ReadonlyMap<string, { what: string; code: string; remedy: string }> = new Map(
  Object.entries({
    changed: {
      what: 'its files changed during this run, which replaced nothing',
      code: 'changed-meanwhile',
      remedy: runAgain,
    },
    busy: {
      what: 'another run is still deploying to this node',
      code: 'busy',
      remedy: `${runAgain}; if it fails again, find the process on the node that locks the directory: lslocks`,
    },
    'no-flock': {
      what: 'has no flock, which locks out other runs',
      code: 'no-flock',
      remedy: `install util-linux on the node; then ${runAgain}`,
    },
    undone: {
      what: "couldn't replace a file; every file is as before",
      code: 'not-replaced',
      remedy: `find the cause on the node (df, lsattr, mount, ls -l); then ${runAgain}`,
    },
    half: {
      what: "couldn't replace a file, nor restore another",
      code: 'not-replaced',
      remedy: `find the cause (df, lsattr, mount, ls -l), then ${runAgain}; until then the node has a mix of old and new files`,
    },
  }),
)

const block = 512

/** In the form of ustar: each file under its own name with the suffix of a new one, without a leading slash. */
export function buildTar(files: readonly NewFile[]): Buffer {
  const parts = files.flatMap((file) => [header(file), file.bytes, Buffer.alloc(-file.bytes.length & (block - 1))])
  return Buffer.concat([...parts, Buffer.alloc(2 * block)])
}

/** Throws a Failure for a path that is too long for tar. */
function header({ path, bytes, access: { mode, uid = 0, gid = 0 } }: NewFile): Buffer {
  const head = Buffer.alloc(block)
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`
  const whole = `${path.replace(/^\//, '')}${newSuffix}`
  const [, prefix = '', name = ''] = /^(?:(.{1,155})\/)?(.{1,100})$/.exec(whole) ?? []
  if (name === '') throw new Failure(`the path ${path} is too long`, { remedy: 'set a shorter one in cluster.yaml' })
  head.write(name, 0)
  head.write(octal(mode, 8), 100)
  head.write(octal(uid, 8) + octal(gid, 8) + octal(bytes.length, 12) + octal(0, 12), 108)
  // The checksum is computed with its own field as spaces.
  head.write(' '.repeat(8), 148)
  head.write('0', 156)
  head.write('ustar\x0000', 257)
  head.write(prefix, 345)
  const sum = head.reduce((all, byte) => all + byte, 0)
  head.write(`${octal(sum, 7)} `, 148)
  return head
}

/** Unpredictable, so that nothing that a login prints can contain it. */
function newNonce(): string {
  return randomBytes(16).toString('hex')
}
