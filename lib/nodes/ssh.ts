/**
 * One connection to a node, shared by every command and copy (ControlMaster, ssh_config(5)), through the user's own
 * ssh and scp: his configuration, agent and known_hosts count.
 */
import { lstatSync, mkdtempSync, readdirSync, rmdirSync, rmSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pLimit, { type LimitFunction } from 'p-limit'
import { $, type ProcessOutput } from 'zx/core'
import { bracketed } from '../address.ts'
import type { Cluster, ClusterNode } from '../cluster/cluster.ts'
import { doing, Failure, isErrno } from '../failure.ts'
import { isRunning } from '../files/lock.ts'
import { quote } from './shell.ts'
import { sshFailure } from './ssh-failure.ts'

/** Milliseconds: for all that is done on one node. */
const nodeTimeLimit = 120_000
/** Milliseconds before a connection that was dropped at its beginning is tried again (MaxStartups, a reset). */
const retryAfter = [250, 750, 2000]
/** Connections to one host that are not authenticated yet: sshd begins to drop them at 10 (MaxStartups). */
const halfOpen = 8
/** Bytes: a look at a node with thousands of certificates stays far below it. */
const mostOutput = 4e6
/** What a machine answers that is still booting. */
const isBooting = new Set(['connection-refused', 'timed-out', 'connection-lost', 'name-unknown'])

/** What harderway sets itself: ssh takes the first value that it finds for an option. */
const ownOptions = {
  BatchMode: 'yes',
  ControlMaster: 'auto',
  // The master ends by itself where nobody is left to end it.
  ControlPersist: '15',
  RequestTTY: 'no',
  RemoteCommand: 'none',
  PermitLocalCommand: 'no',
  ClearAllForwardings: 'yes',
  LogLevel: 'ERROR',
}

/** What the user may set otherwise in cluster.yaml. */
const defaults = { ConnectTimeout: '10', ServerAliveInterval: '5', ServerAliveCountMax: '3' }

export interface SshRun {
  /** Paths in cluster.yaml are relative to it. */
  readonly folder: string
  readonly signal: AbortSignal
  /** Milliseconds to wait for nodes that are booting. */
  readonly waitNodes: number
}

/** Connections of one run. Their sockets lie in a private folder, named relative to it: a path to a socket is short. */
export class Ssh {
  readonly #cluster: Cluster
  readonly #run: SshRun
  readonly #sockets = makeSocketFolder()
  readonly #limits = new Map<string, LimitFunction>()
  readonly #connections = new Map<string, Connection>()
  #count = 0

  constructor(cluster: Cluster, run: SshRun) {
    this.#cluster = cluster
    this.#run = run
  }

  /** The one to the node: every command of a target goes through it. */
  connection(node: ClusterNode): Connection {
    const connection = this.#connections.get(node.name) ?? this.#connection(node)
    this.#connections.set(node.name, connection)
    return connection
  }

  /** Never throws: a connection that does not exist needs no closing. */
  async disconnect({ name }: ClusterNode): Promise<void> {
    const connection = this.#connections.get(name)
    this.#connections.delete(name)
    await connection?.close()
  }

  #connection(node: ClusterNode): Connection {
    const { configFile, user, options } = this.#cluster.ssh
    const own = {
      ...ownOptions,
      User: user,
      ...(node.port !== undefined && { Port: node.port }),
      ControlPath: `./${this.#count++}`,
    }
    const all = [...Object.entries(own), ...options, ...Object.entries(defaults)]
    const file = configFile === undefined ? [] : ['-F', resolve(this.#run.folder, configFile)]
    const args = [...file, ...all.flatMap(([name, value]) => ['-o', `${name}=${value}`])]
    // Behind one bastion, or under names that ssh alone can resolve, nodes may share an sshd.
    const shared = configFile !== undefined || [...options.keys()].some((name) => /^proxy(jump|command)$/i.test(name))
    const sshd = shared ? '' : node.host
    const limit = this.#limits.get(sshd) ?? pLimit(halfOpen)
    this.#limits.set(sshd, limit)
    return new Connection({ ...this.#run, node, user, args, limit, folder: this.#sockets })
  }

  /** When every connection is closed. */
  end(): void {
    rmSync(this.#sockets, { recursive: true, force: true })
  }
}

interface ConnectionParts {
  readonly node: ClusterNode
  readonly user: string
  readonly args: readonly string[]
  /** Where the control socket is. */
  readonly folder: string
  readonly limit: LimitFunction
  readonly signal: AbortSignal
  readonly waitNodes: number
}

export class Connection {
  readonly #parts: ConnectionParts
  #deadline = AbortSignal.timeout(nodeTimeLimit)
  #isOpen = false
  #wasTried = false

  constructor(parts: ConnectionParts) {
    this.#parts = parts
  }

  /** Runs the script with the node's sh, which reads it from its input: nothing of it is in an argument list. */
  async run(script: string): Promise<string> {
    const { node, args, signal, waitNodes, limit } = this.#parts
    const waitUntil = Date.now() + waitNodes
    const once = () => this.#spawn(['ssh', ...args, '--', node.host, 'sh -s'], script)
    for (let tries = 0; ; tries++) {
      const result = await (this.#isOpen ? once() : limit(once))
      this.#isOpen ||= result.exitCode !== 255
      if (result.exitCode === 0) return result.stdout
      const failure = this.#failure(result)
      const mayBoot = isBooting.has(String(failure.code)) && Date.now() < waitUntil
      const pause = mayBoot ? 2000 : failure.code === 'connection-lost' ? retryAfter[tries] : undefined
      if (this.#isOpen || pause === undefined) throw failure
      // Not all at once again.
      await delay(pause * (0.5 + Math.random()), undefined, { signal })
      if (mayBoot) this.#deadline = AbortSignal.timeout(nodeTimeLimit)
    }
  }

  /** Copies a folder (with scp, by SFTP) to a path on the node where nothing stands. */
  async copyFolder(from: string, to: string): Promise<void> {
    const { node, args } = this.#parts
    const result = await this.#spawn(['scp', '-q', '-r', ...args, '--', from, `${bracketed(node.host)}:${to}`], '')
    if (result.exitCode === 0) return
    const failure = this.#failure(result)
    const isUp = failure.code === 'connection-lost' && (await this.#spawnLast('', '', '-O', 'check')).exitCode === 0
    // On a shared connection ssh does not say that it was sftp that the node closed, and not the connection.
    throw isUp ? this.#failure({ exitCode: 1, stderr: 'subsystem request failed' }) : failure
  }

  /** Does something on a connection that is open, even though the run has been ended. Never throws. */
  async tidy(script: string): Promise<void> {
    if (this.#isOpen) await this.#spawnLast('sh -s', script)
  }

  /** Never throws: a connection that is not there needs no closing. */
  async close(): Promise<void> {
    if (this.#wasTried) await this.#spawnLast('', '', '-O', 'exit')
  }

  async #spawn(command: readonly string[], input: string): Promise<ProcessOutput> {
    const { folder: cwd, signal } = this.#parts
    signal.throwIfAborted()
    this.#wasTried = true
    return spawn(command, { cwd, input, signal: AbortSignal.any([signal, this.#deadline]) })
  }

  #spawnLast(command: string, input: string, ...options: string[]): Promise<ProcessOutput> {
    const { folder: cwd, args, node } = this.#parts
    const words = ['ssh', ...args, ...options, '--', node.host, ...(command ? [command] : [])]
    return spawn(words, { cwd, input, signal: AbortSignal.timeout(5000) })
  }

  #failure({ stderr, exitCode }: Pick<ProcessOutput, 'stderr' | 'exitCode'>): Failure {
    const { signal, node, user } = this.#parts
    signal.throwIfAborted()
    const place = { host: node.host, port: node.port, user }
    return sshFailure({ node: node.name, place, stderr, exitCode: exitCode ?? 0, timedOut: this.#deadline.aborted })
  }
}

interface Spawning {
  readonly cwd: string
  readonly input: string
  readonly signal: AbortSignal
}

async function spawn(command: readonly string[], { cwd, input, signal }: Spawning): Promise<ProcessOutput> {
  const flooded = new AbortController()
  const shell = $({
    cwd,
    input,
    signal: AbortSignal.any([signal, flooded.signal]),
    quiet: true,
    nothrow: true,
    // Its own process group: Ctrl-C in the terminal reaches it through us, when a script on a node may still be tidied up after.
    detached: true,
    shell: '/bin/sh',
    prefix: 'exec ',
    postfix: '',
    quote,
    // Against ZX_TIMEOUT in the environment.
    timeout: '60m',
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const running = shell`${command}`
  // What ended before it read its input tells why by its exit status.
  running.stdin.on('error', () => {})
  let size = 0
  for (const stream of [running.stdout, running.stderr])
    stream.on('data', (chunk: Buffer | string) => {
      size += chunk.length
      if (size > mostOutput) flooded.abort()
    })
  const result = await running
  if (flooded.signal.aborted)
    throw new Failure(`${command.at(-2)}: sends more than ${mostOutput / 1e6} MB where a few kB are due`, {
      remedy: 'see what its shell prints at its start (.bashrc)',
    })
  return result
}

/** A new folder only for this run; those of runs that were killed are removed. */
function makeSocketFolder(): string {
  return doing('make a folder in', tmpdir(), () => {
    for (const name of readdirSync(tmpdir())) {
      const [, pid] = /^harderway-(\d+)-[A-Za-z0-9]{6}$/.exec(name) ?? []
      if (pid !== undefined && !isRunning(Number(pid))) tryRemoveSockets(join(tmpdir(), name))
    }
    return mkdtempSync(join(tmpdir(), `harderway-${process.pid}-`))
  })
}

/** Only a folder of our own, and only where nothing but sockets is in it. */
function tryRemoveSockets(folder: string): void {
  try {
    if (lstatSync(folder).uid !== process.getuid?.()) return
    for (const name of readdirSync(folder)) if (lstatSync(join(folder, name)).isSocket()) unlinkSync(join(folder, name))
    rmdirSync(folder)
  } catch (error) {
    if (!isErrno(error)) throw error
  }
}
