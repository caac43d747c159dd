/**
 * Loaded before the program (`--import`), so that a test can kill or hold it at one certain event: what it does to
 * files and processes is named and counted, as `rename ca.pem#1`. AT_EVENT is the event, or `#7` for the seventh of
 * all, and AT_DO what then happens: `kill` is SIGKILL, `hold` stands still until the file GO is there. EVENTS_TO is a
 * file that gets every event, at the end.
 */
import childProcess from 'node:child_process'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename } from 'node:path'

type Call = (...args: unknown[]) => unknown

const { AT_EVENT, AT_DO, GO = '', EVENTS_TO } = process.env
const { existsSync, writeFileSync } = fs
const counts = new Map<string, number>()
const happened: string[] = []
const namesOfFds = new Map<unknown, string>()
const parent = process.ppid

function tell(): void {
  if (EVENTS_TO !== undefined) writeFileSync(EVENTS_TO, happened.join('\n'))
}

/** What is next, unless this is the event that is waited for. */
function event(label: string, first?: () => unknown): void {
  const count = (counts.get(label) ?? 0) + 1
  counts.set(label, count)
  happened.push(`${label}#${count}`)
  if (AT_EVENT !== `${label}#${count}` && AT_EVENT !== `#${happened.length}`) return
  first?.()
  if (AT_DO === 'kill') {
    tell()
    process.kill(process.pid, 'SIGKILL')
  }
  const clock = new Int32Array(new SharedArrayBuffer(4))
  // A test that was ended opens nothing any more.
  while (AT_DO === 'kill' || (!existsSync(GO) && process.ppid === parent)) Atomics.wait(clock, 0, 0, 5)
}

/** The same in every run: without pids, random letters and times. */
function nameOf(path: unknown): string {
  return (namesOfFds.get(path) ?? basename(String(path)))
    .replace(/[0-9a-f]{8}-[0-9a-f-]{27}/, '…')
    .replace(/\d{3,}-/, '…-')
    .replace(/^(harderway-…-).*/, '$1')
}

function patch(holder: unknown, name: string, wrap: (real: Call) => Call): void {
  const methods = holder as Record<string, Call>
  const real = methods[name]
  if (real) methods[name] = wrap(real)
}

for (const [name, position] of Object.entries({
  renameSync: 1,
  linkSync: 1,
  mkdirSync: 0,
  mkdtempSync: 0,
  rmSync: 0,
  chmodSync: 0,
  fchmodSync: 0,
  fsyncSync: 0,
}))
  patch(fs, name, (real) => (...args) => {
    event(`${name.replace('Sync', '')} ${nameOf(args[position])}`)
    return real(...args)
  })

patch(fs, 'openSync', (real) => (...args) => {
  const writes = typeof args[1] === 'string' && args[1] !== 'r'
  if (writes) event(`open ${nameOf(args[0])}`)
  const fd = real(...args)
  // A number is used again: also by what only reads, a folder for its fsync.
  namesOfFds.set(fd, nameOf(args[0]))
  return fd
})

patch(fs, 'writeFileSync', (real) => (...args) => {
  const [path, data, ...options] = args
  const bytes = Buffer.from(data as string)
  const label = nameOf(path)
  event(`write ${label}`)
  event(`half ${label}`, () => real(path, bytes.subarray(0, bytes.length / 2), ...options))
  return real(...args)
})

patch(childProcess, 'spawn', (real) => (...args) => {
  const [, command = '', host = ''] = /\b(ssh|scp)\b.* -- (?:\S*\/\S* )?([^\s:]+)/.exec(args.flat().join(' ')) ?? []
  const label = `${command} ${host}`
  event(`spawn ${label}`)
  const child = real(...args) as childProcess.ChildProcess
  event(`spawned ${label}`)
  child.stdin?.once('finish', () => event(`told ${label}`))
  child.once('exit', () => event(`ended ${label}`))
  return child
})

syncBuiltinESMExports()
process.on('exit', tell)
