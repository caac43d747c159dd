/** For which names a CA may issue (RFC 5280, 4.2.1.10), as Go's crypto/x509 reads and applies it. Pure. */
import { addressBytes } from '../address.ts'
import { type Der, inside } from './der.ts'
import { isAscii } from './encodings.ts'
import type { Fields } from './fields.ts'
import { oids } from './oids.ts'

interface Constraints {
  readonly permitted: readonly Der[]
  readonly excluded: readonly Der[]
}

/** GeneralName: email, DNS, URI, IP. */
const [email, dns, uri, ip] = [0x81, 0x82, 0x86, 0x87] as const
const known: readonly number[] = [email, dns, uri, ip]

/** Throws a RangeError where Go would not read it; undefined where there is none. */
function readConstraints(fields: Fields): Constraints | undefined {
  const found = fields.extensions.find(({ id }) => id === oids.nameConstraints)
  if (!found) return undefined
  const [list, ...others] = inside(found.value)
  const lists = inside(list)
  // Those that are permitted before those that are excluded, each once.
  const isInOrder = ['160', '161', '160,161'].includes(lists.map(({ tag }) => tag).join())
  if (others.length > 0 || !isInOrder) fail()
  const bases = (tag: number) => lists.filter((each) => each.tag === tag).flatMap((each) => inside(each).map(baseOf))
  const constraints = { permitted: bases(0xa0), excluded: bases(0xa1) }
  const all = Object.values(constraints).flat()
  if (all.length === 0 || !all.every(isReadable)) fail()
  return constraints
}

function baseOf(subtree: Der): Der {
  const [base] = subtree.tag === 0x30 ? inside(subtree) : []
  return base ?? fail()
}

function fail(): never {
  throw new RangeError('malformed name constraints')
}

function isReadable({ tag, content }: Der): boolean {
  if (tag !== ip) return isAscii(content) && (!known.includes(tag) || isDomain(tag, content.toString('latin1')))
  return (content.length === 8 || content.length === 32) && /^1*0*$/.test(bitsOf(maskOf(content)))
}

/** As Go takes domains apart: no label is empty, and a URI's is no address. What is before an @ is not looked at. */
function isDomain(tag: number, text: string): boolean {
  const domain = tag === email && text.includes('@') ? text.replace(/^.*@/s, '') : text.replace(/^\./, '')
  if (tag === uri && addressBytes(text)) return false
  return domain === '' || domain.split('.').every((label) => /^[!-~]+$/.test(label))
}

const maskOf = (range: Buffer): Buffer => range.subarray(range.length / 2)
const bitsOf = (bytes: Buffer): string => [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')

/** Also those of a kind that Go does not know, where they are critical. */
export function areConstraintsRead(fields: Fields): boolean {
  const constraints = readConstraints(fields)
  const critical = fields.extensions.find(({ id }) => id === oids.nameConstraints)?.critical
  if (!constraints || critical?.content[0] !== 0xff) return true
  return Object.values(constraints)
    .flat()
    .every(({ tag }) => known.includes(tag))
}

/** Of names and addresses, those that nobody accepts from this CA. Its constraints must be readable. */
export function findUnpermitted(fields: Fields, names: readonly string[]): string[] {
  const constraints = readConstraints(fields)
  if (!constraints) return []
  const { permitted, excluded } = constraints
  return names.filter((name) => {
    const address = addressBytes(name)
    const [kind, matches] = address
      ? [ip, (base: Der) => isInRange(address, base.content)]
      : [dns, (base: Der) => isUnder(name, base.content.toString('latin1'))]
    const ofKind = (bases: readonly Der[]) => bases.filter(({ tag }) => tag === kind)
    const allowed = ofKind(permitted)
    return ofKind(excluded).some(matches) || (allowed.length > 0 && !allowed.some(matches))
  })
}

function isInRange(address: Uint8Array, range: Buffer): boolean {
  const mask = maskOf(range)
  return (
    address.length === mask.length && mask.every((bits, i) => ((range[i] ?? 0) & bits) === ((address[i] ?? 0) & bits))
  )
}

/** A domain is under itself, unless that begins with a dot. */
function isUnder(name: string, domain: string): boolean {
  const [lower, base] = [name.toLowerCase(), domain.toLowerCase()]
  if (base === '' || base === '.' || lower === base) return true
  return lower.endsWith(base.startsWith('.') ? base : `.${base}`)
}
