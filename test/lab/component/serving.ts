/** An HTTPS server as the API server's and the kubelet's: pair and client CA are taken up when their files change. */
import { constants, type X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { createServer, type Server } from 'node:https'
import { createSecureContext, type TLSSocket } from 'node:tls'
import { proxiedUser, readCertificates, type User, userOf } from './identity.ts'
import { log, watchFiles } from './watched.ts'

interface ServingFiles {
  readonly cert: string
  readonly key: string
  readonly clientCA: string
  /** A client with a certificate of it is whom its headers name. */
  readonly proxyCA?: string | undefined
}

export interface Request {
  readonly method: string
  readonly url: URL
  readonly user: User | 'none' | 'unknown'
  readonly bearer: string | undefined
  readonly body: string
}

export interface Answer {
  readonly status: number
  readonly body: unknown
}

/** OpenSSL's tickets forget the chain that a client has shown, Go's do not: each connection shows it anew. */
const secureOptions = constants.SSL_OP_NO_TICKET

/** Certificates are asked for, not required, and who shows none or an unknown one is told by `answer`. */
export function serve(files: ServingFiles, answer: (request: Request) => Promise<Answer>): Server {
  const server = createServer({ requestCert: true, rejectUnauthorized: false })
  let roots: X509Certificate[][] = []
  let pair: { cert: Buffer; key: Buffer } | undefined
  let hints: readonly Buffer[] = []
  const renew = () => server.setSecureContext({ ...pair, ca: [...hints], secureOptions })
  watchFiles([files.clientCA, files.proxyCA ?? []].flat(), (pems) => {
    roots = pems.map(readCertificates)
    hints = pems
    renew()
  })
  watchFiles([files.cert, files.key], ([cert = Buffer.alloc(0), key = Buffer.alloc(0)]) => {
    // Throws where they are no pair.
    createSecureContext({ cert, key })
    pair = { cert, key }
    renew()
  })
  // Longer than a client keeps a connection that is idle.
  server.keepAliveTimeout = 180_000
  server.on('tlsClientError', (error) => log(`TLS handshake error: ${error.message}`))
  server.on('request', async (message, response) => {
    let { status, body }: Answer = { status: 500, body: 'internal error' }
    try {
      const [clients = [], proxies = []] = roots
      const user = proxiedUser(message, proxies) ?? userOf(message.socket as TLSSocket, clients)
      ;({ status, body } = await answer(await read(message, user)))
    } catch (error) {
      log(`${message.method} ${message.url}: ${error}`)
    }
    const isText = typeof body === 'string'
    // As Go's servers answer while they shut down.
    if (!server.listening) response.setHeader('connection', 'close')
    response.writeHead(status, { 'content-type': isText ? 'text/plain; charset=utf-8' : 'application/json' })
    response.end(isText ? body : `${JSON.stringify(body)}\n`)
  })
  return server
}

async function read(message: IncomingMessage, user: Request['user']): Promise<Request> {
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk)
  return {
    method: message.method ?? 'GET',
    url: new URL(message.url ?? '/', 'https://localhost'),
    user,
    bearer: /^Bearer (.+)$/.exec(message.headers.authorization ?? '')?.[1],
    body: Buffer.concat(chunks).toString(),
  }
}
