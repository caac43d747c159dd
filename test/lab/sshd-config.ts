/** What a test may change about one node's sshd. */
export interface NodeFaults {
  /** sshd_config lines. They come first, and sshd takes an option's first value. No Match block, no SetEnv. */
  readonly config?: readonly string[]
  /** Environment of every session, beside HOME: another PATH, for example. */
  readonly env?: Readonly<Record<string, string>>
  /** false: no sftp subsystem, so that scp fails unless it is told -O. */
  readonly sftp?: boolean
}

export interface NodePaths {
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
