/** Whether a chain leads to a trusted root as Go builds chains: names compared byte for byte, no system roots. Pure. */
import { type Certificate, isIssuedBy, readCertificates } from '../pki/certificate.ts'
import type { Reason } from '../reason.ts'

/** Of PEM files: a leaf first, then what leads to a root. Times and usages aside. */
export function findDistrust(shown: Uint8Array | string, trusted: Uint8Array | string): Reason[] {
  const [leaf, ...between] = readCertificates(shown)
  if (!leaf) return [{ kind: 'other-issuer' }]
  const refused = [leaf, ...between].flatMap(({ refusals }) => refusals)
  const roots = readCertificates(trusted).filter((root) => root.refusals.length === 0)
  return isChained(leaf, between, roots) ? refused : [...refused, { kind: 'other-issuer' }]
}

function isChained(certificate: Certificate, between: readonly Certificate[], roots: readonly Certificate[]): boolean {
  return (
    roots.some((root) => isIssuedBy(certificate, root)) ||
    between.some(
      (link, i) => link.isCa && isIssuedBy(certificate, link) && isChained(link, between.toSpliced(i, 1), roots),
    )
  )
}
