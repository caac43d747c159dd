/** Who is revoked: what the entries of `revoked` mean, by the certificates that auth/ has and had. */
import { join } from 'node:path'
import type { Cluster } from '../cluster/cluster.ts'
import { entryOf, isKeyEntry } from '../cluster/revoked.ts'
import { tryTo } from '../failure.ts'
import type { AuthDir } from '../files/auth-dir.ts'
import { authorizationConfigFile } from '../files/names.ts'
import { once } from '../files/plain-file.ts'
import { type Certificate, fingerprintOf, keyIdOf, readCertificate } from '../pki/certificate.ts'
import { nodeUser, type RevokedList, readRevoked } from './authorization.ts'

/** What a run has: its list is in auth/. */
interface Listing {
  readonly auth: AuthDir
  readonly cluster: Pick<Cluster, 'revoked'>
  /** No key is added: its new pair may not be loaded everywhere yet. */
  readonly listsNoKeys?: boolean
}

interface KnownCertificate extends NonNullable<ReturnType<typeof identified>> {
  /** Of its file, without the ending. */
  readonly name: string
}

const identified = once((pem: Uint8Array) => {
  const certificate = readCertificate(pem)
  return certificate && { certificate, fingerprint: fingerprintOf(certificate), keyId: keyIdOf(certificate) }
})

/** Every certificate in auth/ and in auth/backup. */
export function knownCertificates(auth: AuthDir): KnownCertificate[] {
  const folders = ['.', ...auth.names('backup').map((folder) => join('backup', folder))]
  return folders.flatMap((folder) =>
    auth.names(folder).flatMap((file): KnownCertificate[] => {
      // What was found on a node is kept under its whole path.
      const { kind, name } = auth.files.parse(file.split('%2F').at(-1) ?? '') ?? {}
      const bytes = kind === 'certificate' ? tryTo(() => auth.tryBytes(join(folder, file))) : undefined
      const found = bytes && identified(bytes)
      return found && name !== undefined ? [{ name, ...found }] : []
    }),
  )
}

/** Those that an entry cuts off. */
export function coveredBy(entry: string, known: readonly KnownCertificate[]): KnownCertificate[] {
  if (!isKeyEntry(entry)) {
    const users = [`CN=${entry}`, `CN=${nodeUser(entry)}`]
    return known.filter(({ certificate }) => users.some((user) => certificate.attributes.includes(user)))
  }
  const own = known.find(({ fingerprint }) => entryOf(fingerprint) === entry)
  return own ? known.filter(({ keyId }) => keyId === own.keyId) : []
}

/** The list in auth/; undefined if it can't be read. */
export function listIn(auth: AuthDir): RevokedList | undefined {
  const text = auth.tryBytes(authorizationConfigFile)?.toString()
  return text === undefined ? new Map() : readRevoked(text)
}

/** Entries by key that are not in the list yet: it gets them once the new pairs are loaded wherever they are read. */
export function keysToList({ auth, cluster }: Listing): string[] {
  const keys = cluster.revoked?.filter(isKeyEntry) ?? []
  if (keys.length === 0) return []
  const listed = new Set([...(listIn(auth)?.values() ?? [])].flat().map(entryOf))
  return keys.filter((entry) => !listed.has(entry))
}

/** The list as it is to be. What it knows of a key is kept, even if the certificates are gone. */
export function wantedList(run: Listing): RevokedList {
  const { auth, cluster, listsNoKeys } = run
  const held = new Set(listsNoKeys ? keysToList(run) : [])
  const entries = (cluster.revoked ?? []).filter((entry) => !held.has(entry))
  const known = entries.some(isKeyEntry) ? knownCertificates(auth) : []
  const groups = [...(listIn(auth)?.values() ?? [])]
  return new Map(
    entries.map((entry): [string, readonly string[]] => {
      if (!isKeyEntry(entry)) return [entry, []]
      const own = entry.slice(entryOf('').length)
      const all = [
        ...coveredBy(entry, known).map(({ fingerprint }) => fingerprint),
        ...groups.filter((group) => group.includes(own)).flat(),
      ]
      return [entry, [own, ...[...new Set(all)].filter((each) => each !== own).toSorted()]]
    }),
  )
}

/** Whether a certificate is over a key that is cut off. */
export function revokedKeys({ auth, cluster }: Listing): (certificate: Certificate) => boolean {
  const keys = cluster.revoked?.filter(isKeyEntry) ?? []
  if (keys.length === 0) return () => false
  const known = knownCertificates(auth)
  const covered = new Set(keys.flatMap((entry) => coveredBy(entry, known).map(({ keyId }) => keyId)))
  return (certificate) => covered.has(keyIdOf(certificate))
}

/** Whether a file has a pair that a run replaces because its key is about to be listed: who reads it has to load the new one first. */
export function pairsToReplace(run: Listing): (file: string) => boolean {
  const { files } = run.auth
  const keys = keysToList(run)
  const known = keys.length > 0 ? knownCertificates(run.auth) : []
  const names = new Set(keys.flatMap((entry) => coveredBy(entry, known).map(({ name }) => name)))
  return (file) => names.has(files.parse(file)?.name ?? '')
}

/** Whom the one list denies, and the other does not: its entries. */
export function removedFrom(listed: RevokedList, wanted: RevokedList): string[] {
  const prints = new Set([...wanted.values()].flat())
  const isKept = (entry: string, own: readonly string[]) =>
    isKeyEntry(entry) ? own.every((each) => prints.has(each)) : wanted.has(entry)
  return [...listed].flatMap(([entry, own]) => (isKept(entry, own) ? [] : [entry]))
}

/** The entries by which they are cut off with their keys, as far as they are valid. */
export function cuttingOff(known: readonly KnownCertificate[], now: Date): string[] {
  const valid = known.filter(({ certificate }) => certificate.notAfter > now)
  return [...new Map(valid.map(({ keyId, fingerprint }) => [keyId, entryOf(fingerprint)])).values()]
}

/** The line of cluster.yaml with more entries. */
export function formatEntries({ revoked = [] }: Listing['cluster'], more: readonly string[]): string {
  return `revoked: [${[...revoked, ...more].join(', ')}]`
}
