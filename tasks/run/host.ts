/** The environment of a call of the program, what ends it early, what it asks, and its exit status. */
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { constants } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { Failure, isErrno, refusal } from '../../lib/failure.ts'
import type { Row } from '../../lib/graph/target.ts'
import type { Notice } from '../../lib/show/rows.ts'
import { fit, printable, quote } from '../../lib/wording.ts'
import type { ClusterRow, Run } from '../cluster-target.ts'
import type { CommandRun } from './command-run.ts'

interface Output extends Writable {
  isTTY?: boolean
  rows?: number
  columns?: number
}

export interface Host {
  readonly env: NodeJS.ProcessEnv
  cwd(): string
  now(): Date
  readonly waits: Run['waits']
  readonly stdout: Output
  readonly stderr: Output
  /** What is typed: opened by a question only. */
  stdin?(): Readable & { readonly isTTY?: boolean }
  /** Calls it at each signal that ends a process, instead of ending it. */
  onSignal(end: (signal: NodeJS.Signals) => void): void
}

export const processHost: Host = {
  env: process.env,
  cwd: () => process.cwd(),
  now: () => new Date(),
  // client-go polls a pair and a CA every five minutes (cert_rotation.go, ca_rotation.go); the rest is a margin.
  waits: { healthy: 10, polled: 330 },
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: () => process.stdin,
  onSignal: (end) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)
  },
}

/** Undefined where it is no terminal, and nothing is to be wrapped. */
export const columnsOf = ({ isTTY, columns }: Output): number | undefined => (isTTY ? columns : undefined)

export function ownVersion(): string {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version
}

/** A signal, or a stdout that nobody reads (as SIGPIPE). `endedStatus` is 128 + the number of the first. */
export function watchEndings(host: Host) {
  const { stdout, stderr } = host
  const controller = new AbortController()
  let first: NodeJS.Signals | undefined
  const end = (signal: NodeJS.Signals) => {
    first ??= signal
    controller.abort(new Failure(`ended by ${signal}`))
  }
  host.onSignal(end)
  stdout.on('error', (error: Error) => {
    // Whoever closed the pipe knows of it: pipe(7).
    if (!first && !isErrno(error, 'EPIPE')) stderr.write(`can't write to stdout: ${error.message}\n`)
    end('SIGPIPE')
  })
  stderr.on('error', () => end('SIGPIPE'))
  return { signal: controller.signal, endedStatus: () => first && 128 + constants.signals[first] }
}

/** A clone has npm scripts; a package has a bin, in JavaScript: Node strips no types under node_modules. */
const ownForm = import.meta.filename.endsWith('.ts') ? 'clone' : 'package'

/** This program by absolute paths, for what starts it without npm: the Node that runs it, and its entry. */
export const program: readonly [node: string, entry: string] = [
  process.execPath,
  join(import.meta.dirname, ownForm === 'clone' ? '../main.js' : 'main.js'),
]

const folder = dirname(String(findPackageJSON(import.meta.url)))

export const packageFile = (name: string) => join(folder, name)

/** What the commands that are printed begin with, if not npm. The clone's executable sets HARDERWAY. */
const start = ownForm === 'package' ? 'npx harderway' : process.env.HARDERWAY && quote(process.env.HARDERWAY)

/** If npm was called from another folder than the clone: npm --prefix. */
function prefix(): string[] {
  const { INIT_CWD } = process.env
  return INIT_CWD !== undefined && relative(folder, INIT_CWD).startsWith('..') ? ['--prefix', quote(folder)] : []
}

/** Whether what is printed, typed in this folder, finds the cluster.yaml there: `npm run` finds that of the clone. */
export const findsClusterIn = (cwd: string): boolean => Boolean(start) || cwd === folder

/** To type in the folder of this call, for the cluster.yaml in use: `npm run task -- ca --force`. */
export function formatCommand(task: string, config?: string): string {
  const line = task + (config === undefined ? '' : ` --config ${quote(config)}`)
  if (start) return `${start} ${line}`
  const npm = `${['npm', ...prefix()].join(' ')} run`
  const [, words] = /^bootstrap ?(.*)$/.exec(line) ?? []
  return words === undefined ? `${npm} task -- ${line}` : `${npm} bootstrap${words && ` -- ${words}`}`
}

/** Makes a path on the command line absolute. npm runs scripts in the package's folder; INIT_CWD is the user's. */
export function pathOf({ env, cwd }: Host, typed: string): string {
  return resolve(env.INIT_CWD ?? cwd(), typed)
}

/** What a command found. Without one, the status is 0. */
export type ExitCause = Failure['kind'] | 'stale' | 'unfinished'

export const statuses = { usage: 2, refused: 3, failed: 1, stale: 4, unfinished: 4 } satisfies Record<ExitCause, number>
/** Of several causes the first decides. */
const precedence: readonly ExitCause[] = ['usage', 'refused', 'failed', 'stale', 'unfinished']

/** `ended` is 128 + the signal that ended the run: only bad usage takes precedence over it. */
export function exitStatus(causes: readonly ExitCause[], ended?: number): number {
  if (causes.includes('usage')) return statuses.usage
  const first = precedence.find((cause) => causes.includes(cause))
  return ended ?? (first === undefined ? 0 : statuses[first])
}

const causes: Readonly<Record<Row['state'], readonly ExitCause[]>> = {
  failed: ['failed'],
  skipped: ['failed'],
  stale: ['stale'],
  fresh: [],
  built: [],
}

/** The one rule of every view: each row counts that is not up to date, or leaves something to the user. */
export function causesOf(rows: Iterable<ClusterRow>): ExitCause[] {
  return [...rows].flatMap(({ state, failure, todo = [] }): ExitCause[] => [
    ...(failure?.kind === 'refused' ? ['refused' as const] : causes[state]),
    ...(todo.length > 0 ? ['unfinished' as const] : []),
  ])
}

export function causesIn(notices: readonly Notice[] = []): ExitCause[] {
  return notices.some(({ kind }) => kind === 'todo') ? ['unfinished'] : []
}

/** Throws a refusal unless the cluster's name is typed, or --yes given. `loss` is what it does, `again` the task. */
export async function confirm(run: CommandRun, loss: string, again: string): Promise<void> {
  const { cluster, command, file, host, options, signal } = run
  if (options.yes) return
  const [stdin, stderr] = [host.stdin?.(), host.stderr]
  const at = `${cluster.name} (${file})`
  const yes = `confirm on a terminal, or add --yes:\n    ${command(`${again} --yes`)}`
  const retype = `run the same command again, and type ${cluster.name}`
  if (!stdin?.isTTY || !stderr.isTTY) throw refusal(`nothing was done to ${at}: ${loss}`, [yes])
  stderr.write(`${fit(printable(`${at}: ${loss}`), columnsOf(stderr))}\nTo continue, type the cluster name: `)
  const lines = createInterface({ input: stdin, signal })
  let typed = ''
  for await (const line of lines) {
    typed = line.trim()
    break
  }
  // A terminal that is still read keeps the process.
  lines.close()
  signal.throwIfAborted()
  if (typed !== cluster.name) throw refusal(`nothing was done: the typed name is not ${cluster.name}`, [retype])
}
