/** A machine: a real systemd with a disk, an address and an sshd of its own, in a namespace with others. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Guide } from './guide.ts'
import type { Namespace } from './namespace.ts'
import { compileCache, shared } from './shared.ts'

const run = promisify(execFile)

/** Milliseconds: for a boot on a busy computer. */
const bootLimit = 120_000

/** SIGRTMIN+4: what systemd takes for `systemctl poweroff` (systemd(1), Signals). */
const powerOff = 38

export type Role = 'control' | 'worker' | 'gateway'

export const hostsOf = ({ hosts }: Guide): string => ['127.0.0.1 localhost', ...hosts, ''].join('\n')

export class Machine {
  readonly name: string
  readonly role: Role
  readonly ip: string
  /** Its / as a path of this process, also while it is stopped. */
  readonly root: string
  readonly #namespace: Namespace
  #child: ChildProcess | undefined
  #console = ''

  constructor(namespace: Namespace, { name, role, ip }: Guide['machines'][number]) {
    this.name = name
    this.role = role
    this.ip = ip
    this.root = join(namespace.root, name, 'root')
    this.#namespace = namespace
  }

  /**
   * What makes the tree, which is only read, a machine of its own. Once, before the first start. `keys`: the folder with
   * its host key, and the one that may log in.
   */
  async makeDisk(tree: string, guide: Guide, keys: string): Promise<void> {
    const folder = join(this.#namespace.root, this.name)
    for (const part of ['upper', 'work', 'root']) mkdirSync(join(folder, part), { recursive: true })
    const layers = `lowerdir=${tree},upperdir=/run/lab/${this.name}/upper,workdir=/run/lab/${this.name}/work`
    await this.#inside('mount', '-t', 'overlay', '-o', layers, this.name, `/run/lab/${this.name}/root`)
    const key = (name: string) => readFileSync(join(keys, name), 'utf8')
    this.write('/etc/hostname', `${this.name}\n`)
    this.write('/etc/machine-id', `${randomUUID().replaceAll('-', '')}\n`)
    this.write('/etc/hosts', hostsOf(guide))
    this.write('/etc/ssh/ssh_host_ed25519_key', key(`${this.name}_host_key`), 0o600)
    this.write(`${guide.home}/.ssh/authorized_keys`, key('client_key.pub'))
    this.write('/etc/systemd/system/network.service', this.#networkUnit(guide))
  }

  /**
   * As the guide's control nodes do: not to answer for an address on lo, nor to name it as their own (IPVS, direct
   * routing).
   */
  #networkUnit({ virtualIP }: Guide): string {
    const ip = (args: string) => `ExecStart=/usr/sbin/ip ${args}\n`
    const addVirtual = (role: Role, link: string) =>
      virtualIP !== undefined && this.role === role ? ip(`address add ${virtualIP}/32 dev ${link}`) : ''
    return `[Unit]
Description=addresses
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore; echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce'
${ip('link set lo up')}${ip(`address add ${this.ip}/24 dev host0`)}${addVirtual('gateway', 'host0')}${addVirtual('control', 'lo')}${ip('link set host0 up')}${ip('route add default via 192.168.1.1')}`
  }

  /** Resolves when everything that starts at boot has started; throws with its console where that does not come. */
  async start(): Promise<void> {
    if (this.#child) return
    const { inside, path } = this.#namespace.cgroup(this.name)
    mkdirSync(path, { recursive: true })
    const mounts = Object.entries(shared()).map(([there, here]) => `--bind-ro=${here}:${there}`)
    const nspawn = [
      ...['systemd-nspawn', '--quiet', '--register=no', '--keep-unit', '--boot', '--link-journal=no'],
      ...['--timezone=off', '--resolv-conf=off', `--machine=${this.name}`],
      ...[`--directory=/run/lab/${this.name}/root`, '--network-bridge=lab', ...mounts],
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
