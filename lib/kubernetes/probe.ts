/** What a component on a node serves, queried through the node's own ssh connection: it works wherever ssh does. */
import type { Duplex } from 'node:stream'
import * as v from 'valibot'
import { Failure } from '../failure.ts'
import type { Credentials } from './dial.ts'

export interface Question {
  /** Opens a stream to the port; each is used for one connection. */
  readonly open: () => Duplex | Promise<Duplex>
  /** The queried address: it must be in the server's certificate. */
  readonly address: string
  readonly as?: Credentials | undefined
  readonly signal?: AbortSignal | undefined
}

/** Milliseconds for one answer, once there is a stream. */
const patience = 10_000

function inTime(signal?: AbortSignal): AbortSignal {
  const limit = AbortSignal.timeout(patience)
  return signal ? AbortSignal.any([signal, limit]) : limit
}

/** Loads what a probe needs while the run waits for something else. Most runs probe nothing, and don't load it. */
export function prepareProbe(): void {
  void import('./dial.ts')
}

/** DER of the first certificate that the server presents, whoever signed it. Throws a Failure if there is none. */
export async function readServed({ open, as, signal }: Question): Promise<Buffer> {
  const { connect } = await import('node:tls')
  const stream = await open()
  const limit = inTime(signal)
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const refuse = (error: Error) => reject(notAnswered(error))
  const socket = connect({
    socket: stream,
    rejectUnauthorized: false,
    ...(as && { cert: as.certificate, key: as.key }),
  })
  const abort = () => refuse(new Error('it did not answer in time'))
  limit.addEventListener('abort', abort, { once: true })
  if (limit.aborted) abort()
  stream.on('error', refuse)
  socket.on('error', refuse)
  socket.on('close', () => refuse(new Error('the connection was closed')))
  socket.on('secureConnect', () => resolve(socket.getPeerCertificate().raw))
  try {
    return await promise
  } finally {
    limit.removeEventListener('abort', abort)
    socket.destroy()
    stream.destroy()
  }
}

export interface Reply {
  readonly status: number
  readonly body: string
  /** The header of that name. */
  readonly date?: string | undefined
  /** DER of the certificate that the server presented; undefined without TLS. */
  readonly served?: Buffer | undefined
}

export interface PathQuestion extends Question {
  /** PEM of the CA that must have signed its certificate; or 'anyone', where that proves nothing. */
  readonly trust: Buffer | 'anyone'
  readonly path: string
  /** Without TLS. */
  readonly isPlain?: boolean
}

/** Characters: the queried paths answer with a word or two. */
const longestBody = 64 * 1024

/** A whole request: with TLS 1.3 a handshake alone proves the server, not that it takes our certificate. */
export async function ask(question: PathQuestion): Promise<Reply> {
  const { open, address, trust, as, signal, path, isPlain = false } = question
  const [http, { dial }] = await Promise.all([import('node:http'), import('./dial.ts')])
  const limit = inTime(signal)
  const tls = isPlain
    ? undefined
    : await dial({ open, address, trust, as }, limit).catch((error) => {
        throw notAnswered(error)
      })
  const stream = tls ?? (await open())
  const served = tls?.getPeerCertificate().raw
  const { promise, resolve, reject } = Promise.withResolvers<Reply>()
  const refuse = (error: Error) => reject(notAnswered(error))
  // Also after the answer: the stream is destroyed before it has come to an end.
  stream.on('error', refuse)
  // The server keeps it open until we have its answer: an end that comes with it would be taken for a loss.
  const headers = { connection: 'keep-alive' }
  const request = http.request({ host: address, path, signal: limit, headers, createConnection: () => stream })
  request.on('error', refuse)
  request.on('response', (response) => {
    let body = ''
    response.setEncoding('utf8')
    response.on('error', refuse)
    response.on('data', (chunk: string) => {
      body += chunk
      if (body.length > longestBody) request.destroy(new Error('it sends more than an answer can be'))
    })
    response.on('end', () => resolve({ status: response.statusCode ?? 0, body, served }))
  })
  request.end()
  try {
    return await promise
  } finally {
    request.destroy()
    stream.destroy()
  }
}

export function notAnswered(error: Error): Failure {
  return new Failure(error.message, { code: 'not-answered', cause: error })
}

/** The JSON object of an answer. Throws a Failure that quotes nothing: it may hold a Secret. */
export function readObject({ body }: Reply, source: string): object {
  try {
    const value: unknown = JSON.parse(body)
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // The parser's message quotes the text.
  }
  throw new Failure(`${source} does not answer with a JSON object`, { code: 'not-answered' })
}

/** Throws a Failure that quotes nothing. */
export function inShape<Schema extends v.GenericSchema>(
  schema: Schema,
  value: unknown,
  source: string,
): v.InferOutput<Schema> {
  const parsed = v.safeParse(schema, value)
  if (parsed.success) return parsed.output
  throw new Failure(`${source} answers in an unexpected form`, { code: 'not-answered' })
}

/** True if a server answered with one of these statuses, where another was expected. */
export function isAnswer(error: unknown, ...statuses: readonly number[]): boolean {
  return error instanceof Failure && statuses.some((status) => error.code === `http-${status}`)
}
