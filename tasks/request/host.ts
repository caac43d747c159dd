/** What a call of the program finds around it. The entry hands in the process; tests hand in their own. */
import type { Writable } from 'node:stream'

/** Where it can be written to, and the terminal that it may be. */
export interface Output extends Writable {
  isTTY?: boolean
  rows?: number
  columns?: number
}

export interface Host {
  readonly env: NodeJS.ProcessEnv
  /** The current folder. */
  cwd(): string
  now(): Date
  readonly stdout: Output
  readonly stderr: Output
  /** Calls it at each signal that ends a process, instead of ending it. */
  onSignal(end: (signal: NodeJS.Signals) => void): void
}

export const processHost: Host = {
  env: process.env,
  cwd: () => process.cwd(),
  now: () => new Date(),
  stdout: process.stdout,
  stderr: process.stderr,
  onSignal: (end) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)
  },
}
