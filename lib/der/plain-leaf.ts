/** A leaf as cfssl and harderway write it, where whatever OpenSSL says of it stands in the DER in one form only. Pure. */
import { type Der, hex, inside } from './der.ts'
import { isName } from './encodings.ts'
import { extensionIds, extensionOf, type Fields } from './fields.ts'

const attributeNames: ReadonlyMap<string, string> = new Map([
  ['550403', 'CN'],
  ['550406', 'C'],
  ['550407', 'L'],
  ['550408', 'ST'],
  ['55040a', 'O'],
  ['55040b', 'OU'],
])
const serverAndClient = '301406082b0601050507030106082b06010505070302'
const isNoCa = '3000'

/**
 * The attributes of its subject, `CN=kubernetes`. Undefined for a CA, for other extended key usages than both sides of TLS,
 * and for whatever is unusual: OpenSSL has to be asked. Strictness.ts has found nothing in it.
 */
export function readPlainLeaf(fields: Fields): string[] | undefined {
  const standsThere = (id: string) => extensionOf(fields, id)?.bytes.toString('hex')
  const authority = extensionOf(fields, extensionIds.authorityKeyIdentifier)
  const [keyId, ...others] = authority ? inside(authority) : []
  const isPlain =
    standsThere(extensionIds.extKeyUsage) === serverAndClient &&
    standsThere(extensionIds.basicConstraints) === isNoCa &&
    keyId?.tag === 0x80 &&
    others.length === 0 &&
    isName(fields.issuer)
  const attributes = isPlain ? inside(fields.subject).map(readAttribute) : []
  return isPlain && attributes.every((each) => each !== undefined) ? attributes : undefined
}

/** One attribute to a set, in printable ASCII. */
function readAttribute(set: Der): string | undefined {
  const [pair, ...others] = inside(set)
  const [type, value] = inside(pair)
  const name = type && attributeNames.get(hex(type))
  const text = value?.tag === 0x13 || value?.tag === 0x0c ? value.content.toString('latin1') : ''
  return name && others.length === 0 && /^[ -~]+$/.test(text) ? `${name}=${text}` : undefined
}
