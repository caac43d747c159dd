/** Reads a private key, and says whether a certificate is of it. Pure. */
import { createECDH, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { isOfNamedCurve } from '../der/encodings.ts'
import { blocksIn } from '../der/pem.ts'
import type { Certificate } from './certificate.ts'

/**
 * The unencrypted private key of the PEM; undefined where there is none, or several. Go reads none with explicit curve
 * parameters in place of a named curve, and none whose parts do not belong together.
 */
export function readPrivateKey(pem: Uint8Array | string): KeyObject | undefined {
  try {
    const [der, ...others] = blocksIn(pem, 'PRIVATE KEY')
    if (!der || others.length > 0) return undefined
    const key = createPrivateKey(Buffer.from(pem))
    return (key.asymmetricKeyType !== 'ec' || isOfNamedCurve(der)) && isWhole(key) ? key : undefined
  } catch {
    return undefined
  }
}

/** OpenSSL believes the public half that stands beside the private one. What it would sign with a damaged key, nobody accepts. */
function isWhole(key: KeyObject): boolean {
  const jwk = key.export({ format: 'jwk' })
  const bytes = (part: string | undefined) => Buffer.from(part ?? '', 'base64url')
  const { namedCurve } = key.asymmetricKeyDetails ?? {}
  if (jwk.kty === 'EC' && namedCurve !== undefined) {
    const made = createECDH(namedCurve)
    made.setPrivateKey(bytes(jwk.d))
    return made.getPublicKey().equals(Buffer.concat([Buffer.from([0x04]), bytes(jwk.x), bytes(jwk.y)]))
  }
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

export function isKeyOf({ publicKey }: Certificate, key: KeyObject): boolean {
  return publicKey.equals(createPublicKey(key))
}
