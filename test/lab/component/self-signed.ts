/** Certificates that a component makes for itself at its start, over a key that nothing keeps. */
import { execFileSync } from 'node:child_process'

/** Certificate and key in one PEM text. */
export function selfSigned(name: string, notAfter: Date): string {
  const time = (date: Date) => `${date.toISOString().replace(/[-:T]|\.\d+/g, '')}`
  const args = [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', '-'],
    ...['-subj', `/CN=${name}@${Math.floor(Date.now() / 1000)}`, '-addext', `subjectAltName=DNS:${name}`],
    // An hour earlier, for clocks that differ: client-go, util/cert/cert.go.
    ...['-not_before', time(new Date(Date.now() - 3_600_000)), '-not_after', time(notAfter)],
  ]
  return execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
}
