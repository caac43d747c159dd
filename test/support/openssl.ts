/** The openssl on the PATH: another reader of certificates than the one that made them. */
import { execFileSync } from 'node:child_process'
import { now } from './cluster-auth.ts'

/** The certificates are made by the clock of the tests: openssl is to judge by it too. */
const at = String(now.getTime() / 1000)

/** What it prints; throws with what it says on stderr where it fails. */
export function openssl(...args: readonly string[]): string {
  return execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Throws unless all of them are good for the purpose (and the name or address, where one is given). */
export function verify(ca: string, certificates: readonly string[], ...options: readonly string[]): void {
  openssl('verify', '-x509_strict', '-attime', at, '-CAfile', ca, ...options, ...certificates)
}

/** The certificate as text, a line each, key, signature, serial number and key identifiers left out. */
export function describe(certificate: string): string[] {
  const options = 'no_pubkey,no_sigdump,no_serial,no_validity'
  return openssl(
    'x509',
    '-in',
    certificate,
    '-noout',
    '-text',
    '-certopt',
    options,
    '-nameopt',
    'sep_comma_plus,sname,utf8',
  )
    .split('\n')
    .map((line) => line.trim().replace(/^([0-9A-F]{2}:){19}[0-9A-F]{2}$/, '<key id>'))
    .filter((line) => line !== '')
}

/** `UTCTIME :261124223000Z`, … : every time in the certificate, as its DER has it. */
export function encodedTimes(certificate: string): string[] {
  return openssl('asn1parse', '-in', certificate).match(/(UTCTIME|GENERALIZEDTIME) +:\w+/g) ?? []
}
