/** IP addresses and CIDR blocks as bytes: 4 of them for IPv4, 16 for IPv6. */
import { isIPv4, isIPv6 } from 'node:net'

/** Prefix of IPv4-mapped IPv6 addresses (RFC 4291, 2.5.5.2), which Go refuses in a certificate. */
const mappedPrefix = '00000000000000000000ffff'

/** The bytes of an address, in network order; undefined for anything else. ::ffff:10.0.0.1 is 10.0.0.1. */
export function addressBytes(text: string): Buffer | undefined {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number))
  // The expression behind isIPv6 takes milliseconds to compile: few have such addresses.
  if (!text.includes(':') || text.includes('%') || !isIPv6(text)) return undefined
  const [left = [], right = []] = shortestIPv6(text).split('::').map(groups)
  const zeros = new Array<number>(8 - left.length - right.length).fill(0)
  const bytes = Buffer.alloc(16)
  for (const [i, group] of [...left, ...zeros, ...right].entries()) bytes.writeUInt16BE(group, i * 2)
  return bytes.toString('hex', 0, 12) === mappedPrefix ? bytes.subarray(12) : bytes
}

/** The address in one spelling (RFC 5952), so that two spellings of one address compare equal; else the text itself. */
export function canonicalAddress(text: string): string {
  const bytes = text.includes(':') ? addressBytes(text) : undefined
  return bytes ? formatAddress(bytes) : text
}

export function formatAddress(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.')
  return shortestIPv6(Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16)).join(':'))
}

/** RFC 6890 and RFC 4291, 2.4: the bytes of IPv4 and of IPv6 addresses, in hexadecimal. */
const specialUses = [
  ['unspecified', /^(00.{6}|0{32})$/],
  ['loopback', /^(7f.{6}|0{31}1)$/],
  ['link-local', /^(a9fe.{4}|fe[89ab].{29})$/],
  ['multicast', /^(e.{7}|ff.{30})$/],
  ['broadcast', /^f{8}$/],
] as const

/** Why no other machine reaches one machine by this address; undefined if it may. */
export function specialUse(text: string) {
  const hex = addressBytes(text)?.toString('hex') ?? ''
  return specialUses.find(([, bytes]) => bytes.test(hex))?.[0]
}

/** In brackets if it is IPv6, as before a colon: https://[fd00::1]:6443, [fd00::1]:path. */
export function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

type Cidr = { readonly network: Buffer; readonly prefix: number }

/** A block such as 10.32.0.0/16, or what is wrong with it. Host bits must be zero, as kube-apiserver requires. */
export function parseCidr(text: string): Cidr | string {
  const [, address = '', digits = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? []
  const network = addressBytes(address)
  if (!network) return 'is not an address block; write it as 10.32.0.0/16'
  const prefix = Number(digits)
  if (prefix > network.length * 8) return `has a prefix of more than ${network.length * 8} bits`
  const masked = maskHostBits(network, prefix)
  if (!masked.equals(network)) return `is an address inside a block; write it as ${formatAddress(masked)}/${prefix}`
  return { network, prefix }
}

export function tryCidr(text: string): Cidr | undefined {
  const parsed = parseCidr(text)
  return typeof parsed === 'string' ? undefined : parsed
}

/** Network + 1: the address that kube-apiserver gives to the service `kubernetes`. */
export function firstAddress({ network }: Cidr): string {
  const bytes = Buffer.from(network)
  const last = bytes.length - 1
  bytes[last] = (bytes[last] ?? 0) + 1
  return formatAddress(bytes)
}

export function isInside(text: string, { network, prefix }: Cidr): boolean {
  const bytes = addressBytes(text)
  return bytes?.length === network.length && maskHostBits(bytes, prefix).equals(network)
}

function maskHostBits(bytes: Buffer, prefix: number): Buffer {
  return Buffer.from(bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - i * 8)))))
}

/** The WHATWG URL parser writes IPv6 as RFC 5952 does, an embedded IPv4 tail as two groups. */
function shortestIPv6(text: string): string {
  return new URL(`http://[${text}]`).hostname.slice(1, -1)
}

function groups(text: string): number[] {
  return text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16))
}
