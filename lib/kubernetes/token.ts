/** Which key signed a service-account token. Pure. */
import { createHash, type KeyObject } from 'node:crypto'

/** As kube-apiserver names a key: the SHA-256 of its SubjectPublicKeyInfo. */
export function kidOf(publicKey: KeyObject): string {
  const der = publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(der).digest('base64url')
}

/** Of a token, by its header (RFC 7515, 4.1.4); undefined for what is none. */
export function kidIn(token: string): string | undefined {
  const [head = ''] = token.split('.')
  try {
    return JSON.parse(Buffer.from(head, 'base64url').toString()).kid
  } catch {
    return undefined
  }
}
