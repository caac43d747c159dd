/** The wanted content of a certificate: its subject, its names, the kind of its key. Pure. */
import type { KeyObject } from 'node:crypto'
import type { KeyKind } from '../cluster/cluster.ts'
import { oids } from './der.ts'

/** A distinguished name; the certificate has the attributes in this order. */
export interface Subject {
  readonly C?: string
  readonly ST?: string
  readonly L?: string
  /** The groups of a client, of which there may be several. */
  readonly O?: string | readonly string[]
  readonly OU?: string
  readonly CN: string
}

export const subjectOrder = ['C', 'ST', 'L', 'O', 'OU', 'CN'] as const

/** The wanted content of a certificate, apart from its key and its times. */
export interface CertSpec {
  readonly subject: Subject
  /** Others that are left where they are. */
  readonly tolerated?: readonly Subject[] | undefined
  /** Of TLS, for a leaf; by default both. */
  readonly usages?: readonly ('server' | 'client')[] | undefined
  /** DNS names and IP addresses; empty means no such extension. */
  readonly sans: readonly string[]
  readonly isCa: boolean
  readonly key: KeyKind
}

const bothSides = ['server', 'client'] as const

/** The extended key usages of a leaf. */
export function usagesOf({ usages = bothSides }: Pick<CertSpec, 'usages'>): string[] {
  return usages.map((usage) => oids[`${usage}Auth`])
}

/** True for a server's RSA key; a client only signs: RFC 5280, 4.2.1.12. */
export function enciphersKeys({ usages = bothSides, key }: CertSpec): boolean {
  return key.startsWith('rsa') && usages.includes('server')
}

export const ellipticCurves = { 'ecdsa-p256': 'prime256v1', 'ecdsa-p384': 'secp384r1' } as const

/** The kind of a private or public key; a text such as `rsa-1024` or `ed25519` for one that is not offered. */
export function keyKindOf(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {}
  if (key.asymmetricKeyType === 'rsa') return `rsa-${modulusLength}`
  const [kind] = Object.entries(ellipticCurves).find(([, curve]) => curve === namedCurve) ?? []
  return kind ?? String(namedCurve ?? key.asymmetricKeyType)
}
