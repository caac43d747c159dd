/** A machine: a real systemd with a disk, an address and an sshd of its own, in a namespace with others. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type DiskParts, diskFiles } from './disk.ts'
import type { Namespace } from './namespace.ts'
import { compileCache } from './shared.ts'

const run = promisify(execFile)

/** Milliseconds: for a boot on a busy computer. */
const bootLimit = 120_000

/** SIGRTMIN+4: what systemd takes for `systemctl poweroff` (systemd(1), Signals). */
const powerOff = 38

export type Role = 'control' | 'worker' | 'gateway'

export interface MachineParts extends DiskParts {
  readonly role: Role
  /** Without the prefix's length. */
  readonly ip: string
  /** What of this system is to be at a path on the machine, read-only: path there → path here. */
  readonly shared: Readonly<Record<string, string>>
}

export class Machine {
  readonly name: string
  readonly role: Role
  readonly ip: string
  /** Its / as a path of this process, also while it is stopped. */
  readonly root: string
  readonly #parts: MachineParts
  readonly #namespace: Namespace
  #child: ChildProcess | undefined
  #console = ''

  constructor(namespace: Namespace, parts: MachineParts) {
    this.name = parts.name
    this.role = parts.role
    this.ip = parts.ip
    this.root = join(namespace.root, parts.name, 'root')
    this.#parts = parts
    this.#namespace = namespace
  }

  /** What makes the tree, which is only read, a machine of its own. Once, before the first start. */
  async makeDisk(tree: string): Promise<void> {
    const folder = join(this.#namespace.root, this.name)
    for (const part of ['upper', 'work', 'root']) mkdirSync(join(folder, part), { recursive: true })
    const layers = `lowerdir=${tree},upperdir=/run/lab/${this.name}/upper,workdir=/run/lab/${this.name}/work`
    await this.#inside('mount', '-t', 'overlay', '-o', layers, this.name, `/run/lab/${this.name}/root`)
    for (const { path, text, mode } of diskFiles(this.#parts)) this.write(path, text, mode)
  }

  /** Resolves when everything that starts at boot has started; throws with its console where that does not come. */
  async start(): Promise<void> {
    if (this.#child) return
    const { inside, path } = this.#namespace.cgroup(this.name)
    mkdirSync(path, { recursive: true })
    const shared = Object.entries(this.#parts.shared).map(([there, here]) => `--bind-ro=${here}:${there}`)
    const nspawn = [
      ...['systemd-nspawn', '--quiet', '--register=no', '--keep-unit', '--boot', '--link-journal=no'],
      ...['--timezone=off', '--resolv-conf=off', `--machine=${this.name}`],
      ...[`--directory=/run/lab/${this.name}/root`, '--network-bridge=lab', ...shared],
      `--bind=/run/lab/compile-cache:${compileCache}`,
    ]
    const [command = '', ...args] = [
      ...this.#namespace.inside,
      ...['sh', '-c', `echo 0 >${inside}/cgroup.procs && exec "$@"`, 'sh', ...nspawn],
    ]
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    this.#console = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#console += text
      })
    child.once('exit', () => {
      if (this.#child === child) this.#child = undefined
    })
    await this.#booted()
  }

  /** An orderly halt: units are stopped as they ask to be. The disk stays. */
  async stop(): Promise<void> {
    await this.#end(powerOff)
  }

  /** As if its plug were pulled: nothing is stopped, nothing written. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Runs a command line as root with the machine's sh, and gives what it prints; rejects with stdout and stderr. */
  async exec(command: string): Promise<string> {
    const [nsenter = '', ...args] = ['nsenter', '--target', String(this.pid), '--all', '--wdns=/root', '--']
    const { stdout } = await run(nsenter, [...args, 'sh', '-c', command], {
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LANG: 'C.UTF-8' },
      maxBuffer: 2 ** 26,
    })
    return stdout
  }

  /** A file of root's on its disk, in place of what is there. */
  write(path: string, text: string, mode = 0o644): void {
    const place = join(this.root, path)
    mkdirSync(dirname(place), { recursive: true })
    rmSync(place, { force: true })
    writeFileSync(place, text)
    chmodSync(place, mode)
  }

  /** What a unit has printed since the machine's start. */
  journal(unit: string): Promise<string> {
    return this.exec(`journalctl --no-pager --output=cat --unit=${unit}`)
  }

  async #booted(): Promise<void> {
    const deadline = Date.now() + bootLimit
    for (;;) {
      // Also "degraded" is an end of the boot, with exit status 1: which unit failed is the test's to ask.
      const state = await this.exec('timeout 60 systemctl is-system-running --wait || true').catch(() => '')
      if (/^(running|degraded)$/m.test(state)) return
      if (this.#child === undefined || Date.now() > deadline)
        throw new Error(`${this.name} did not boot (${state.trim()}):\n${this.#console}`)
      await wait(20)
    }
  }

  /** The process id, here, of the machine's first process. Throws while the machine is down. */
  get pid(): number {
    const { path } = this.#namespace.cgroup(this.name)
    const [pid] = readFileSync(join(path, 'payload/init.scope/cgroup.procs'), 'utf8').split('\n')
    // Number('') is 0, which for kill(2) is every process of one's own group.
    if (!pid) throw new Error(`${this.name} is down`)
    return Number(pid)
  }

  async #end(signal: NodeJS.Signals | number): Promise<void> {
    if (this.#child === undefined) return
    const exited = once(this.#child, 'exit')
    process.kill(this.pid, signal)
    await exited
  }

  async #inside(...command: readonly string[]): Promise<void> {
    const [first = '', ...args] = [...this.#namespace.inside, ...command]
    await run(first, args)
  }
}
