/** What a rotation, under way or done, has left where it is recovered from. Pure. */
import { certificatePem } from '../../../lib/der/pem.ts'
import { caName, certificateFile, crossName, keyFile, nextName } from '../../../lib/files/names.ts'
import {
  type CaRotation,
  caRotation,
  caRotationFiles,
  settledCa,
  tokenRotation,
} from '../../../lib/identity/rotation.ts'
import { type Certificate, readCertificates } from '../../../lib/pki/certificate.ts'
import { clusterCerts } from '../../tables/certs.ts'
import type { Holding } from './holding.ts'

const tokenNames = clusterCerts.flatMap(({ name, irreplaceable }) => (irreplaceable && name !== caName ? [name] : []))

/** Of auth/, beside what the table has. A node has none of them. */
export const rotationFiles: readonly string[] = [
  ...caRotationFiles,
  ...tokenNames.map((name) => keyFile(nextName(name))),
]

/** A cross certificate that is not there itself stands behind every leaf. */
export function rotationFilesOf({ files }: Holding, ca: Certificate | undefined): Map<string, Buffer> {
  const found = new Map([...files].filter(([name]) => rotationFiles.includes(name)))
  const cross = ca && crossIn(files, ca)
  const crossFile = certificateFile(crossName)
  return cross && !found.has(crossFile) ? found.set(crossFile, cross) : found
}

/** Of CAs that ours leads to: while the next one signs, its leaves are ours as well. */
export function crossesOf({ files }: Holding, ca: Certificate): Certificate[] {
  return chainsIn(files).filter((each) => each.isCa && each.x509.verify(ca.publicKey))
}

function chainsIn(files: ReadonlyMap<string, Buffer>): Certificate[] {
  return [...files].flatMap(([, bytes]) => readCertificates(bytes).slice(1))
}

function crossIn(files: ReadonlyMap<string, Buffer>, ca: Certificate): Buffer | undefined {
  const cross = chainsIn(files).find(
    (each) => each.isCa && each.publicKey.equals(ca.publicKey) && each.subject.equals(ca.subject),
  )
  return cross && Buffer.from(certificatePem(cross.der))
}

/** With why its files do not fit together. */
export function readRotations(
  read: (file: string) => Buffer | undefined,
  now: Date,
): { readonly rotation: CaRotation; readonly unclear: readonly string[] } {
  const found = caRotation(read, now)
  const all = [found, ...tokenNames.map((name) => tokenRotation(read, name))]
  const unclear = all.flatMap((each) => (each.stage === 'unclear' ? [each.why] : []))
  return { rotation: found.stage === 'unclear' ? settledCa : found, unclear }
}
