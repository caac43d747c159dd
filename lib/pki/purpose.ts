/** Whether a server's certificate is one for servers. */
import { checkServerIdentity, type TLSSocket } from 'node:tls'

/** RFC 5280, 4.2.1.12. */
const serverAuth = '1.3.6.1.5.5.7.3.1'

const invalidPurpose = 'INVALID_PURPOSE'

/** OpenSSL's reason to refuse a certificate, by its usages or by its Netscape type. */
export function isForAnotherPurpose(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === invalidPurpose
}

/**
 * True if OpenSSL refuses the server for its Netscape certificate type, which Go, and so every component of Kubernetes, ignores:
 * Kubernetes The Hard Way has `client` there in certificates of servers. The socket has not been told to reject it. Whether the
 * issuer is trusted has to be checked besides: OpenSSL does not say.
 */
export function isServerForGo(socket: TLSSocket, host: string): boolean {
  const certificate = socket.getPeerCertificate()
  return (
    String(socket.authorizationError) === invalidPurpose &&
    certificate.ext_key_usage?.includes(serverAuth) === true &&
    checkServerIdentity(host, certificate) === undefined
  )
}
