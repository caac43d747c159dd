/** Who asks, by client certificate, as Kubernetes judges it: at each request, by the CAs of that moment. */
import { X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import {
  type ConnectionOptions,
  checkServerIdentity,
  connect,
  type DetailedPeerCertificate,
  type TLSSocket,
} from 'node:tls'

export interface User {
  readonly username: string
  readonly groups: readonly string[]
}

const clientAuth = '1.3.6.1.5.5.7.3.2'
/** Certificates between a leaf and the CA that is trusted; Go has no such limit, and no test comes near it. */
const deepest = 4

/** Every certificate of a PEM file, in order. Throws where there is none. */
export function readCertificates(pem: Buffer): X509Certificate[] {
  const blocks = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g)
  if (blocks === null) throw new Error('data does not contain any valid RSA or ECDSA certificates')
  return blocks.map((block) => new X509Certificate(block))
}

/** A client's certificate: 'none' where none was shown, 'unknown' where it is not one of the CAs'. */
function clientOf(socket: TLSSocket, roots: readonly X509Certificate[]): X509Certificate | 'none' | 'unknown' {
  const [leaf, ...others] = presented(socket)
  if (leaf === undefined) return 'none'
  const isClient = leaf.keyUsage === undefined || leaf.keyUsage.includes(clientAuth)
  return isClient && chains(leaf, others, roots, deepest) ? leaf : 'unknown'
}

export function userOf(socket: TLSSocket, roots: readonly X509Certificate[]): User | 'none' | 'unknown' {
  const leaf = clientOf(socket, roots)
  if (typeof leaf === 'string') return leaf
  const { CN = '', O = [] } = leaf.toLegacyObject().subject as unknown as Record<string, string | string[] | undefined>
  return { username: [CN].flat()[0] ?? '', groups: [...[O].flat(), 'system:authenticated'] }
}

/** Whom the front proxy names in its headers; undefined where it is for the client's own certificate to say. */
export function proxiedUser(
  { headersDistinct, socket }: IncomingMessage,
  roots: readonly X509Certificate[],
): User | undefined {
  const [username] = headersDistinct['x-remote-user'] ?? []
  if (username === undefined || typeof clientOf(socket as TLSSocket, roots) === 'string') return undefined
  return { username, groups: [...(headersDistinct['x-remote-group'] ?? []), 'system:authenticated'] }
}

function presented(socket: TLSSocket): X509Certificate[] {
  const found: X509Certificate[] = []
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
  while (next?.raw && !found.some(({ raw }) => raw.equals(next?.raw ?? Buffer.alloc(0)))) {
    found.push(new X509Certificate(next.raw))
    next = next.issuerCertificate
  }
  return found
}

function chains(
  leaf: X509Certificate,
  between: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  depth: number,
): boolean {
  const now = Date.now()
  if (depth === 0 || Date.parse(leaf.validFrom) > now || Date.parse(leaf.validTo) < now) return false
  if (roots.some((root) => root.raw.equals(leaf.raw))) return true
  const issued = (ca: X509Certificate) => ca.ca && leaf.checkIssued(ca) && leaf.verify(ca.publicKey)
  return (
    roots.some((root) => issued(root) && Date.parse(root.validTo) >= now) ||
    between.some((ca) => ca !== leaf && issued(ca) && chains(ca, between, roots, depth - 1))
  )
}

/**
 * A client as Go's: it accepts a server whose nsCertType lists clients alone, as the second guide's does, and OpenSSL
 * does not.
 */
export function connectAsGo(options: ConnectionOptions & { readonly ca: Buffer }): TLSSocket {
  const socket = connect({ ...options, rejectUnauthorized: false })
  socket.on('secureConnect', () => {
    const [leaf, ...others] = presented(socket)
    const roots = readCertificates(options.ca)
    const isAccepted =
      `${socket.authorizationError}` === 'INVALID_PURPOSE' &&
      leaf !== undefined &&
      chains(leaf, others, roots, deepest) &&
      !checkServerIdentity(options.host ?? '', socket.getPeerCertificate())
    if (!socket.authorized && !isAccepted) socket.destroy(new Error(`${socket.authorizationError}`))
  })
  return socket
}
