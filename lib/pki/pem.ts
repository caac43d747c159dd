/** PEM (RFC 7468) as Go's encoding/pem reads it: OpenSSL accepts other labels, headers and bare DER too. Pure. */

// On a line of its own, and without headers: crypto/x509 passes over a certificate that has some.
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
