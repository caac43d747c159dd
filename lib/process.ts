/** ssh and scp, as processes of this machine: one runs a script on a host, one copies a file to it. */
import { getSystemErrorMessage } from 'node:util'
import { $, type Options, type ProcessOutput, type ProcessPromise, which } from 'zx/core'
import { bracketed } from './address.ts'
import { Failure, isErrno } from './failure.ts'
import { quote } from './wording.ts'

export interface Spawning {
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  readonly input?: string
  readonly signal: AbortSignal
}

export interface Destination {
  readonly host: string
  readonly options: readonly string[]
}

/** The host's sh reads the script from its input. SessionType comes first, as the first value counts. */
export function runScript({ host, options }: Destination, script: string, how: Spawning): Promise<ProcessOutput> {
  return spawn({ ...how, input: script })`ssh -o SessionType=default ${options} -- ${host} sh -s`
}

/** By SFTP, to a path where nothing stands. */
export function copyFile({ host, options }: Destination, from: string, to: string, how: Spawning) {
  return spawn(how)`scp -s -q ${options} -- ${from} ${bracketed(host)}:${to}`
}

/** Bytes: a look at a node with thousands of certificates stays far below it. */
const mostOutput = 4e6

/** Settings of every process; without them zx would read ZX_* from the environment, and choose a shell itself. */
function settings({ cwd, env, input = '', signal }: Spawning): Partial<Options> {
  return {
    cwd,
    input,
    // A jump host's ssh does not inherit BatchMode: no window may ask for a passphrase and wait for ever (ssh(1)).
    env: { ...env, SSH_ASKPASS_REQUIRE: 'never' },
    signal,
    quiet: true,
    nothrow: true,
    // Its own process group: Ctrl-C in the terminal reaches it through us, so that we can still tidy up after a script
    // on a node.
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

/** A template as of zx. Throws if it can't be started, or prints too much; a status other than 0 is a result. */
export function spawn(how: Spawning) {
  return async (
    pieces: TemplateStringsArray,
    ...values: readonly (string | readonly string[])[]
  ): Promise<ProcessOutput> => {
    const [program = ''] = String(pieces[0]).split(' ')
    const flooded = new AbortController()
    const shell = $(settings({ ...how, signal: AbortSignal.any([how.signal, flooded.signal]) }))
    const running: Started = shell(pieces, ...values)
    // A process that exits before it has read its input reports why by its exit status.
    running.stdin?.on('error', () => {})
    let size = 0
    for (const stream of [running.stdout, running.stderr])
      stream?.on('data', (chunk: Buffer | string) => {
        size += chunk.length
        if (size > mostOutput) flooded.abort()
      })
    const result = await running
    const failure = startFailure(program, how.env, result)
    if (failure) throw failure
    if (flooded.signal.aborted)
      throw new Failure(`${program} sent more than ${mostOutput / 1e6} MB where a few kB were expected`, {
        remedy: 'check what the login shell on the node prints at startup (.bashrc)',
      })
    return result
  }
}

/** A failure of this machine, not of a node, so it is reported once. Undefined if the process was started. */
function startFailure(
  program: string,
  env: NodeJS.ProcessEnv,
  { cause, exitCode }: ProcessOutput,
): Failure | undefined {
  // 127: this shell found no program; a node's shell may exit with 127 too.
  const isMissing =
    (exitCode === 127 || exitCode === 126) && which.sync(program, { path: env.PATH ?? '', nothrow: true }) === null
  if (!isErrno(cause) && !isMissing) return undefined
  const why = isErrno(cause) ? getSystemErrorMessage(-Math.abs(Number(cause.errno))) : 'it is not in PATH'
  return new Failure(`can't start ${program}: ${why}`, {
    code: 'ssh-not-started',
    remedy: `check that the OpenSSH client is installed, or set ssh.concurrency: 2 if this machine is at a limit (ulimit -n, ulimit -u):\n    command -v ${program}`,
  })
}
