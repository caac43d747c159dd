/**
 * The file of --encryption-provider-config, which is read once, or polled: apiserver's
 * encryptionconfig/controller/controller.go.
 */
import { readFileSync } from 'node:fs'
import { Reloads } from './reloads.ts'
import { readSealing, type Sealing } from './sealing.ts'
import { log } from './watched.ts'

/**
 * Milliseconds. The real one has no setting for it; a test that can't wait a minute shortens it by the unit's
 * environment.
 */
const pollTime = Number(process.env.STAND_IN_ENCRYPTION_POLL ?? 60_000)

export class Encryption {
  readonly #path: string
  #text: string
  #sealing: (resource: string) => Sealing
  readonly #reloads = new Reloads()

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
      this.#reloads.count('success')
      log(`Loaded ${this.#path}`)
    } catch (error) {
      this.#reloads.count('failure')
      log(`Keeping what was loaded of ${this.#path}: ${error}`)
    }
  }

  metrics(): string {
    return this.#reloads.metrics(this.#text)
  }
}
