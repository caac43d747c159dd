/** PEM (RFC 7468) as Go's encoding/pem reads it, and DER (X.690). Pure. */

/** Reads in place: a certificate is parsed without copying or naming what is not used. */
export class Der {
  readonly tag: number
  readonly #source: Buffer
  readonly #begin: number
  readonly #contentBegin: number
  readonly #end: number

  /** The element that begins there, and ends before `limit`. Throws a RangeError if it is not DER. */
  constructor(source: Buffer, begin: number, limit: number) {
    const [tag, first] = [source[begin] ?? 0, source[begin + 1] ?? 0]
    if (begin + 2 > limit) throw new RangeError('an element is cut short')
    if ((tag & 0x1f) === 0x1f) throw new RangeError('a tag of several bytes')
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f
    if (lengthBytes > 4 || first === 0x80) throw new RangeError('a length that DER does not have')
    const start = begin + 2 + lengthBytes
    if (start > limit) throw new RangeError('an element is cut short')
    const length = lengthBytes === 0 ? first : source.readUIntBE(begin + 2, lengthBytes)
    // In the fewest bytes: X.690, 10.1.
    if (lengthBytes > 0 && (length < 0x80 || length < 2 ** (8 * (lengthBytes - 1))))
      throw new RangeError('a length that DER does not have')
    if (start + length > limit) throw new RangeError('an element is cut short')
    this.tag = tag
    this.#source = source
    this.#begin = begin
    this.#contentBegin = start
    this.#end = start + length
  }

  get content(): Buffer {
    return this.#source.subarray(this.#contentBegin, this.#end)
  }

  /** Tag, length and content. */
  get bytes(): Buffer {
    return this.#source.subarray(this.#begin, this.#end)
  }

  /** The elements that follow each other between the two offsets. */
  static all(source: Buffer, begin: number, end: number): Der[] {
    const elements: Der[] = []
    for (let at = begin; at < end; ) {
      const element = new Der(source, at, end)
      elements.push(element)
      at = element.#end
    }
    return elements
  }

  /** The elements inside a constructed one. */
  inside(): Der[] {
    return Der.all(this.#source, this.#contentBegin, this.#end)
  }
}

/** The elements that follow each other in the bytes. Throws a RangeError if they are not DER. */
export function readDer(bytes: Buffer): Der[] {
  return Der.all(bytes, 0, bytes.length)
}

/** Throws a RangeError if the element is another, or missing. */
export function expect(element: Der | undefined, tag: number): Der {
  if (element?.tag !== tag) throw new RangeError(`no element with the tag ${tag}`)
  return element
}

/**
 * The elements inside a constructed one. Throws a RangeError if they are not DER, or if the element is another, or
 * missing.
 */
export function inside(element: Der | undefined, tag = element?.tag ?? 0): Der[] {
  return expect(element, tag).inside()
}

/** Its content, to compare OIDs and other short values with. */
export const hex = ({ content }: Der): string => content.toString('hex')

/** The bits of a BIT STRING; its first byte counts the unused ones. */
export function bitsOf(element: Der | undefined): Buffer {
  return expect(element, 0x03).content.subarray(1)
}

/**
 * Object identifiers in hex, as they stand in DER (2.5.4.3 is 550403): RFC 5280, RFC 3279 (keys), RFC 4055 (RSA) and
 * RFC 5758 (ECDSA).
 */
export const oids = {
  C: '550406',
  ST: '550408',
  L: '550407',
  O: '55040a',
  OU: '55040b',
  CN: '550403',
  subjectKeyIdentifier: '551d0e',
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  nameConstraints: '551d1e',
  authorityKeyIdentifier: '551d23',
  extKeyUsage: '551d25',
  serverAuth: '2b06010505070301',
  clientAuth: '2b06010505070302',
  rsaWithSha256: '2a864886f70d01010b',
  rsaWithSha384: '2a864886f70d01010c',
  rsaWithSha512: '2a864886f70d01010d',
  ecdsaWithSha256: '2a8648ce3d040302',
  ecdsaWithSha384: '2a8648ce3d040303',
  ecdsaWithSha512: '2a8648ce3d040304',
} as const

// On a line of its own, and without headers: OpenSSL accepts other labels, headers and bare DER too; crypto/x509 passes
// over a certificate that has headers.
const block = /(?:^|\n)-----BEGIN ([A-Z ]+)-----[ \t]*\r?\n([A-Za-z0-9+/= \t\r\n]*\n)-----END \1-----[ \t]*(?=\r?\n|$)/g
const begin = /-----BEGIN ([^\n]*?)-----/g

/** The DER of the blocks whose label ends with `label`; none if one of them is damaged. */
export function blocksIn(pem: Uint8Array | string, label: 'CERTIFICATE' | 'PRIVATE KEY'): Buffer[] {
  const text = typeof pem === 'string' ? pem : Buffer.from(pem.buffer, pem.byteOffset, pem.length).toString('latin1')
  const blocks = [...text.matchAll(block)].filter(([, found = '']) => isMeant(found, label))
  // A block with headers, or in a form that programs read in more than one way.
  if ([...text.matchAll(begin)].filter(([, found = '']) => isMeant(found, label)).length !== blocks.length) return []
  const decoded = blocks.map(([, , body = '']) => decode(body))
  return decoded.every((der) => der !== undefined) ? decoded : []
}

/** As OpenSSL and Go write it. */
export function certificatePem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

/** `EC PRIVATE KEY` is a private key; Go ignores an `X509 CERTIFICATE`. */
function isMeant(found: string, label: string): boolean {
  return found === label || (label === 'PRIVATE KEY' && found.endsWith(` ${label}`))
}

/** Undefined for malformed base64 that Buffer would decode anyway: a wrong length, padding in the middle. */
function decode(body: string): Buffer | undefined {
  const base64 = body.replace(/\s/g, '')
  const bytes = Buffer.from(base64, 'base64')
  return bytes.toString('base64') === base64 ? bytes : undefined
}
