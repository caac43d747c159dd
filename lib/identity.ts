/** Whether two places hold the same cluster identity: the CA's key, the service accounts' key, the key of stored Secrets. Pure. */
import { readCertificate } from './certificate.ts'
import { readEncryptionConfig } from './encryption.ts'

/** The files that carry an identity, with what is lost where they are replaced. */
export const identityFiles: ReadonlyMap<string, string> = new Map([
  ['ca.pem', 'CA'],
  ['service-account.pem', 'service-account key'],
  ['encryption-config.yaml', 'encryption key'],
])

/** What can't be shown to be the same counts as another; an empty file holds nothing that could be lost. */
export function isSameIdentity(name: string, ours: Buffer | undefined, theirs: Buffer): boolean {
  if (theirs.length === 0) return true
  if (!ours) return false
  if (name !== 'encryption-config.yaml') {
    const [our, their] = [readCertificate(ours), readCertificate(theirs)]
    return our !== undefined && their !== undefined && our.publicKey.equals(their.publicKey)
  }
  const sealing = readEncryptionConfig(theirs.toString())?.keys[0]
  const known = readEncryptionConfig(ours.toString())?.keys ?? []
  return sealing !== undefined && known.some((key) => key.equals(sealing))
}
