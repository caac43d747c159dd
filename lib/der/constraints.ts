/** For which names a CA may issue (RFC 5280, 4.2.1.10), as Go's crypto/x509 reads and applies it. Pure. */
import { addressBytes } from '../address.ts'
import { type Der, inside, readDer } from './der.ts'
import { isAscii } from './encodings.ts'
import { extensionIds, extensionOf, type Fields } from './fields.ts'

interface Constraints {
  readonly permitted: readonly Der[]
  readonly excluded: readonly Der[]
}

/** GeneralName: email, DNS, URI, IP. */
const [dns, ip, known] = [0x82, 0x87, [0x81, 0x82, 0x86, 0x87]] as const

/** Throws a RangeError where Go would not read it; undefined where there is none. */
function readConstraints(fields: Fields): Constraints | undefined {
  const list = extensionOf(fields, extensionIds.nameConstraints)
  if (!list) return undefined
  const bases = (tag: number) => {
    const subtrees = inside(list).find((each) => each.tag === tag)
    return subtrees ? inside(subtrees).map((subtree) => readDer(subtree.content)[0] ?? fail()) : []
  }
  const constraints = { permitted: bases(0xa0), excluded: bases(0xa1) }
  const all = Object.values(constraints).flat()
  if (all.length === 0 || !all.every(isReadable)) fail()
  return constraints
}

function fail(): never {
  throw new RangeError('malformed name constraints')
}

function isReadable({ tag, content }: Der): boolean {
  if (tag !== ip) return isAscii(content)
  return (content.length === 8 || content.length === 32) && /^1*0*$/.test(bitsOf(maskOf(content)))
}

const maskOf = (range: Buffer): Buffer => range.subarray(range.length / 2)
const bitsOf = (bytes: Buffer): string => [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')

/** Also those of a kind that Go does not know, where they are critical. */
export function areConstraintsRead(fields: Fields): boolean {
  const constraints = readConstraints(fields)
  const critical = fields.extensions.find(({ id }) => id === extensionIds.nameConstraints)?.critical
  if (!constraints || critical?.content[0] !== 0xff) return true
  return Object.values(constraints)
    .flat()
    .every(({ tag }) => known.includes(tag as 0x81))
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
  if (base === '' || lower === base) return true
  return lower.endsWith(base.startsWith('.') ? base : `.${base}`)
}
