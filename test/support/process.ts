/**
 * The command line as a process of its own, which a signal may reach, or another program run it: strace, faketime, a
 * shell. In a place of its own: with its own home and its own folder for temporary files.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { entry, type Ran, ranOf } from './harderway.ts'

const preload = join(import.meta.dirname, 'at-event.ts')

export interface AtEvent {
  /** As at-event.ts names it; without one the events are only counted. */
  readonly event?: string
  readonly do?: 'kill' | 'hold'
  /** Ends the hold once it is there. */
  readonly go?: string
  readonly eventsTo?: string
}

export interface Ended extends Ran {
  readonly signal: NodeJS.Signals | null
}

export interface Started {
  readonly child: ChildProcess & { readonly stdout: Readable; readonly stderr: Readable; readonly stdin: Writable }
  readonly pid: number
  /** Resolves when stdout or stderr holds the text; rejects when the run ends before. */
  told(text: string): Promise<void>
  readonly ended: Promise<Ended>
}

export interface Start {
  readonly at?: AtEvent
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Of another copy of the project. */
  readonly entry?: string
  /** In front of it: another command, with its arguments. */
  readonly by?: readonly string[]
  /** Another program that starts it: gets it as a command for the shell. */
  readonly through?: (command: string) => readonly [program: string, ...args: string[]]
}

export const temporaryFolder = (place: string): string => join(place, 'tmp')

export function start(place: string, args: readonly string[], options: Start = {}): Started {
  const { at, by = [], through, entry: started = entry } = options
  mkdirSync(temporaryFolder(place), { recursive: true })
  const { event, do: what, go, eventsTo } = at ?? {}
  const asked = Object.entries({ AT_EVENT: event, AT_DO: what, GO: go, EVENTS_TO: eventsTo })
  const env = {
    PATH: process.env.PATH,
    HOME: join(place, 'home'),
    TMPDIR: temporaryFolder(place),
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
    ...Object.fromEntries(asked.filter(([, value]) => value !== undefined)),
    ...options.env,
  }
  const line = [...by, process.execPath, ...(at ? ['--import', preload] : []), started, ...args]
  const [program = '', ...rest] = through?.(line.join(' ')) ?? line
  const child = spawn(program, rest, { cwd: place, env, stdio: 'pipe' })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  child.stdin.on('error', () => {})
  const ended = once(child, 'close').then(
    ([status, signal]): Ended => ({ ...ranOf(args, status, stdout, stderr), signal }),
  )
  const told = (text: string) =>
    new Promise<void>((resolve, reject) => {
      const look = () => (stdout.includes(text) || stderr.includes(text)) && resolve()
      look()
      for (const stream of [child.stdout, child.stderr]) stream.on('data', look)
      child.on('close', () => reject(new Error(`ended without "${text}": ${stdout}${stderr}`)))
    })
  return { child, pid: child.pid ?? 0, told, ended }
}

/**
 * The processes that ssh and scp are for the runs of a place, by the socket that they share a connection over (Linux).
 */
export function sshProcesses(place: string, { pid, masters = true }: { pid?: number; masters?: boolean } = {}) {
  const folder = join(temporaryFolder(place), `harderway-${pid === undefined ? '' : `${pid}-`}`)
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'latin1')
        // A master calls itself "ssh: <socket> [mux]".
        return command.includes(folder) && (masters || !command.startsWith('ssh: '))
      } catch {
        return false
      }
    })
    .map(Number)
}
