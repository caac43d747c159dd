/** For which names a CA may issue (RFC 5280, 4.2.1.10), as Go's crypto/x509 reads and applies it. Pure. */
import { addressBytes } from '../address.ts'
import { type Der, inside } from './der.ts'
import { isAscii } from './encodings.ts'
import { type Fields, listedIn } from './fields.ts'
import { oids } from './oids.ts'

/** GeneralName: email, DNS, URI, IP. */
const [email, dns, uri, ip] = [0x81, 0x82, 0x86, 0x87] as const
const known: readonly number[] = [email, dns, uri, ip]

/** Throws a RangeError where they are malformed. */
function readConstraints(fields: Fields): Readonly<Record<'permitted' | 'excluded', readonly Der[]>> {
  const lists = listedIn(fields, oids.nameConstraints)
  const bases = (tag: number) => lists.filter((each) => each.tag === tag).flatMap((each) => inside(each).map(baseOf))
  return { permitted: bases(0xa0), excluded: bases(0xa1) }
}

function baseOf(subtree: Der): Der {
  const [base] = inside(subtree, 0x30)
  if (!base) throw new RangeError('a subtree without a base')
  return base
}

const maskOf = (range: Buffer): Buffer => range.subarray(range.length / 2)
/** Ones, then zeros, in hex. */
const prefixMask = /^(ff)*(80|c0|e0|f0|f8|fc|fe)?(00)*$/

/** Go refuses a kind of name that it does not know only where they are critical. */
export function areConstraintsRead(fields: Fields): boolean {
  const critical = fields.extensions.find(({ id }) => id === oids.nameConstraints)?.critical
  return Object.values(readConstraints(fields))
    .flat()
    .every(({ tag, content }) => {
      if (tag === ip) return [8, 32].includes(content.length) && prefixMask.test(maskOf(content).toString('hex'))
      return known.includes(tag) ? isAscii(content) : critical?.content[0] !== 0xff
    })
}

/** The names and addresses that nobody accepts from this CA. Its constraints must be readable. */
export function findUnpermitted(fields: Fields, names: readonly string[]): string[] {
  const { permitted, excluded } = readConstraints(fields)
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
