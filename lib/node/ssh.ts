/**
 * The connections of one run, one to a node, as many at once to one host as its sshd takes, and the private folder of
 * their sockets.
 */
import { existsSync, mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import pLimit, { type LimitFunction } from 'p-limit'
import { bracketed } from '../address.ts'
import type { Cluster, ClusterNode } from '../cluster/cluster.ts'
import { doing, Failure, runAgain } from '../failure.ts'
import { type Spawning, spawn } from '../process.ts'
import { excerpt, quote } from '../wording.ts'
import { Connection, closeConnections } from './connection.ts'
import { Node } from './node.ts'
import {
  allowedEnvironment,
  type ConfigUse,
  connectionOptions,
  fileWords,
  first,
  parseSshConfig,
  type SshConfig,
  strictOptions,
  typedCommand,
} from './ssh-config.ts'

/** Connections to one host that are not authenticated yet: sshd begins to drop them at 10 (MaxStartups). */
const halfOpen = 8
/** Milliseconds: `Match exec` in a configuration may run whatever it likes. */
const configTime = 30_000

export interface SshRun extends Pick<Spawning, 'env' | 'signal'> {
  /** Paths in cluster.yaml are relative to it. */
  readonly folder: string
  /** Milliseconds to wait for nodes that are booting. */
  readonly waitNodes: number
}

/** Connections of one run. */
export class Ssh {
  readonly #run: SshRun
  readonly #use: ConfigUse
  readonly #sockets: string
  readonly #limits = new Map<string, LimitFunction>()
  readonly #connections = new Map<string, Promise<Connection>>()
  /** By the node's name, for all its connections. */
  readonly #configs = new Map<string, Promise<SshConfig>>()
  readonly #closing = new AbortController()
  #count = 0

  constructor(cluster: Cluster, run: SshRun) {
    this.#run = { ...run, signal: AbortSignal.any([run.signal, this.#closing.signal]) }
    this.#use = { folder: run.folder, ssh: cluster.ssh }
    this.#sockets = makeSocketFolder(run.env.TMPDIR || tmpdir())
  }

  async node(node: ClusterNode): Promise<Node> {
    return new Node(node.name, await this.connection(node))
  }

  /** The one to the node: every command of a target goes through it. */
  connection(node: ClusterNode): Promise<Connection> {
    const connection = this.#connections.get(node.name) ?? this.#connect(node, this.#count++)
    this.#connections.set(node.name, connection)
    return connection
  }

  /** Never throws: a connection that does not exist needs no closing. That the node was not reached is kept. */
  async disconnect({ name }: Pick<ClusterNode, 'name'>): Promise<void> {
    const connection = await this.#connections.get(name)?.catch(() => undefined)
    if (!connection?.hasGivenUp) this.#connections.delete(name)
    await closeConnections([connection], this.#run)
  }

  async #connect(node: ClusterNode, number: number): Promise<Connection> {
    const controlPath = `${this.#sockets}/${number}`
    const options = connectionOptions(node, controlPath)
    const found = this.#configs.get(node.name) ?? this.#configOf(node, options)
    this.#configs.set(node.name, found)
    const config = await found
    const { host, user, port } = node
    const destination = quote(port === undefined ? `${user}@${host}` : `ssh://${user}@${bracketed(host)}:${port}`)
    return new Connection({
      ...this.#run,
      node,
      options: [...fileWords(this.#use), ...strictOptions(config), ...options],
      controlPath,
      env: allowedEnvironment(this.#run.env),
      limit: this.#limitOf(config),
      typed: (more) => typedCommand('ssh', this.#use, more, `${destination} true`),
    })
  }

  /** The user's configuration for the node: `ssh -G` prints it, and connects to nothing. Throws where ssh can't. */
  async #configOf(node: ClusterNode, options: readonly string[]): Promise<SshConfig> {
    const { signal: aborted } = this.#run
    const env = allowedEnvironment(this.#run.env)
    const words = [...fileWords(this.#use), ...options, '--', node.host, 'sh -s']
    const signal = AbortSignal.any([aborted, AbortSignal.timeout(configTime)])
    const { exitCode, stdout, stderr } = await spawn({ cwd: this.#use.folder, env, signal })`ssh -G ${words}`
    aborted.throwIfAborted()
    if (exitCode === 0) return parseSshConfig(stdout)
    const said = signal.aborted ? `ssh -G did not finish within ${configTime / 1000} s` : stderr.trim().split('\n')[0]
    throw new Failure(`ssh can't be used (${excerpt(said ?? '')})`, {
      node: node.name,
      code: 'ssh-unusable',
      remedy: `correct the ssh configuration, or install OpenSSH 8.7 or newer on this machine; then ${runAgain}`,
    })
  }

  /** One for each sshd: the node's, that of the first jump host, or whatever a ProxyCommand leads to. */
  #limitOf(config: SshConfig): LimitFunction {
    const jump = first(config, 'proxyjump')?.split(',')[0]
    const proxied = first(config, 'proxycommand') && 'a ProxyCommand'
    const key = jump ?? proxied ?? `${first(config, 'hostname')} ${first(config, 'port')}`
    const limit = this.#limits.get(key) ?? pLimit(halfOpen)
    this.#limits.set(key, limit)
    return limit
  }

  /** Whatever is still open is closed: without its socket nobody could close it any more. Never throws. */
  async close(): Promise<void> {
    // Who has not connected yet need not: `Match exec` in a configuration may take its time.
    this.#closing.abort()
    const open = [...this.#connections.values()].map((connection) => connection.catch(() => undefined))
    await closeConnections(await Promise.all(open), this.#run)
    // A master that is exiting removes its socket meanwhile: rmSync would stop at that, and leave the folder.
    await rm(this.#sockets, { recursive: true, force: true })
  }
}

/**
 * Bytes of a folder in which a socket's path fits: sun_path has 104 on macOS (108 on Linux), of which ssh takes 17 for
 * a suffix of its own while it makes the socket, and we at most 31 for `/harderway-<pid>-XXXXXX/<number>`.
 */
const longest = 55

/** A new folder only for this run. Throws a Failure about this machine. */
export function makeSocketFolder(temporary: string): string {
  const folder = join(socketBase(resolve(temporary)), `harderway-${process.pid}-`)
  return doing('create the directory', `${folder}XXXXXX`, () => mkdtempSync(folder))
}

/**
 * /tmp where TMPDIR is no directory, is too long for a socket, or has what ssh interprets itself: a blank, %, ${
 * (ssh_config(5)).
 */
function socketBase(temporary: string): string {
  const isUsable = temporary.length <= longest && /^[\w./+-]+$/.test(temporary) && existsSync(`${temporary}/`)
  return isUsable ? temporary : '/tmp'
}
