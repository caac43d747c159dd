/** The connections of one run, one to a node, and the private folder of their sockets. */
import { existsSync, mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import pLimit from 'p-limit'
import { bracketed } from '../address.ts'
import type { Cluster, ClusterNode } from '../cluster/cluster.ts'
import { doing } from '../failure.ts'
import type { Spawning } from '../process.ts'
import { quote } from '../wording.ts'
import { Connection, closeConnections } from './connection.ts'
import { Node } from './node.ts'
import { allowedEnvironment, type ConfigUse, connectionOptions, fileWords, typedCommand } from './ssh-config.ts'

/** Connections that are not authenticated yet: an sshd, as of a jump host, begins to drop them at 10 (MaxStartups). */
const halfOpen = 8

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
  readonly #limit = pLimit(halfOpen)
  readonly #connections = new Map<string, Connection>()
  #count = 0

  constructor(cluster: Cluster, run: SshRun) {
    this.#run = { ...run, env: allowedEnvironment(run.env) }
    this.#use = { folder: run.folder, ssh: cluster.ssh }
    this.#sockets = makeSocketFolder(run.env.TMPDIR || tmpdir())
  }

  node(node: ClusterNode): Node {
    return new Node(node.name, this.connection(node))
  }

  /** The one to the node: every command of a target goes through it. */
  connection(node: ClusterNode): Connection {
    const connection = this.#connections.get(node.name) ?? this.#connect(node)
    this.#connections.set(node.name, connection)
    return connection
  }

  /** Never throws: a connection that does not exist needs no closing. That the node was not reached is kept. */
  async disconnect({ name }: Pick<ClusterNode, 'name'>): Promise<void> {
    const connection = this.#connections.get(name)
    if (!connection?.hasGivenUp) this.#connections.delete(name)
    await closeConnections([connection], this.#run)
  }

  #connect(node: ClusterNode): Connection {
    const controlPath = `${this.#sockets}/${this.#count++}`
    const { host, user, port } = node
    const destination = quote(port === undefined ? `${user}@${host}` : `ssh://${user}@${bracketed(host)}:${port}`)
    return new Connection({
      ...this.#run,
      node,
      options: [...fileWords(this.#use), ...connectionOptions(node, controlPath)],
      controlPath,
      limit: this.#limit,
      typed: (more) => typedCommand('ssh', this.#use, more, `${destination} true`),
    })
  }

  /** Whatever is still open is closed: without its socket nobody could close it any more. Never throws. */
  async close(): Promise<void> {
    await closeConnections([...this.#connections.values()], this.#run)
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
