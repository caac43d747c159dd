/** ssh and scp as processes of this machine. */
import { getSystemErrorMessage } from 'node:util'
import { $, type Options, type ProcessOutput, type ProcessPromise, which } from 'zx/core'
import { Failure, isErrno } from './failure.ts'
import { quote } from './wording.ts'

/** Bytes: a look at a node with thousands of certificates stays far below it. */
const mostOutput = 4e6

export interface Spawning {
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  readonly input: string
  readonly signal: AbortSignal
}

/** Settings of every process; without them zx would read ZX_* from the environment, and choose a shell itself. */
function settings({ cwd, env, signal }: Omit<Spawning, 'input'>): Partial<Options> {
  return {
    cwd,
    // A jump host's ssh does not inherit BatchMode: no window may ask for a passphrase and wait for ever (ssh(1)).
    env: { ...env, SSH_ASKPASS_REQUIRE: 'never' },
    signal,
    quiet: true,
    nothrow: true,
    // Its own process group: Ctrl-C in the terminal reaches it through us, so that we can still tidy up after a script on a node.
    detached: true,
    shell: '/bin/sh',
    // Copied files pass through ssh's memory: no core file may hold them.
    prefix: 'ulimit -c 0; exec ',
    postfix: '',
    quote,
    // Against ZX_TIMEOUT in the environment.
    timeout: '60m',
    stdio: ['pipe', 'pipe', 'pipe'],
  }
}

/** zx has no streams for a process that could not be started, despite its types. */
type Started = PromiseLike<ProcessOutput> & Partial<Pick<ProcessPromise, 'stdin' | 'stdout' | 'stderr'>>

/** Throws if it can't be started, or prints more than any answer has; a status other than 0 is part of the result. */
export async function spawn(command: readonly string[], { cwd, env, input, signal }: Spawning): Promise<ProcessOutput> {
  const flooded = new AbortController()
  const shell = $({ ...settings({ cwd, env, signal: AbortSignal.any([signal, flooded.signal]) }), input })
  const running: Started = shell`${command}`
  // A process that exits before it has read its input reports why by its exit status.
  running.stdin?.on('error', () => {})
  let size = 0
  for (const stream of [running.stdout, running.stderr])
    stream?.on('data', (chunk: Buffer | string) => {
      size += chunk.length
      if (size > mostOutput) flooded.abort()
    })
  const result = await running
  const failure = startFailure(command, env, result)
  if (failure) throw failure
  if (flooded.signal.aborted)
    throw new Failure(`${command.at(-2)}: sent more than ${mostOutput / 1e6} MB where a few kB were expected`, {
      remedy: 'check what its shell prints on startup (.bashrc)',
    })
  return result
}

/** A failure of this machine, not of a node, so it is reported once. Undefined if the process was started. */
function startFailure(
  [program = '']: readonly string[],
  env: NodeJS.ProcessEnv,
  { cause, exitCode }: ProcessOutput,
): Failure | undefined {
  // 127: this shell found no program; a node's shell may exit with 127 too.
  const isMissing =
    (exitCode === 127 || exitCode === 126) && which.sync(program, { path: env.PATH ?? '', nothrow: true }) === null
  if (!isErrno(cause) && !isMissing) return undefined
  const why = isErrno(cause) ? getSystemErrorMessage(-Math.abs(Number(cause.errno))) : 'it is not on the PATH'
  const what = `can't start ${program}: ${why}`
  const remedyFor = () =>
    `check that the OpenSSH client is installed: command -v ${program}
where this machine has reached a limit (ulimit -n, ulimit -u, that of a container), do fewer nodes at once: --concurrency 2`
  return new Failure(what, {
    code: 'ssh-not-started',
    shared: { what, who: 'this machine', place: undefined, remedyFor },
  })
}
