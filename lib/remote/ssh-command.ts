/** OpenSSH commands for the user to type, with the configuration that is in use. */
import { homedir } from 'node:os'
import { resolve } from 'node:path'
import type { Cluster } from '../cluster/cluster.ts'
import { quote } from '../wording.ts'
import { formatOptions } from './ssh-config.ts'

/** Which configuration ssh reads. */
export interface ConfigUse {
  /** The folder of cluster.yaml: paths in it, in ssh.options and in ssh's own configuration are relative to it. */
  readonly folder: string
  readonly ssh: Pick<Cluster['ssh'], 'configFile'>
}

export interface SshUse extends ConfigUse {
  readonly ssh: Cluster['ssh']
}

/** For `ssh -F`; absolute. */
export function configPath({ folder, ssh }: ConfigUse): string | undefined {
  return ssh.configFile && resolve(folder, ssh.configFile.replace(/^~(?=\/)/, homedir()))
}

export function fileWords(use: ConfigUse): string[] {
  const path = configPath(use)
  return path === undefined ? [] : ['-F', path]
}

/** A command that works in any folder; `rest` is quoted already. */
export function typedCommand(program: 'ssh' | 'scp', use: SshUse, words: readonly string[], rest = ''): string {
  const given = [...fileWords(use), ...formatOptions(use.ssh.options)]
  const command = [...[program, ...given, ...words].map(quote), ...(rest ? [rest] : [])].join(' ')
  return given.length > 0 ? `(cd ${quote(use.folder)} && ${command})` : command
}
