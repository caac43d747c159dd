/**
 * Requests to one server on a node, through the node's own ssh connection, which a client library for Kubernetes
 * can't use: it opens its own sockets. No failure quotes an answer: it may hold a Secret.
 */
import { once } from 'node:events'
// They serve HTTP without TLS too. An import of node:http also loads undici, for its WebSocket: 14 ms.
import { Agent, request } from 'node:https'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect, TLSSocket } from 'node:tls'
import * as v from 'valibot'
import { Failure } from '../failure.ts'
import { type Credentials, findDistrust, whyRefused } from '../pki/handshake.ts'

export interface Server {
  /** Opens a stream to its port; each is used for one connection. */
  readonly open: () => Duplex | Promise<Duplex>
  /** Must be in its certificate. A name is sent to the server (SNI), an address is not (RFC 6066, section 3). */
  readonly address: string
  /** PEM of the CA that must have signed its certificate; or 'anyone', where that proves nothing. */
  readonly trust: Buffer | 'anyone'
  readonly as?: Credentials | undefined
  readonly isPlain?: boolean | undefined
  readonly signal?: AbortSignal | undefined
}

/** Aborted with the signal, or after so many milliseconds. */
function inTime(patience: number, signal?: AbortSignal): AbortSignal {
  const limit = AbortSignal.timeout(patience)
  return signal ? AbortSignal.any([signal, limit]) : limit
}

/** After the handshake, within so many milliseconds: no request is sent to a server that is not trusted. */
export async function dial({ open, address, trust, as, signal }: Server, patience: number): Promise<TLSSocket> {
  const limit = inTime(patience, signal)
  const stream = await open()
  const socket = connect({
    socket: stream,
    host: address,
    ...(isIP(address) === 0 && { servername: address }),
    ...(trust !== 'anyone' && { ca: trust }),
    rejectUnauthorized: false,
    ...(as && { cert: as.certificate, key: as.key }),
  })
  // Node emits an error of the stream twice, the second time when nobody waits any more. Nor does anybody before the
  // first request and after the last answer.
  socket.on('error', () => {})
  stream.on('error', (error) => socket.destroy(error))
  socket.on('close', () => stream.destroy())
  try {
    await once(socket, 'secureConnect', { signal: limit })
    // OpenSSL reports the last thing that it finds: an issuer that is not trusted is hidden behind a wrong purpose.
    const why = trust !== 'anyone' && (findDistrust(servedBy(socket), trust) ?? whyRefused(socket, address))
    if (why) throw new Error(why)
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/** The chain that the server has presented, in PEM. */
function servedBy(socket: TLSSocket): string {
  const served: string[] = []
  for (let next = socket.getPeerX509Certificate(); next; next = next.issuerCertificate) served.push(next.toString())
  return served.join('')
}

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

export interface Reply {
  readonly status: number
  readonly body: string
  readonly date: string | undefined
  /** DER of the certificate that the server presented; undefined without TLS. */
  readonly served: Buffer | undefined
}

/** Bytes of an answer, above a page of the largest objects of etcd; milliseconds for a connection or an answer. */
const generous = { longestBody: 64 * 1024 * 1024, patience: 70_000 }

export class Client {
  readonly #server: Server
  readonly #limits: typeof generous
  /** Keeps connections open for further requests; the constructor says how, with TLS or without. */
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 4 })

  constructor(server: Server, limits = generous) {
    this.#server = server
    this.#limits = limits
    const connect = async () => (server.isPlain ? await server.open() : await dial(server, limits.patience))
    this.#agent.createConnection = (_, done) => {
      connect().then(
        (socket) => done?.(null, socket),
        (error) => done?.(error, undefined as never),
      )
      return undefined
    }
  }

  /** A body that is a string is sent as it is. Throws a Failure where no answer comes. */
  async ask(method: Method, path: string, body?: object | string): Promise<Reply> {
    const { address: host, signal } = this.#server
    const { longestBody, patience } = this.#limits
    const { promise, resolve, reject } = Promise.withResolvers<Reply>()
    const text = typeof body === 'object' ? JSON.stringify(body) : body
    const headers = {
      // The API server's /openid/v1/jwks serves a JWK Set alone (RFC 7517, section 8.5.1), and answers 406 to other
      // Accepts.
      accept: 'application/json, application/jwk-set+json, */*',
      ...(text && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    }
    const outgoing = request({ agent: this.#agent, host, method, path, headers, signal: inTime(patience, signal) })
    outgoing.on('error', (error) => reject(notAnswered(error)))
    // After a 101, Node reports nothing but this.
    outgoing.on('close', () => reject(notAnswered(new Error('it closed the connection'))))
    outgoing.on('response', (response) => {
      const { socket } = response
      const served = socket instanceof TLSSocket ? socket.getPeerCertificate().raw : undefined
      const chunks: Buffer[] = []
      let size = 0
      response.on('error', (error) => reject(notAnswered(error)))
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > longestBody) outgoing.destroy(new Error('its answer is too long'))
        else chunks.push(chunk)
      })
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          body: Buffer.concat(chunks).toString(),
          date: response.headers.date,
          served,
        }),
      )
    })
    outgoing.end(text)
    return await promise
  }

  /** The text of the answer. Throws a Failure for an error status, without that text: it may hold what was sent. */
  async readText(method: Method, path: string, body?: object | string): Promise<string> {
    const reply = await this.ask(method, path, body)
    if (reply.status >= 200 && reply.status <= 299) return reply.body
    throw new Failure(`${method} ${path} answers ${reply.status}`, { code: `http-${reply.status}` })
  }

  /** The JSON of the answer. Throws a Failure if it does not match the schema, and as readText does. */
  async read<Schema extends v.GenericSchema>(
    schema: Schema,
    method: Method,
    path: string,
    body?: object,
  ): Promise<v.InferOutput<Schema>> {
    const text = await this.readText(method, path, body)
    try {
      const parsed = v.safeParse(schema, JSON.parse(text))
      if (parsed.success) return parsed.output
    } catch {
      // The parser's message quotes the text.
    }
    throw new Failure(`${method} ${path} answers in an unexpected form`, { code: 'not-answered' })
  }

  /** By the server's own clock. Throws a Failure if it does not report one. */
  async time(): Promise<Date> {
    const { date } = await this.ask('GET', '/version')
    const time = new Date(date ?? '')
    if (!Number.isNaN(time.getTime())) return time
    throw new Failure('its answers have no Date header', { code: 'not-answered' })
  }

  close(): void {
    this.#agent.destroy()
  }
}

/** A Failure stays as it is: that there is no way to the node is another one. */
function notAnswered(error: Error): Failure {
  if (error instanceof Failure) return error
  const isLate = error.name === 'AbortError'
  return new Failure(isLate ? 'it did not answer in time' : error.message, { code: 'not-answered', cause: error })
}

/** True if a server answered with one of these statuses, where another was expected. */
export function isAnswer(error: unknown, ...statuses: readonly number[]): boolean {
  return error instanceof Failure && statuses.some((status) => error.code === `http-${status}`)
}

const brief = { longestBody: 64 * 1024, patience: 10_000 }

/** DER of the first certificate that the server presents, whoever signed it. Throws a Failure if there is none. */
export async function readServed(server: Omit<Server, 'trust'>): Promise<Buffer> {
  try {
    const socket = await dial({ ...server, trust: 'anyone' }, brief.patience)
    const { raw } = socket.getPeerCertificate()
    socket.destroy()
    return raw
  } catch (error) {
    throw notAnswered(error as Error)
  }
}

/** A whole request: with TLS 1.3 a handshake alone proves the server, not that it takes our certificate. */
export async function ask(question: Server & { readonly path: string }): Promise<Reply> {
  const client = new Client(question, brief)
  try {
    return await client.ask('GET', question.path)
  } finally {
    client.close()
  }
}
