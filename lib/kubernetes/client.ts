/**
 * Requests to one server on a node, through the node's own ssh connection: JSON over HTTPS or HTTP, connections kept. Written for
 * that tunnel: a client library for Kubernetes opens its own sockets, and does far more than is needed here.
 */
import * as http from 'node:http'
import * as https from 'node:https'
import type { Duplex } from 'node:stream'
import type * as v from 'valibot'
import { Failure } from '../failure.ts'
import { type Credentials, dial } from './dial.ts'
import { inShape, notAnswered, type Reply, readObject } from './probe.ts'

export interface Server {
  /** Opens a stream to its port; each is used for one connection. */
  readonly open: () => Promise<Duplex>
  /** Must be in its certificate. */
  readonly address: string
  /** PEM of the CA that must have signed its certificate, and our own; undefined: without TLS. */
  readonly tls: { readonly ca: Buffer; readonly as: Credentials } | undefined
  readonly signal: AbortSignal
}

/** Bytes: a page of the largest objects that etcd takes is some fifty megabytes. */
const longestBody = 64 * 1024 * 1024
/** Milliseconds: longer than a server takes for one request. */
const patience = 70_000

export class Client {
  readonly #server: Server
  readonly #agent: http.Agent

  constructor(server: Server) {
    this.#server = server
    const { Agent } = server.tls ? https : http
    this.#agent = new Agent({ keepAlive: true, maxSockets: 4 })
    this.#agent.createConnection = (_, done) => {
      connectTo(server).then(
        (socket) => done?.(null, socket),
        (error) => done?.(error, undefined as never),
      )
      return undefined
    }
  }

  /** Throws a Failure where no answer comes. */
  async ask(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: object): Promise<Reply> {
    const { address: host, signal, tls } = this.#server
    const { request: send } = tls ? https : http
    const { promise, resolve, reject } = Promise.withResolvers<Reply>()
    const text = body && JSON.stringify(body)
    const headers = {
      // The API server's /openid/v1/jwks serves a JWK Set alone (RFC 7517, section 8.5.1), and answers 406 to other Accepts.
      accept: 'application/json, application/jwk-set+json',
      ...(text && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    }
    const ended = AbortSignal.any([signal, AbortSignal.timeout(patience)])
    const outgoing = send({ agent: this.#agent, host, method, path, headers, signal: ended })
    outgoing.on('error', (error) => reject(notAnswered(error)))
    outgoing.on('response', (response) => {
      const chunks: Buffer[] = []
      let size = 0
      response.on('error', (error) => reject(notAnswered(error)))
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > longestBody) outgoing.destroy(new Error('it sends more than an answer can be'))
        else chunks.push(chunk)
      })
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          body: Buffer.concat(chunks).toString(),
          date: response.headers.date,
        }),
      )
    })
    outgoing.end(text)
    return await promise
  }

  /** The parsed answer. Throws a Failure for a status other than 2xx, without the answer's text: it may hold what was sent. */
  async read(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: object): Promise<object> {
    const reply = await this.ask(method, path, body)
    if (reply.status < 200 || reply.status > 299)
      throw new Failure(`${method} ${path} answers ${reply.status}`, { code: `http-${reply.status}` })
    return readObject(reply, `${method} ${path}`)
  }

  /** The answer, checked against the schema. Throws a Failure if it does not match, and as read does. */
  async readAs<Schema extends v.GenericSchema>(
    schema: Schema,
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    body?: object,
  ): Promise<v.InferOutput<Schema>> {
    return inShape(schema, await this.read(method, path, body), `${method} ${path}`)
  }

  /** By the server's own clock. Throws a Failure if it does not report one. */
  async time(): Promise<Date> {
    const { date } = await this.ask('GET', '/version')
    const time = new Date(date ?? '')
    if (!Number.isNaN(time.getTime())) return time
    throw new Failure('its answers have no Date', { code: 'not-answered' })
  }

  close(): void {
    this.#agent.destroy()
  }
}

async function connectTo({ open, address, tls, signal }: Server): Promise<Duplex> {
  if (!tls) return await open()
  return await dial(
    { open, address, trust: tls.ca, as: tls.as },
    AbortSignal.any([signal, AbortSignal.timeout(patience)]),
  )
}
