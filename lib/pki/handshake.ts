/** TLS 1.3 between two parties in memory, with Node's TLS: whether each side accepts the other. */

import { isIP } from 'node:net'
import { duplexPair } from 'node:stream'
import { checkServerIdentity, connect, createServer, type TLSSocket } from 'node:tls'
import { type Certificate, isIssuedBy, readCertificates } from './certificate.ts'

/** Why a PEM chain (the leaf first) is not trusted by these PEM certificates. Times and usages are not checked. */
export function findDistrust(served: Uint8Array | string, trusted: Uint8Array | string): string | undefined {
  const [leaf, ...between] = readCertificates(served)
  return leaf && isChained(leaf, between, readCertificates(trusted)) ? undefined : 'not issued by a trusted CA'
}

function isChained(certificate: Certificate, between: readonly Certificate[], roots: readonly Certificate[]): boolean {
  return (
    roots.some((root) => isIssuedBy(certificate, root)) ||
    between.some(
      (link, i) => link.isCa && isIssuedBy(certificate, link) && isChained(link, between.toSpliced(i, 1), roots),
    )
  )
}

/** PEM: a certificate, with what follows it, and its key. */
export interface Credentials {
  readonly certificate: Buffer
  readonly key: Buffer
}

export interface Party extends Credentials {
  readonly ca: Buffer
}

/** As Kubernetes reads it from a client's certificate: the user is CN, the groups are O. */
export interface Identity {
  readonly user: string
  readonly groups: readonly string[]
}

interface Handshake {
  readonly server: Party
  readonly client: Party | Pick<Party, 'ca'>
  readonly dialled: string
  /** etcd rejects an unknown client in the handshake; the API server and kubelets treat it as anonymous. */
  readonly strict: boolean
}

/** The identity that the server sees, if any; or why the handshake failed. */
export type Met = { readonly seen: Identity | undefined; readonly why?: string } | { readonly refused: string }

/** Set explicitly, so that NODE_OPTIONS and the environment can't change versions or ciphers. */
const tls13 = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256',
} as const

/** By Node's TLS (OpenSSL), plus Go's stricter rules for certificates. */
export async function shakeHands(handshake: Handshake): Promise<Met> {
  const { server, client, strict } = handshake
  const distrusted = findDistrust(server.certificate, client.ca)
  if (distrusted) return { refused: distrusted }
  const met = await meet(handshake).catch((error: Error): Met => ({ refused: formatTlsError(error) }))
  if ('refused' in met || !met.seen || !('certificate' in client)) return met
  const unknown = findDistrust(client.certificate, server.ca)
  if (!unknown) return met
  return strict ? { refused: unknown } : { seen: undefined, why: unknown }
}

async function meet({ server, client, dialled, strict }: Handshake): Promise<Met> {
  const [near, far] = duplexPair()
  const { ca, certificate: cert, key } = server
  const listener = createServer({ ...tls13, ca, cert, key, requestCert: true, rejectUnauthorized: strict })
  const met = new Promise<Met>((resolve) => {
    const refuse = (error: Error) => resolve({ refused: formatTlsError(error) })
    // Node's server closes a rejected connection silently; the reason is on the socket.
    listener.on('tlsClientError', (error, { authorizationError: why }) =>
      why ? resolve({ refused: words(why) }) : refuse(error),
    )
    const dialling = connect({
      ...tls13,
      socket: near,
      host: dialled,
      servername: isIP(dialled) ? '' : dialled,
      ca: client.ca,
      rejectUnauthorized: false,
      ...('certificate' in client && { cert: client.certificate, key: client.key }),
    })
    dialling.on('error', refuse)
    // In TLS 1.3 the client finishes before the server has verified it: wait for both.
    const isDialled = new Promise<void>((done) =>
      dialling.on('secureConnect', () => {
        const why = whyRefused(dialling, dialled)
        if (why !== undefined) resolve({ refused: why })
        done()
      }),
    )
    listener.on('secureConnection', (socket) =>
      isDialled.then(() => resolve({ seen: identityOf(socket), why: words(socket.authorizationError) })),
    )
    listener.emit('connection', far)
  })
  try {
    return await met
  } finally {
    near.destroy()
    far.destroy()
  }
}

/** RFC 5280, 4.2.1.12. */
const serverAuth = '1.3.6.1.5.5.7.3.1'

/**
 * Why a component refuses the server that it has dialled there, of a CA that it trusts; undefined if it does not. The
 * socket has not been told to reject it. Go ignores Netscape's certificate type, for which OpenSSL refuses a server:
 * Kubernetes The Hard Way has `client` there in certificates of servers.
 */
export function whyRefused(socket: TLSSocket, host: string): string | undefined {
  const why = String(socket.authorizationError ?? '')
  const certificate = socket.getPeerCertificate()
  const isServer = certificate.ext_key_usage?.includes(serverAuth) && !checkServerIdentity(host, certificate)
  if (why === '' || (why === 'INVALID_PURPOSE' && isServer)) return undefined
  return why === 'ERR_TLS_CERT_ALTNAME_INVALID' ? formatNotFor(host) : words(why)
}

export function formatNotFor(dialled: string): string {
  return `the server certificate has no SAN ${dialled}`
}

function words(code: unknown): string {
  return String(code ?? '')
    .toLowerCase()
    .replaceAll('_', ' ')
}

function formatTlsError(error: Error): string {
  // OpenSSL's reason, without its error code and source location.
  return /^(?:[0-9A-F]+:)?error:[^:]*:[^:]*:[^:]*:([^:]*)/.exec(error.message)?.[1] ?? error.message
}

function identityOf(socket: TLSSocket): Identity | undefined {
  if (!socket.authorized) return undefined
  const { CN, O } = socket.getPeerCertificate().subject
  return { user: [CN].flat().join(), groups: [O ?? []].flat() }
}
