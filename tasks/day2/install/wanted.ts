/** The files that belong at the places where the units of a node read them, made from auth/. */

import { createPublicKey, type KeyObject } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { nextName } from '../../../lib/files/auth-dir.ts'
import { secretMode } from '../../../lib/files/plain-file.ts'
import { readEmbedded, readServer } from '../../../lib/kubernetes/kubeconfig.ts'
import { type Account, root, type WantedFile } from '../../../lib/node/place.ts'
import { type PlacesState, realPath } from '../../../lib/node/state.ts'
import { readCertificates } from '../../../lib/pki/certificate.ts'
import { readPair } from '../../../lib/pki/pair.ts'
import { groupAlike } from '../../../lib/wording.ts'
import { isPending, type PendingFiles } from '../../auth/pending.ts'
import { digestAt } from '../../inspect/look.ts'
import type { Place, Unit } from '../../layouts/layout.ts'
import { certTable } from '../../layouts/tables.ts'
import type { Run } from '../../target.ts'
import { changesCa } from './look-at-units.ts'

export type WantedPlace = WantedFile & Pick<Place, 'file' | 'part'> & { readonly readers: readonly Account[] }

/** The files of these units, each once, even if several units read it by several paths. */
export function wantedAt(run: Run, units: readonly Unit[], places: PlacesState): WantedPlace[] {
  const all = units.flatMap(({ unit, files }) =>
    files.map((place) => ({ ...place, path: realPath(places, place.path), unit })),
  )
  return groupAlike(all, ({ path }) => path).map(([row, ...others]) => {
    const { file, path, part } = row
    return {
      ...{ file, path, part },
      sha256: digestAt(run, row),
      accepted: isAccepted(run, row, places) ? places.files.get(path)?.sha256 : undefined,
      isPending: wouldChange(run, row, places),
      isSecret: run.auth.files.mode(file) === secretMode,
      readers: [row, ...others].map(({ unit }) => accountOf(unit, path, places)),
    }
  })
}

/** The account that the unit runs as. If the node does not know that user, it is the present owner of the file. */
function accountOf(unit: string, path: string, { units, files }: PlacesState): Account {
  const state = units.get(unit)
  if (!state) return root
  const { uid = 0, gid = 0 } = files.get(path) ?? {}
  return state.account ?? { uid, gids: [gid] }
}

/**
 * True if other content at the place serves as well: certificates for the same keys, whoever issued them, or a kubeconfig
 * with the right CA embedded.
 */
function isAccepted(run: Run, { file, path, isOfKeys, part }: Place, { contents, files }: PlacesState): boolean {
  if (part === 'kubeconfig') return files.get(path)?.sha256 === digestAt(run, { file, part: 'embedded' })
  if (!isOfKeys) return false
  const keys = keysToBe(run, file)
  return keys.length > 0 && isDeepStrictEqual(keys, keysOf(contents.get(path)))
}

/** The public keys of all certificates in the file, sorted. */
function keysOf(pem: Buffer | undefined): string[] {
  const keys = readCertificates(pem ?? '').map(({ publicKey }) => publicKey)
  return textsOf(keys)
}

const textsOf = (keys: readonly KeyObject[]) =>
  [...new Set(keys.map((key) => key.export({ type: 'spki', format: 'pem' }).toString()))].toSorted()

/**
 * The keys of a file of certificates. If a plan would write the file, the keys that it will have; none if a key of these is
 * not made yet.
 */
function keysToBe(run: Pick<Run, 'auth'> & PendingFiles, file: string): string[] {
  const { auth } = run
  const { name = '' } = auth.files.parse(file) ?? {}
  if (isPending(run, auth.files.key(name))) return []
  const added = isPending(run, file) ? [name, nextName(name)].flatMap((each) => readPair(auth, each).key ?? []) : []
  return [...new Set([...keysOf(auth.tryBytes(file)), ...textsOf(added.map(createPublicKey))])].toSorted()
}

/** True if a plan would write the file, and what the unit reads of it at this place would then be something else. */
function wouldChange(run: Run, { file, path, part, isOfKeys }: Place, { contents, files }: PlacesState): boolean {
  const { auth } = run
  if (!isPending(run, file)) return false
  if (isOfKeys) return !isDeepStrictEqual(keysToBe(run, file), keysOf(contents.get(path) ?? auth.tryBytes(file)))
  if (!part) return true
  if (part === 'pair') return wouldChangePair(run, file)
  if (part === 'ca') return changesCa(run, file)
  return (changesCa(run, file) && files.get(path)?.sha256 !== digestAt(run, { file, part })) || changesServer(run, file)
}

/** A renewal replaces the certificate of a kubeconfig; the key may stay. */
function wouldChangePair(run: Pick<Run, 'auth'> & PendingFiles, kubeconfig: string): boolean {
  const { auth } = run
  const { name = '' } = auth.files.parse(kubeconfig) ?? {}
  const { certificate, key } = readEmbedded(`${auth.tryBytes(kubeconfig)}`) ?? {}
  const isSame = (file: string, embedded?: Buffer) =>
    embedded && !isPending(run, file) && auth.tryBytes(file)?.equals(embedded)
  return !isSame(auth.files.certificate(name), certificate) || !isSame(auth.files.key(name), key)
}

function changesServer({ auth, cluster }: Run, kubeconfig: string): boolean {
  const { name } = auth.files.parse(kubeconfig) ?? {}
  const host = certTable(cluster).find((row) => row.name === name)?.dials
  const { port } = cluster.api
  return !isDeepStrictEqual(readServer(`${auth.tryBytes(kubeconfig)}`), { cluster: cluster.name, host, port })
}
