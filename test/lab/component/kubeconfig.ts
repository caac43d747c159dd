/**
 * A client of the API by a kubeconfig as it was at the start. As in client-go (transport/cert_rotation.go), an embedded
 * pair stays the same; a pair that is named by file is read for each new connection, and every five minutes connections
 * with an old one end. A CA that is named by file is read every five minutes (transport/ca_rotation.go).
 */
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { dirname, resolve } from 'node:path'
import { createSecureContext } from 'node:tls'
import { parse } from 'yaml'
import { connectAsGo, readCertificates } from './identity.ts'
import { log } from './watched.ts'

/** Milliseconds. */
const limit = 10_000
const pollInterval = Number(process.env.STAND_IN_CLIENT_POLL ?? 300_000)

/** Of a client's metrics: it reads a CA again that a kubeconfig names by file. */
export const features = 'kubernetes_feature_enabled{name="ClientsAllowCARotation",stage="BETA"} 1\n'

interface ApiObject {
  readonly metadata: { readonly name: string }
  readonly [field: string]: unknown
}

export class ApiClient {
  readonly #server: string
  readonly #agent: Agent
  #trust: Buffer
  #isWell: boolean | undefined

  /** Throws where the file is not there, or holds no whole access. */
  constructor(path: string) {
    const { clusters, users } = parse(readFileSync(path, 'utf8')) ?? {}
    const cluster = clusters?.[0]?.cluster ?? {}
    const { server } = cluster
    if (typeof server !== 'string')
      throw new Error(`invalid configuration: no configuration has been provided in ${path}`)
    const user = users?.[0]?.user ?? {}
    const read = () => ({
      cert: readPart(dirname(path), user, 'client-certificate'),
      key: readPart(dirname(path), user, 'client-key'),
    })
    const readTrust = () => readPart(dirname(path), cluster, 'certificate-authority')
    this.#trust = readTrust()
    createSecureContext({ ca: this.#trust, ...read() })
    this.#server = server
    this.#agent = new Agent({ keepAlive: true })
    this.#agent.createConnection = (options) => connectAsGo({ ...(options as object), ca: this.#trust, ...read() })
    let { cert } = read()
    const poll = () => {
      try {
        const [now, ca] = [read(), readTrust()]
        readCertificates(ca)
        this.#trust = ca
        createSecureContext(now)
        if (now.cert.equals(cert)) return
        cert = now.cert
        log('Certificate rotation detected, shutting down client connections to start using new credentials')
        this.#agent.destroy()
      } catch (error) {
        log(`Keeping the credentials of ${path}: ${error}`)
      }
    }
    if ('client-certificate' in user) setInterval(poll, pollInterval)
  }

  /** Its status: a success, or one of those. Rejects also where the server can't be reached, or is not trusted. */
  async ask(method: string, path: string, body?: object, ...more: number[]): Promise<number> {
    const status = await new Promise<number>((resolve, reject) => {
      const options = { method, agent: this.#agent, signal: AbortSignal.timeout(limit) }
      const asked = request(new URL(path, this.#server), options, (response) => {
        response.on('error', reject).on('end', () => resolve(response.statusCode ?? 0))
        response.resume()
      })
      asked.on('error', reject)
      asked.end(body && JSON.stringify(body))
    })
    if (status < 300 || more.includes(status)) return status
    throw new Error(`the API answers ${status}`)
  }

  /** An object of a collection as it is to be, whether it is there already or not. */
  async replace(path: string, object: ApiObject): Promise<void> {
    const status = await this.ask('PUT', `${path}/${object.metadata.name}`, object, 404)
    if (status === 404) await this.ask('POST', path, object, 409)
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

/** Embedded, or in a file that is named from the kubeconfig's folder on. */
function readPart(folder: string, user: Record<string, unknown>, name: string): Buffer {
  const [data, file] = [user[`${name}-data`], user[name]]
  if (typeof data === 'string') return Buffer.from(data, 'base64')
  if (typeof file === 'string') return readFileSync(resolve(folder, file))
  throw new Error(`invalid configuration: ${name} is missing`)
}
