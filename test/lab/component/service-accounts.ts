/** Tokens of service accounts, and the keys they are judged by, both as read at the start. */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, randomUUID, sign, verify } from 'node:crypto'
import type { User } from './identity.ts'

interface Key {
  readonly key: KeyObject
  readonly kid: string
  readonly alg: string
}

export class ServiceAccounts {
  readonly #issuer: string
  readonly #signer: Key
  readonly #keys: readonly Key[]
  /** Requests with a token that is older than its hour: serviceaccount_stale_tokens_total. */
  stale = 0

  /** Throws where the API server would not start with them: no public key, or no private one. */
  constructor(issuer: string, publicPem: string, privatePem: string) {
    this.#issuer = issuer
    this.#keys = pemBlocks(publicPem).map((pem) => withKid(createPublicKey(pem)))
    const [first] = pemBlocks(privatePem).filter((pem) => pem.includes('PRIVATE KEY'))
    if (this.#keys.length === 0 || first === undefined)
      throw new Error('data does not contain any valid RSA or ECDSA key')
    const key = createPrivateKey(first)
    this.#signer = { ...withKid(createPublicKey(key)), key }
  }

  /** For /openid/v1/jwks. */
  jwks(): object {
    return { keys: this.#keys.map(({ key, kid, alg }) => ({ use: 'sig', kid, alg, ...key.export({ format: 'jwk' }) })) }
  }

  issue(namespace: string, name: string, seconds: number): { token: string; expires: Date } {
    const { key, kid, alg } = this.#signer
    const iat = Math.floor(Date.now() / 1000)
    const exp = iat + seconds
    const sub = `system:serviceaccount:${namespace}:${name}`
    const claims = { aud: [this.#issuer], exp, iat, iss: this.#issuer, jti: randomUUID(), sub }
    const text = [{ alg, kid }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
    const signature = sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' })
    return { token: `${text}.${signature.toString('base64url')}`, expires: new Date(exp * 1000) }
  }

  /** Undefined where it is to be answered with 401: its kid is not known, its signature or time are not right. */
  userOf(token: string): User | undefined {
    const [head = '', body = '', signature = ''] = token.split('.')
    const known = this.#keys.find(({ kid }) => kid === decode(head).kid)
    if (known === undefined) return undefined
    const key = { key: known.key, dsaEncoding: 'ieee-p1363' } as const
    if (!verify('sha256', Buffer.from(`${head}.${body}`), key, Buffer.from(signature, 'base64url'))) return undefined
    const { iss, exp, iat, sub } = decode(body)
    const now = Date.now() / 1000
    if (iss !== this.#issuer || Number(exp) < now) return undefined
    if (now - Number(iat) > 3607) this.stale += 1
    return { username: String(sub), groups: ['system:serviceaccounts', 'system:authenticated'] }
  }
}

function pemBlocks(text: string): string[] {
  return text.match(/-----BEGIN ([A-Z ]+)-----[\s\S]*?-----END \1-----/g) ?? []
}

/** As Kubernetes computes it: the SHA-256 of the SubjectPublicKeyInfo. */
function withKid(key: KeyObject): Key {
  const kid = createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('base64url')
  return { key, kid, alg: key.asymmetricKeyType === 'rsa' ? 'RS256' : 'ES256' }
}

function decode(part: string): Record<string, unknown> {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString())
  } catch {
    return {}
  }
}
