import { execFile } from 'node:child_process'
import { access, readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { findProgram } from './programs.ts'

/** The sshd of this machine, and what its version and this account ask of a configuration. */
export interface Sshd {
  readonly path: string
  readonly config: readonly string[]
}

/** Throws when there is no sshd, or when it would refuse the current account. */
export async function readSshd(): Promise<Sshd> {
  // It executes itself again, for which it wants an absolute path.
  const path = findProgram('sshd')
  if (path === undefined) throw new Error('There is no sshd on this machine: install openssh-server.')
  const [version, locked] = await Promise.all([readVersion(path), isLocked(userInfo().username)])
  if (locked) await requirePam()
  const config = [`UsePAM ${locked ? 'yes' : 'no'}`]
  // New in 9.8, which would otherwise shut out 127.0.0.1 after a few failures made on purpose; older ones refuse it.
  if (version >= 9.8) config.push('PerSourcePenalties no')
  return { path, config }
}

/** For example 9.6. An sshd older than 9.3 knows no -V, and names its version in the complaint about it. */
function readVersion(path: string): Promise<number> {
  return new Promise((resolve) => {
    execFile(path, ['-V'], (_, stdout, stderr) => {
      resolve(Number(/OpenSSH_(\d+\.\d+)/.exec(stdout + stderr)?.[1] ?? 0))
    })
  })
}

/** As sshd itself judges on Linux; run by another user than root, it cannot see this and does not mind. */
async function isLocked(user: string): Promise<boolean> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  const shadow = await readFile('/etc/shadow', 'utf8').catch(() => '')
  return shadow.split('\n').some((line) => line.startsWith(`${user}:!`))
}

async function requirePam(): Promise<void> {
  await access('/etc/pam.d/sshd').catch(() => {
    throw new Error('The account is locked, and sshd lets it in only with UsePAM, which needs /etc/pam.d/sshd.')
  })
}

/** What a test may change about one node's sshd. */
export interface NodeFaults {
  /** sshd_config lines. They come first, and sshd takes an option's first value. No Match block, no SetEnv. */
  readonly config?: readonly string[]
  /** Environment of every session, beside HOME: another PATH, for example. */
  readonly env?: Readonly<Record<string, string>>
  /** false: no sftp subsystem, so that scp fails unless it is told -O. */
  readonly sftp?: boolean
}

interface NodePaths {
  readonly home: string
  readonly hostKey: string
  /** The public key that may log in. */
  readonly clientKey: string
}

export function formatSshdConfig(port: number, paths: NodePaths, faults: NodeFaults): string {
  const { config = [], env = {}, sftp = true } = faults
  const environment = Object.entries({ HOME: paths.home, ...env }).map(([name, value]) => `"${name}=${value}"`)
  return [
    ...config,
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    'PidFile none',
    `HostKey ${paths.hostKey}`,
    `AuthorizedKeysFile ${paths.clientKey}`,
    'AuthenticationMethods publickey',
    // The folders above the key may belong to anybody, as /tmp and a checkout do.
    'StrictModes no',
    'LogLevel VERBOSE',
    // Everybody logs in as the current user, whose own ~/.ssh/rc is no business of a node.
    'PermitUserRC no',
    // Sessions of one user with a home each: shells take ~ from HOME.
    `SetEnv ${environment.join(' ')}`,
    // sftp takes relative paths from the home in the passwd file, whatever HOME says, unless it is told where to start.
    // scp sends `~` and `~/x` as relative paths, so they are right too; only an sftp `~user` is the real home.
    ...(sftp ? [`Subsystem sftp internal-sftp -d ${paths.home}`] : []),
    '',
  ].join('\n')
}
