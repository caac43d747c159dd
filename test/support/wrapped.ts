/** The command line inside another command: strace, faketime, a shell with its own umask. */
import { execFile, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { entry, type Ran } from './harderway.ts'

/** As harderway() of harderway.ts runs it, with `before` in front. */
export function wrapped(place: string, before: readonly string[], ...args: string[]): Promise<Ran> {
  const env = { PATH: process.env.PATH, HOME: join(place, 'home') }
  const [program = '', ...rest] = [...before, process.execPath, entry, ...args]
  return new Promise((resolve) => {
    const child = execFile(
      program,
      rest,
      { cwd: place, env, maxBuffer: 2 ** 26 },
      (_error, stdout: string, stderr: string) => {
        const lines = args.includes('--json') ? stdout.split('\n').filter(Boolean) : []
        resolve({ status: child.exitCode, stdout, stderr, events: lines.map((line) => JSON.parse(line)) })
      },
    )
    child.stdin?.end()
  })
}

/** In front of a command: what a mode closes is closed to it, though it is root that runs the tests. */
export const obeysModes: readonly string[] =
  process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-dac_override,-dac_read_search'] : []

/** For `{ skip }`. */
export function needsModes(): false | string {
  const [program, ...args] = obeysModes
  return program !== undefined && spawnSync(program, [...args, 'true']).status !== 0 && 'root, and no setpriv'
}

/** The command that sets the clock of another; timers keep the real one. */
export function clock(time: Date): string[] {
  const seconds = Math.ceil((time.getTime() - Date.now()) / 1000)
  return ['faketime', '--exclude-monotonic', '-f', `${seconds < 0 ? '' : '+'}${seconds}s`]
}
