/** What belongs where the units of a node read, made from auth/. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { nextName } from '../../../lib/files/auth-dir.ts'
import { secretMode } from '../../../lib/files/plain-file.ts'
import type { Run } from '../../../lib/graph/target.ts'
import { readEmbedded, readServer } from '../../../lib/kubernetes/kubeconfig.ts'
import { type Account, root, type WantedFile } from '../../../lib/node/place.ts'
import { type PlacesState, realPath } from '../../../lib/node/state.ts'
import { readCertificates } from '../../../lib/pki/certificate.ts'
import { readPair } from '../../../lib/pki/pair.ts'
import { digestAt } from '../../inspect/look.ts'
import type { Place, Unit } from '../../layouts/layout.ts'
import { certTable } from '../../layouts/tables.ts'
import { changesCa } from './look-at-units.ts'

export type WantedPlace = WantedFile & Pick<Place, 'file' | 'part'> & { readonly readers: readonly Account[] }

/** Each file once, even if several units read it, by several paths. */
export function wantedAt(run: Run, units: readonly Unit[], places: PlacesState): WantedPlace[] {
  const all = units.flatMap(({ unit, files }) =>
    files.map((place) => ({ ...place, path: realPath(places, place.path), unit })),
  )
  return [...Map.groupBy(all, ({ path }) => path).values()].flatMap(([row, ...others]) => {
    if (!row) return []
    const { file, path, part } = row
    const there = places.files.get(path)
    // If the node does not know the unit's user, the file's present owner is accepted.
    const owner: Account = { uid: there?.uid ?? 0, gids: [there?.gid ?? 0] }
    const accountOf = (unit: string) => (places.units.has(unit) ? (places.units.get(unit)?.account ?? owner) : root)
    return {
      file,
      path,
      part,
      sha256: digestAt(run, row),
      accepted: isAccepted(run, row, places) ? there?.sha256 : undefined,
      isPending: isPending(run, row, places),
      isSecret: run.auth.files.mode(file) === secretMode,
      readers: [row, ...others].map(({ unit }) => accountOf(unit)),
    }
  })
}

/** True if the certificates in both are for the same keys, whoever issued them; or the CA is embedded, and right. */
function isAccepted(run: Run, { file, path, isOfKeys, part }: Place, { contents, files }: PlacesState): boolean {
  if (part === 'kubeconfig') return files.get(path)?.sha256 === digestAt(run, { file, part: 'embedded' })
  if (!isOfKeys) return false
  const keys = keysToBe(run, file)
  return keys.length > 0 && isDeepStrictEqual(keys, keysOf(contents.get(path)))
}

/** Of all certificates in the file, whatever their order. */
function keysOf(pem: Buffer | undefined): string[] {
  const keys = readCertificates(pem ?? '').map(({ publicKey }) => publicKey)
  return textsOf(keys)
}

const textsOf = (keys: readonly KeyObject[]) =>
  [...new Set(keys.map((key) => key.export({ type: 'spki', format: 'pem' }).toString()))].toSorted()

/**
 * The keys of a file of certificates; in a plan that writes it, those that it will have, or none if one of them is not
 * made yet.
 */
function keysToBe({ auth, pending = none }: Run, file: string): string[] {
  const { name = '' } = auth.files.parse(file) ?? {}
  if (pending.has(auth.files.key(name))) return []
  const added = pending.has(file) ? [name, nextName(name)].flatMap((each) => readPair(auth, each).key ?? []) : []
  return [...new Set([...keysOf(auth.tryBytes(file)), ...textsOf(added.map(createPublicKey))])].toSorted()
}

/**
 * In a plan: what would change for the unit. A renewal changes the pair of a kubeconfig, and the key of none that it
 * may keep.
 */
function isPending(run: Run, { file, path, part, isOfKeys }: Place, { contents, files }: PlacesState): boolean {
  const { auth, cluster, pending = none } = run
  if (!pending.has(file)) return false
  if (isOfKeys) return !isDeepStrictEqual(keysToBe(run, file), keysOf(contents.get(path) ?? auth.tryBytes(file)))
  if (!part) return true
  const { name = '' } = auth.files.parse(file) ?? {}
  const text = `${auth.tryBytes(file)}`
  if (part === 'pair') {
    const { certificate, key } = readEmbedded(text) ?? {}
    const isNow = (each: string, held?: Buffer) => held && !pending.has(each) && auth.tryBytes(each)?.equals(held)
    return !isNow(auth.files.certificate(name), certificate) || !isNow(auth.files.key(name), key)
  }
  if (part === 'ca') return changesCa(run, file)
  if (changesCa(run, file) && files.get(path)?.sha256 !== digestAt(run, { file, part })) return true
  const host = certTable(cluster).find((row) => row.name === name)?.dials
  const { port } = cluster.api
  return !isDeepStrictEqual(readServer(text), { cluster: cluster.name, host, port })
}

const none: ReadonlySet<string> = new Set()
