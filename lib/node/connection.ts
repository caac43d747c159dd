/** One connection to a node, through the user's own ssh and scp: ControlMaster of ssh_config(5). */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { resolve } from 'node:path'
import { addAbortSignal, type Duplex } from 'node:stream'
import { setTimeout as delay, setImmediate } from 'node:timers/promises'
import type { LimitFunction } from 'p-limit'
import type { ProcessOutput } from 'zx/core'
import { bracketed } from '../address.ts'
import type { ClusterNode } from '../cluster/cluster.ts'
import { Failure, runAgain } from '../failure.ts'
import { copyFile, type Destination, runScript, type Spawning, spawn } from '../process.ts'
import { excerpt, printable, quote } from '../wording.ts'

/** Milliseconds: the default limit of one command or copy. */
const commandTimeLimit = 120_000
/** Milliseconds before a connection that was dropped at its beginning is tried again (MaxStartups, a reset). */
const retryAfter = [250, 750, 2000]

interface ConnectionParts {
  readonly node: ClusterNode
  readonly options: readonly string[]
  readonly controlPath: string
  readonly env: NodeJS.ProcessEnv
  /** Where ssh runs: paths in what it prints are relative to it. */
  readonly folder: string
  readonly limit: LimitFunction
  readonly signal: AbortSignal
  /** A command to type: ssh with these options to the node. */
  typed(options: readonly string[]): string
}

type LocalCommand = (how: Spawning) => Promise<ProcessOutput>

interface Ran {
  readonly output: ProcessOutput
  readonly timedOut: boolean
}

/** What ran, for messages, and its limit in milliseconds. */
interface RemoteWork {
  readonly what: string
  readonly limit: number
}

export class Connection {
  readonly #parts: ConnectionParts
  readonly #forwards: Forwards
  #isOpen = false
  #wasTried = false

  constructor(parts: ConnectionParts) {
    this.#parts = parts
    this.#forwards = new Forwards(parts.controlPath, (words) => this.#askForwards(words))
  }

  get #destination(): Destination {
    const { options, node } = this.#parts
    return { host: node.host, options }
  }

  get socket(): string | undefined {
    return this.#wasTried ? this.#parts.controlPath : undefined
  }

  /** The node's sh reads the script from its input. `limit` in milliseconds; `what` it is, for messages. */
  async run(script: string, limit = commandTimeLimit, what = 'a command'): Promise<string> {
    // After a while without use ssh has closed it (ControlPersist). It is opened by a script that may be sent twice.
    if (this.#isOpen && !existsSync(this.#parts.controlPath)) {
      this.#isOpen = false
      await this.run(':')
    }
    return this.#isOpen ? this.#once(script, { what, limit }) : this.#opened(script, { what, limit })
  }

  async #opened(script: string, work: RemoteWork): Promise<string> {
    const { limit: opening, signal } = this.#parts
    for (const pause of retryAfter) {
      try {
        return await opening(() => this.#once(script, work))
      } catch (error) {
        if (this.#isOpen || !(error instanceof Failure && error.code === 'connection-lost')) throw error
        // With jitter, so that the retries do not arrive all at once.
        await delay(pause * (0.5 + Math.random()), undefined, { signal })
      }
    }
    return opening(() => this.#once(script, work))
  }

  async #once(script: string, work: RemoteWork): Promise<string> {
    const ran = await this.#start((how) => runScript(this.#destination, script, how), work.limit)
    this.#isOpen ||= wasStarted(ran.output)
    if (ran.output.exitCode !== 0) throw this.#failure(ran, work)
    return ran.output.stdout
  }

  /** Copies a file (with scp, by SFTP) to a path on the node where nothing stands. */
  async copyFile(from: string, to: string): Promise<void> {
    const ran = await this.#start((how) => copyFile(this.#destination, from, to, how))
    if (ran.output.exitCode !== 0) throw this.#failure(ran, { what: 'scp', limit: commandTimeLimit })
  }

  /** Bytes to and from a port as the node reaches it. If nothing listens there, the stream ends. */
  tunnel(host: string, port: number): Promise<Duplex> {
    return this.#forwards.open(`${bracketed(host)}:${port}`, this.#parts.signal)
  }

  async #askForwards(words: readonly string[]): Promise<void> {
    const { controlPath, node } = this.#parts
    // Without a configuration: its own forwards would be requested too.
    const ask = () => this.#start((how) => spawn(how)`ssh -F none -S ${controlPath} -O forward ${words} -- node`)
    if (this.#isOpen && (await ask()).output.exitCode === 0) return
    await this.run(':')
    const { exitCode, stderr } = (await ask()).output
    if (exitCode !== 0) throw new Failure(`ssh can't forward a port (${printable(stderr.trim())})`, { node: node.name })
  }

  /** Runs a script on an open connection, even after the run was interrupted. Never throws. */
  async runLast(script: string): Promise<void> {
    if (this.#isOpen) await spawnLast((how) => runScript(this.#destination, script, how), this.#parts)
  }

  async #start(command: LocalCommand, limit = commandTimeLimit): Promise<Ran> {
    const { folder: cwd, env, signal } = this.#parts
    signal.throwIfAborted()
    this.#wasTried = true
    const deadline = AbortSignal.timeout(limit)
    const output = await command({ cwd, env, signal: AbortSignal.any([signal, deadline]) })
    signal.throwIfAborted()
    return { output, timedOut: deadline.aborted }
  }

  /** A connection that no longer answers ends by itself (ServerAliveInterval): what takes too long is a command. */
  #failure({ output, timedOut }: Ran, { what: work, limit }: RemoteWork): Failure {
    const { node, folder, typed } = this.#parts
    const { stderr, exitCode, signal: killed } = output
    if (timedOut)
      return new Failure(`hung (${work} did not end within ${limit / 1000} s)`, {
        node: node.name,
        code: 'hung',
        remedy: `find what it waits for on the node (D: a disk or mount):\n    ps -eo pid,stat,wchan,args\n${again}`,
      })
    // ssh's own status: ssh(1).
    if (exitCode === 255) return sshFailure({ node: node.name, said: stderr, folder, typed })
    return new Failure(excerpt(lastLine(stderr)) || `ssh ended with ${killed ?? `status ${exitCode}`}`, {
      node: node.name,
      code: 'other',
      remedy: `find the cause on the node (its login shell, df, ls -l, dmesg); ${again}`,
    })
  }
}

/** False if unknown: 255 is ssh's own status, and a process that was killed has none. */
function wasStarted({ exitCode }: ProcessOutput): boolean {
  return exitCode !== 255 && exitCode !== null
}

/** Even after the run was interrupted. Undefined if it can't be started. */
async function spawnLast(
  command: LocalCommand,
  { folder: cwd, env }: Pick<ConnectionParts, 'folder' | 'env'>,
): Promise<ProcessOutput | undefined> {
  const deadline = AbortSignal.timeout(5000)
  try {
    for (;;) {
      const output = await command({ cwd, env, signal: deadline })
      // Ctrl-C in the terminal also ends a process that is being started, and has no group of its own yet.
      if (!output.signal || deadline.aborted) return output
    }
  } catch (error) {
    if (error instanceof Failure) return undefined
    throw error
  }
}

/** With one child process: for Node to fork takes longer than ssh does. Never throws. */
export async function closeConnections(
  connections: readonly (Connection | undefined)[],
  run: Pick<ConnectionParts, 'folder' | 'env'>,
): Promise<void> {
  const sockets = connections.flatMap((connection) => connection?.socket ?? [])
  const script = 'for socket do ssh -F none -S "$socket" -O exit -- node & done; wait'
  if (sockets.length > 0) await spawnLast((how) => spawn(how)`sh -c ${script} sh ${sockets}`, run)
}

/** Ports that a connection forwards to sockets (ssh -O forward): a repeated query starts no process. */
class Forwards {
  readonly #path: string
  readonly #ask: (words: readonly string[]) => Promise<void>
  /** The path of the socket by its target, `address:port`. */
  readonly #sockets = new Map<string, Promise<string>>()
  #count = 0
  readonly #requested: string[] = []
  #asking: Promise<void> | undefined

  /** The paths of sockets begin with `path`; `ask` runs ssh with these options. */
  constructor(path: string, ask: (words: readonly string[]) => Promise<void>) {
    this.#path = path
    this.#ask = ask
  }

  /** `to` is `address:port`. Rejects if ssh does not forward it. */
  async open(to: string, signal: AbortSignal): Promise<Socket> {
    const known = this.#sockets.get(to)
    const path = known ?? this.#forward(to)
    this.#sockets.set(to, path)
    try {
      const socket = addAbortSignal(signal, connect(await path))
      await once(socket, 'connect')
      return socket
    } catch (error) {
      if (this.#sockets.get(to) === path) this.#sockets.delete(to)
      // After a while without use, ssh closes the connection and its sockets (ControlPersist).
      if (known === undefined || signal.aborted) throw error
      return await this.open(to, signal)
    }
  }

  /** Ports that are requested at the same time share one command. */
  async #forward(to: string): Promise<string> {
    const path = `${this.#path}-${this.#count++}`
    this.#requested.push('-L', `${path}:${to}`)
    this.#asking ??= setImmediate().then(() => {
      this.#asking = undefined
      return this.#ask(this.#requested.splice(0))
    })
    await this.#asking
    return path
  }
}

interface SshResult {
  readonly node: string
  readonly said: string
  readonly folder: string
  typed(options: readonly string[]): string
}

const again = `then ${runAgain}`

const fingerprint = 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub, run there'

/**
 * Why ssh has no connection; the first that matches applies, and its name with hyphens is the failure's code. What its
 * group matches is shown beside the name. Many nodes may have one at once, and equal failures are reported once: a
 * remedy names the node only where it is a command to type.
 */
const causes: readonly {
  readonly name: string
  readonly pattern: RegExp
  readonly remedy: (result: SshResult) => string
}[] = [
  {
    name: 'host key refused',
    pattern: /host key for \S+ (has changed)|(no \S+ host key is known)|Host key verification failed/i,
    remedy: (result) =>
      [
        `compare the fingerprint that ssh shows with that of the machine (${fingerprint}):`,
        `    ${result.typed(['-o', 'StrictHostKeyChecking=ask'])}`,
        ...(/has changed/.test(result.said)
          ? [`if the machine was reinstalled, first:\n    ${forgetKey(result)}`]
          : []),
      ].join('\n'),
  },
  {
    name: 'login refused',
    pattern: /(Permission denied \([^)]*\)|Too many authentication failures|no mutual signature|incorrect passphrase)/,
    remedy: () =>
      `make ssh -o BatchMode=yes log in there as the user of cluster.yaml: a key with a passphrase belongs in ssh-agent (ssh-add); ${again}`,
  },
  {
    name: 'unreachable',
    pattern:
      /(Could not resolve hostname|Connection refused|No route to host|Network is unreachable|Host is down|timed out|not responding)/i,
    remedy: () => `check host and port in cluster.yaml, and that the machine is up and runs sshd; ${again}`,
  },
  {
    name: 'connection lost',
    // It says nothing when a connection is closed before authentication, nor what a jump host's ssh says
    // (ControlPersist).
    pattern:
      /^\s*$|kex_exchange_identification|Connection (reset|closed|to .* closed)|Broken pipe|lost connection|client_loop|mux_client|banner exchange/i,
    remedy: ({ typed }) => `${runAgain}; if it fails again, find out why:\n    ${typed(['-v'])}`,
  },
]

export function sshFailure(result: SshResult): Failure {
  const { node, said, typed } = result
  const cause = causes.find(({ pattern }) => pattern.test(said))
  if (!cause)
    return new Failure(excerpt(lastLine(said)), { node, code: 'other', remedy: `find out why:\n    ${typed(['-v'])}` })
  const { name, pattern, remedy } = cause
  const detail = pattern
    .exec(said)
    ?.slice(1)
    .find((each) => each !== undefined)
  return new Failure(detail === undefined ? name : `${name} (${excerpt(detail)})`, {
    node,
    code: name.replaceAll(' ', '-'),
    remedy: remedy(result),
  })
}

/** A command that removes the key: ssh names the host, which may be a jump host, as known_hosts does, and that file. */
function forgetKey({ said, folder }: SshResult): string {
  const [, name = ''] = /host key for (\S+) has changed/i.exec(said) ?? []
  const [, file] = /^Offending .* key in (.*):\d+\r?$/m.exec(said) ?? []
  return ['ssh-keygen', '-R', name, ...(file ? ['-f', resolve(folder, file)] : [])].map(quote).join(' ')
}

/** Without a line by which a tool ends after it has said what failed. */
function lastLine(text: string): string {
  const lines = text.trim().split(/\r?\n/)
  const isEnd = (line: string) => /Exiting with failure status|failed to upload file|^scp: Connection closed/.test(line)
  return lines.findLast((line) => !isEnd(line)) ?? lines.at(-1) ?? ''
}
