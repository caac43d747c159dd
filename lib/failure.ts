/** What can go wrong without anybody having made a mistake in this code: it is shown as text, never as a stack trace. */
export type FailureKind =
  /** Bad usage or a bad cluster.yaml: exit 2. */
  | 'usage'
  /** Something irreplaceable would have been replaced: exit 3. */
  | 'refused'
  /** Everything else: exit 1. */
  | 'failed'

/** What several nodes may have in common: told once, with one remedy for all. */
export interface SharedCause {
  readonly what: string
  readonly who: string
  readonly host: string
  /** For hosts separated by spaces. */
  readonly remedyFor: (hosts: string) => string
}

export class Failure extends Error {
  readonly kind: FailureKind
  /** What to do now: a sentence, or lines with a command each. */
  readonly remedy: string | undefined
  /** A stable word for scripts, such as `connection-refused`. */
  readonly word: string | undefined
  readonly shared: SharedCause | undefined

  constructor(
    message: string,
    options: { kind?: FailureKind; remedy?: string; word?: string; shared?: SharedCause } = {},
  ) {
    super(message)
    this.name = 'Failure'
    this.kind = options.kind ?? 'failed'
    this.remedy = options.remedy
    this.word = options.word
    this.shared = options.shared
  }
}

export function isErrno(error: unknown, ...codes: readonly string[]): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}

const systemErrors: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left on the disk',
  EDQUOT: 'the disk quota is used up',
  ENOTDIR: 'a file stands where a folder should be',
  EISDIR: 'a folder stands where a file should be',
  ENOENT: 'there is no such file or folder',
  ELOOP: 'a symbolic link stands there',
  ENAMETOOLONG: 'the name is too long for the file system',
  EMFILE: 'too many files are open',
  EIO: 'the disk reports an error',
}

/** Does it, and makes a Failure that names the path of what the file system refuses. */
export function doing<T>(what: string, path: string, work: () => T, kind: FailureKind = 'failed'): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof Error && 'syscall' in error && 'code' in error) {
      const code = String(error.code)
      throw new Failure(`can't ${what} ${path}: ${systemErrors[code] ?? code}`, { kind, word: code.toLowerCase() })
    }
    throw error
  }
}
