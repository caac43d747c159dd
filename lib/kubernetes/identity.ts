/** Whether two places hold the same cluster identity: the keys of CA, tokens and stored Secrets. Pure. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { type AuthFiles, caName, crossName, type FileNames, frontProxyCaName } from '../files/auth-dir.ts'
import { readCertificate, readCertificates } from '../pki/certificate.ts'
import { readPrivateKey } from '../pki/pair.ts'
import { type EncryptionKey, readEncryptionConfig } from './encryption.ts'

/** The files of that name that were kept when they were replaced, the latest first. */
type Kept = (file: string) => readonly Buffer[]

/**
 * False if theirs holds nothing that overwriting it with ours could lose; unequal or unreadable means another identity,
 * and an empty file holds nothing. Of a CA and of the service accounts' key one is ours, in the certificate or in its
 * key: from the key a lost certificate can be reissued. Any others were kept, or are of the CA that signed ours. Nothing
 * that is stored needs the front proxy's CA: one that was kept is out of date.
 */
export function isOtherIdentity(file: string, ours: AuthFiles, theirs: Buffer, kept: Kept = () => []): boolean {
  if (theirs.length === 0) return false
  return ours.files.parse(file)?.kind === 'encryption-config'
    ? isOtherEncryption(ours.tryBytes(file), theirs, kept(file)[0])
    : isOtherKey(file, ours, theirs, kept)
}

/** False if each key there is ours, or one that a rotation took out and that does not encrypt there. */
function isOtherEncryption(our: Buffer | undefined, their: Buffer, replaced: Buffer | undefined): boolean {
  const [ours, theirs] = [our, their].map((bytes) => bytes && readEncryptionConfig(bytes))
  if (!ours || !theirs || theirs.keys.length === 0) return true
  const isReplaced = replaced?.equals(their) === true
  const isOurs = (resource: string, key: EncryptionKey) =>
    ours.entries
      .find(({ resources }) => resources.includes(resource))
      ?.keys.some((each) => isDeepStrictEqual(each, key)) === true
  return theirs.entries.some(({ resources, keys }) =>
    resources.some((resource) => keys.some((key, i) => !isOurs(resource, key) && !(isReplaced && i > 0))),
  )
}

function isOtherKey(file: string, our: AuthFiles, their: Buffer, kept: Kept): boolean {
  const { files } = our
  const { name = '' } = files.parse(file) ?? {}
  const heldBy = (read: (each: string) => readonly (Buffer | undefined)[]) =>
    files.pair(name).flatMap((each) => read(each).flatMap((pem) => keysIn(files, each, pem)))
  const [ours, earlier] = [heldBy((each) => [our.tryBytes(each)]), heldBy(kept)]
  const theirs = keysIn(files, file, their)
  const isOurs = (key: KeyObject) => ours.some((each) => each.equals(key)) || isPreviousCa(key, our, name)
  const isKnown = (key: KeyObject) => isOurs(key) || earlier.some((each) => each.equals(key))
  return !theirs.some(name === frontProxyCaName ? isKnown : isOurs) || !theirs.every(isKnown)
}

/** True for the key of the CA before ours: it signed the cross certificate that we hold. */
export function isPreviousCa(key: KeyObject, ours: AuthFiles, ca: string = caName): boolean {
  const read = (name: string) => readCertificate(ours.tryBytes(ours.files.certificate(name)) ?? '')
  const [present, cross] = [read(ca), read(crossName(ca))]
  if (!present || !cross?.publicKey.equals(present.publicKey)) return false
  return !key.equals(present.publicKey) && cross.x509.verify(key)
}

/** The public keys of all certificates, or of the private key, in the file; none if one can't be read. */
function keysIn(files: FileNames, file: string, pem: Buffer = Buffer.alloc(0)): KeyObject[] {
  if (files.parse(file)?.kind === 'certificate') return readCertificates(pem).map(({ publicKey }) => publicKey)
  const key = readPrivateKey(pem)
  return key ? [createPublicKey(key)] : []
}
