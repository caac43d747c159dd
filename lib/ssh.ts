/**
 * One connection to a node, shared by every command and copy (ControlMaster, ssh_config(5)), through the user's own
 * ssh and scp: his configuration, agent and known_hosts count.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { $, type ProcessOutput } from 'zx/core'
import type { Cluster, ClusterNode } from './cluster.ts'
import { doing, type Failure, isErrno } from './failure.ts'
import { isRunning } from './lock.ts'
import { sshFailure } from './ssh-failure.ts'

/** Milliseconds: for all that is done on one node. */
const nodeTimeLimit = 120_000
/** Milliseconds before a connection that was dropped at its beginning is tried again (MaxStartups, a reset). */
const retryAfter = [250, 750, 2000]

/** For the shell: also what a shell on a node reads, where it is given one as a script. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

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

/** Connections of one run. Their sockets lie in a private folder, named relative to it: a path to a socket is short. */
export class Ssh {
  readonly #cluster: Cluster
  readonly #baseFolder: string
  readonly #sockets = makeSocketFolder()
  #count = 0

  /** Paths in cluster.yaml are relative to the base folder. */
  constructor(cluster: Cluster, baseFolder: string) {
    this.#cluster = cluster
    this.#baseFolder = baseFolder
  }

  connection(node: ClusterNode, signal: AbortSignal): Connection {
    const { configFile, user, options } = this.#cluster.ssh
    const place = { User: user, ...(node.port !== undefined && { Port: node.port }), ControlPath: `./${this.#count++}` }
    const all = [...Object.entries({ ...ownOptions, ...place }), ...options, ...Object.entries(defaults)]
    const file = configFile === undefined ? [] : ['-F', resolve(this.#baseFolder, configFile)]
    return new Connection(
      node,
      [...file, ...all.flatMap(([name, value]) => ['-o', `${name}=${value}`])],
      this.#sockets,
      signal,
    )
  }

  /** When every connection is closed. */
  end(): void {
    rmSync(this.#sockets, { recursive: true, force: true })
  }
}

export class Connection {
  readonly #node: ClusterNode
  readonly #args: readonly string[]
  readonly #folder: string
  readonly #signal: AbortSignal
  readonly #deadline = AbortSignal.timeout(nodeTimeLimit)
  #isOpen = false

  constructor(node: ClusterNode, args: readonly string[], folder: string, signal: AbortSignal) {
    this.#node = node
    this.#args = args
    this.#folder = folder
    this.#signal = signal
  }

  /** Runs the script with the node's sh, which reads it from its input: nothing of it is in an argument list. */
  async run(script: string): Promise<string> {
    for (const pause of [...retryAfter, undefined]) {
      const result = await this.#spawn(['ssh', ...this.#args, '--', this.#node.host, 'sh -s'], script)
      this.#isOpen ||= result.exitCode !== 255
      if (result.exitCode === 0) return result.stdout
      const failure = this.#failure(result)
      if (failure.word !== 'connection-lost' || this.#isOpen || pause === undefined) throw failure
      await delay(pause, undefined, { signal: this.#signal })
    }
    throw new Error('unreachable')
  }

  /** Copies a folder (with scp, by SFTP) to a path on the node where nothing stands. */
  async copyFolder(from: string, to: string): Promise<void> {
    const host = this.#node.host.includes(':') ? `[${this.#node.host}]` : this.#node.host
    const result = await this.#spawn(['scp', '-q', '-r', ...this.#args, '--', from, `${host}:${to}`], '')
    if (result.exitCode !== 0) throw this.#failure(result)
  }

  /** Does something on a connection that is open, even though the run has been ended. Never throws. */
  async tidy(script: string): Promise<void> {
    if (this.#isOpen) await this.#spawnLast(['ssh', ...this.#args, '--', this.#node.host, 'sh -s'], script)
  }

  /** Never throws: a connection that is not there needs no closing. */
  async close(): Promise<void> {
    if (this.#isOpen) await this.#spawnLast(['ssh', ...this.#args, '-O', 'exit', '--', this.#node.host], '')
  }

  async #spawn(command: readonly string[], input: string): Promise<ProcessOutput> {
    this.#signal.throwIfAborted()
    return spawn(command, { cwd: this.#folder, input, signal: AbortSignal.any([this.#signal, this.#deadline]) })
  }

  #spawnLast(command: readonly string[], input: string): Promise<ProcessOutput> {
    return spawn(command, { cwd: this.#folder, input, signal: AbortSignal.timeout(5000) })
  }

  #failure({ stderr, exitCode }: ProcessOutput): Failure {
    this.#signal.throwIfAborted()
    const { name: node, host } = this.#node
    return sshFailure({ node, host, stderr, exitCode: exitCode ?? 0, timedOut: this.#deadline.aborted })
  }
}

interface Spawning {
  readonly cwd: string
  readonly input: string
  readonly signal: AbortSignal
}

async function spawn(command: readonly string[], { cwd, input, signal }: Spawning): Promise<ProcessOutput> {
  const shell = $({
    cwd,
    input,
    signal,
    quiet: true,
    nothrow: true,
    // Its own process group: Ctrl-C in the terminal reaches it through us, when a script on a node may still be tidied up after.
    detached: true,
    shell: '/bin/sh',
    prefix: 'exec ',
    postfix: '',
    quote,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const running = shell`${command}`
  // What ended before it read its input tells why by its exit status.
  running.stdin.on('error', () => {})
  return running
}

const socketFolder = 'harderway-'

/** A new folder only for this run; those of runs that were killed are removed. */
function makeSocketFolder(): string {
  for (const name of readdirSync(tmpdir()).filter((each) => each.startsWith(socketFolder))) {
    const pid = Number(name.slice(socketFolder.length).split('-')[0])
    if (pid > 0 && !isRunning(pid)) tryRemove(join(tmpdir(), name))
  }
  return doing('make a folder in', tmpdir(), () => mkdtempSync(join(tmpdir(), `${socketFolder}${process.pid}-`)))
}

/** Another user's folder stays. */
function tryRemove(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true })
  } catch (error) {
    if (!isErrno(error, 'EACCES', 'EPERM', 'ENOTEMPTY')) throw error
  }
}
