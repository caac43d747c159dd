/** The files that belong at the places where the units of a node read them, made from auth/. */

import { isDeepStrictEqual } from 'node:util'
import { secretMode } from '../../../lib/files/plain-file.ts'
import { type Account, root, type WantedFile } from '../../../lib/node/place.ts'
import { type PlacesState, realPath } from '../../../lib/node/state.ts'
import { readCertificates } from '../../../lib/pki/certificate.ts'
import { groupAlike } from '../../../lib/wording.ts'
import { digestAt } from '../../inspect/look.ts'
import type { Place, Unit } from '../../layouts/layout.ts'
import type { Run } from '../../target.ts'

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

/** True if other content at the place serves as well: certificates for the same keys, whoever issued them. */
function isAccepted(run: Run, { file, path, isOfKeys }: Place, { contents }: PlacesState): boolean {
  if (!isOfKeys) return false
  const keys = keysOf(run.auth.tryBytes(file))
  return keys.length > 0 && isDeepStrictEqual(keys, keysOf(contents.get(path)))
}

/** The public keys of all certificates in the file, sorted. */
function keysOf(pem: Buffer | undefined): string[] {
  const keys = readCertificates(pem ?? '').map(({ publicKey }) => publicKey.export({ type: 'spki', format: 'pem' }))
  return [...new Set(keys.map(String))].toSorted()
}
