/**
 * The name of a CA in the certificates that it issued. Go compares it byte for byte (RFC 5280 would not), so it is
 * kept wherever the CA's certificate is made anew. Pure.
 */
import type { KeyObject } from 'node:crypto'
import { isName } from '../der/encodings.ts'
import { attributesIn, type Certificate, compareSubject } from '../pki/certificate.ts'
import type { Subject } from '../pki/profile.ts'
import type { IssuerName } from '../pki/x509.ts'

/** Undefined where Go would not read it. */
export function nameOfCa({ fields, subject, subjectKeyId }: Certificate): IssuerName | undefined {
  return isName(fields.subject) ? { subject, keyId: subjectKeyId } : undefined
}

/** The issuer name in certificates signed by the key. Undefined if there are none, they disagree, or the name is not the one asked for. */
export function nameInIssued(made: readonly Certificate[], key: KeyObject, asked: Subject): IssuerName | undefined {
  const [first, ...others] = made.filter(({ x509 }) => x509.verify(key))
  if (!first || !isName(first.fields.issuer) || compareSubject(attributesIn(first.x509.issuer), asked).length > 0)
    return undefined
  const agree = others.every(
    ({ issuer, authorityKeyId }) => isSame(issuer, first.issuer) && isSame(authorityKeyId, first.authorityKeyId),
  )
  return agree ? { subject: first.issuer, keyId: first.authorityKeyId } : undefined
}

function isSame(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one && other ? one.equals(other) : one === other
}
