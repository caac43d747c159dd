/**
 * Ports of a node that its connection forwards, each to a socket that only this user may use (ssh -O forward): a repeated
 * query starts no process.
 */
import { connect, type Socket } from 'node:net'
import { addAbortSignal } from 'node:stream'
import { setImmediate } from 'node:timers/promises'

export class Forwards {
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
    const path = this.#sockets.get(to) ?? this.#forward(to)
    this.#sockets.set(to, path)
    const forget = () => this.#sockets.delete(to)
    try {
      // If the connection was reopened since, the socket is dead.
      return addAbortSignal(signal, connect(await path)).on('error', forget)
    } catch (error) {
      forget()
      throw error
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
