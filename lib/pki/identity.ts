/** Whether two places hold the same cluster identity: the CA's key, the service accounts' key, the key of stored Secrets. Pure. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { pairFiles, parseFileName } from '../files/names.ts'
import { readEncryptionConfig } from '../kubernetes/encryption.ts'
import { readCertificate, readPrivateKey } from './certificate.ts'

/**
 * What can't be shown to be the same counts as another; an empty file holds nothing that could be lost. Of ours, the
 * certificate or its key will do: from the key a lost certificate is made anew.
 */
export function isSameIdentity(file: string, read: (file: string) => Buffer | undefined, theirs: Buffer): boolean {
  if (theirs.length === 0) return true
  const { kind, name = '' } = parseFileName(file) ?? {}
  if (kind === 'encryption-config') {
    const sealing = readEncryptionConfig(theirs.toString())?.keys[0]
    const known = readEncryptionConfig(read(file)?.toString() ?? '')?.keys ?? []
    return sealing !== undefined && known.some((key) => key.equals(sealing))
  }
  const their = publicKeyIn(file, theirs)
  return their !== undefined && pairFiles(name).some((ours) => publicKeyIn(ours, read(ours))?.equals(their))
}

function publicKeyIn(file: string, pem: Buffer | undefined): KeyObject | undefined {
  if (!pem) return undefined
  if (parseFileName(file)?.kind === 'certificate') return readCertificate(pem)?.publicKey
  const key = readPrivateKey(pem)
  return key && createPublicKey(key)
}
