/** Reads a private key, and says whether a certificate is of it. Pure. */
import { createECDH, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { isOfNamedCurve } from '../der/encodings.ts'
import { blocksIn } from '../der/pem.ts'
import type { Certificate } from './certificate.ts'

export interface LazyKey {
  /** As OpenSSL reads it: a plain one only where it is asked for, 0.02 ms each. */
  readonly key: KeyObject
  isOf(certificate: Certificate): boolean
}

/**
 * The unencrypted private key of the PEM; undefined where there is none, or several. Go reads none with explicit curve
 * parameters in place of a named curve, and none whose parts do not belong together.
 */
export function readPrivateKey(pem: Uint8Array | string): KeyObject | undefined {
  return readKeyLazily(pem)?.key
}

/** The same, for the many keys of a cluster. */
export function readKeyLazily(pem: Uint8Array | string): LazyKey | undefined {
  try {
    const [der, ...others] = blocksIn(pem, 'PRIVATE KEY')
    return der && others.length === 0 ? (readPlain(pem, der) ?? readByOpenSsl(pem, der)) : undefined
  } catch {
    return undefined
  }
}

function readByOpenSsl(pem: Uint8Array | string, der: Buffer): LazyKey | undefined {
  const key = createPrivateKey(Buffer.from(pem))
  if ((key.asymmetricKeyType === 'ec' && !isOfNamedCurve(der)) || !isWhole(key)) return undefined
  return { key, isOf: (certificate) => isKeyOf(certificate, key) }
}

const plainLabel = '-----BEGIN EC PRIVATE KEY-----\n'
/** RFC 5915: version 1, the private key, prime256v1, an uncompressed point. */
const plainForm = /^30770201010420(.{64})a00a06082a8648ce3d030107a144034200(04.{128})$/
/** Of a SubjectPublicKeyInfo with such a point: RFC 5480. */
const spkiBegin = '3059301306072a8648ce3d020106082a8648ce3d030107034200'

/** A P-256 key as cfssl and harderway write it, whose halves belong together: OpenSSL reads it too. */
function readPlain(pem: Uint8Array | string, der: Buffer): LazyKey | undefined {
  const [, secret = '', point] = plainForm.exec(der.toString('hex')) ?? []
  if (point === undefined || Buffer.from(pem).toString('latin1', 0, plainLabel.length) !== plainLabel) return undefined
  if (publicPoint('prime256v1', Buffer.from(secret, 'hex')).toString('hex') !== point) return undefined
  const spki = Buffer.from(spkiBegin + point, 'hex')
  let key: KeyObject | undefined
  return {
    get key() {
      key ??= createPrivateKey(Buffer.from(pem))
      return key
    },
    isOf({ fields, publicKey }) {
      return spki.equals(fields.publicKey.bytes) || isKeyOf({ publicKey }, this.key)
    },
  }
}

/** Uncompressed. Throws where the secret is none of the curve. */
function publicPoint(curve: string, secret: Buffer): Buffer {
  const made = createECDH(curve)
  made.setPrivateKey(secret)
  return made.getPublicKey()
}

/** OpenSSL believes the public half that stands beside the private one. What it would sign with a damaged key, nobody accepts. */
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

export function isKeyOf({ publicKey }: Pick<Certificate, 'publicKey'>, key: KeyObject): boolean {
  return publicKey.equals(createPublicKey(key))
}
