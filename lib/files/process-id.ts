/** The identity of a process, which processes in other containers and on other machines can evaluate. */
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import { isErrno } from '../failure.ts'

export interface ProcessId {
  readonly pid: number
  /** When it began, in the kernel's ticks since boot: proc_pid_stat(5), field 22. */
  readonly start: string
  /** The boot of the kernel, and the PID namespace, that the pid belongs to; '' where the system does not report it. */
  readonly space: string
  /** machine-id(5); '' where there is none. */
  readonly machine: string
  readonly host: string
}

/** This process. */
export const thisProcess: ProcessId = {
  pid: process.pid,
  start: startOf(process.pid) ?? '',
  space: readSpace(),
  machine: readMachine(),
  host: hostname(),
}

/** The boot of this machine's kernel, or the machine's name where the system reports none. */
export const thisBoot = /^[0-9a-f-]{36} /.exec(thisProcess.space)?.[0].trim() ?? thisProcess.host

/**
 * `unknown`: it is in another PID namespace or on another machine, where the pid means another process. `seems dead`: unless
 * another machine has this one's name, and its machine-id.
 */
export function livenessOf(other: ProcessId, me = thisProcess): 'alive' | 'dead' | 'seems dead' | 'unknown' {
  if (me.space === '' || other.space === '') return 'unknown'
  if (other.space !== me.space) return isOfAnotherBoot(other, me) ? 'seems dead' : 'unknown'
  if (!isRunning(other.pid)) return me.space.startsWith('darwin ') ? 'seems dead' : 'dead'
  const start = startOf(other.pid)
  if (start === undefined) return 'unknown'
  return start === other.start ? 'alive' : 'dead'
}

/** Parsed from JSON; undefined if it is invalid. */
export function parseProcessId(text: string): ProcessId | undefined {
  try {
    const { pid, start, space, machine, host } = JSON.parse(text)
    // 0 and below would be a group of processes: kill(2).
    if (!Number.isSafeInteger(pid) || pid < 1) return undefined
    return { pid, start: String(start), space: String(space ?? ''), machine: String(machine ?? ''), host: String(host) }
  } catch {
    return undefined
  }
}

/** True for a previous boot of this machine. Copies of an image may share a machine-id, so the host name must match too. */
function isOfAnotherBoot(other: ProcessId, me: ProcessId): boolean {
  const isSameMachine = other.machine !== '' && other.machine === me.machine && other.host === me.host
  return isSameMachine && other.space.split(' ')[0] !== me.space.split(' ')[0]
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return !isErrno(error, 'ESRCH')
  }
}

/** A namespace's number is used again only when its last process is gone: pid_namespaces(7). */
function readSpace(): string {
  // macOS has no namespaces: a pid that is not there is that of a process that has ended.
  if (process.platform === 'darwin') return `darwin ${hostname()}`
  try {
    // /proc may belong to another PID namespace.
    if (readlinkSync('/proc/self') !== String(process.pid)) return ''
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return ''
  }
}

function readMachine(): string {
  try {
    // The file may be empty, or say "uninitialized".
    return /^[0-9a-f]{32}$/m.exec(readFileSync('/etc/machine-id', 'utf8'))?.[0] ?? ''
  } catch {
    return ''
  }
}

/** The start of the process: a reused pid has another one. '' for a zombie, which is dead; undefined if hidden (hidepid). */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' || state === 'X' ? '' : fields[18]
  } catch {
    return undefined
  }
}
