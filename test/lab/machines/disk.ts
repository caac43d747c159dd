/** What a machine's disk has over that of the system that runs the tests. */
import { randomUUID } from 'node:crypto'
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The user of the guide's machines; an id that a system which runs tests gives to nobody. */
const ubuntu = { name: 'ubuntu', id: 31_999, home: '/home/ubuntu' }

export interface DiskParts {
  readonly name: string
  /** With the length of the network's prefix. */
  readonly address: string
  /** On the interface `lo`, as the guide's control nodes have the virtual IP. */
  readonly loopback: readonly string[]
  /** Further addresses of the interface to the others. */
  readonly further: readonly string[]
  readonly hosts: string
  /** Paths without `.pub`. */
  readonly hostKey: string
  readonly clientKey: string
}

/** `root` is the machine's / as a path of this process, on a disk that holds the whole system already. */
export function fillDisk(root: string, parts: DiskParts): void {
  const at = (path: string) => join(root, path)
  const write = (path: string, text: string, mode = 0o644) => {
    mkdirSync(dirname(at(path)), { recursive: true })
    rmSync(at(path), { force: true })
    writeFileSync(at(path), text, { mode })
  }
  write('/etc/hostname', `${parts.name}\n`)
  write('/etc/machine-id', `${randomUUID().replaceAll('-', '')}\n`)
  write('/etc/hosts', parts.hosts)
  addUser(at, write, readFileSync(`${parts.clientKey}.pub`, 'utf8'))
  addUnits(at, write, parts)
  write('/etc/ssh/sshd_config', sshdConfig)
  write('/etc/ssh/ssh_host_ed25519_key', readFileSync(parts.hostKey, 'utf8'), 0o600)
  write('/etc/systemd/journald.conf', '[Journal]\nStorage=volatile\nRateLimitBurst=0\n')
  // Else systemd does at its start what a new release of the system needs (ConditionNeedsUpdate=).
  for (const folder of ['/etc', '/var']) write(`${folder}/.updated`, '')
}

type Place = (path: string) => string
type Write = (path: string, text: string, mode?: number) => void

function addUser(at: Place, write: Write, key: string): void {
  const { name, id, home } = ubuntu
  const others = (file: string) =>
    readFileSync(at(file), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith(`${name}:`))
  const lines = {
    '/etc/passwd': `${name}:x:${id}:${id}::${home}:/bin/bash`,
    '/etc/group': `${name}:x:${id}:`,
    // No password, and not locked, which sshd would refuse.
    '/etc/shadow': `${name}:*:19000:0:99999:7:::`,
  }
  for (const [file, line] of Object.entries(lines))
    write(file, [...others(file), line, ''].join('\n'), file === '/etc/shadow' ? 0o600 : 0o644)
  write(`/etc/sudoers.d/${name}`, `${name} ALL=(ALL) NOPASSWD:ALL\n`, 0o440)
  rmSync(at(home), { recursive: true, force: true })
  write(`${home}/.ssh/authorized_keys`, key, 0o600)
  chmodSync(at(home), 0o750)
  for (const path of [home, `${home}/.ssh`, `${home}/.ssh/authorized_keys`]) chownSync(at(path), id, id)
}

function addUnits(at: Place, write: Write, parts: DiskParts): void {
  const units = '/etc/systemd/system'
  // What the system that runs the tests has enabled is no business of a machine's.
  rmSync(at(units), { recursive: true, force: true })
  mkdirSync(at(`${units}/multi-user.target.wants`), { recursive: true })
  for (const unit of masked) symlinkSync('/dev/null', at(`${units}/${unit}`))
  for (const [unit, text] of [
    ['network.service', networkUnit(parts)],
    ['ssh.service', sshUnit],
  ] as const) {
    write(`${units}/${unit}`, text)
    symlinkSync(`${units}/${unit}`, at(`${units}/multi-user.target.wants/${unit}`))
  }
}

/** Not for these tests, and slow to start: sessions and consoles, D-Bus (systemctl has a socket of its own), Debian's etcd. */
const masked = [
  'console-getty.service',
  'dbus.service',
  'dbus.socket',
  'etcd.service',
  'systemd-hostnamed.socket',
  'systemd-importd.socket',
  'systemd-logind.service',
  'systemd-networkd.service',
  'systemd-networkd.socket',
  'systemd-user-sessions.service',
]

const sshdConfig = `HostKey /etc/ssh/ssh_host_ed25519_key
AuthenticationMethods publickey
UsePAM no
# Tests fail to log in on purpose.
PerSourcePenalties no
Subsystem sftp internal-sftp
`

const sshUnit = `[Unit]
Description=sshd
After=network.service

[Service]
Type=notify
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D
KillMode=process
`

/** As the guide's control nodes do: not to answer for an address on lo, nor to name it as their own (IPVS, direct routing). */
function networkUnit({ address, further, loopback }: DiskParts): string {
  const ip = (args: string) => `ExecStart=/usr/sbin/ip ${args}`
  return `[Unit]
Description=addresses
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore; echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce'
${ip('link set lo up')}
${[address, ...further].map((each) => ip(`address add ${each} dev host0`)).join('\n')}
${loopback.map((each) => ip(`address add ${each} dev lo`)).join('\n')}
${ip('link set host0 up')}
`
}
