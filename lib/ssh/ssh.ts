/**
 * One connection to a node, shared by every command and copy (ControlMaster, ssh_config(5)), through the user's own
 * ssh and scp, with the user's configuration, agent and known_hosts.
 */
import { rmSync } from 'node:fs'
import { connect } from 'node:net'
import { addAbortSignal, type Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import pLimit, { type LimitFunction } from 'p-limit'
import type { ProcessOutput } from 'zx/core'
import { bracketed } from '../address.ts'
import type { Cluster, ClusterNode } from '../cluster/cluster.ts'
import { Failure } from '../failure.ts'
import { fileWords, type SshUse } from '../ssh-config/command.ts'
import {
  connectionOptions,
  first,
  formatOptions,
  type SshConfig,
  sessionOptions,
  strictOptions,
  unsentEnvironment,
} from '../ssh-config/config.ts'
import { printable } from '../wording.ts'
import { sshFailure } from './failure.ts'
import { spawn } from './process.ts'
import { type Route, Routes } from './route.ts'
import { makeSocketFolder } from './sockets.ts'

/** Milliseconds: for one command or copy. */
const commandTimeLimit = 120_000
/** Milliseconds before a connection that was dropped at its beginning is tried again (MaxStartups, a reset). */
const retryAfter = [250, 750, 2000]
/** Connections to one host that are not authenticated yet: sshd begins to drop them at 10 (MaxStartups). */
const halfOpen = 8
/** What a machine answers that is still booting. */
const isBooting = new Set(['connection-refused', 'timed-out', 'connection-lost', 'name-unknown'])

export interface SshRun {
  /** Paths in cluster.yaml are relative to it. */
  readonly folder: string
  readonly signal: AbortSignal
  /** Milliseconds to wait for nodes that are booting. */
  readonly waitNodes: number
}

/** Connections of one run. */
export class Ssh {
  readonly #cluster: Cluster
  readonly #run: SshRun
  readonly #use: SshUse
  readonly #routes: Routes
  readonly #sockets = makeSocketFolder()
  readonly #limits = new Map<string, LimitFunction>()
  readonly #connections = new Map<string, Promise<Connection>>()
  #copying: Promise<string[]> | undefined
  #count = 0

  constructor(cluster: Cluster, run: SshRun) {
    this.#cluster = cluster
    this.#run = run
    this.#use = { folder: run.folder, ssh: cluster.ssh }
    this.#routes = new Routes(this.#use, run.signal)
  }

  /** The one to the node: every command of a target goes through it. */
  connection(node: ClusterNode): Promise<Connection> {
    const connection = this.#connections.get(node.name) ?? this.#connect(node, this.#count++)
    this.#connections.set(node.name, connection)
    return connection
  }

  /** Never throws: a connection that does not exist needs no closing. */
  async disconnect({ name }: ClusterNode): Promise<void> {
    const connection = await this.#connections.get(name)?.catch(() => undefined)
    this.#connections.delete(name)
    await connection?.close()
  }

  async #connect(node: ClusterNode, number: number): Promise<Connection> {
    const controlPath = `${this.#sockets}/${number}`
    const options = connectionOptions(this.#cluster.ssh, node.port, controlPath)
    const { config, places } = await this.#routes.find(node, options)
    return new Connection({
      ...this.#run,
      node,
      places,
      args: [...fileWords(this.#use), ...strictOptions(config), ...options],
      session: sessionOptions(config),
      controlPath,
      env: unsentEnvironment(process.env, config),
      limit: this.#limitOf(config, places),
      checkKept: () => this.#routes.refuseUnkept(node.name, places),
      copying: () => (this.#copying ??= copyOptions(this.#run)),
    })
  }

  /** One for each sshd: that of the first host on the way, or whatever a ProxyCommand leads to. */
  #limitOf(config: SshConfig, places: Route['places']): LimitFunction {
    const { hostname, port } = places.at(-1) ?? places[0]
    const sshd = places.length === 1 ? (first(config, 'proxycommand') ?? '') : ''
    const key = sshd === '' ? `${hostname} ${port}` : 'a ProxyCommand'
    const limit = this.#limits.get(key) ?? pLimit(halfOpen)
    this.#limits.set(key, limit)
    return limit
  }

  /** When every connection is closed. */
  end(): void {
    rmSync(this.#sockets, { recursive: true, force: true })
  }
}

/** OpenSSH copies by SFTP from 9.0, and from 8.7 where it is told to; before, by a protocol that reads paths otherwise. */
async function copyOptions({ folder: cwd, signal }: SshRun): Promise<string[]> {
  const { stderr } = await spawn(['ssh', '-V'], { cwd, env: process.env, input: '', signal })
  const [version, major, minor] = /^OpenSSH_\S*?(\d+)\.(\d+)/m.exec(stderr) ?? []
  if (Number(major) > 8 || (Number(major) === 8 && Number(minor) >= 7)) return ['-s']
  throw new Failure(
    `scp copies over SFTP since OpenSSH 8.7; this machine has ${version ?? JSON.stringify(stderr.trim())}`,
    {
      code: 'ssh-too-old',
      remedy: 'install a newer OpenSSH on this machine, and put it first on the PATH',
    },
  )
}

interface ConnectionParts {
  readonly node: ClusterNode
  readonly places: Route['places']
  readonly args: readonly string[]
  /** Options for ssh alone. */
  readonly session: readonly string[]
  readonly controlPath: string
  readonly env: NodeJS.ProcessEnv
  /** Where ssh runs. */
  readonly folder: string
  /** After the first meeting; throws a Failure. */
  readonly checkKept: () => Promise<void>
  /** Options for scp alone. */
  readonly copying: () => Promise<string[]>
  readonly limit: LimitFunction
  readonly signal: AbortSignal
  readonly waitNodes: number
}

export class Connection {
  readonly #parts: ConnectionParts
  #deadline = AbortSignal.timeout(commandTimeLimit)
  /** From where they lead to the path of a socket. */
  readonly #forwards = new Map<string, Promise<string>>()
  #forwarded = 0
  readonly #asked: string[] = []
  #asking: Promise<void> | undefined
  #isOpen = false
  #wasTried = false

  constructor(parts: ConnectionParts) {
    this.#parts = parts
  }

  /** Runs the script with the node's sh, which reads it from its input: nothing of it is in an argument list. */
  async run(script: string): Promise<string> {
    const { signal, waitNodes, limit } = this.#parts
    const waitUntil = Date.now() + waitNodes
    const once = () => this.#spawn(this.#ssh([], 'sh -s'), script)
    for (let tries = 0; ; tries++) {
      const isFirst = !this.#isOpen
      const result = await (isFirst ? limit(once) : once())
      this.#isOpen ||= result.exitCode !== 255
      if (isFirst && this.#isOpen) await this.#parts.checkKept()
      if (result.exitCode === 0) return result.stdout
      const failure = await this.#failure(result)
      const mayBoot = isBooting.has(String(failure.code)) && Date.now() < waitUntil
      const pause = mayBoot ? 2000 : failure.code === 'connection-lost' ? retryAfter[tries] : undefined
      if (this.#isOpen || pause === undefined) throw failure
      // With jitter, so that the retries do not arrive all at once.
      await delay(pause * (0.5 + Math.random()), undefined, { signal })
    }
  }

  /** Copies a folder (with scp, by SFTP) to a path on the node where nothing stands. */
  async copyFolder(from: string, to: string): Promise<void> {
    const { node, args, copying } = this.#parts
    const words = ['scp', ...(await copying()), '-q', '-r', ...args, '--', from, `${bracketed(node.host)}:${to}`]
    const result = await this.#spawn(words, '')
    if (result.exitCode !== 0) throw await this.#failure(result)
  }

  /**
   * Bytes to and from a port as the node reaches it: by a socket that only this user may use, and that the connection
   * forwards (ssh -O forward), so that a question asked again starts no process. Throws a Failure where it can't be had;
   * where nothing is reached, the stream ends.
   */
  async tunnel(host: string, port: number): Promise<Duplex> {
    const to = `${bracketed(host)}:${port}`
    const path = this.#forwards.get(to) ?? this.#forward(to)
    this.#forwards.set(to, path)
    const forget = () => this.#forwards.delete(to)
    const socket = connect(
      await path.catch((error) => {
        forget()
        throw error
      }),
    )
    // The connection was opened anew since.
    return addAbortSignal(this.#parts.signal, socket).on('error', forget)
  }

  /** What is asked for at once is one command. */
  async #forward(to: string): Promise<string> {
    const path = `${this.#parts.controlPath}-${this.#forwarded++}`
    this.#asked.push(`${path}:${to}`)
    this.#asking ??= Promise.resolve().then(() => {
      this.#asking = undefined
      return this.#askForwards(this.#asked.splice(0))
    })
    await this.#asking
    return path
  }

  async #askForwards(forwards: readonly string[]): Promise<void> {
    const { controlPath, node } = this.#parts
    const words = forwards.flatMap((each) => ['-L', each])
    // Without a configuration: what that forwards would be asked for too.
    const ask = ['ssh', '-F', 'none', '-S', controlPath, '-O', 'forward', ...words, '--', 'node']
    if (this.#isOpen && (await this.#spawn(ask, '')).exitCode === 0) return
    await this.run(':')
    const { exitCode, stderr } = await this.#spawn(ask, '')
    if (exitCode !== 0) throw new Failure(`${node.name}: ssh forwards no port: ${printable(stderr.trim())}`)
  }

  /** Does something on a connection that is open, even though the run has been ended. Never throws. */
  async tidy(script: string): Promise<void> {
    if (this.#isOpen) await this.#spawnLast(this.#ssh([], 'sh -s'), script)
  }

  /** Never throws: a connection that is not there needs no closing. */
  async close(): Promise<void> {
    if (this.#wasTried) await this.#spawnLast(this.#ssh(['-O', 'exit']))
  }

  async #spawn(command: readonly string[], input: string): Promise<ProcessOutput> {
    const { folder: cwd, env, signal } = this.#parts
    signal.throwIfAborted()
    this.#wasTried = true
    this.#deadline = AbortSignal.timeout(commandTimeLimit)
    return spawn(command, { cwd, env, input, signal: AbortSignal.any([signal, this.#deadline]) })
  }

  /** Undefined where it can't be started. */
  async #spawnLast(command: readonly string[], input = ''): Promise<ProcessOutput | undefined> {
    const { folder: cwd, env } = this.#parts
    try {
      return await spawn(command, { cwd, env, input, signal: AbortSignal.timeout(5000) })
    } catch (error) {
      if (error instanceof Failure) return undefined
      throw error
    }
  }

  /** ssh takes the first value of an option, so these take precedence. */
  #ssh(options: readonly string[], ...command: readonly string[]): string[] {
    const { session, args, node } = this.#parts
    return ['ssh', ...options, ...session, ...args, '--', node.host, ...command]
  }

  async #failure({ stderr, exitCode, signal: killed }: ProcessOutput): Promise<Failure> {
    const { signal, node, places, folder } = this.#parts
    signal.throwIfAborted()
    const timedOut = this.#deadline.aborted
    // With 255 ssh tells of itself (ssh(1)), unless a program there ended with it: then the connection still stands.
    const by = exitCode === 255 && !timedOut && !(await this.#isUp()) ? 'ssh' : 'node'
    const isSilent = by === 'ssh' && stderr.trim() === '' && !this.#isOpen
    const said = isSilent ? await this.#askAgain() : stderr
    signal.throwIfAborted()
    const ended = killed ?? `status ${exitCode}`
    return sshFailure({ node: node.name, places, by, stderr: said, folder, ended, timedOut })
  }

  async #isUp(): Promise<boolean> {
    const isUp = (await this.#spawnLast(this.#ssh(['-O', 'check'])))?.exitCode === 0
    this.#isOpen ||= isUp
    return isUp
  }

  /** ssh's full stderr: a persistent master hides what its jump host's ssh says. */
  async #askAgain(): Promise<string> {
    const alone = formatOptions(Object.entries({ ControlMaster: 'no', ControlPath: 'none', LogLevel: 'INFO' }))
    const { exitCode, stderr } = await this.#parts.limit(() => this.#spawn(this.#ssh(alone, 'true'), ''))
    return exitCode === 255 ? stderr : ''
  }
}
