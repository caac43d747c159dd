import { execFile } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { promisify } from 'node:util'

/** An ed25519 pair without a passphrase, `path` and `path`.pub, in place of any that is there. */
export async function makeKey(path: string): Promise<void> {
  await Promise.all([rm(path, { force: true }), rm(`${path}.pub`, { force: true })])
  await promisify(execFile)('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'lab', '-f', path])
}

/** Kind and key, as a known_hosts line has them after the host. */
export async function readPublicKey(path: string): Promise<string> {
  return (await readFile(`${path}.pub`, 'utf8')).split(' ', 2).join(' ')
}

/**
 * Lines of an ssh_config: nothing of the user's own configuration, keys or agent, and no question in the middle of a
 * test.
 */
export const clientOptions = (dir: string): string =>
  [
    `  IdentityFile ${dir}/client_key`,
    '  IdentitiesOnly yes',
    '  IdentityAgent none',
    `  UserKnownHostsFile ${dir}/known_hosts`,
    '  GlobalKnownHostsFile none',
    '  StrictHostKeyChecking yes',
    '',
  ].join('\n')
