/** Which real parts this machine has: a test that needs one it lacks says so and is skipped. */
import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']

/** For `{ skip }`: false where every command is there. With REQUIRE_PARTS set nothing is skipped: the test fails. */
export function needs(...commands: string[]): false | string {
  const missing = commands.filter((command) => !folders.some((folder) => isExecutable(join(folder, command))))
  return (
    missing.length > 0 &&
    !process.env.REQUIRE_PARTS &&
    `${missing.join(', ')} missing: npm run setup -- --tests installs it`
  )
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** For `{ skip }`: false where processes can be started as if in a container. */
export function needsNamespaces(): false | string {
  const isThere = spawnSync(inNamespace[0], [...inNamespace.slice(1), 'true']).status === 0
  return !isThere && !process.env.REQUIRE_PARTS && 'no leave to make a PID namespace'
}

/** In front of a command: it sees its own processes alone, and ends with this one. */
export const inNamespace = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'] as const
