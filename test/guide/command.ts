/** Runs a command of the guide's scripts: with the PATH, and a home that is not the user's. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface Surroundings {
  readonly cwd: string
  /** Default: the cwd. */
  readonly home?: string
}

/** Its stdout; throws with what it said on stderr. */
export async function command(
  { cwd, home = cwd }: Surroundings,
  program: string,
  ...args: readonly string[]
): Promise<string> {
  const { stdout } = await run(program, args, { cwd, env: { PATH: process.env.PATH, HOME: home } })
  return stdout
}
