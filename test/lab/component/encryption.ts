/** The file of --encryption-provider-config, which is read once, or polled: apiserver's encryptionconfig/controller/controller.go. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readSealing, type Sealing } from './sealing.ts'
import { isSince } from './version.ts'
import { log } from './watched.ts'

/** Milliseconds. The real one has no setting for it; a test that can't wait a minute shortens it by the unit's environment. */
const pollTime = Number(process.env.STAND_IN_ENCRYPTION_POLL ?? 60_000)

const metric = (name: string) => `apiserver_encryption_config_controller_${name}`
/** Of which API server: the real one has the hash of its name. */
const server = 'apiserver_id_hash="sha256:0"'

export class Encryption {
  readonly #path: string
  #text: string
  #sealing: (resource: string) => Sealing
  readonly #last = new Map<'failure' | 'success', number>()

  /** Throws where kube-apiserver would not start with the file. */
  constructor(path: string) {
    this.#path = path
    this.#text = readFileSync(path, 'utf8')
    this.#sealing = readSealing(this.#text)
  }

  readonly sealing = (resource: string): Sealing => this.#sealing(resource)

  poll(): void {
    setInterval(() => this.#look(), pollTime)
  }

  /** The same content under a new time is no reload. A file that can't be used leaves what was loaded. */
  #look(): void {
    try {
      const text = readFileSync(this.#path, 'utf8')
      if (text === this.#text) return
      this.#sealing = readSealing(text)
      this.#text = text
      this.#last.set('success', Date.now() / 1000)
      log(`Loaded ${this.#path}`)
    } catch (error) {
      this.#last.set('failure', Date.now() / 1000)
      log(`Keeping what was loaded of ${this.#path}: ${error}`)
    }
  }

  metrics(): string {
    const hash = createHash('sha256').update(this.#text).digest('hex')
    return [
      // From its start on: apiserver, encryptionconfig/metrics/metrics.go.
      ...(isSince('1.34') ? [`${metric('last_config_info')}{${server},hash="sha256:${hash}"} 1\n`] : []),
      ...[...this.#last].map(
        ([status, time]) =>
          `${metric('automatic_reload_last_timestamp_seconds')}{${server},status="${status}"} ${time.toExponential()}\n`,
      ),
    ].join('')
  }
}
