/**
 * What the CA's files in auth/ mean: how far its rotation has come, who signs, and whom kubeconfigs trust. Every run reads
 * this; the stages are in ca.ts.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { refusal } from '../../lib/failure.ts'
import type { AuthDir, AuthFiles } from '../../lib/files/auth-dir.ts'
import { caName, crossName, type FileNames, nextName } from '../../lib/files/names.ts'
import { once } from '../../lib/files/plain-file.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { type Certificate, isIssuedBy, readCertificate } from '../../lib/pki/certificate.ts'
import { readPair, tryCertificate } from '../../lib/pki/pair.ts'
import { isKeyOf, readPrivateKey } from '../../lib/pki/private-key.ts'
import type { Profile } from '../../lib/pki/profile.ts'
import type { Reason } from '../../lib/reason.ts'
import type { Unclear } from './rotation.ts'

export const caNext = nextName(caName)

interface CaFiles {
  readonly present: string
  readonly next: string
  readonly nextKey: string
  readonly cross: string
}

export const caFiles = once<CaFiles, FileNames>((files) => ({
  present: files.certificate(caName),
  next: files.certificate(caNext),
  nextKey: files.key(caNext),
  cross: files.certificate(crossName),
}))

/** In the order in which they are made. */
export function caRotationFiles(files: FileNames): string[] {
  const { nextKey, next, cross } = caFiles(files)
  return [nextKey, next, cross]
}

export interface CaState {
  /**
   * `settled`: one CA. `both`: the next CA signs, and the present one is trusted as well. `finishing`: the next CA's
   * certificate has replaced the present one's, its key has not yet.
   */
  readonly stage: 'settled' | 'both' | 'finishing'
  /** The name of the CA that signs leaves. */
  readonly issuer: string
  /** Follows each leaf in its file, for clients that trust only the previous CA. */
  readonly chain: Certificate | undefined
  /** The names of the CAs that kubeconfigs trust. */
  readonly trusted: readonly string[]
}

interface Files {
  readonly present: Certificate | undefined
  readonly next: Certificate | undefined
  readonly nextKey: KeyObject | undefined
  /** Of the key; without one, of the certificate. */
  readonly nextPublic: KeyObject | undefined
  readonly cross: Certificate | undefined
  /** The files that are there and can't be read. */
  readonly broken: readonly string[]
}

type Row = (Unclear | Omit<CaState, 'chain'>) & { when(files: Files): unknown }

const oneCa = { issuer: caName, trusted: [caName] } as const
const unclear = (file: string, why: string, when: Row['when']): Row => ({
  stage: 'unclear',
  file,
  why: `${file} ${why}`,
  when,
})

/** The first row that applies. A row may rely on what the rows before it have ruled out. */
const statesOf = once<readonly Row[], CaFiles>(({ present, next, nextKey, cross }) => [
  unclear(nextKey, 'is not an unencrypted private key', (f) => f.broken.includes(nextKey)),
  unclear(next, 'is not a valid certificate', (f) => f.broken.includes(next)),
  unclear(cross, 'is not a valid certificate', (f) => f.broken.includes(cross) && !f.nextKey),
  unclear(next, `is not of the key in ${nextKey}`, (f) => f.next && f.nextKey && !isKeyOf(f.next, f.nextKey)),
  { stage: 'finishing', ...oneCa, when: (f) => f.present && f.nextPublic?.equals(f.present.publicKey) },
  unclear(nextKey, `is missing, and ${next} is there`, (f) => f.next && !f.nextKey),
  unclear(next, `has the subject of ${present}`, (f) => f.next && f.present?.subject.equals(f.next.subject)),
  { stage: 'both', issuer: caNext, trusted: [caNext, caName], when: (f) => f.nextKey },
  unclear(cross, `is not of the key of ${present}`, (f) => f.cross && f.present && !isSame(f.cross, f.present)),
  { stage: 'settled', ...oneCa, when: () => true },
])

/** By its key. */
function isSame(one: Certificate, other: Certificate): boolean {
  return one.publicKey.equals(other.publicKey)
}

const certificateIn = once(readCertificate)
const keyIn = once(readPrivateKey)

/** `now`: an expired chain is left out. */
export function caState(auth: AuthFiles, now: Date): CaState | Unclear {
  const named = caFiles(auth.files)
  const broken: string[] = []
  const parse = <T>(file: string, parser: (bytes: Buffer) => T | undefined) => {
    const bytes = auth.tryBytes(file)
    const parsed = bytes && parser(bytes)
    if (bytes && !parsed) broken.push(file)
    return parsed
  }
  const [next, nextKey, cross] = [
    parse(named.next, certificateIn),
    parse(named.nextKey, keyIn),
    parse(named.cross, certificateIn),
  ]
  const nextPublic = nextKey ? createPublicKey(nextKey) : next?.publicKey
  const present = next || nextKey || cross ? parse(named.present, certificateIn) : undefined
  const state = statesOf(named).find(({ when }) => when({ present, next, nextKey, nextPublic, cross, broken }))
  if (!state) throw new Error('no row applies')
  const { when, ...found } = state
  if (found.stage === 'unclear') return found
  const signer = found.issuer === caNext ? next : present
  const isChain = signer && cross?.subject.equals(signer.subject) && isSame(cross, signer) && cross.notAfter > now
  return { ...found, chain: isChain ? cross : undefined }
}

/** Throws a refusal if the files do not fit together. */
export function readCaState({ auth, now, command }: Workspace): CaState {
  const state = caState(auth, now)
  if (state.stage !== 'unclear') return state
  throw refusal(`${auth.path}: ${state.why}`, [
    `restore ${state.file} from a backup of this folder`,
    `or go back to before the rotation: ${command('rotate ca --undo')}`,
  ])
}

/** For leaves and kubeconfigs. Files that do not fit together count as no rotation: the CA's own target reports them. */
export function signingCa(auth: AuthDir, now: Date): CaState {
  const state = caState(auth, now)
  return state.stage === 'unclear' ? { stage: 'settled', ...oneCa, chain: undefined } : state
}

/** What the CA's target still has to make or remove at its stage. */
export function caRotationReasons({ auth, now }: Workspace, { stage }: CaState): Reason[] {
  if (stage === 'settled') return []
  if (stage === 'finishing') {
    const { next, nextKey } = caFiles(auth.files)
    const left = [nextKey, next].filter((file) => auth.read(file))
    return [{ kind: 'rotation', what: `the next CA takes the place of the present one: ${left.join(', ')}` }]
  }
  const { certificate: next, reasons } = readPair(auth, caNext)
  const [present, cross] = [tryCertificate(auth, caName), tryCertificate(auth, crossName)]
  const isCross =
    next &&
    present &&
    cross?.isCa &&
    isSame(cross, next) &&
    cross.subject.equals(next.subject) &&
    isIssuedBy(cross, present)
  return [
    ...reasons,
    // A clock that was wrong made it.
    ...(next && next.notBefore > now ? [{ kind: 'not-yet-valid', notBefore: next.notBefore } as const] : []),
    ...(isCross && cross.notAfter > now ? [] : [{ kind: 'missing', path: caFiles(auth.files).cross } as const]),
  ]
}

/** The wanted profile; a CA that a rotation has made keeps the number in its name. */
export function caProfile(certificate: Certificate | undefined, wanted: Profile): Profile {
  const name = certificate && commonNameOf(certificate)
  const isOurs = name !== undefined && isCaCommonName(name, wanted.subject.CN)
  return isOurs ? { ...wanted, subject: { ...wanted.subject, CN: name } } : wanted
}

/** Undefined if it has none. */
export function commonNameOf({ attributes }: Certificate): string | undefined {
  return attributes.findLast((each) => each.startsWith('CN='))?.slice('CN='.length)
}

/** `Kubernetes 2` after `Kubernetes`: OpenSSL takes two CAs of one name for one. */
export function nextCaCommonName(present: string): string {
  const [, base = present, number = '1'] = /^(.*?)(?: (\d{1,6}))?$/.exec(present) ?? []
  return `${base} ${Number(number) + 1}`
}

/** True for the wanted name, and for one that rotations have made of it. */
export function isCaCommonName(found: string, wanted: string): boolean {
  return found === wanted || (found.startsWith(`${wanted} `) && /^ \d{1,6}$/.test(found.slice(wanted.length)))
}
