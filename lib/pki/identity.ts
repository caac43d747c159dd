/** Whether two places hold the same cluster identity: the CA's key, the service accounts' key, the key of stored Secrets. Pure. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { readEncryptionConfig } from '../kubernetes/encryption.ts'
import { readCertificate, readPrivateKey } from './certificate.ts'

/** The files that carry an identity, with what is lost where they are replaced or removed. */
export const identityFiles: ReadonlyMap<string, string> = new Map([
  ['ca.pem', 'CA'],
  ['ca-key.pem', 'CA'],
  ['service-account.pem', 'service-account key'],
  ['service-account-key.pem', 'service-account key'],
  ['encryption-config.yaml', 'encryption key'],
])

/**
 * What can't be shown to be the same counts as another; an empty file holds nothing that could be lost. Of ours, the
 * certificate or its key will do: from the key a lost certificate is made anew.
 */
export function isSameIdentity(name: string, read: (name: string) => Buffer | undefined, theirs: Buffer): boolean {
  if (theirs.length === 0) return true
  if (name.endsWith('.pem')) {
    const their = publicKeyIn(name, theirs)
    const files = [name, name.endsWith('-key.pem') ? name.replace('-key', '') : name.replace('.pem', '-key.pem')]
    return their !== undefined && files.some((file) => publicKeyIn(file, read(file))?.equals(their))
  }
  const sealing = readEncryptionConfig(theirs.toString())?.keys[0]
  const known = readEncryptionConfig(read(name)?.toString() ?? '')?.keys ?? []
  return sealing !== undefined && known.some((key) => key.equals(sealing))
}

function publicKeyIn(name: string, pem: Buffer | undefined): KeyObject | undefined {
  if (!pem) return undefined
  if (!name.endsWith('-key.pem')) return readCertificate(pem)?.publicKey
  const key = readPrivateKey(pem)
  return key && createPublicKey(key)
}
