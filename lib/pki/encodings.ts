/** The names and times inside a certificate. Pure. */
import { type Der, hex, inside, oids } from './der.ts'

/** Whether Go reads the name of an issuer or a subject: unlike OpenSSL it refuses an underscore in a PrintableString. */
export function isName(name: Der): boolean {
  return readSets(name)
    .flat()
    .every(([, value]) => value?.tag !== 0x13 || isPrintable(value.content.toString('latin1')))
}

/** With the two characters that Go adds to X.680's: * and &. */
function isPrintable(text: string): boolean {
  return /^[A-Za-z0-9 '()*+,\-./:=?&]*$/.test(text)
}

function readSets(name: Der): Der[][][] {
  return inside(name).map((set) => inside(set, 0x31).map((attribute) => inside(attribute, 0x30)))
}

const attributeNames = new Map((['C', 'ST', 'L', 'O', 'OU', 'CN'] as const).map((name) => [oids[name] as string, name]))

/** `CN=kubernetes`, …; undefined unless each set holds one such attribute, in printable ASCII. */
export function plainAttributes(name: Der): string[] | undefined {
  const attributes = readSets(name).map(([first, ...others]) => {
    const [type, value, ...more] = first ?? []
    const known = type?.tag === 0x06 && others.length + more.length === 0 && attributeNames.get(hex(type))
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
