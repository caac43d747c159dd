/** ssh and scp as processes of this machine. */
import { $, type ProcessOutput } from 'zx/core'
import { Failure } from '../failure.ts'
import { quote } from './shell.ts'

/** Bytes: a look at a node with thousands of certificates stays far below it. */
const mostOutput = 4e6

export interface Spawning {
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  readonly input: string
  readonly signal: AbortSignal
}

/** Throws where it prints more than an answer can be; a status other than 0 is part of the result. */
export async function spawn(command: readonly string[], { cwd, env, input, signal }: Spawning): Promise<ProcessOutput> {
  const flooded = new AbortController()
  const shell = $({
    cwd,
    // A jump host's ssh takes no BatchMode from ours: no window asks for a passphrase, and waits for ever (ssh(1)).
    env: { ...env, SSH_ASKPASS_REQUIRE: 'never' },
    input,
    signal: AbortSignal.any([signal, flooded.signal]),
    quiet: true,
    nothrow: true,
    // Its own process group: Ctrl-C in the terminal reaches it through us, when a script on a node may still be tidied up after.
    detached: true,
    shell: '/bin/sh',
    prefix: 'exec ',
    postfix: '',
    quote,
    // Against ZX_TIMEOUT in the environment.
    timeout: '60m',
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const running = shell`${command}`
  // What ended before it read its input tells why by its exit status.
  running.stdin.on('error', () => {})
  let size = 0
  for (const stream of [running.stdout, running.stderr])
    stream.on('data', (chunk: Buffer | string) => {
      size += chunk.length
      if (size > mostOutput) flooded.abort()
    })
  const result = await running
  if (flooded.signal.aborted)
    throw new Failure(`${command.at(-2)}: sends more than ${mostOutput / 1e6} MB where a few kB are due`, {
      remedy: 'see what its shell prints at its start (.bashrc)',
    })
  return result
}
