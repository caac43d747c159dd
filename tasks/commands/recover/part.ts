/** What was found of a certificate: its pair and its kubeconfig, which are taken together or not at all. Pure. */
import { createPublicKey } from 'node:crypto'
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import { blocksIn } from '../../../lib/der/pem.ts'
import { caName, certificateFile, keyFile, kubeconfigFile, pairFiles } from '../../../lib/files/names.ts'
import { once } from '../../../lib/files/plain-file.ts'
import { type CaRotation, settledCa } from '../../../lib/identity/rotation.ts'
import { compareKubeconfig, readEmbedded } from '../../../lib/kubeconfig/kubeconfig.ts'
import { type Certificate, readCertificate, readCertificates } from '../../../lib/pki/certificate.ts'
import { checkPair } from '../../../lib/pki/pair.ts'
import { isKeyOf, readPrivateKey } from '../../../lib/pki/private-key.ts'
import type { Reason } from '../../../lib/reason.ts'
import { formatNames } from '../../../lib/wording.ts'
import { accessOf } from '../../phases/kubeconfigs.ts'
import { profileOf } from '../../successors/next-ca.ts'
import type { CertRow } from '../../tables/certs.ts'
import type { Holding } from './holding.ts'

export interface Part {
  readonly row: CertRow
  /** As Holding has it. */
  readonly where: string
  readonly files: ReadonlyMap<string, Buffer>
}

type Read = (file: string) => Buffer | undefined

/** Bytes: one of ours has some ten thousand at most. It may be a node's: the parser's time has a bound. */
const largestKubeconfig = 32 * 1024

const embeddedIn = once((text) => (text.length <= largestKubeconfig ? readEmbedded(text.toString()) : undefined))
const certificateIn = once(readCertificate)
const keyIn = once(readPrivateKey)

/** In auth/, the certificate before its key. */
export function filesOf({ name, isClient }: CertRow): string[] {
  return [...pairFiles(name), ...(isClient ? [kubeconfigFile(name)] : [])]
}

/** Of a client whose pair is nowhere, it is taken out of its kubeconfig. What is in auth/ already completes it. */
export function partOf(row: CertRow, { where, files }: Holding, present: Read): Part {
  const text = row.isClient ? files.get(kubeconfigFile(row.name)) : undefined
  const embedded = text && embeddedIn(text)
  const found = new Map<string, Buffer | undefined>([
    [certificateFile(row.name), embedded?.certificate],
    [keyFile(row.name), embedded?.key],
  ])
  const all = filesOf(row).flatMap((name): [string, Buffer][] => {
    const bytes = files.get(name) ?? present(name) ?? found.get(name)
    return bytes ? [[name, bytes]] : []
  })
  return { row, where, files: new Map(all) }
}

export function certificateOf({ row: { name }, files }: Part): Certificate | undefined {
  const bytes = files.get(certificateFile(name))
  return bytes && certificateIn(bytes)
}

/** Why its files can't be of one identity under that CA, in words; times, and what cluster.yaml asks for, aside. */
export function findMisfits(part: Part, ca: Certificate | undefined): string[] {
  const { row, files } = part
  const [certificateName, keyName] = [certificateFile(row.name), keyFile(row.name)]
  const missing = pairFiles(row.name).filter((name) => !files.has(name))
  if (missing.length > 0) return [`${formatNames(missing)} missing`]
  const certificate = certificateOf(part)
  const key = keyIn(files.get(keyName) as Buffer)
  if (!certificate) return [`${certificateName} is not a certificate`]
  if (!key) return [`${keyName} is not a private key without a passphrase`]
  return [
    ...(isKeyOf(certificate, key) ? [] : [`${keyName} is not the key of ${certificateName}`]),
    ...(row.name === caName || (ca && leadsTo(ca, files.get(certificateName) as Buffer))
      ? []
      : [`${certificateName} is not signed by this CA`]),
    ...findKubeconfigMisfits(part, certificate, ca),
  ]
}

/** By itself, or by a cross certificate behind it. */
function leadsTo(ca: Certificate, pem: Buffer): boolean {
  const [leaf, cross] = readCertificates(pem)
  const isSigned = (by: Certificate) => leaf?.x509.verify(by.publicKey) === true
  return isSigned(ca) || (cross?.isCa === true && isSigned(cross) && cross.x509.verify(ca.publicKey))
}

function findKubeconfigMisfits({ row, files }: Part, own: Certificate, ca: Certificate | undefined): string[] {
  const name = kubeconfigFile(row.name)
  const text = files.get(name)
  if (!text) return []
  const embedded = embeddedIn(text)
  const [certificate, key] = [
    embedded && readCertificate(embedded.certificate),
    embedded && readPrivateKey(embedded.key),
  ]
  if (!embedded || !certificate || !key) return [`${name} is not a kubeconfig with a certificate and its key`]
  const trusted = readCertificates(embedded.ca)
  return [
    ...(trusted.some(({ publicKey }) => ca?.publicKey.equals(publicKey)) ? [] : [`${name} trusts another CA`]),
    ...(certificate.der.equals(own.der) && own.publicKey.equals(createPublicKey(key))
      ? []
      : [`${name} holds another pair than ${certificateFile(row.name)}`]),
  ]
}

/** What is asked of leaves beside cluster.yaml. */
export interface Asked {
  readonly cluster: Cluster
  readonly now: Date
  readonly rotation: CaRotation
  /** Of files that are no part's own. */
  readonly read: Read
}

/** Why the next run makes it anew, though it fits. */
export function findStale({ row, files }: Part, { cluster, now, rotation, read }: Asked): Reason[] {
  const { renewBefore } = cluster.certificates
  const bytes = files.get(certificateFile(row.name))
  const certificate = bytes && certificateIn(bytes)
  const pair = {
    certificate,
    chain: bytes ? blocksIn(bytes, 'CERTIFICATE').slice(1) : [],
    key: undefined,
    reasons: [],
  }
  const { issuer, chain, trusted } = row.name === caName || row.irreplaceable ? settledCa : rotation
  const signer = read(certificateFile(issuer))
  const profile = row.name === caName ? profileOf(pair, row.profile) : row.profile
  const { reasons } = checkPair(pair, { profile, issuer: signer && certificateIn(signer), chain, now, renewBefore })
  const text = files.get(kubeconfigFile(row.name))
  const all = (file: string) => (files.get(file) ?? read(file)) as Buffer
  const what = (text && compareKubeconfig(text.toString(), accessOf(cluster, row, all, trusted))) ?? []
  return what.length > 0
    ? [...reasons, { kind: 'content-changed', path: kubeconfigFile(row.name), what }]
    : [...reasons]
}
