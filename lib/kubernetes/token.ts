/** Which key signed a service-account token. Pure. */
import { createHash, type KeyObject } from 'node:crypto'

/** The id that kube-apiserver gives a key: the SHA-256 of its SubjectPublicKeyInfo. */
export function kidOf(publicKey: KeyObject): string {
  const der = publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(der).digest('base64url')
}

/** The key id in a token's header (RFC 7515, 4.1.4); undefined if it is not a token. */
export function kidIn(token: string): string | undefined {
  const [head = ''] = token.split('.')
  try {
    return JSON.parse(Buffer.from(head, 'base64url').toString()).kid
  } catch {
    return undefined
  }
}
