/** The connections of one run, one to a node, and the private folder of their sockets. */
import { existsSync, mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import pLimit from 'p-limit'
import { bracketed } from '../address.ts'
import { type Cluster, type ClusterNode, sshConfigPath } from '../cluster/cluster.ts'
import { doing } from '../failure.ts'
import type { Spawning } from '../process.ts'
import { quote } from '../wording.ts'
import { Connection, closeConnections } from './connection.ts'
import { Node } from './node.ts'

/** Connections that are not authenticated yet: an sshd, as of a jump host, begins to drop them at 10 (MaxStartups). */
const halfOpen = 8

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

/** What ssh and the programs of a ProxyCommand need. SendEnv could pass on any other, and no option resets it. */
const allowedVariables = [
  /^(PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|SSH_AUTH_SOCK|KRB5CCNAME|XDG_RUNTIME_DIR|(https?|all|no)_proxy)$/i,
  /^(AWS_(PROFILE|REGION|DEFAULT_REGION|CONFIG_FILE|SHARED_CREDENTIALS_FILE)|CLOUDSDK_\w*CONFIG\w*|AZURE_CONFIG_DIR|TELEPORT_HOME)$/,
]

export function allowedEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => allowedVariables.some((each) => each.test(name))))
}

export interface SshRun extends Pick<Spawning, 'env' | 'signal'> {
  readonly folder: string
}

export class Ssh {
  readonly #run: SshRun
  readonly #config: readonly string[]
  readonly #sockets: string
  readonly #limit = pLimit(halfOpen)
  readonly #connections = new Map<string, Connection>()
  #count = 0

  constructor(cluster: Cluster, run: SshRun) {
    this.#run = { ...run, env: allowedEnvironment(run.env) }
    const path = sshConfigPath(run.folder, cluster.ssh)
    this.#config = path === undefined ? [] : ['-F', path]
    this.#sockets = makeSocketFolder(run.env.TMPDIR || tmpdir())
  }

  node(node: ClusterNode): Node {
    return new Node(node.name, this.connection(node))
  }

  connection(node: ClusterNode): Connection {
    const connection = this.#connections.get(node.name) ?? this.#connect(node)
    this.#connections.set(node.name, connection)
    return connection
  }

  /** Never throws: a connection that does not exist needs no closing. */
  async disconnect({ name }: Pick<ClusterNode, 'name'>): Promise<void> {
    const connection = this.#connections.get(name)
    this.#connections.delete(name)
    await closeConnections([connection], this.#run)
  }

  #connect(node: ClusterNode): Connection {
    const controlPath = `${this.#sockets}/${this.#count++}`
    const { host, user, port } = node
    const destination = port === undefined ? `${user}@${host}` : `ssh://${user}@${bracketed(host)}:${port}`
    const own = { ...ownOptions, User: user, ...(port !== undefined && { Port: port }), ControlPath: controlPath }
    return new Connection({
      ...this.#run,
      node,
      options: [...this.#config, ...Object.entries(own).flatMap(([name, value]) => ['-o', `${name}=${value}`])],
      controlPath,
      limit: this.#limit,
      typed: (options) => typedCommand(this.#run.folder, this.#config, [...options, destination, 'true']),
    })
  }

  /** Whatever is still open is closed: without its socket nobody could close it any more. Never throws. */
  async close(): Promise<void> {
    await closeConnections([...this.#connections.values()], this.#run)
    // A master that is exiting removes its socket meanwhile: rmSync would stop at that, and leave the folder.
    await rm(this.#sockets, { recursive: true, force: true })
  }
}

/** A command that works in any folder: paths in ssh's configuration are relative to that of cluster.yaml. */
export function typedCommand(folder: string, config: readonly string[], words: readonly string[]): string {
  const command = ['ssh', ...config, ...words].map(quote).join(' ')
  return config.length > 0 ? `(cd ${quote(folder)} && ${command})` : command
}

/** Bytes: sun_path has 104 on macOS, of which ssh takes 17, and we at most 31 (`/harderway-<pid>-XXXXXX/<number>`). */
const longest = 55

/** A new folder only for this run. Throws a Failure about this machine. */
export function makeSocketFolder(temporary: string): string {
  const folder = join(socketBase(resolve(temporary)), `harderway-${process.pid}-`)
  return doing('create the directory', `${folder}XXXXXX`, () => mkdtempSync(folder))
}

/** /tmp where TMPDIR is no directory, is too long, or has what ssh interprets: ssh_config(5). */
function socketBase(temporary: string): string {
  const isUsable = temporary.length <= longest && /^[\w./+-]+$/.test(temporary) && existsSync(`${temporary}/`)
  return isUsable ? temporary : '/tmp'
}
