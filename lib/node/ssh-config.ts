/** What harderway overrides in the user's ssh configuration, and commands for the user to type. Pure. */
import { type Cluster, type ClusterNode, sshConfigPath } from '../cluster/cluster.ts'
import { quote } from '../wording.ts'

/** What harderway sets itself: ssh takes the first value that it finds for an option (ssh_config(5)). */
const ownOptions = {
  BatchMode: 'yes',
  ControlMaster: 'auto',
  // Seconds without a session after which ssh's master exits, also that of a run that was killed.
  ControlPersist: '15',
  RequestTTY: 'no',
  RemoteCommand: 'none',
  PermitLocalCommand: 'no',
  ClearAllForwardings: 'yes',
  LogLevel: 'ERROR',
  // Not covered by ClearAllForwardings, and nothing that a node needs: agent, X11, network, environment.
  ForwardAgent: 'no',
  ForwardX11: 'no',
  Tunnel: 'no',
  AddKeysToAgent: 'no',
  SetEnv: 'LC_ALL=C',
  // A host key is one of known_hosts, or signed by a CA of known_hosts.
  StrictHostKeyChecking: 'yes',
  VerifyHostKeyDNS: 'no',
  KnownHostsCommand: 'none',
  NoHostAuthenticationForLocalhost: 'no',
  UpdateHostKeys: 'no',
  // Since OpenSSH 8.7, as `scp -s`: an older one refuses them, and is not used.
  StdinNull: 'no',
  ForkAfterAuthentication: 'no',
  // What is sent is mostly the text of node.sh: a third of it, compressed.
  Compression: 'yes',
  ConnectTimeout: '10',
  // A connection that no longer answers ends after 15 s (three of these), unless ServerAliveCountMax is set.
  ServerAliveInterval: '5',
}

/** For every connection to a node. The path to the control socket is absolute, and without a blank. */
export function connectionOptions({ user, port }: Pick<ClusterNode, 'user' | 'port'>, controlPath: string): string[] {
  const own = { ...ownOptions, User: user, ...(port !== undefined && { Port: String(port) }), ControlPath: controlPath }
  return Object.entries(own).flatMap(([name, value]) => ['-o', `${name}=${value}`])
}

/**
 * What ssh and the programs of a ProxyCommand need; of clouds, where their configuration is. SendEnv could pass on any
 * other variable, and can't be reset by an option.
 */
const allowedVariables = [
  /^(PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|SSH_AUTH_SOCK|KRB5CCNAME|XDG_RUNTIME_DIR|(https?|all|no)_proxy)$/i,
  /^(AWS_(PROFILE|REGION|DEFAULT_REGION|CONFIG_FILE|SHARED_CREDENTIALS_FILE)|CLOUDSDK_\w*CONFIG\w*|AZURE_CONFIG_DIR|TELEPORT_HOME)$/,
]

export function allowedEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => allowedVariables.some((each) => each.test(name))))
}

/** Which configuration ssh reads. */
export interface ConfigUse {
  /** The folder of cluster.yaml: paths in it and in ssh's own configuration are relative to it. */
  readonly folder: string
  readonly ssh: Pick<Cluster['ssh'], 'configFile'>
}

export function fileWords({ folder, ssh }: ConfigUse): string[] {
  const path = sshConfigPath(folder, ssh)
  return path === undefined ? [] : ['-F', path]
}

/** A command that works in any folder; `rest` is quoted already. */
export function typedCommand(program: 'ssh' | 'scp', use: ConfigUse, words: readonly string[], rest = ''): string {
  const given = fileWords(use)
  const command = [...[program, ...given, ...words].map(quote), ...(rest ? [rest] : [])].join(' ')
  return given.length > 0 ? `(cd ${quote(use.folder)} && ${command})` : command
}
