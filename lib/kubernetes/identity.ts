/**
 * Whether two places hold the same cluster identity: the CA's key, the service accounts' key, the keys of stored
 * Secrets. Pure.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { type AuthFiles, caName, crossName, type FileNames } from '../files/auth-dir.ts'
import { readCertificate, readCertificates } from '../pki/certificate.ts'
import { readPrivateKey } from '../pki/pair.ts'
import { formatDate, printable } from '../wording.ts'
import {
  type EncryptionConfig,
  type EncryptionKey,
  numberOf,
  readEncryptionConfig,
  readEncryptionKeys,
} from './encryption.ts'

/** The files of that name that were kept when they were replaced. */
type Kept = (file: string) => readonly Buffer[]

/**
 * Undefined if ours holds all that theirs does, in the certificate or in its key: from the key a lost certificate can
 * be reissued. What a rotation has taken out of a file that both share is not lost: it was kept, as long as what theirs
 * holds is not newer; nor is the CA that signed ours. Unequal or unreadable means a different identity; an empty file
 * holds nothing that could be lost. Where they partly agree, what else theirs holds is named, without secrets.
 */
export function otherIdentity(
  file: string,
  ours: AuthFiles,
  theirs: Buffer,
  kept: Kept = () => [],
): readonly string[] | undefined {
  if (theirs.length === 0) return undefined
  return ours.files.parse(file)?.kind === 'encryption-config'
    ? otherEncryption(ours.tryBytes(file), theirs, kept(file))
    : otherKeys(file, ours, theirs, kept)
}

/**
 * True if ours is known to be newer: by the number of the encryption key, or by the dates of the certificates of both
 * keys. A key that was kept need not be older: an older file may have been restored over it.
 */
export function isOlder(file: string, our: AuthFiles, theirs: Buffer, kept: Kept): boolean {
  const { files } = our
  const { kind, name = '' } = files.parse(file) ?? {}
  if (kind === 'encryption-config') return isBehind(theirs, our.tryBytes(file))
  const [ours] = readCertificates(our.tryBytes(files.certificate(name)) ?? '')
  const earlier = kept(files.certificate(name)).flatMap((pem) => readCertificates(pem))
  const keys = keysIn(files, file, theirs) ?? []
  const isDated = ({ key }: HeldKey) =>
    earlier.some(({ publicKey, notBefore }) => ours && publicKey.equals(key) && notBefore < ours.notBefore)
  return keys.length > 0 && keys.every(isDated)
}

function otherEncryption(our: Buffer | undefined, their: Buffer, kept: readonly Buffer[]): string[] | undefined {
  const [ours, theirs] = [our, their].map((bytes) => bytes && readEncryptionConfig(bytes))
  const encrypting = theirs?.keys[0]
  if (!ours || !theirs || !encrypting || !ours.keys.some(({ secret }) => secret === encrypting.secret)) return []
  const order = readEncryptionKeys(their)?.keys
  const isLast = (text: Buffer) => isDeepStrictEqual(readEncryptionKeys(text)?.keys, order)
  const counted = isBehind(our, their) ? kept.slice(0, 1).filter(isLast) : kept
  const earlier = counted.flatMap((text) => readEncryptionConfig(text) ?? [])
  const besides = unopenedBy([ours, ...earlier], theirs)
  return besides.length > 0 ? besides.map(shorten) : undefined
}

/**
 * True if theirs can't decrypt what ours encrypts: one of the two is out of date. No stage of a rotation begins before
 * all hold its key.
 */
export function lacksOurKey(ours: Buffer | undefined, theirs: Buffer): boolean {
  const [first] = (ours && readEncryptionConfig(ours))?.keys ?? []
  const keys = readEncryptionConfig(theirs)?.keys ?? []
  return first !== undefined && keys.length > 0 && !keys.some(({ secret }) => secret === first.secret)
}

/**
 * True if theirs has a newer key than ours: an older file was restored here, and objects may be encrypted with that
 * key, whatever is kept; or the newest key was just removed here, and the file that was kept last is what the node
 * still holds.
 */
function isBehind(our: Buffer | undefined, their: Buffer | undefined): boolean {
  const [ours, theirs] = [our, their].map((bytes) => bytes && readEncryptionKeys(bytes))
  return theirs !== undefined && ours !== undefined && numberOf(theirs.newest) > numberOf(ours.newest)
}

function otherKeys(file: string, our: AuthFiles, their: Buffer, kept: Kept): string[] | undefined {
  const { files } = our
  const { name = '' } = files.parse(file) ?? {}
  const heldBy = (read: (each: string) => readonly (Buffer | undefined)[]) =>
    files.pair(name).flatMap((each) => read(each).flatMap((pem) => keysIn(files, each, pem) ?? []))
  const isIn = (held: readonly HeldKey[], { key }: HeldKey) => held.some((each) => each.key.equals(key))
  const theirs = keysIn(files, file, their) ?? []
  const ours = heldBy((each) => [our.tryBytes(each)])
  const earlier = theirs.some((each) => isIn(ours, each)) ? heldBy(kept) : []
  const others = theirs.filter((each) => !isIn([...ours, ...earlier], each) && !isPreviousCa(each.key, our, name))
  if (theirs.length > 0 && others.length === 0) return undefined
  return others.length < theirs.length ? others.map(({ words }) => shorten(words)) : []
}

/**
 * True for the key of the CA that preceded ours of that name: it signed the cross certificate of ours, which we hold.
 */
export function isPreviousCa(key: KeyObject, ours: AuthFiles, ca: string = caName): boolean {
  const [present, cross] = [ca, crossName(ca)].map((name) =>
    readCertificate(ours.tryBytes(ours.files.certificate(name)) ?? ''),
  )
  return (
    present !== undefined &&
    cross?.publicKey.equals(present.publicKey) === true &&
    !key.equals(present.publicKey) &&
    cross.x509.verify(key)
  )
}

interface HeldKey {
  readonly key: KeyObject
  readonly words: string
}

const block = /-----BEGIN ([A-Z0-9 ]{1,40})-----[^-]*-----END \1-----/g

/** The public keys of all certificates, or of all private keys, in the file; undefined if it holds something else. */
function keysIn(files: FileNames, file: string, pem: Buffer | undefined): HeldKey[] | undefined {
  const text = pem?.toString('latin1') ?? ''
  const blocks = [...text.matchAll(block)]
  if (text.split('-----BEGIN ').length !== blocks.length + 1) return undefined
  const isOfCertificates = files.parse(file)?.kind === 'certificate'
  // What `openssl ecparam -genkey` writes before the key.
  const held = blocks
    .filter(([, type]) => type !== 'EC PARAMETERS')
    .map(([text, type]) => {
      if (!isOfCertificates) return heldKey(text)
      return type === 'CERTIFICATE' ? heldCertificate(text) : undefined
    })
  return held.every((each) => each !== undefined) ? held : undefined
}

function heldCertificate(pem: string): HeldKey | undefined {
  const certificate = readCertificate(pem)
  if (!certificate) return undefined
  const { publicKey: key, attributes, notAfter } = certificate
  const name = attributes.findLast((attribute) => attribute.startsWith('CN=')) ?? 'without a name'
  return { key, words: `a certificate ${name} until ${formatDate(notAfter)}` }
}

function heldKey(pem: string): HeldKey | undefined {
  const key = readPrivateKey(pem)
  return key && { key: createPublicKey(key), words: 'a private key' }
}

function shorten(words: string): string {
  return printable(words).replaceAll('\n', ' ').slice(0, 100)
}

/** What theirs encrypts and none of ours could decrypt: keys by name, or resources. */
function unopenedBy(ours: readonly EncryptionConfig[], theirs: EncryptionConfig): string[] {
  return theirs.entries
    .filter(({ keys }) => keys.length > 0)
    .flatMap(({ resources, keys }) => [...new Set(resources)].flatMap((resource) => unopened(ours, resource, keys)))
    .filter((words, i, all) => all.indexOf(words) === i)
}

function unopened(ours: readonly EncryptionConfig[], resource: string, keys: readonly EncryptionKey[]): string[] {
  const entries = ours.flatMap(
    (each) => each.entries.find(({ resources }) => resources.some((pattern) => covers(pattern, resource))) ?? [],
  )
  if (entries.length === 0) return [`${resource} under ${keys[0]?.provider}`]
  return keys
    .filter((key) => !entries.some((entry) => entry.keys.some((our) => isDeepStrictEqual(our, key))))
    .map(({ provider, name }) => `the ${provider} key ${name}`)
}

/** `*.` is the core group, `*.*` all: https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/ */
function covers(pattern: string, resource: string): boolean {
  if (pattern === resource || pattern === '*.*') return true
  const group = resource.includes('.') ? resource.slice(resource.indexOf('.') + 1) : ''
  return pattern === `*.${group}`
}
