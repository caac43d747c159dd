/** Private keys in PEM: reads one, and checks whether it is the key of a certificate. Pure. */
import { createECDH, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import type { Certificate } from './certificate.ts'
import { blocksIn, pemOf } from './pem.ts'

interface HeldKey {
  /** As OpenSSL reads it; a key in plain form only on first use, 0.02 ms each. */
  readonly key: KeyObject
  isOf(certificate: Certificate): boolean
}

/**
 * The unencrypted private key of the PEM; undefined where there is none, or several. Go reads none with explicit curve
 * parameters in place of a named curve, and no RSA key whose parts do not belong together.
 */
export function readPrivateKey(pem: Uint8Array | string): KeyObject | undefined {
  return readHeldKey(pem)?.key
}

/** The same, for the many keys of a cluster. */
export function readHeldKey(pem: Uint8Array | string): HeldKey | undefined {
  try {
    const [der, ...others] = blocksIn(pem, 'PRIVATE KEY')
    return der && others.length === 0 ? (readPlain(pem, der) ?? readByOpenSsl(pem, der)) : undefined
  } catch {
    return undefined
  }
}

/** The type prime-field of RFC 3279, 2.3.5: only explicit curve parameters have it. */
const explicitCurve = Buffer.from('06072a8648ce3d0101', 'hex')

function readByOpenSsl(pem: Uint8Array | string, der: Buffer): HeldKey | undefined {
  const key = createPrivateKey(Buffer.from(pem))
  if (der.includes(explicitCurve) || !isWhole(key)) return undefined
  return { key, isOf: (certificate) => isKeyOf(certificate, key) }
}

/** RFC 5915: version 1, the private key, prime256v1, an uncompressed point. */
const plainForm = /^30770201010420(.{64})a00a06082a8648ce3d030107a144034200(04.{128})$/
/** The start of a SubjectPublicKeyInfo with such a point: RFC 5480. */
const spkiBegin = '3059301306072a8648ce3d020106082a8648ce3d030107034200'

/** A P-256 key byte for byte as cfssl and harderway write it, whose halves belong together: so OpenSSL reads it too. */
function readPlain(pem: Uint8Array | string, der: Buffer): HeldKey | undefined {
  const [, secret = '', point] = plainForm.exec(der.toString('hex')) ?? []
  if (point === undefined || Buffer.from(pem).toString('latin1') !== pemOf('EC PRIVATE KEY', der)) return undefined
  if (publicPoint('prime256v1', Buffer.from(secret, 'hex')).toString('hex') !== point) return undefined
  const spki = Buffer.from(spkiBegin + point, 'hex')
  let key: KeyObject | undefined
  const read = () => {
    key ??= createPrivateKey(Buffer.from(pem))
    return key
  }
  return {
    get key() {
      return read()
    },
    isOf: (certificate) => spki.equals(certificate.fields.publicKey.bytes) || isKeyOf(certificate, read()),
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

export function isKeyOf({ publicKey }: Certificate, key: KeyObject): boolean {
  return publicKey.equals(createPublicKey(key))
}
