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
