/** Private keys in PEM: reads one, and checks whether it is the key of a certificate. Pure. */
import { createECDH, createPrivateKey, type KeyObject } from 'node:crypto'
import type { Certificate } from './certificate.ts'
import { blocksIn } from './pem.ts'

/** The type prime-field of RFC 3279, 2.3.5: only explicit curve parameters have it. */
const explicitCurve = Buffer.from('06072a8648ce3d0101', 'hex')

/**
 * The unencrypted private key of the PEM; undefined where there is none, or several. Go reads none with explicit curve
 * parameters in place of a named curve, and no RSA key whose parts do not belong together.
 */
export function readPrivateKey(pem: Uint8Array | string): KeyObject | undefined {
  try {
    const [der, ...others] = blocksIn(pem, 'PRIVATE KEY')
    if (!der || others.length > 0 || der.includes(explicitCurve)) return undefined
    const key = createPrivateKey(Buffer.from(pem))
    return isWhole(key) ? key : undefined
  } catch {
    return undefined
  }
}

/** The uncompressed point. Throws if the secret is not valid for the curve. */
function publicPoint(curve: string, secret: Buffer): Buffer {
  const made = createECDH(curve)
  made.setPrivateKey(secret)
  return made.getPublicKey()
}

/** OpenSSL does not check that both halves belong together. Nobody would accept what a damaged key signs. */
function isWhole(key: KeyObject): boolean {
  const jwk = key.export({ format: 'jwk' })
  const bytes = (part: string | undefined) => Buffer.from(part ?? '', 'base64url')
  const { namedCurve } = key.asymmetricKeyDetails ?? {}
  if (jwk.kty === 'EC' && namedCurve !== undefined)
    return publicPoint(namedCurve, bytes(jwk.d)).equals(Buffer.concat([Buffer.of(4), bytes(jwk.x), bytes(jwk.y)]))
  if (jwk.kty !== 'RSA') return true
  // RFC 8017, 3.2.
  const number = (part: string | undefined) => BigInt(`0x${bytes(part).toString('hex')}`)
  const [n, e, d, p, q] = [number(jwk.n), number(jwk.e), number(jwk.d), number(jwk.p), number(jwk.q)]
  return (
    [p, q].every((prime) => prime > 1n && (d * e) % (prime - 1n) === 1n) &&
    p * q === n &&
    number(jwk.dp) === d % (p - 1n) &&
    number(jwk.dq) === d % (q - 1n) &&
    (number(jwk.qi) * q) % p === 1n
  )
}

export function isKeyOf({ x509 }: Certificate, key: KeyObject): boolean {
  return x509.checkPrivateKey(key)
}
