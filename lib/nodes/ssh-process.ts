/** ssh and scp as processes of this machine. */
import { Duplex } from 'node:stream'
import { $, type Options, type ProcessOutput } from 'zx/core'
import { Failure } from '../failure.ts'
import { quote } from '../wording.ts'

/** Bytes: a look at a node with thousands of certificates stays far below it. */
const mostOutput = 4e6

export interface Spawning {
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  readonly input: string
  readonly signal: AbortSignal
}

/** What every process of ours has: zx reads ZX_* from the environment, and a shell of its own choice, unless it is told. */
function settings({ cwd, env, signal }: Omit<Spawning, 'input'>): Partial<Options> {
  return {
    cwd,
    // A jump host's ssh takes no BatchMode from ours: no window asks for a passphrase, and waits for ever (ssh(1)).
    env: { ...env, SSH_ASKPASS_REQUIRE: 'never' },
    signal,
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
  }
}

/** What the process reads and writes, as one stream; it is killed where that is destroyed. */
export function openStream(command: readonly string[], options: Omit<Spawning, 'input'>): Duplex {
  const closed = new AbortController()
  const shell = $(settings({ ...options, signal: AbortSignal.any([options.signal, closed.signal]) }))
  const running = shell`${command}`
  running.stdin.on('error', () => {})
  // Node's types know such a pair of web streams only.
  const pair: unknown = { readable: running.stdout, writable: running.stdin }
  const stream = Duplex.from(pair as Parameters<typeof Duplex.from>[0])
  stream.on('close', () => closed.abort())
  // What ssh says where it can't connect is the reason that the stream ends early.
  void running.then(({ exitCode, stderr }) => {
    if (exitCode !== 0 && !closed.signal.aborted)
      stream.destroy(new Error(stderr.trim() || 'the connection was closed'))
  })
  return stream
}

/** Throws where it prints more than an answer can be; a status other than 0 is part of the result. */
export async function spawn(command: readonly string[], { cwd, env, input, signal }: Spawning): Promise<ProcessOutput> {
  const flooded = new AbortController()
  const shell = $({ ...settings({ cwd, env, signal: AbortSignal.any([signal, flooded.signal]) }), input })
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
