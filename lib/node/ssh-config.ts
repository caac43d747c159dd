/**
 * What the user's ssh configuration sets for a host, what harderway overrides, and commands for the user to type. Pure.
 */
import { type Cluster, type ClusterNode, sshConfigPath } from '../cluster/cluster.ts'
import { quote } from '../wording.ts'

/** The output of `ssh -G`: each option in lower case, with its values. */
export type SshConfig = ReadonlyMap<string, readonly string[]>

export function parseSshConfig(printed: string): SshConfig {
  const lines = printed.split('\n').map((line) => /^([a-z0-9]+) (.*?)\r?$/i.exec(line) ?? [])
  const options = lines.flatMap(([, name, value]) => (name && value !== undefined ? [{ name, value }] : []))
  const groups = Map.groupBy(options, ({ name }) => name.toLowerCase())
  return new Map([...groups].map(([name, group]) => [name, group.map(({ value }) => value)]))
}

/** Seconds without a session after which ssh's master exits, also that of a run that was killed: ssh_config(5). */
export const controlPersist = 15

/** What harderway sets itself: ssh takes the first value that it finds for an option (ssh_config(5)). */
const ownOptions = {
  BatchMode: 'yes',
  ControlMaster: 'auto',
  ControlPersist: String(controlPersist),
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
  VerifyHostKeyDNS: 'no',
  KnownHostsCommand: 'none',
  NoHostAuthenticationForLocalhost: 'no',
  // Connections that learn keys at the same time would write known_hosts over each other's.
  UpdateHostKeys: 'no',
  // Since OpenSSH 8.7, as `scp -s`: an older one refuses them, and is not used.
  StdinNull: 'no',
  ForkAfterAuthentication: 'no',
  // What is sent is mostly the text of node.sh: a third of it, compressed.
  Compression: 'yes',
  // A connection that no longer answers ends after 15 s (three of these), unless ServerAliveCountMax is set.
  ServerAliveInterval: '5',
}

function formatOptions(options: Iterable<readonly [string, string]>): string[] {
  return [...options].flatMap(([name, value]) => ['-o', `${name}=${value}`])
}

/** For every connection to a node. The path to the control socket is absolute, and without a blank. */
export function connectionOptions({ user, port }: Pick<ClusterNode, 'user' | 'port'>, controlPath: string): string[] {
  const own = { ...ownOptions, User: user, ...(port !== undefined && { Port: String(port) }), ControlPath: controlPath }
  return formatOptions(Object.entries(own))
}

/**
 * Options that depend on the effective configuration. They must precede the others. A key is trusted on first use
 * (accept-new) only where a file keeps it: else the next run would trust whoever answers.
 */
export function strictOptions(config: SshConfig): string[] {
  const isKept = ![undefined, '/dev/null'].includes(first(config, 'userknownhostsfile'))
  const isTrusting = isKept && first(config, 'stricthostkeychecking') === 'accept-new'
  // An ssh that was built without GSSAPI complains of the option whenever it is run.
  const gssapi = config.has('gssapidelegatecredentials') ? { GSSAPIDelegateCredentials: 'no' } : {}
  const options = {
    StrictHostKeyChecking: isTrusting ? 'accept-new' : 'yes',
    ConnectTimeout: first(config, 'connecttimeout') ?? '10',
    ...gssapi,
  }
  return formatOptions(Object.entries(options))
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

/** Undefined where it is not set. */
export function first(config: SshConfig, option: string): string | undefined {
  const [value] = config.get(option) ?? []
  return value === 'none' ? undefined : value
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
