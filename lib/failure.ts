/** What can go wrong without anybody having made a mistake in this code: it is shown as text, never as a stack trace. */
import { getSystemErrorMessage } from 'node:util'

export type FailureKind =
  /** Bad usage or a bad cluster.yaml: exit 2. */
  | 'usage'
  /** Something irreplaceable would have been replaced: exit 3. */
  | 'refused'
  /** Everything else: exit 1. */
  | 'failed'

/** Where ssh finds a node. */
export interface SshPlace {
  readonly host: string
  readonly port: number | undefined
  readonly user: string
}

/** What several nodes may have in common: told once, with one remedy for all. */
export interface SharedCause {
  readonly what: string
  readonly who: string
  readonly place: SshPlace
  readonly remedyFor: (places: readonly SshPlace[]) => string
}

export class Failure extends Error {
  readonly kind: FailureKind
  /** What to do now: a sentence, or lines with a command each. */
  readonly remedy: string | undefined
  /** A stable word for scripts, such as `connection-refused`. */
  override readonly cause: string | undefined
  readonly shared: SharedCause | undefined

  constructor(
    message: string,
    options: { kind?: FailureKind; remedy?: string; cause?: string; shared?: SharedCause } = {},
  ) {
    super(message)
    this.name = 'Failure'
    this.kind = options.kind ?? 'failed'
    this.remedy = options.remedy
    this.cause = options.cause
    this.shared = options.shared
  }
}

export function usageFailure(message: string, remedy?: string): Failure {
  return new Failure(message, { kind: 'usage', ...(remedy !== undefined && { remedy }) })
}

/** Something irreplaceable would be replaced: what stands there, and each way out, a command or a sentence. */
export function refusal(found: string, waysOut: readonly string[]): Failure {
  return new Failure(found, {
    kind: 'refused',
    remedy: waysOut.map((way) => `- ${way}`).join('\n'),
    cause: 'irreplaceable',
  })
}

/** A refusal of the system's; with codes, one of these. */
export function isErrno(error: unknown, ...codes: readonly string[]): error is NodeJS.ErrnoException {
  return (
    error instanceof Error &&
    'errno' in error &&
    'code' in error &&
    (codes.length === 0 || codes.includes(String(error.code)))
  )
}

/** Does it, and makes a Failure that names the path of what the file system refuses. */
export function doing<T>(what: string, path: string, work: () => T, kind: FailureKind = 'failed'): T {
  try {
    return work()
  } catch (error) {
    if (isErrno(error)) {
      const code = String(error.code)
      throw new Failure(
        `can't ${what} ${path}: ${code === 'ELOOP' ? 'a symbolic link stands there' : getSystemErrorMessage(-Math.abs(Number(error.errno)))}`,
        { kind, cause: code.toLowerCase() },
      )
    }
    throw error
  }
}

/** For what is only shown: undefined where it can't be read, which is said elsewhere. */
export function tryTo<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof Failure) return undefined
    throw error
  }
}
