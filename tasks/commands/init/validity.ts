/** How long certificates were issued for, as cluster.yaml has it. Pure. */
import { parseDuration } from '../../../lib/cluster/schema.ts'
import type { Certificate } from '../../../lib/pki/certificate.ts'

const hour = 3_600_000

/** Hours; one that was cut to the end of its CA has some minutes less. */
export function validityOf({ notBefore, notAfter }: Certificate): number {
  return Math.max(1, Math.round((notAfter.getTime() - notBefore.getTime()) / hour))
}

/** `10y`, `400d` or `36h`. */
export function formatValidity(hours: number): string {
  if (hours % 24 !== 0) return `${hours}h`
  const days = hours / 24
  return days % 365 === 0 ? `${days / 365}y` : `${days}d`
}

/** The usual, or a third where certificates are not valid for much longer. */
export function renewBefore(shortest: number, usual: string): string {
  return shortest * hour > parseDuration(usual) ? usual : `${Math.max(1, Math.floor(shortest / 3))}h`
}
