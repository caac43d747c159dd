/** The values inside of a certificate, and whether Go reads them: X.690 (DER), more strictly than OpenSSL does. Pure. */
import { isUtf8 } from 'node:buffer'
import { type Der, hex, inside } from './der.ts'
import { oids } from './oids.ts'

/** Of every element in it. Times are read by readTime; what is in octet strings is not looked at. */
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
    case 0x12:
      return /^[0-9 ]*$/.test(content.toString('latin1'))
    case 0x13:
      // With the two characters that Go adds to X.680's: * and &.
      return /^[A-Za-z0-9 '()*+,\-./:=?&]*$/.test(content.toString('latin1'))
    case 0x16:
      return isAscii(content)
    case 0x1e:
      return content.length % 2 === 0 && !/[\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]/.test(utf16(content))
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

function utf16(bigEndian: Buffer): string {
  return Buffer.from(bigEndian).swap16().toString('utf16le')
}

export function isAscii(content: Buffer): boolean {
  return content.every((byte) => byte < 0x80)
}

export function isPositive(integer: Der): boolean {
  return integer.tag === 0x02 && isWellFormed(integer) && (integer.content[0] ?? 0) < 0x80
}

/** UTF8String, NumericString, PrintableString, T61String, IA5String, BMPString. */
const stringTypes: readonly number[] = [0x0c, 0x12, 0x13, 0x14, 0x16, 0x1e]

/** Of an issuer or a subject. */
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

/** `CN=kubernetes`, …; undefined where it has anything else than one such attribute to a set, in printable ASCII. */
export function plainAttributes(name: Der): string[] | undefined {
  const attributes = readSets(name).map(([first, ...others]) => {
    const [type, value] = first ?? []
    const known = type && others.length === 0 && attributeNames.get(hex(type))
    const text = value?.tag === 0x13 || value?.tag === 0x0c ? value.content.toString('latin1') : ''
    return known && /^[ -~]+$/.test(text) ? `${known}=${text}` : undefined
  })
  return attributes.every((each) => each !== undefined) ? attributes : undefined
}

const timeForms: ReadonlyMap<number, RegExp> = new Map([
  [0x17, /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:Z|([+-](?!0000)\d\d)(\d\d))$/],
  [0x18, /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:Z|([+-](?!0000)\d\d)(\d\d))$/],
])

/**
 * UTCTime or GeneralizedTime of RFC 5280, 4.1.2.5; undefined where Go would not read it. Not by Node, which
 * returns an arbitrary time for a date that does not exist.
 */
export function readTime({ tag, content }: Der): Date | undefined {
  const [, digits, ...rest] = timeForms.get(tag)?.exec(content.toString('latin1')) ?? []
  if (digits === undefined) return undefined
  const year = tag === 0x17 ? `${digits < '50' ? 20 : 19}${digits}` : digits
  const [month, day, hour, minute, second, zoneHour, zoneMinute] = rest
  const text = `${year}-${month}-${day}T${hour}:${minute}:${second}`
  const zone = zoneHour === undefined ? 'Z' : `${zoneHour}:${zoneMinute}`
  const local = new Date(`${text}Z`)
  const date = zone === 'Z' ? local : new Date(text + zone)
  const isDay = !Number.isNaN(date.getTime()) && local.toISOString() === `${text}.000Z`
  return isDay ? date : undefined
}
