/** PEM (RFC 7468) as Go's encoding/pem reads it: OpenSSL takes other labels, headers and bare DER too. Pure. */

// On a line of its own, and without headers: crypto/x509 passes over a certificate that has some.
const certificate =
  /(?:^|\n)-----BEGIN CERTIFICATE-----[ \t\r]*\n([A-Za-z0-9+/=\s]*\n)-----END CERTIFICATE-----[ \t\r]*(?=\n|$)/g

/** The DER of the certificates in a text, which may hold other things; none where one of them is damaged. */
export function certificatesIn(pem: Uint8Array | string): Buffer[] {
  const text = typeof pem === 'string' ? pem : Buffer.from(pem.buffer, pem.byteOffset, pem.length).toString('latin1')
  const blocks = [...text.matchAll(certificate)].map(([, body = '']) => decode(body))
  return blocks.every((der) => der !== undefined) ? blocks : []
}

export function certificatePem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

/** Undefined for what Buffer would decode all the same: a wrong length, padding in the middle. */
function decode(body: string): Buffer | undefined {
  const base64 = body.replace(/\s/g, '')
  const bytes = Buffer.from(base64, 'base64')
  return bytes.toString('base64') === base64 ? bytes : undefined
}
