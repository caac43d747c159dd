import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'
import { formatKubeconfig } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, type CertSpec, readCertificate } from '../../lib/pki/certificate.ts'
import { makePair, readIssuer, validityPeriod } from '../../lib/pki/pair.ts'
import { generatePrivateKey, privateKeyPem, selfSign } from '../../lib/pki/x509.ts'
import { harderWay } from '../../tasks/layouts/harder-way.ts'
import { type CertRow, certTable } from '../../tasks/layouts/tables.ts'
import { scratch } from './files.ts'

/** An auth/ of its own for a test, with certificates made straight from the table: no phase, no executor. */

export const now = new Date('2026-11-24T12:00:00Z')
export const year = 365 * 86_400_000

/** An empty one, removed after the test. */
export function temporaryAuth(t: Parameters<typeof scratch>[0]): AuthDir {
  return new AuthDir(scratch(t), harderWay.files)
}

/** One with a CA and leaves of these names, valid today: TLS goes by the clock of the machine. */
export async function servingAuth(t: Parameters<typeof scratch>[0], profile: CertSpec, ...names: readonly string[]) {
  const [auth, today] = [temporaryAuth(t), new Date()]
  await makeCa(auth, caProfile, 10 * year, today)
  const signing = { profile, issuer: readIssuer(auth), now: today, validity: year }
  for (const name of names) await makePair(auth, name, signing)
  return auth
}

export async function makeCa(auth: AuthDir, profile: CertSpec, validity = 10 * year, at = now): Promise<void> {
  const privateKey = await generatePrivateKey(profile.key)
  auth.write(auth.files.key('ca'), privateKeyPem(privateKey), secretMode)
  auth.write(
    auth.files.certificate('ca'),
    selfSign({ profile, ...validityPeriod(at, validity) }, privateKey),
    publicMode,
  )
}

/** Every certificate of the cluster; what is returned is its table without the CA. */
export async function makeEverything(auth: AuthDir, cluster: Cluster, at = now): Promise<CertRow[]> {
  const [ca, ...leaves] = certTable(cluster)
  if (ca?.name !== 'ca') throw new Error('the first row is not the CA')
  const { validity, caValidity } = cluster.certificates
  await makeCa(auth, ca.profile, caValidity, at)
  const issuer = readIssuer(auth)
  await Promise.all(leaves.map(({ name, profile }) => makePair(auth, name, { profile, issuer, now: at, validity })))
  return leaves
}

/** A kubeconfig of one of those certificates. */
export function kubeconfigOf(auth: AuthDir, name: string): string {
  const bytesOf = (file: string) => auth.tryBytes(file) ?? assert.fail(file)
  const [ca, certificate, key] = [bytesOf('ca.pem'), bytesOf(`${name}.pem`), bytesOf(`${name}-key.pem`)]
  const names = { cluster: 'kubenet', server: 'https://127.0.0.1:6443', user: 'x', context: 'x' }
  return formatKubeconfig({ ca, certificate, key, ...names })
}

/** A leaf under a CA, both on P-256 unless another kind is asked for. */
export function leafProfile(change: Partial<CertSpec> = {}): CertSpec {
  return {
    subject: { C: 'PL', O: 'system:nodes', CN: 'system:node:w0' },
    sans: ['w0', '10.0.0.3'],
    isCa: false,
    key: 'ecdsa-p256',
    ...change,
  }
}

export const caProfile: CertSpec = {
  subject: { C: 'PL', O: 'Kubernetes', CN: 'Kubernetes' },
  sans: [],
  isCa: true,
  key: 'ecdsa-p256',
}

/** `NAME.pem` of a folder. */
export function certificateIn(auth: string, name: string): Certificate {
  return readCertificate(readFileSync(join(auth, `${name}.pem`))) ?? assert.fail(name)
}

/** The openssl on the PATH: another reader of certificates than the one that made them. */

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
  const options = ['-certopt', 'no_pubkey,no_sigdump,no_serial,no_validity', '-nameopt', 'sep_comma_plus,sname,utf8']
  return openssl('x509', '-in', certificate, '-noout', '-text', ...options)
    .split('\n')
    .map((line) => line.trim().replace(/^([0-9A-F]{2}:){19}[0-9A-F]{2}$/, '<key id>'))
    .filter((line) => line !== '')
}

/** Takes DER apart, apart from lib's own reader: what is compared must not hang on the code that is judged. */
export interface Element {
  readonly tag: number
  readonly content: Buffer
  /** With tag and length. */
  readonly whole: Buffer
}

/** The elements one after the other; throws where the bytes end within one. */
export function elements(bytes: Buffer): Element[] {
  if (bytes.length === 0) return []
  const short = bytes.readUInt8(1)
  const lengthBytes = short < 0x80 ? 0 : short - 0x80
  const start = 2 + lengthBytes
  const end = start + (lengthBytes === 0 ? short : bytes.readUIntBE(2, lengthBytes))
  if (end > bytes.length) throw new RangeError('DER that is cut short')
  const first = { tag: bytes.readUInt8(0), content: bytes.subarray(start, end), whole: bytes.subarray(0, end) }
  return [first, ...elements(bytes.subarray(end))]
}

/** The element at the end of a path of positions: [0, 3] is the fourth one inside the first. */
export function elementAt(bytes: Buffer, ...path: readonly number[]): Element {
  const [position = 0, ...rest] = path
  const found = elements(bytes).at(position)
  if (!found) throw new RangeError('DER without such an element')
  return rest.length === 0 ? found : elementAt(found.content, ...rest)
}

/** The extensions of an X.509 certificate, in its order. */
export function extensions(certificate: Buffer): { id: string; isCritical: boolean; value: Buffer }[] {
  return elements(elementAt(certificate, 0, 0, -1, 0).content).map(({ content }) => {
    const [id, ...rest] = elements(content)
    const value = rest.at(-1)
    if (!id || !value) throw new RangeError('an extension without an id or a value')
    return { id: id.content.toString('hex'), isCritical: rest.length > 1, value: value.content }
  })
}
