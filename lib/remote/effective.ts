/** The configuration in effect for a host, from ssh itself: `ssh -G` does not connect. */
import type { ProcessOutput } from 'zx/core'
import { Failure } from '../failure.ts'
import { type Spawning, spawn } from '../process.ts'
import { quote } from '../wording.ts'
import { type ConfigUse, fileWords } from './ssh-command.ts'

/** Milliseconds: `Match exec` in a configuration may run whatever it likes. */
const timeLimit = 30_000

/** Throws if ssh can't be started, or does not finish in time. */
export async function printConfig(
  use: ConfigUse,
  words: readonly string[],
  { env, signal: aborted }: Pick<Spawning, 'env' | 'signal'>,
): Promise<ProcessOutput> {
  const command = ['ssh', '-G', ...fileWords(use), ...words]
  const limit = AbortSignal.timeout(timeLimit)
  const signal = AbortSignal.any([aborted, limit])
  const printed = await spawn(command, { cwd: use.folder, env, input: '', signal })
  aborted.throwIfAborted()
  if (limit.aborted)
    throw new Failure(`ssh does not say how it would connect: it is still at it after ${timeLimit / 1000} s`, {
      code: 'timed-out',
      remedy: `see what your ssh configuration runs (Match exec): ${command.map(quote).join(' ')}`,
    })
  return printed
}
