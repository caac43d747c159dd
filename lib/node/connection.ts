/**
 * One connection to a node, shared by every command and copy (ControlMaster, ssh_config(5)), through the user's own
 * ssh and scp, with the user's configuration, agent and known_hosts.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { resolve } from 'node:path'
import { addAbortSignal, type Duplex } from 'node:stream'
import { setTimeout as delay, setImmediate } from 'node:timers/promises'
import type { LimitFunction } from 'p-limit'
import type { ProcessOutput } from 'zx/core'
import { bracketed } from '../address.ts'
import type { ClusterNode } from '../cluster/cluster.ts'
import { Failure, isUnreached, runAgain } from '../failure.ts'
import { copyFile, copyNothing, type Destination, runScript, type Spawning, spawn } from '../process.ts'
import { excerpt, printable, quote } from '../wording.ts'
import { type Route, refuseUnkept, type SshHost, whyUnknown } from './route.ts'
import { controlPersist, formatOptions } from './ssh-config.ts'

/** Milliseconds: the default limit of one command or copy. */
const commandTimeLimit = 120_000
/** Seconds that a machine has to answer a new connection, and milliseconds for all of it. */
const [answerTime, answerLimit] = [5, 10_000]
/** Milliseconds before a connection that was dropped at its beginning is tried again (MaxStartups, a reset). */
const retryAfter = [250, 750, 2000]

interface ConnectionParts {
  readonly node: ClusterNode
  readonly route: Route
  readonly options: readonly string[]
  readonly controlPath: string
  readonly env: NodeJS.ProcessEnv
  /** Where ssh runs. */
  readonly folder: string
  readonly limit: LimitFunction
  readonly signal: AbortSignal
  readonly waitNodes: number
}

type LocalCommand = (how: Spawning) => Promise<ProcessOutput>

interface Ran {
  readonly output: ProcessOutput
  /** It was ended because it took too long. */
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
  /** Whether it was waited for, and not reached. */
  hasGivenUp = false
  #isOpen = false
  /** When a command that reached the node last ended; milliseconds since 1970. */
  #lastUse = 0
  #wasTried = false
  /** Whether its host key is in known_hosts. Before, nothing is sent: the next run might trust another machine. */
  #isKnown: boolean

  constructor(parts: ConnectionParts) {
    this.#parts = parts
    this.#isKnown = !parts.route.isTrusting
    this.#forwards = new Forwards(parts.controlPath, (words) => this.#askForwards(words))
  }

  get #destination(): Destination {
    const { options, node } = this.#parts
    return { host: node.host, options }
  }

  /** Whether a command was started there. */
  get wasReached(): boolean {
    return this.#isOpen
  }

  get way(): Route['way'] {
    return this.#parts.route.way
  }

  /** The control socket, if the connection may be open. */
  get socket(): string | undefined {
    return this.#wasTried ? this.#parts.controlPath : undefined
  }

  /**
   * Runs the script with the node's sh, which reads it from its input: nothing of it is in an argument list. `limit` in
   * milliseconds; `what` is the script, for messages.
   */
  async run(script: string, limit = commandTimeLimit, what = 'a command'): Promise<string> {
    const { node, route, folder: cwd, env, signal, waitNodes, limit: opening } = this.#parts
    const waitUntil = Date.now() + waitNodes
    // ssh may have closed it (ControlPersist). It is opened as the first time then, and the script is sent once.
    let isIdle = this.#isOpen && Date.now() - this.#lastUse >= controlPersist * 1000
    for (let tries = 0; ; tries++) {
      const isTrial = isIdle || !this.#isKnown
      const once = () => this.#start((how) => runScript(this.#destination, isTrial ? ':' : script, how), limit)
      const ran = await (this.#isOpen && !isIdle ? once() : opening(once))
      const { exitCode, stdout } = ran.output
      this.#isOpen ||= wasStarted(ran.output)
      this.hasGivenUp = false
      if (exitCode === 0 && !isTrial) return stdout
      if (exitCode === 0) {
        if (!this.#isKnown) await refuseUnkept(node.name, route, { cwd, env, signal })
        this.#isKnown = true
        isIdle = false
        continue
      }
      const failure = await this.#failure(ran)
      const mayBoot = isUnreached(failure) && Date.now() < waitUntil
      const pause = mayBoot ? 2000 : failure.code === 'connection-lost' ? retryAfter[tries] : undefined
      if ((this.#isOpen && !isIdle) || pause === undefined) {
        const settled = await this.#settle(failure, ran, { what, limit })
        this.hasGivenUp = isUnreached(settled)
        throw settled
      }
      // With jitter, so that the retries do not arrive all at once.
      await delay(pause * (0.5 + Math.random()), undefined, { signal })
    }
  }

  /** Copies a file (with scp, by SFTP) to a path on the node where nothing stands. */
  async copyFile(from: string, to: string): Promise<void> {
    const ran = await this.#start((how) => copyFile(this.#destination, from, to, how))
    const work = { what: 'scp', limit: commandTimeLimit }
    if (ran.output.exitCode !== 0) throw await this.#settle(await this.#failure(ran), ran, work)
  }

  /** Throws a Failure if files can't be copied, because the login shell, by which sshd starts SFTP, prints something. */
  async tryCopy(): Promise<void> {
    const ran = await this.#start((how) => copyNothing(this.#destination, how))
    const failure = await this.#failure(ran)
    if (failure.code === 'login-shell-prints') throw failure
  }

  /**
   * Bytes to and from a port as the node reaches it, by a socket that the connection forwards. Throws a Failure if ssh
   * does not forward it; if nothing listens there, the stream ends.
   */
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
  async tidy(script: string): Promise<void> {
    if (this.#isOpen) await spawnLast((how) => runScript(this.#destination, script, how), this.#parts)
  }

  async #start(command: LocalCommand, limit = commandTimeLimit): Promise<Ran> {
    const { folder: cwd, env, signal } = this.#parts
    signal.throwIfAborted()
    this.#wasTried = true
    const deadline = AbortSignal.timeout(limit)
    const output = await command({ cwd, env, signal: AbortSignal.any([signal, deadline]) })
    if (wasStarted(output)) this.#lastUse = Date.now()
    return { output, timedOut: deadline.aborted }
  }

  async #failure({ output, timedOut }: Ran): Promise<Failure> {
    const { stdout, stderr, exitCode, signal: killed } = output
    const { signal, node, route, folder } = this.#parts
    signal.throwIfAborted()
    // 255 is ssh's own status (ssh(1)), unless a program there exited with it: then the connection is still up.
    const by = (exitCode === 255 || timedOut) && !(await this.#isUp()) ? 'ssh' : 'node'
    signal.throwIfAborted()
    const ended = killed ?? `status ${exitCode}`
    if (by === 'node' && !timedOut && (await this.#runsNothing())) {
      const said = excerpt(lastLine(stderr) || lastLine(stdout)) || ended
      const remedy = `check the login shell on the node (getent passwd), and its start-up files (.bashrc); ${again}`
      return new Failure(`the login shell runs no command (${said})`, { node: node.name, code: 'no-answer', remedy })
    }
    const failure = sshFailure({ node: node.name, host: route.host, by, stderr, folder, ended, timedOut })
    return (failure.code === 'host-key-unknown' && whyUnknown(node.name, route)) || failure
  }

  /**
   * A machine is down if neither a new connection nor the open one answers: a command may hang, or end the connection
   * that it came by, and whoever floods sshd keeps others from connecting.
   */
  async #settle(failure: Failure, { output, timedOut }: Ran, work: RemoteWork): Promise<Failure> {
    const mayBeUp = this.#isOpen || timedOut || failure.code === 'connection-lost'
    if (!isUnreached(failure) || !mayBeUp) return failure
    const answers = await Promise.all([this.#answersAnew(), this.#answersStill()])
    if (!answers.includes(true)) return failure
    return timedOut ? hung(this.#parts.node.name, work) : this.#saidBySsh(output.stderr, true)
  }

  #saidBySsh(stderr: string, isUp: boolean): Failure {
    const { node, route, folder } = this.#parts
    const ended = { by: 'ssh', ended: 'status 255', timedOut: false } as const
    return sshFailure({ node: node.name, host: route.host, folder, ...ended, stderr, isUp })
  }

  async #answersAnew(): Promise<boolean> {
    const { folder: cwd, env, signal, limit: opening } = this.#parts
    const { host, options } = this.#destination
    // ssh takes the first value that it finds for an option.
    const own = { ControlMaster: 'no', ControlPath: 'none', ConnectTimeout: String(answerTime) }
    const to = { host, options: [...formatOptions(Object.entries(own)), ...options] }
    const { exitCode, stderr } = await opening(() => {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(answerLimit)])
      return runScript(to, ':', { cwd, env, signal: limit })
    })
    signal.throwIfAborted()
    // ConnectTimeout ends ssh where no sshd answers: what lasts longer, as a login that hangs, is beyond that.
    return exitCode !== 255 || !isUnreached(this.#saidBySsh(stderr, false))
  }

  async #answersStill(): Promise<boolean> {
    const ran = (await this.#isUp()) ? await this.#runNothing() : undefined
    this.#parts.signal.throwIfAborted()
    return ran !== undefined && wasStarted(ran)
  }

  /** As nologin, or one that its start-up file ends. */
  async #runsNothing(): Promise<boolean> {
    const ran = await this.#runNothing()
    return ran !== undefined && ran.exitCode !== 0 && wasStarted(ran)
  }

  #runNothing(): Promise<ProcessOutput | undefined> {
    return spawnLast((how) => runScript(this.#destination, ':', how), this.#parts)
  }

  async #isUp(): Promise<boolean> {
    const { host, options } = this.#destination
    const check: LocalCommand = (how) => spawn(how)`ssh -O check ${options} -- ${host}`
    const isUp = (await spawnLast(check, this.#parts))?.exitCode === 0
    this.#isOpen ||= isUp
    return isUp
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

/**
 * With one child process: for Node to fork takes longer than ssh does. Never throws: a connection that is not there
 * needs no closing.
 */
export async function closeConnections(
  connections: readonly (Connection | undefined)[],
  run: Pick<ConnectionParts, 'folder' | 'env'>,
): Promise<void> {
  const sockets = connections.flatMap((connection) => connection?.socket ?? [])
  const script = 'for socket do ssh -F none -S "$socket" -O exit -- node & done; wait'
  if (sockets.length > 0) await spawnLast((how) => spawn(how)`sh -c ${script} sh ${sockets}`, run)
}

/**
 * Ports of a node that its connection forwards, each to a socket that only this user may use (ssh -O forward), so that
 * a repeated query starts no process.
 */
class Forwards {
  readonly #path: string
  readonly #ask: (words: readonly string[]) => Promise<void>
  /** The path of the socket by its target, `address:port`. */
  readonly #sockets = new Map<string, Promise<string>>()
  #count = 0
  readonly #wanted: string[] = []
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

  /** Ports that are wanted at the same time share one command. */
  async #forward(to: string): Promise<string> {
    const path = `${this.#path}-${this.#count++}`
    this.#wanted.push('-L', `${path}:${to}`)
    this.#asking ??= setImmediate().then(() => {
      this.#asking = undefined
      return this.#ask(this.#wanted.splice(0))
    })
    await this.#asking
    return path
  }
}

interface SshResult {
  readonly node: string
  readonly host: SshHost
  /** Whose exit status and stderr these are: ssh's own, or those of a program on the node. */
  readonly by: 'ssh' | 'node'
  readonly stderr: string
  /** Where ssh ran: paths in what it prints are relative to it. */
  readonly folder: string
  /** "status 7", "SIGKILL" */
  readonly ended: string
  readonly timedOut: boolean
  /** The node answered afterwards. */
  readonly isUp?: boolean
}

const again = `then ${runAgain}`

/**
 * The causes that people meet; the first that matches applies. With hyphens a name is the failure's code. Many nodes may
 * have one at once, and equal failures are reported once: a remedy names the node only where it is a command to type.
 */
const causes: readonly {
  readonly name: string
  readonly by: SshResult['by']
  /** What its group `said` matches is shown beside the name. */
  readonly pattern: RegExp
  readonly remedy: (result: SshResult) => string
}[] = [
  {
    name: 'host key changed',
    by: 'ssh',
    pattern: /host key for \S+ has changed/i,
    remedy: (result) =>
      [
        'if the machine was reinstalled, compare its fingerprint (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub, run there), then:',
        `    ${forgetKey(result)}`,
        'if not, another machine may be impersonating it',
      ].join('\n'),
  },
  {
    name: 'host key unknown',
    by: 'ssh',
    pattern: /host key is known for|Host key verification failed/,
    remedy: ({ host }) =>
      [
        'compare the fingerprint that ssh shows with that of the machine (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub, run there):',
        `    ${host.ssh(['-o', 'StrictHostKeyChecking=ask'])}`,
        'or trust the key of each node on first use (StrictHostKeyChecking accept-new in your ssh configuration)',
      ].join('\n'),
  },
  {
    name: 'authentication refused',
    by: 'ssh',
    pattern:
      /(?<said>Permission denied \([^)]*\)|Too many authentication failures|no mutual signature|incorrect passphrase)/,
    remedy: () =>
      `make ssh -o BatchMode=yes log in there as the user of cluster.yaml: a key with a passphrase belongs in ssh-agent (ssh-add); ${again}`,
  },
  {
    name: 'name unknown',
    by: 'ssh',
    pattern: /Could not resolve hostname/,
    remedy: () => 'add it to DNS or /etc/hosts, or correct host in cluster.yaml',
  },
  {
    name: 'connection refused',
    by: 'ssh',
    pattern: /Connection refused/,
    remedy: () => `check that sshd runs on the node, and its port; ${again}`,
  },
  {
    name: 'timed out',
    by: 'ssh',
    pattern: /timed out|(?<said>No route to host|Network is unreachable|Host is down)|not responding/i,
    remedy: () => `check that the machine is up and reachable; ${again}`,
  },
  {
    name: 'login shell prints',
    by: 'node',
    pattern: /Ensure the remote shell produces no output/,
    remedy: () =>
      `on the node, make ~/.bashrc, or another start-up file of the login shell, print nothing without a terminal (ssh to it with the command true shows what it prints); ${again}`,
  },
  {
    name: 'no sftp',
    by: 'node',
    // On a shared connection ssh reports a closed sftp subsystem as a closed connection.
    pattern: /subsystem request failed|sftp-server: (not found|No such file)|^(\S*scp: )?Connection closed/im,
    remedy: () => 'scp needs a line in /etc/ssh/sshd_config on the node:\n    Subsystem sftp internal-sftp',
  },
  {
    name: 'not written',
    by: 'node',
    // SSH_FX_FAILURE of SFTP stands for a full disk, a read-only one, and whatever else has no code of its own.
    pattern: /^(?<said>scp: .*): Failure$/m,
    remedy: () => `check the disk of the node, which may be full or read-only (df -h, mount); ${again}`,
  },
  {
    name: 'connection lost',
    by: 'ssh',
    // It says nothing when a connection is closed before authentication, nor what a jump host's ssh says
    // (ControlPersist).
    pattern:
      /^\s*$|kex_exchange_identification|Connection (reset|closed|to .* closed)|not responding|Broken pipe|lost connection|client_loop|mux_client|banner exchange/i,
    remedy: ({ host }) => `${runAgain}; if it fails again, find out why:\n    ${host.ssh(['-v'])}`,
  },
]

export function sshFailure(result: SshResult): Failure {
  const { node, host, by, stderr, ended, timedOut, isUp = false } = result
  const cause = causes.find((each) => {
    // A machine that is up has lost its connection.
    if (isUp && each.name === 'timed out') return false
    return timedOut ? each.name === 'timed out' : each.by === by && each.pattern.test(stderr)
  })
  if (!cause) {
    return new Failure(excerpt(lastLine(stderr)) || `ssh ended with ${ended}`, {
      node,
      code: 'other',
      remedy:
        by === 'ssh'
          ? `find out why:\n    ${host.ssh(['-v'])}`
          : `find the cause on the node (df, ls -l, lsattr, dmesg); ${again}`,
    })
  }
  const said = timedOut ? undefined : cause.pattern.exec(stderr)?.groups?.said
  return new Failure(said === undefined ? cause.name : `${cause.name} (${excerpt(said)})`, {
    node,
    code: cause.name.replaceAll(' ', '-'),
    isUp,
    remedy: cause.remedy(result),
  })
}

function hung(node: string, { what: work, limit }: RemoteWork): Failure {
  return new Failure(`hung (${work} did not end within ${limit / 1000} s, though the machine answers)`, {
    node,
    code: 'hung',
    remedy: `find what it waits for on the node (D: a disk or mount):\n    ps -eo pid,stat,wchan,args\n${again}`,
  })
}

/** A command that removes the key: ssh names the host, which may be a jump host, as known_hosts does, and that file. */
function forgetKey({ stderr, folder }: SshResult): string {
  const [, name = ''] = /host key for (\S+) has changed/i.exec(stderr) ?? []
  const [, file] = /^Offending .* key in (.*):\d+\r?$/m.exec(stderr) ?? []
  return ['ssh-keygen', '-R', name, ...(file ? ['-f', resolve(folder, file)] : [])].map(quote).join(' ')
}

/** Without a line by which a tool ends after it has said what failed. */
function lastLine(text: string): string {
  const lines = text.trim().split(/\r?\n/)
  return lines.findLast((line) => !/Exiting with failure status|failed to upload file/.test(line)) ?? lines.at(-1) ?? ''
}
