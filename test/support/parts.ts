/** Which real parts this machine has: a test that needs one it lacks says so and is skipped. */
import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
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

/** Who is neither the user who runs the tests, nor root. */
export const another = 54321

const project = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
const foldersAround = [project]
while (foldersAround[0] !== '/') foldersAround.unshift(dirname(String(foldersAround[0])))
/** The outermost that others may not enter, such as root's home. */
const closedFolder = foldersAround.find((folder) => (statSync(folder).mode & 0o001) === 0)

/** The command shows the project in a closed folder to whoever it starts, and nothing else of that folder. */
const show = `mount --bind "$0" /mnt && mount -t tmpfs -o mode=755 tmpfs "$1" && mkdir -p "$0" && mount --move /mnt "$0" &&
  cd "$PWD" && shift && exec "$@"`
const shown = closedFolder === undefined ? [] : ['unshare', '--mount', 'sh', '-c', show, project, closedFolder]

/** In front of a command: another user carries it out, where root runs the tests. */
export const asAnother: readonly string[] = [
  ...shown,
  ...['setpriv', '--reuid', String(another), '--regid', String(another), '--clear-groups'],
]

/** For `{ skip }`. */
export function needsAnother(): false | string {
  if (process.getuid?.() !== 0) return 'only root can start what another user does'
  const [program = '', ...words] = [...asAnother, process.execPath, '--version']
  const isThere = spawnSync(program, words).status === 0
  return !isThere && !process.env.REQUIRE_PARTS && 'another user may not read the project, or there is no setpriv'
}
