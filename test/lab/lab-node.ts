import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { endTrees } from './processes.ts'
import { makeKey, readPublicKey } from './ssh-key.ts'
import { formatSshdConfig, type NodeFaults, type Sshd } from './sshd.ts'

interface NodePlace {
  readonly name: string
  /** Of the files of its sshd. */
  readonly folder: string
  readonly home: string
  readonly clientKey: string
  readonly sshd: Sshd
}

// A listener must not outlive a test that crashes; one that ends well has stopped its lab and left this empty.
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** A real sshd on a port of 127.0.0.1, for the current user, with a home directory of its own. */
export class LabNode {
  readonly name: string
  readonly home: string
  readonly #place: NodePlace
  #faults: NodeFaults
  #port = 0
  #child: ChildProcess | undefined

  /** `folder` holds a host_key already. */
  constructor(place: NodePlace, faults: NodeFaults) {
    this.name = place.name
    this.home = place.home
    this.#place = place
    this.#faults = faults
  }

  /** 0 before the first start, then the same for good. */
  get port(): number {
    return this.#port
  }

  /** Of the process that listens; undefined while the node is down. */
  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** sshd's log since the lab began, at LogLevel VERBOSE. */
  log(): Promise<string> {
    return readFile(this.#path('log'), 'utf8').catch(() => '')
  }

  /** Sessions are commands, shells and subsystems: several in one connection when ssh is multiplexed. */
  async counts(): Promise<{ readonly connections: number; readonly sessions: number }> {
    const log = await this.log()
    const count = (pattern: RegExp) => log.match(pattern)?.length ?? 0
    return { connections: count(/^Connection from /gm), sessions: count(/^Starting session: /gm) }
  }

  /** The public host key, as a known_hosts line has it after the host. */
  hostKey(): Promise<string> {
    return readPublicKey(this.#path('host_key'))
  }

  /** Resolves when sshd listens; throws with its log when it does not come up. */
  async start(): Promise<void> {
    if (this.#child !== undefined) return
    const first = this.#port === 0
    for (let attempt = 1; ; attempt += 1) {
      if (first) this.#port = await findFreePort()
      const said = await this.#spawn()
      if (said === undefined) return
      // Somebody took the port after it was found free. Once clients know it, it can't be changed.
      if (first && attempt < 5 && said.includes('Address already in use')) continue
      throw new Error(`sshd of ${this.name} did not start:\n${said}`)
    }
  }

  /**
   * Ends sshd and the sessions it holds: clients see their connections close. A relay that hangs is a machine gone
   * dark.
   */
  async stop(): Promise<void> {
    const child = this.#child
    if (child?.pid === undefined) return
    child.ref()
    const exited = once(child, 'exit')
    await endTrees([child.pid])
    await exited
  }

  async restart(change: NodeFaults = {}): Promise<void> {
    await this.stop()
    this.#faults = { ...this.#faults, ...change }
    await this.start()
  }

  /** As a machine that was set up anew: the clients' known_hosts still has the old key. */
  async rotateHostKey(): Promise<void> {
    await this.stop()
    await makeKey(this.#path('host_key'))
    await this.start()
  }

  /** What sshd said instead of listening, or undefined. */
  async #spawn(): Promise<string | undefined> {
    const { home, clientKey, sshd } = this.#place
    const paths = { home, clientKey, hostKey: this.#path('host_key') }
    const faults = { ...this.#faults, config: [...(this.#faults.config ?? []), ...sshd.config] }
    await writeFile(this.#path('sshd_config'), formatSshdConfig(this.#port, paths, faults))
    const before = (await this.log()).length
    this.#child = spawn(sshd.path, ['-D', '-f', this.#path('sshd_config'), '-E', this.#path('log')], {
      stdio: 'ignore',
    })
    // A test that fails before it has stopped its lab ends all the same, and its nodes with it.
    this.#child.unref()
    running.add(this.#child)
    this.#child.once('exit', () => {
      if (this.#child !== undefined) running.delete(this.#child)
      this.#child = undefined
    })
    return await this.#settle(before)
  }

  async #settle(before: number): Promise<string | undefined> {
    // The log is watched, and no connection tried, so that counts() holds the test's own connections only.
    const deadline = Date.now() + 10_000
    for (;;) {
      const ended = this.#child === undefined
      const said = (await this.log()).slice(before)
      if (said.includes(`Server listening on 127.0.0.1 port ${this.#port}.`)) return undefined
      if (ended || Date.now() > deadline) {
        await this.stop()
        return said
      }
      await wait(3)
    }
  }

  #path(file: string): string {
    return join(this.#place.folder, file)
  }
}

/**
 * Below those that the kernel gives whoever asks for any (ip_local_port_range): a node that was stopped comes back on
 * its own.
 */
async function findFreePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_000)
    const server = createServer().listen(port, '127.0.0.1')
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    )
    if (!isFree) continue
    server.close()
    await once(server, 'close')
    return port
  }
}
