/** A client of the API by a kubeconfig as it was at the start, as client-go has it where certificates are embedded. */
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { createSecureContext } from 'node:tls'
import { parse } from 'yaml'
import { log } from './watched.ts'

/** Milliseconds. */
const limit = 10_000

export class ApiClient {
  readonly #server: string
  readonly #agent: Agent
  #isWell: boolean | undefined

  /** Throws where the file is not there, or holds no whole access. */
  constructor(path: string) {
    const { clusters, users } = parse(readFileSync(path, 'utf8')) ?? {}
    const { server, 'certificate-authority-data': ca } = clusters?.[0]?.cluster ?? {}
    const { 'client-certificate-data': cert, 'client-key-data': key } = users?.[0]?.user ?? {}
    if (![server, ca, cert, key].every((value) => typeof value === 'string'))
      throw new Error(`invalid configuration: no configuration has been provided in ${path}`)
    const [caPem, certPem, keyPem] = [ca, cert, key].map((data: string) => Buffer.from(data, 'base64'))
    const access = { ca: caPem, cert: certPem, key: keyPem }
    createSecureContext(access)
    this.#server = server
    this.#agent = new Agent({ ...access, keepAlive: true })
  }

  /** The status, and the body where it is JSON; rejects where the server can't be reached, or is not trusted. */
  ask(method: string, path: string, body?: object): Promise<{ status: number; body: Record<string, unknown> }> {
    return new Promise((resolve, reject) => {
      const options = { method, agent: this.#agent, signal: AbortSignal.timeout(limit) }
      const asked = request(new URL(path, this.#server), options, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part
        })
        response.on('error', reject)
        response.on('end', () => {
          const isJson = response.headers['content-type'] === 'application/json'
          resolve({ status: response.statusCode ?? 0, body: isJson ? JSON.parse(text) : {} })
        })
      })
      asked.on('error', reject)
      asked.end(body && JSON.stringify(body))
    })
  }

  /** Does something again and again for as long as the process lives; tells when it begins to fail and to succeed. */
  keep(seconds: number, work: () => Promise<unknown>): void {
    const once = async () => {
      try {
        await work()
        if (this.#isWell !== true) log(`Asked ${this.#server}`)
        this.#isWell = true
      } catch (error) {
        if (this.#isWell !== false) log(`Failed to ask ${this.#server}: ${error}`)
        this.#isWell = false
      }
      setTimeout(once, seconds * 1000)
    }
    once()
  }
}

/** Throws unless it is a success; 404 and 409 are the caller's. */
export function expect<Answer extends { status: number }>(answer: Answer, ...more: number[]): Answer {
  if (answer.status < 300 || more.includes(answer.status)) return answer
  throw new Error(`the API answers ${answer.status}`)
}

interface ApiObject {
  readonly metadata: { readonly name: string }
  readonly [field: string]: unknown
}

/** An object of a collection as it is to be, whether it is there already or not. */
export async function replace(api: ApiClient, path: string, object: ApiObject): Promise<void> {
  const { status } = expect(await api.ask('PUT', `${path}/${object.metadata.name}`, object), 404)
  if (status === 404) expect(await api.ask('POST', path, object), 409)
}
