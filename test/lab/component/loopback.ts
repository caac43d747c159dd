/**
 * The certificate by which an API server knows itself: made at its start, kept in memory, served to who names
 * `apiserver-loopback-client` (apiserver, server/options/serving_with_loopback.go). Only a restart renews it.
 */

import { selfSigned } from './self-signed.ts'
import { isSince } from './version.ts'

export const loopbackName = 'apiserver-loopback-client'

const day = 86_400_000
/** Milliseconds: kubernetes#130047. */
const life = (isSince('1.33') ? 3 * 365 + 1 : 365) * day

export class Loopback {
  readonly #notAfter = new Date(Date.now() + life)
  readonly pem = selfSigned(loopbackName, this.#notAfter)

  /** What /healthz and /livez say of it from 1.36 on (kubernetes#136477), and /readyz does not. */
  checks(path: string): [name: string, isHealthy: boolean][] {
    if (path === '/readyz' || !isSince('1.36')) return []
    return [['loopback-serving-certificate', Date.now() < this.#notAfter.getTime()]]
  }
}
