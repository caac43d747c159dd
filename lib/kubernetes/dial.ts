/** TLS with a server on a node. */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { connect, type TLSSocket } from 'node:tls'
import { findDistrust } from '../pki/handshake.ts'
import { isForAnotherPurpose, isServerForGo } from '../pki/purpose.ts'

/** PEM files, byte for byte. */
export interface Credentials {
  readonly certificate: Buffer
  readonly key: Buffer
}

export interface Peer {
  /** Opens a stream to its port. */
  readonly open: () => Duplex | Promise<Duplex>
  /** Must be in its certificate. */
  readonly address: string
  /** PEM of the CA that must have signed its certificate; or 'anyone', where that proves nothing. */
  readonly trust: Buffer | 'anyone'
  readonly as: Credentials | undefined
}

/** After the handshake: nothing is sent to a server that is not trusted. */
export async function dial(peer: Peer, signal: AbortSignal): Promise<TLSSocket> {
  try {
    return await shakeHands(peer, signal, peer.trust !== 'anyone')
  } catch (error) {
    if (!isForAnotherPurpose(error)) throw error
    const socket = await shakeHands(peer, signal, false)
    if (isServerForGo(socket, peer.address) && isTrusted(socket, peer)) return socket
    socket.destroy()
    throw error
  }
}

/** OpenSSL reports the last thing that it finds: an issuer that is not trusted is hidden behind a wrong purpose. */
function isTrusted(socket: TLSSocket, { trust }: Peer): boolean {
  const shown: string[] = []
  for (let next = socket.getPeerX509Certificate(); next; next = next.issuerCertificate) shown.push(next.toString())
  return trust !== 'anyone' && findDistrust(shown.join(''), trust).length === 0
}

async function shakeHands(
  { open, address, trust, as }: Peer,
  signal: AbortSignal,
  rejects: boolean,
): Promise<TLSSocket> {
  const stream = await open()
  const socket = connect({
    socket: stream,
    host: address,
    ...(trust !== 'anyone' && { ca: trust }),
    // Otherwise NODE_TLS_REJECT_UNAUTHORIZED would decide.
    rejectUnauthorized: rejects,
    ...(as && { cert: as.certificate, key: as.key }),
  })
  // Node emits an error of the stream twice, the second time when nobody waits any more.
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
