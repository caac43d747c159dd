/** Which real parts this machine has: a test that needs one it lacks says so and is skipped. */
import { spawnSync } from 'node:child_process'
import { findProgram } from '../lab/programs.ts'

/** For `{ skip }`: false where every command is there. With REQUIRE_PARTS set nothing is skipped: the test fails. */
export function needs(...commands: string[]): false | string {
  const missing = commands.filter((command) => findProgram(command) === undefined)
  return (
    missing.length > 0 &&
    !process.env.REQUIRE_PARTS &&
    `${missing.join(', ')} missing: npm run setup -- --tests installs it`
  )
}

/** For `{ skip }`: false where processes can be started as if in a container. */
export function needsNamespaces(): false | string {
  const isThere = spawnSync(inNamespace[0], [...inNamespace.slice(1), 'true']).status === 0
  return !isThere && !process.env.REQUIRE_PARTS && 'no leave to make a PID namespace'
}

/** In front of a command: it sees its own processes alone, and ends with this one. */
export const inNamespace = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'] as const
