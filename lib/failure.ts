/** Expected failures: shown as text, never as a stack trace. */
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { getSystemErrorMessage } from 'node:util'
import { type Mistake, quote } from './wording.ts'

type Details = Partial<Pick<Failure, 'kind' | 'node' | 'remedy' | 'code' | 'mistakes' | 'cause'>>

export class Failure extends Error {
  /** What ends the run with exit 2 (`usage`), with 3 as it would replace what can't be made again, or with 1. */
  readonly kind: 'usage' | 'refused' | 'failed'
  /** What happened, without where; `message` has both. */
  readonly what: string
  readonly node: string | undefined
  /** What to do now: a sentence, or lines with a command each. */
  readonly remedy: string | undefined
  /** A stable word for scripts, such as `unreachable`. */
  readonly code: string | undefined
  /** Mistakes in a file that the user wrote; the message has them too. */
  readonly mistakes: readonly Mistake[]

  constructor(what: string, options: Details = {}) {
    const { node, cause } = options
    super(node === undefined ? what : `${node}: ${what}`, cause === undefined ? undefined : { cause })
    this.name = 'Failure'
    this.what = what
    this.node = node
    this.kind = options.kind ?? 'failed'
    this.remedy = options.remedy
    this.code = options.code
    this.mistakes = options.mistakes ?? []
  }

  with({ what = this.what, ...details }: Details & { readonly what?: string }): Failure {
    const { kind, node, remedy, code, mistakes, cause } = this
    return new Failure(what, { kind, node, remedy, code, mistakes, cause, ...details })
  }
}

export const runAgain = 'run the same command again'
/** Instead, where that would do again what is done: the run ends with the command for the rest. */
const runRest = 'run the command printed at the end'

export function toRunRest(failure: Failure): Failure {
  return failure.with({ remedy: failure.remedy?.replaceAll(runAgain, runRest) })
}

export function usageFailure(message: string, remedy?: string): Failure {
  return new Failure(message, { kind: 'usage', remedy })
}

/** Something irreplaceable would be replaced: what is there, and each way out. */
export function refusal(found: string, waysOut: readonly string[]): Failure {
  const remedy = waysOut.map((way) => `- ${way.replaceAll('\n    ', '\n      ')}`).join('\n')
  return new Failure(found, { kind: 'refused', remedy, code: 'irreplaceable' })
}

/** True for an error of a system call, with one of the codes if any are given. */
export function isErrno(error: unknown, ...codes: readonly string[]): error is NodeJS.ErrnoException {
  return (
    error instanceof Error &&
    'errno' in error &&
    'code' in error &&
    (codes.length === 0 || codes.includes(String(error.code)))
  )
}

export function isUnreached({ code = '' }: Failure): boolean {
  return ['unreachable', 'connection-lost'].includes(code)
}

/** Runs the work, and turns an error of the file system into a Failure that names the path. */
export function doing<T>(what: string, path: string, work: () => T, kind: Failure['kind'] = 'failed'): T {
  try {
    return work()
  } catch (error) {
    if (isErrno(error)) {
      const code = String(error.code)
      const why = code === 'ELOOP' ? 'it is a symbolic link' : getSystemErrorMessage(-Math.abs(Number(error.errno)))
      const details = { kind, code: code.toLowerCase(), cause: error }
      if (isErrno(error, 'ENOSPC', 'EDQUOT', 'EROFS')) throw diskFailure(dirname(path), why, details)
      const remedy = isErrno(error, 'EACCES', 'EPERM') ? seeOwner(path) : undefined
      throw new Failure(`can't ${what} ${path}: ${why}`, { ...details, remedy })
    }
    throw error
  }
}

function seeOwner(path: string): string | undefined {
  const seen = [dirname(path), path].filter((each) => existsSync(each)).map(quote)
  if (seen.length === 0) return undefined
  return `check the owner:\n    ls -ld ${seen.join(' ')}\nif a run with sudo created it, chown it to its user`
}

function diskFailure(folder: string, why: string, details: Details): Failure {
  const way = details.code === 'erofs' ? 'mount the disk read-write' : `check the disk:\n    df -h ${quote(folder)}`
  return new Failure(`can't write in ${folder}: ${why}`, { ...details, remedy: `${way}\nthen ${runAgain}` })
}

/** Wraps any other error: one of an unforeseen system call, or a bug in this code. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  if (isErrno(error)) return new Failure(error.message, { code: String(error.code).toLowerCase(), cause: error })
  const detail = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return new Failure(`internal error: ${detail}`, {
    code: 'bug',
    remedy: 'report it, with the command and its output',
    cause: error,
  })
}

/** The stack trace of a bug in this code; undefined for expected failures. */
export function stackOf({ code, cause }: Failure): string | undefined {
  if (code !== 'bug' || !(cause instanceof Error)) return undefined
  const { stack = String(cause), cause: deeper } = cause
  return deeper instanceof Error ? `${stack}\ncaused by ${deeper.stack}` : stack
}

/** Undefined if it fails with a Failure: for values that are only displayed. */
export function tryTo<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof Failure) return undefined
    throw error
  }
}

export async function tryToAwait<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof Failure) return undefined
    throw error
  }
}
