/** PEM (RFC 7468) as Go's encoding/pem reads it, and DER (X.690). Pure. */

/** An element of DER. None of its bytes are copied. */
export interface Der {
  readonly tag: number
  readonly content: Buffer
  readonly bytes: Buffer
}

/** The elements that follow each other in the bytes. Throws a RangeError if they are not DER. */
export function readDer(source: Buffer): Der[] {
  const elements: Der[] = []
  for (let at = 0; at < source.length; ) {
    const [tag, first] = [source.readUInt8(at), source.readUInt8(at + 1)]
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f
    if ((tag & 0x1f) === 0x1f || first === 0x80 || lengthBytes > 4) throw new RangeError('not an element of DER')
    const begin = at + 2 + lengthBytes
    const end = begin + (lengthBytes === 0 ? first : source.readUIntBE(at + 2, lengthBytes))
    if (end > source.length) throw new RangeError('an element is cut short')
    elements.push({ tag, content: source.subarray(begin, end), bytes: source.subarray(at, end) })
    at = end
  }
  return elements
}

/** The elements inside a constructed one; none if it is missing. Throws a RangeError if they are not DER. */
export function inside(element: Der | undefined): Der[] {
  return element ? readDer(element.content) : []
}

/** In hex, as in DER (2.5.4.3 is 550403): RFC 5280, RFC 3279 (keys), RFC 4055 (RSA), RFC 5758 (ECDSA). */
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
