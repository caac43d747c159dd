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
import { sshFailure } from './ssh-failure.ts'

/** Milliseconds: for all that is done on one node. */
const nodeTimeLimit = 120_000
/** Milliseconds before a connection that was dropped at its beginning is tried again (MaxStartups, a reset). */
const retryAfter = [250, 750, 2000]

/** For the shell: also what a shell on a node reads, where it is given one as a script. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** Connections of one run. Their sockets lie in a private folder, named relative to it: a path to a socket is short. */
export class Ssh {
  readonly #cluster: Cluster
  readonly #baseFolder: string
  #folder: string | undefined
  #count = 0

  /** Paths in cluster.yaml are relative to the base folder. */
  constructor(cluster: Cluster, baseFolder: string) {
    this.#cluster = cluster
    this.#baseFolder = baseFolder
  }

  connection(node: ClusterNode, signal: AbortSignal): Connection {
    this.#folder ??= makeSocketFolder()
    const { configFile, user, options } = this.#cluster.ssh
    const own = {
      BatchMode: 'yes',
      User: user,
      ...(node.port !== undefined && { Port: String(node.port) }),
      ...ownOptions,
    }
    const all = [...Object.entries(own), ...options, ...Object.entries(defaults)]
    const args = [
      ...(configFile === undefined ? [] : ['-F', resolve(this.#baseFolder, configFile)]),
      ...all.flatMap(([name, value]) => ['-o', `${name}=${value}`]),
      ...['-o', `ControlPath=./${this.#count++}`],
    ]
    return new Connection({ node, args, folder: this.#folder, signal })
  }

  /** When every connection is closed. */
  end(): void {
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true })
  }
}

const ownOptions = {
  ControlMaster: 'auto',
  // The master ends by itself where nobody is left to end it.
  ControlPersist: '15',
  RequestTTY: 'no',
  RemoteCommand: 'none',
  PermitLocalCommand: 'no',
  ClearAllForwardings: 'yes',
  LogLevel: 'ERROR',
}

/** ssh takes the first value that it finds for an option: the user's come before these. */
const defaults = { ConnectTimeout: '10', ServerAliveInterval: '5', ServerAliveCountMax: '3' }

interface ConnectionParts {
  readonly node: ClusterNode
  readonly args: readonly string[]
  readonly folder: string
  readonly signal: AbortSignal
}

export class Connection {
  readonly #parts: ConnectionParts
  readonly #deadline = AbortSignal.timeout(nodeTimeLimit)
  #isOpen = false

  constructor(parts: ConnectionParts) {
    this.#parts = parts
  }

  /** Runs the script with the node's sh, which reads it from its input: nothing of it is in an argument list. */
  async run(script: string): Promise<string> {
    for (const pause of [...retryAfter, undefined]) {
      const result = await this.#spawn(['ssh', ...this.#parts.args, '--', this.#parts.node.host, 'sh -s'], script)
      this.#isOpen ||= result.exitCode !== 255
      if (result.exitCode === 0) return result.stdout
      const failure = this.#failure(result)
      const isWorthAnother = failure.word === 'connection-lost' && !this.#isOpen
      if (!isWorthAnother || pause === undefined) throw failure
      await delay(pause, undefined, { signal: this.#parts.signal })
    }
    throw new Error('unreachable')
  }

  /** Copies a folder (with scp, by SFTP) to a path on the node where nothing stands. */
  async copyFolder(from: string, to: string): Promise<void> {
    const { args, node } = this.#parts
    const host = node.host.includes(':') ? `[${node.host}]` : node.host
    const result = await this.#spawn(['scp', '-q', '-r', ...args, '--', from, `${host}:${to}`], '')
    if (result.exitCode !== 0) throw this.#failure(result)
  }

  /** Does something on a connection that is open even though the run has been ended. Never throws. */
  async tidy(script: string): Promise<void> {
    if (!this.#isOpen) return
    const { args, node } = this.#parts
    await spawn(['ssh', ...args, '--', node.host, 'sh -s'], {
      cwd: this.#parts.folder,
      input: script,
      signal: AbortSignal.timeout(5000),
    })
  }

  /** Never throws: a connection that is not there needs no closing. */
  async close(): Promise<void> {
    if (!this.#isOpen) return
    const { args, folder, node } = this.#parts
    await spawn(['ssh', ...args, '-O', 'exit', '--', node.host], {
      cwd: folder,
      input: '',
      signal: AbortSignal.timeout(5000),
    })
  }

  async #spawn(command: readonly string[], input: string): Promise<ProcessOutput> {
    const signal = AbortSignal.any([this.#parts.signal, this.#deadline])
    signal.throwIfAborted()
    return spawn(command, { cwd: this.#parts.folder, input, signal })
  }

  #failure({ stderr, exitCode }: ProcessOutput): Failure {
    this.#parts.signal.throwIfAborted()
    const { name, host } = this.#parts.node
    return sshFailure({ node: name, host, stderr, exitCode: exitCode ?? 0, timedOut: this.#deadline.aborted })
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

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return !isErrno(error, 'ESRCH')
  }
}

/** Another user's folder stays. */
function tryRemove(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true })
  } catch (error) {
    if (!isErrno(error, 'EACCES', 'EPERM', 'ENOTEMPTY')) throw error
  }
}
