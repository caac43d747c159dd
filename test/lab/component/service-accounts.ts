/** Tokens of service accounts, and the keys they are judged by, both as read at the start. */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, randomUUID, sign, verify } from 'node:crypto'
import type { User } from './identity.ts'

interface Key {
  readonly key: KeyObject
  readonly kid: string
}

const yearOfSeconds = 31_536_000

export class ServiceAccounts {
  readonly #issuer: string
  readonly #signer: Key & { readonly alg: string }
  readonly #keys: readonly Key[]
  /** Requests with a token that is older than its hour: serviceaccount_stale_tokens_total. */
  stale = 0

  /** Throws where the API server would not start with them: no public key, or no private one. */
  constructor(issuer: string, publicPem: string, privatePem: string) {
    this.#issuer = issuer
    this.#keys = pemBlocks(publicPem).map((pem) => withKid(createPublicKey(pem)))
    const [first] = pemBlocks(privatePem).filter((pem) => pem.includes('PRIVATE KEY'))
    if (this.#keys.length === 0) throw new Error('data does not contain any valid RSA or ECDSA public keys')
    if (first === undefined) throw new Error('data does not contain a valid RSA or ECDSA private key')
    const key = createPrivateKey(first)
    this.#signer = { key, kid: withKid(createPublicKey(key)).kid, alg: algorithm(key) }
  }

  /** For /openid/v1/jwks. */
  jwks(): object {
    return {
      keys: this.#keys.map(({ key, kid }) => ({
        use: 'sig',
        kid,
        alg: algorithm(key),
        ...key.export({ format: 'jwk' }),
      })),
    }
  }

  issue(namespace: string, name: string, seconds: number): { token: string; expires: Date } {
    const now = Math.floor(Date.now() / 1000)
    const lasts = Math.min(seconds, yearOfSeconds)
    const head = { alg: this.#signer.alg, kid: this.#signer.kid }
    const claims = {
      aud: [this.#issuer],
      exp: now + lasts,
      iat: now,
      iss: this.#issuer,
      jti: randomUUID(),
      'kubernetes.io': { namespace, serviceaccount: { name } },
      nbf: now,
      sub: `system:serviceaccount:${namespace}:${name}`,
    }
    const text = [head, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
    const signature = sign('sha256', Buffer.from(text), { key: this.#signer.key, dsaEncoding: 'ieee-p1363' })
    return { token: `${text}.${signature.toString('base64url')}`, expires: new Date((now + lasts) * 1000) }
  }

  /** Undefined where it is to be answered with 401: its kid is not known, its signature or time are not right. */
  userOf(token: string): User | undefined {
    const [head = '', body = '', signature = '', ...more] = token.split('.')
    const { kid, alg } = decode(head)
    const known = this.#keys.find((each) => each.kid === kid)
    if (known === undefined || more.length > 0 || alg !== algorithm(known.key)) return undefined
    const key = { key: known.key, dsaEncoding: 'ieee-p1363' } as const
    if (!verify('sha256', Buffer.from(`${head}.${body}`), key, Buffer.from(signature, 'base64url'))) return undefined
    const { iss, exp, nbf, iat, sub } = decode(body)
    const now = Date.now() / 1000
    const [, namespace = '', name = ''] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(String(sub)) ?? []
    if (iss !== this.#issuer || !name || Number(exp) < now || Number(nbf) > now + 60) return undefined
    if (now - Number(iat) > 3607) this.stale += 1
    const groups = ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated']
    return { username: String(sub), groups }
  }
}

function pemBlocks(text: string): string[] {
  return text.match(/-----BEGIN ([A-Z ]+)-----[\s\S]*?-----END \1-----/g) ?? []
}

/** As Kubernetes computes it: the SHA-256 of the SubjectPublicKeyInfo. */
function withKid(key: KeyObject): Key {
  const der = key.export({ type: 'spki', format: 'der' })
  return { key, kid: createHash('sha256').update(der).digest('base64url') }
}

function algorithm({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  if (asymmetricKeyType === 'rsa') return 'RS256'
  if (asymmetricKeyDetails?.namedCurve === 'prime256v1') return 'ES256'
  throw new Error('this stand-in plays RSA and P-256')
}

function decode(part: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString())
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
