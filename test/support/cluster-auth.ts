/** An auth/ of its own for a test, with certificates made straight from the table: no phase, no executor. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'
import type { CertSpec } from '../../lib/pki/cert-spec.ts'
import { makePair, readIssuer, validityPeriod } from '../../lib/pki/pair.ts'
import { generatePrivateKey, privateKeyPem, selfSign } from '../../lib/pki/x509.ts'
import { harderWay } from '../../tasks/layouts/harder-way.ts'
import { type CertRow, certTable } from '../../tasks/tables/certs.ts'

export const now = new Date('2026-11-24T12:00:00Z')
export const year = 365 * 86_400_000

/** An empty one, removed after the test. */
export function temporaryAuth(t: TestContext): AuthDir {
  const folder = mkdtempSync(join(tmpdir(), 'harderway-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return new AuthDir(folder, harderWay.files)
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
