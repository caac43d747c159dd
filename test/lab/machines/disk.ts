/** What a machine's disk has over the tree that all of them boot from. */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'

export interface DiskParts {
  readonly name: string
  /** With the length of the network's prefix. */
  readonly address: string
  /** On the interface `lo`, as the guide's control nodes have the virtual IP. */
  readonly loopback: readonly string[]
  /** Further addresses of the interface to the others. */
  readonly further: readonly string[]
  readonly hosts: string
  /** Of the user who logs in by ssh. */
  readonly home: string
  /** Paths without `.pub`. */
  readonly hostKey: string
  readonly clientKey: string
}

interface DiskFile {
  readonly path: string
  readonly text: string
  readonly mode?: number
}

export function diskFiles(parts: DiskParts): DiskFile[] {
  return [
    { path: '/etc/hostname', text: `${parts.name}\n` },
    { path: '/etc/machine-id', text: `${randomUUID().replaceAll('-', '')}\n` },
    { path: '/etc/hosts', text: parts.hosts },
    { path: '/etc/ssh/ssh_host_ed25519_key', text: readFileSync(parts.hostKey, 'utf8'), mode: 0o600 },
    { path: `${parts.home}/.ssh/authorized_keys`, text: readFileSync(`${parts.clientKey}.pub`, 'utf8') },
    { path: '/etc/systemd/system/network.service', text: networkUnit(parts) },
  ]
}

/**
 * As the guide's control nodes do: not to answer for an address on lo, nor to name it as their own (IPVS, direct
 * routing).
 */
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
${ip('route add default via 192.168.1.1')}
`
}
