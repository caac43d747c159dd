/** The values inside a certificate, and whether Go reads them: X.690 (DER), more strictly than OpenSSL does. Pure. */
import { isUtf8 } from 'node:buffer'
import { type Der, hex, inside, oids } from './der.ts'

/** Checks every element in it. Times are checked by readTime; octet strings are not opened. */
export function isWellFormed(element: Der): boolean {
  const { tag, content } = element
  switch (tag) {
    case 0x01:
      return content.length === 1 && (content[0] === 0 || content[0] === 0xff)
    case 0x02:
      return /^(?!00[0-7]|ff[89a-f])./.test(hex(element))
    case 0x03:
      return isBitString(content)
    case 0x06:
      // Each number in at most 31 bits, in the fewest bytes.
      return /^(?:(?!80)(?:[89a-f].){0,3}[0-7].|8[1-7](?:[89a-f].){3}[0-7].)+$/.test(hex(element))
    case 0x0c:
      return isUtf8(content)
    case 0x13:
      // With the two characters that Go adds to X.680's: * and &.
      return /^[A-Za-z0-9 '()*+,\-./:=?&]*$/.test(content.toString('latin1'))
    case 0x16:
      return isAscii(content)
    case 0x1e:
      return content.length % 2 === 0
    default:
      return (tag & 0x20) === 0 || inside(element).every(isWellFormed)
  }
}

/** X.690, 11.2: the unused bits are zeros. */
function isBitString(content: Buffer): boolean {
  const [unused = 8] = content
  const last = content.length > 1 ? (content.at(-1) ?? 0) : 0xff
  return unused <= 7 && (last & (2 ** unused - 1)) === 0
}

export function isAscii(content: Buffer): boolean {
  return content.every((byte) => byte < 0x80)
}

export function isPositive(integer: Der): boolean {
  return integer.tag === 0x02 && isWellFormed(integer) && (integer.content[0] ?? 0) < 0x80
}

/** UTF8String, NumericString, PrintableString, T61String, IA5String, BMPString. */
const stringTypes: readonly number[] = [0x0c, 0x12, 0x13, 0x14, 0x16, 0x1e]

/** Checks the name of an issuer or a subject. */
export function isName(name: Der): boolean {
  return (
    readSets(name)
      .flat()
      .every(
        ([type, value, ...more]) => type?.tag === 0x06 && value && stringTypes.includes(value.tag) && more.length === 0,
      ) && isWellFormed(name)
  )
}

function readSets(name: Der): Der[][][] {
  return inside(name).map((set) => inside(set, 0x31).map((attribute) => inside(attribute, 0x30)))
}

const attributeNames = new Map((['C', 'ST', 'L', 'O', 'OU', 'CN'] as const).map((name) => [oids[name] as string, name]))

/** `CN=kubernetes`, …; undefined unless each set holds one such attribute, in printable ASCII. */
export function plainAttributes(name: Der): string[] | undefined {
  const attributes = readSets(name).map(([first, ...others]) => {
    const [type, value] = first ?? []
    const known = type && others.length === 0 && attributeNames.get(hex(type))
    const text = value?.tag === 0x13 || value?.tag === 0x0c ? value.content.toString('latin1') : ''
    return known && /^[ -~]+$/.test(text) ? `${known}=${text}` : undefined
  })
  return attributes.every((each) => each !== undefined) ? attributes : undefined
}

/**
 * UTCTime or GeneralizedTime as RFC 5280, 4.1.2.5, has them: to the second, in UTC. Undefined for any other form and for a
 * time that does not exist, for which Node would return an arbitrary one.
 */
export function readTime({ tag, content }: Der): Date | undefined {
  const text = content.toString('latin1')
  const digits = tag === 0x17 ? `${text < '50' ? 20 : 19}${text}` : text
  if ((tag !== 0x17 && tag !== 0x18) || !/^\d{14}Z$/.test(digits)) return undefined
  const two = (at: number) => digits.slice(at, at + 2)
  const iso = `${digits.slice(0, 4)}-${two(4)}-${two(6)}T${two(8)}:${two(10)}:${two(12)}.000Z`
  const date = new Date(iso)
  return !Number.isNaN(date.getTime()) && date.toISOString() === iso ? date : undefined
}
