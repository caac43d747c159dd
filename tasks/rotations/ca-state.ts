/** The CA that takes the place of the present one: made beside it, cross-signed by it, and in the end put in its place. */
import { createPublicKey } from 'node:crypto'
import { type Failure, refusal } from '../../lib/failure.ts'
import { caName, certificateFile, crossName, keyFile, nextName, pairFiles } from '../../lib/files/names.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'
import type { Built } from '../../lib/graph/target.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import {
  type CaRotation,
  caRotation,
  caRotationFiles,
  isCaCommonName,
  isCross,
  nameOfCa,
  nextCaCommonName,
} from '../../lib/kubernetes/rotation.ts'
import type { Certificate } from '../../lib/pki/certificate.ts'
import { type Pair, readIssuer, readPair, tryCertificate, validityPeriod } from '../../lib/pki/pair.ts'
import type { Profile } from '../../lib/pki/profile.ts'
import type { Reason } from '../../lib/reason.ts'
import { refusalDuring } from './refusal.ts'

const next = nextName(caName)
const [nextFile, crossFile] = [certificateFile(next), certificateFile(crossName)]

/** Throws a refusal where the files do not fit together. */
export function readRotation({ auth, now, command }: Workspace): CaRotation {
  const rotation = caRotation((file) => auth.tryBytes(file), now)
  if (rotation.stage !== 'unclear') return rotation
  throw refusal(`${auth.path}: ${rotation.why}`, [
    `restore ${rotation.file} from a backup of this folder`,
    `or go back to before the rotation: ${command('rotate ca --undo')}`,
  ])
}

export function caUnderWay(workspace: Workspace): Failure {
  return refusalDuring('ca', 'a rotation of the CA is under way', workspace)
}

/** A CA that came by a rotation has a number behind its name. */
export function profileOf({ certificate }: Pair, asked: Profile): Profile {
  const name = commonName(certificate)
  const isOurs = name !== undefined && isCaCommonName(name, asked.subject.CN)
  return isOurs ? { ...asked, subject: { ...asked.subject, CN: name } } : asked
}

function commonName(certificate: Certificate | undefined): string | undefined {
  return certificate?.attributes.findLast((each) => each.startsWith('CN='))?.slice('CN='.length)
}

/** What is missing beside its key. */
export function nextReasons({ auth, now }: Workspace): Reason[] {
  const { certificate, reasons: wrong } = readPair(auth, next)
  const reasons = [...wrong]
  const present = tryCertificate(auth, caName)
  const cross = tryCertificate(auth, crossName)
  const isRight = certificate && present && cross && isCross(cross, certificate, present) && cross.notAfter > now
  // It was made by a clock that was wrong.
  if (certificate && certificate.notBefore > now)
    reasons.push({ kind: 'not-yet-valid', notBefore: certificate.notBefore })
  return [...reasons, ...(isRight ? [] : [{ kind: 'missing', path: crossFile } as const])]
}

/** Each by itself: whichever is there already stays. */
export async function makeNext(workspace: Workspace, asked: Profile): Promise<Built> {
  const { issueCertificate, selfSign } = await import('../../lib/pki/x509.ts')
  const { auth, now, cluster } = workspace
  const present = readPair(auth, caName)
  const { key, certificate: there } = readPair(auth, next)
  const ca = present.certificate
  if (!key || !ca) throw caUnderWay(workspace)
  const profile = { ...asked, subject: { ...asked.subject, CN: nextCaCommonName(commonName(ca) ?? '') } }
  const period = validityPeriod(now, cluster.certificates.caValidity)
  if (!there || there.notBefore > now)
    auth.write(nextFile, selfSign({ profile, ...period }, key), publicMode, { durable: true })
  const signed = tryCertificate(auth, next)
  const name = signed && nameOfCa(signed)
  if (!signed || !name) throw caUnderWay(workspace)
  const end = new Date(Math.min(signed.notAfter.getTime(), ca.notAfter.getTime()))
  const cross = issueCertificate(
    { profile, publicKey: createPublicKey(key), ...validityPeriod(now, cluster.certificates.caValidity, end), name },
    readIssuer(auth),
  )
  auth.write(crossFile, cross, publicMode, { durable: true })
  const { key: kind } = cluster.certificates
  const is = { key: kind, expires: signed.notAfter, names: 0 }
  return { change: { kind: 'made', files: [nextFile, crossFile], isNew: there === undefined, is } }
}

export function finishingReasons({ auth }: Workspace): Reason[] {
  const left = caRotationFiles.filter((file) => file !== crossFile && auth.read(file))
  return [{ kind: 'rotation', what: `the next CA takes the place of the present one: ${left.join(', ')}` }]
}

/** Its certificate is in its place already; what was there is in backup/. */
export async function finish({ auth }: Workspace): Promise<Built> {
  const { privateKeyPem } = await import('../../lib/pki/x509.ts')
  const { certificate } = readPair(auth, caName)
  const { key } = readPair(auth, next)
  if (key && certificate?.publicKey.equals(createPublicKey(key)))
    auth.write(keyFile(caName), privateKeyPem(key), secretMode, { durable: true })
  auth.remove(nextFile)
  auth.remove(keyFile(next))
  return { change: { kind: 'made', files: pairFiles(caName), isNew: false } }
}
