/** What a component on a node serves, asked through the node's own ssh connection: it works wherever ssh does. */
import type { Duplex } from 'node:stream'
import { Failure } from '../failure.ts'

/** PEM files, byte for byte. */
export interface Credentials {
  readonly certificate: Buffer
  readonly key: Buffer
}

export interface Question {
  /** Opens a stream to the port; each is used for one connection. */
  readonly open: () => Duplex | Promise<Duplex>
  /** The address that is asked: it must be in the server's certificate. */
  readonly address: string
  /** PEM; undefined where the server's certificate proves nothing. */
  readonly ca?: Buffer | undefined
  readonly as?: Credentials | undefined
  readonly signal: AbortSignal
}

/** DER of the first certificate that the server shows, whoever signed it. Throws a Failure where there is none. */
export async function readServed({ open, as, signal }: Question): Promise<Buffer> {
  // Loaded where it is used: most runs ask nobody.
  const { connect } = await import('node:tls')
  const stream = await open()
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const refuse = (error: Error) => reject(notAnswered(error))
  const socket = connect({
    socket: stream,
    rejectUnauthorized: false,
    ...(as && { cert: as.certificate, key: as.key }),
  })
  const abort = () => refuse(new Error('it did not answer in time'))
  signal.addEventListener('abort', abort, { once: true })
  stream.on('error', refuse)
  socket.on('error', refuse)
  socket.on('close', () => refuse(new Error('the connection was closed')))
  socket.on('secureConnect', () => resolve(socket.getPeerCertificate().raw))
  try {
    return await promise
  } finally {
    signal.removeEventListener('abort', abort)
    socket.destroy()
    stream.destroy()
  }
}

export interface Reply {
  readonly status: number
  readonly body: string
}

/** Characters: what is asked for answers with a word or two. */
const longestBody = 64 * 1024

/** A whole request: with TLS 1.3 a handshake alone proves the server, not that it takes our certificate. */
export async function ask(question: Question & { readonly path: string; readonly isPlain?: boolean }): Promise<Reply> {
  const { open, address, ca, as, signal, path, isPlain = false } = question
  const [http, https, { connect }] = await Promise.all([import('node:http'), import('node:https'), import('node:tls')])
  const stream = await open()
  const { promise, resolve, reject } = Promise.withResolvers<Reply>()
  const refuse = (error: Error) => reject(notAnswered(error))
  stream.on('error', refuse)
  // Kept open by the server until we have its answer: an end that comes with it would be taken for a loss.
  const common = { host: address, path, signal, headers: { connection: 'keep-alive' } } as const
  const dial = () => {
    const socket = connect({
      socket: stream,
      host: address,
      ca,
      rejectUnauthorized: ca !== undefined,
      ...(as && { cert: as.certificate, key: as.key }),
    })
    // Also after the answer: its stream is destroyed before it has come to an end.
    socket.on('error', refuse)
    return socket
  }
  const request = isPlain
    ? http.request({ ...common, createConnection: () => stream })
    : https.request({ ...common, createConnection: dial })
  request.on('error', refuse)
  request.on('response', (response) => {
    let body = ''
    response.setEncoding('utf8')
    response.on('error', refuse)
    response.on('data', (chunk: string) => {
      body += chunk
      if (body.length > longestBody) request.destroy(new Error('it sends more than an answer can be'))
    })
    response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
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
