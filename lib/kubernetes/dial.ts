/** TLS with a server on a node. */
import { once } from 'node:events'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect, type TLSSocket } from 'node:tls'
import { findDistrust, isForAnotherPurpose, isServerForGo } from '../pki/handshake.ts'

/** PEM files, byte for byte. */
export interface Credentials {
  readonly certificate: Buffer
  readonly key: Buffer
}

export interface Server {
  /** Opens a stream to its port; each is used for one connection. */
  readonly open: () => Duplex | Promise<Duplex>
  /** Must be in its certificate. A name is sent to the server (SNI), an address is not (RFC 6066, section 3). */
  readonly address: string
  /** PEM of the CA that must have signed its certificate; or 'anyone', where that proves nothing. */
  readonly trust: Buffer | 'anyone'
  readonly as?: Credentials | undefined
  /** In whose name it is asked, by credentials of a front proxy. */
  readonly user?: string | undefined
  /** Without TLS. */
  readonly isPlain?: boolean | undefined
  readonly signal?: AbortSignal | undefined
}

/** Aborted with the signal, or after so many milliseconds. */
export function inTime(patience: number, signal?: AbortSignal): AbortSignal {
  const limit = AbortSignal.timeout(patience)
  return signal ? AbortSignal.any([signal, limit]) : limit
}

/** After the handshake, within so many milliseconds: nothing is sent to a server that is not trusted. */
export async function dial(server: Server, patience: number): Promise<TLSSocket> {
  const limit = inTime(patience, server.signal)
  try {
    return await shakeHands(server, limit, server.trust !== 'anyone')
  } catch (error) {
    if (!isForAnotherPurpose(error)) throw error
    const socket = await shakeHands(server, limit, false)
    if (isServerForGo(socket, server.address) && isTrusted(socket, server)) return socket
    socket.destroy()
    throw error
  }
}

/** OpenSSL reports the last thing that it finds: an issuer that is not trusted is hidden behind a wrong purpose. */
function isTrusted(socket: TLSSocket, { trust }: Server): boolean {
  const served: string[] = []
  for (let next = socket.getPeerX509Certificate(); next; next = next.issuerCertificate) served.push(next.toString())
  return trust !== 'anyone' && findDistrust(served.join(''), trust).length === 0
}

async function shakeHands(
  { open, address, trust, as }: Server,
  signal: AbortSignal,
  rejects: boolean,
): Promise<TLSSocket> {
  const stream = await open()
  const socket = connect({
    socket: stream,
    host: address,
    ...(isIP(address) === 0 && { servername: address }),
    ...(trust !== 'anyone' && { ca: trust }),
    // Otherwise NODE_TLS_REJECT_UNAUTHORIZED would decide.
    rejectUnauthorized: rejects,
    ...(as && { cert: as.certificate, key: as.key }),
  })
  // Node emits an error of the stream twice, the second time when nobody waits any more. Nor does anybody before the first
  // request and after the last answer.
  socket.on('error', () => {})
  stream.on('error', (error) => socket.destroy(error))
  socket.on('close', () => stream.destroy())
  try {
    await once(socket, 'secureConnect', { signal })
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}
