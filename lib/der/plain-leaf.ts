/**
 * A leaf as cfssl and harderway write it. Each part of it stands there in the one form that is listed here: so OpenSSL reads
 * it too, and says the same of it. Pure.
 */
import { type Der, hex, inside } from './der.ts'
import { type Extension, extensionIds, type Fields } from './fields.ts'
import { signatureAlgorithms } from './signature.ts'

const attributeNames: ReadonlyMap<string, string> = new Map([
  ['550403', 'CN'],
  ['550406', 'C'],
  ['550407', 'L'],
  ['550408', 'ST'],
  ['55040a', 'O'],
  ['55040b', 'OU'],
])
const hexOf = ({ bytes }: Der): string => bytes.toString('hex')
const serverAndClient = '301406082b0601050507030106082b06010505070302'
const noCa = '3000'

/** Of the value of each extension that it may have. */
const forms: ReadonlyMap<string, (value: Der) => boolean> = new Map([
  [extensionIds.keyUsage, ({ content }) => content.length === 2 && content[1] !== 0],
  [extensionIds.extKeyUsage, (value) => hexOf(value) === serverAndClient],
  [extensionIds.basicConstraints, (value) => hexOf(value) === noCa],
  [extensionIds.subjectKeyIdentifier, ({ tag }) => tag === 0x04],
  [extensionIds.authorityKeyIdentifier, (value) => inside(value).length === 1 && inside(value)[0]?.tag === 0x80],
  [extensionIds.subjectAltName, (value) => inside(value).every(({ tag }) => tag === 0x82 || tag === 0x87)],
])
const needed = [extensionIds.extKeyUsage, extensionIds.basicConstraints, extensionIds.authorityKeyIdentifier]

/**
 * The attributes of its subject, such as `CN=kubernetes`; undefined for any other certificate: OpenSSL has to be asked. For
 * one of which findRefusals says nothing.
 */
export function plainAttributes(fields: Fields): string[] | undefined {
  const { uniqueIds, algorithm, extensions, issuer, subject } = fields
  const isPlain =
    uniqueIds.length === 0 &&
    signatureAlgorithms.has(hex(algorithm)) &&
    extensions.every(hasForm) &&
    needed.every((wanted) => extensions.some(({ id }) => id === wanted)) &&
    readName(issuer) !== undefined
  return isPlain ? readName(subject) : undefined
}

function hasForm({ id, value }: Extension): boolean {
  const form = forms.get(id)
  // What is in another one need not be DER.
  const [only, ...more] = form ? inside(value) : []
  return only !== undefined && more.length === 0 && form?.(only) === true
}

/** Undefined where it has anything else than one attribute to a set, in printable ASCII. */
function readName(name: Der): string[] | undefined {
  const attributes = inside(name).map(readAttribute)
  return attributes.every((each) => each !== undefined) ? attributes : undefined
}

function readAttribute(set: Der): string | undefined {
  const [pair, ...others] = set.tag === 0x31 ? inside(set) : []
  const [type, value, ...more] = pair?.tag === 0x30 ? inside(pair) : []
  const name = type?.tag === 0x06 && others.length + more.length === 0 ? attributeNames.get(hex(type)) : undefined
  const text = value?.tag === 0x13 || value?.tag === 0x0c ? value.content.toString('latin1') : ''
  return name && /^[ -~]+$/.test(text) ? `${name}=${text}` : undefined
}
