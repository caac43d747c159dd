/** The values inside of a certificate, and whether Go reads them: X.690 (DER), more strictly than OpenSSL does. Pure. */
import { isUtf8 } from 'node:buffer'
import { type Der, hex, inside, readDer } from './der.ts'

/** Of an issuer or a subject. */
export function isName(name: Der): boolean {
  return inside(name).every(
    (set) =>
      set.tag === 0x31 &&
      inside(set).every((attribute) => {
        const [type, value, ...more] = attribute.tag === 0x30 ? inside(attribute) : []
        return more.length === 0 && type !== undefined && isOid(type) && value !== undefined && isString(value)
      }),
  )
}

/** By X.680's string types, with the two characters that Go adds to PrintableString. */
function isString({ tag, content }: Der): boolean {
  switch (tag) {
    case 0x0c:
      return isUtf8(content)
    case 0x12:
      return /^[0-9 ]*$/.test(content.toString('latin1'))
    case 0x13:
      return /^[A-Za-z0-9 '()*+,\-./:=?&]*$/.test(content.toString('latin1'))
    case 0x14:
      return true
    case 0x16:
      return isAscii(content)
    case 0x1e:
      return content.length % 2 === 0 && !/[\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]/.test(utf16(content))
    default:
      return false
  }
}

function utf16(bigEndian: Buffer): string {
  return Buffer.from(bigEndian).swap16().toString('utf16le')
}

export function isAscii(content: Buffer): boolean {
  return content.every((byte) => byte < 0x80)
}

/** Each number in at most 31 bits, in the fewest bytes. */
export function isOid({ tag, content }: Der): boolean {
  return (
    tag === 0x06 && /^(?:(?!80)(?:[89a-f].){0,3}[0-7].|8[1-7](?:[89a-f].){3}[0-7].)+$/.test(content.toString('hex'))
  )
}

export function isMinimal({ content }: Der): boolean {
  const [first, second] = [content[0], content[1]]
  if (first === undefined || second === undefined) return first !== undefined
  return !(first === 0 && second < 0x80) && !(first === 0xff && second >= 0x80)
}

export function isPositive(integer: Der): boolean {
  return integer.tag === 0x02 && isMinimal(integer) && (integer.content[0] ?? 0) < 0x80
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

/** P-224, 256, 384 and 521: others are nothing to Go. */
const namedCurves: ReadonlySet<string> = new Set(['2b81040021', '2a8648ce3d030107', '2b81040022', '2b81040023'])

function isOverZero(integer: Der): boolean {
  return isPositive(integer) && integer.content.some((byte) => byte !== 0)
}

const [rsaKey, ecKey] = ['2a864886f70d010101', '2a8648ce3d0201']

/** A SubjectPublicKeyInfo of RFC 3279: NULL beside RSA; a named curve and an uncompressed point. */
export function isPublicKey(publicKey: Der): boolean {
  const [identifier, bits] = inside(publicKey)
  const [oid, parameters] = inside(identifier)
  // Go shifts unused bits out, and reads what is left.
  if (!oid || bits?.content[0] !== 0) return false
  if (hex(oid) === ecKey)
    return parameters?.tag === 0x06 && namedCurves.has(hex(parameters)) && bits.content[1] === 0x04
  if (hex(oid) !== rsaKey) return true
  const [modulus, exponent] = inside(readDer(bits.content.subarray(1))[0])
  if (!modulus || !exponent || !isOverZero(modulus) || !isOverZero(exponent)) return false
  return parameters?.bytes.toString('hex') === '0500' && exponent.content.length <= 4
}

/** SEC 1 or PKCS#8 with a named curve. Go ignores the encoding of the point. */
export function isOfNamedCurve(der: Buffer): boolean {
  const [version, second, ...optional] = inside(readDer(der)[0])
  if (second?.tag === 0x30)
    return inside(second)[1]?.tag === 0x06 && optional[0]?.tag === 0x04 && isOfNamedCurve(optional[0].content)
  if (!version || hex(version) !== '01') return false
  const parameters = optional.find(({ tag }) => tag === 0xa0)
  return !parameters || inside(parameters)[0]?.tag === 0x06
}

/** X.690, 11.2: the unused bits are zeros. */
export function isBitString(element: Der | undefined): boolean {
  if (element?.tag !== 0x03) return false
  const { content } = element
  if (content.length === 0) return false
  const unused = content[0] ?? 0
  const last = content.length > 1 ? (content.at(-1) ?? 0) : 0xff
  return unused <= 7 && (last & (2 ** unused - 1)) === 0
}

export function isBoolean({ content }: Der): boolean {
  return content.length === 1 && (content[0] === 0 || content[0] === 0xff)
}
