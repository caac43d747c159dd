/** A client of etcd over its JSON gateway (etcd's docs: dev-guide/api_grpc_gateway): keys and values are base64. */
import { readFileSync } from 'node:fs'
import * as http from 'node:http'
import * as https from 'node:https'
import { connect } from 'node:tls'
import { type Flags, required } from './flags.ts'
import { readCertificates } from './identity.ts'

/** Milliseconds for one endpoint. */
const limit = 3000

export interface Entry {
  readonly key: string
  readonly value: Buffer
  /** The revision of its last change: a resourceVersion. */
  readonly revision: string
}

export class Etcd {
  readonly #endpoints: readonly URL[]
  readonly #agent: http.Agent
  readonly #request: typeof http.request

  constructor(flags: Flags) {
    this.#endpoints = required(flags, 'etcd-servers')
      .split(',')
      .map((server) => new URL(server))
    const isPlain = this.#endpoints.every(({ protocol }) => protocol === 'http:')
    this.#agent = isPlain ? new http.Agent({ keepAlive: true }) : secureAgent(flags)
    this.#request = isPlain ? http.request : https.request
  }

  async get(key: string): Promise<Entry | undefined> {
    const answer = await this.#ask('range', { key: encode(key) })
    return readRange(answer).entries[0]
  }

  /** Below a prefix that ends with a slash, which a 0 comes after. */
  async list(prefix: string): Promise<{ entries: readonly Entry[]; revision: string }> {
    return readRange(await this.#ask('range', { key: encode(prefix), range_end: encode(prefix.replace(/\/$/, '0')) }))
  }

  /** Its new revision; undefined where the key was changed since `revision` ('0': where it exists). */
  async put(key: string, value: Buffer, revision: string): Promise<string | undefined> {
    return await this.#change(key, revision, { request_put: { key: encode(key), value: value.toString('base64') } })
  }

  async delete(key: string, revision: string): Promise<string | undefined> {
    return await this.#change(key, revision, { request_delete_range: { key: encode(key) } })
  }

  async #change(key: string, revision: string, change: object): Promise<string | undefined> {
    const unchanged = { key: encode(key), target: 'MOD', result: 'EQUAL', mod_revision: revision }
    const answer = await this.#ask('txn', { compare: [unchanged], success: [change] })
    return answer.succeeded ? answer.header.revision : undefined
  }

  /** One endpoint after the other, until one was asked: what may have been done already is not done again. */
  async #ask(method: 'range' | 'txn', body: object): Promise<GatewayAnswer> {
    let last: unknown
    for (const endpoint of this.#endpoints)
      try {
        return await this.#askOne(new URL(`/v3/kv/${method}`, endpoint), JSON.stringify(body))
      } catch (error) {
        last = error
        if (method === 'txn' && !(error instanceof NotAsked)) break
      }
    throw new Error(`etcd: ${last instanceof Error ? last.message : last}`)
  }

  #askOne(url: URL, body: string): Promise<GatewayAnswer> {
    return new Promise((resolve, reject) => {
      let wasSent = false
      const fail = (error: Error) => reject(wasSent ? error : new NotAsked(error.message))
      const signal = AbortSignal.timeout(limit)
      const asked = this.#request(url, { method: 'POST', agent: this.#agent, signal }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part
        })
        response.on('error', fail)
        response.on('end', () => {
          // Unavailable: its gateway has no connection to it any more, so that gRPC would have asked another member.
          if (response.statusCode === 503) wasSent = false
          if (response.statusCode === 200) resolve(JSON.parse(text))
          else fail(new Error(`${url.host} answers ${response.statusCode} ${text}`))
        })
      })
      asked.on('socket', (socket) => {
        if (!asked.reusedSocket)
          socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => (wasSent = true))
        else wasSent = true
      })
      let isAnswered = false
      asked.on('response', () => (isAnswered = true))
      asked.on('error', (error: NodeJS.ErrnoException) => {
        // A kept connection that a stopping etcd closed was idle there: it ends what it has begun (net/http,
        // Server.Shutdown). gRPC knows by GOAWAY, and asks another member (grpc.io/docs/guides/retry, "transparent
        // retry").
        if (asked.reusedSocket && !isAnswered && error.code === 'ECONNRESET') wasSent = false
        fail(error)
      })
      asked.end(body)
    })
  }
}

/** The pair is read at each new connection; the CA stays that of the start. */
function secureAgent(flags: Flags): https.Agent {
  const ca = readFileSync(required(flags, 'etcd-cafile'))
  readCertificates(ca)
  const [cert, key] = ['etcd-certfile', 'etcd-keyfile'].map((name) => required(flags, name))
  const agent = new https.Agent({ keepAlive: true })
  agent.createConnection = (options) => {
    const pair = { cert: readFileSync(cert ?? ''), key: readFileSync(key ?? '') }
    return connect({ ...(options as object), ...pair, ca })
  }
  return agent
}

class NotAsked extends Error {}

interface GatewayAnswer {
  readonly header: { readonly revision: string }
  readonly succeeded?: boolean
  readonly kvs?: readonly { readonly key: string; readonly value?: string; readonly mod_revision: string }[]
}

const encode = (text: string) => Buffer.from(text).toString('base64')

function readRange({ header, kvs = [] }: GatewayAnswer): { entries: readonly Entry[]; revision: string } {
  const entries = kvs.map(({ key, value = '', mod_revision }) => ({
    key: Buffer.from(key, 'base64').toString(),
    value: Buffer.from(value, 'base64'),
    revision: mod_revision,
  }))
  return { entries, revision: header.revision }
}
