/** How long certificates were issued for, as cluster.yaml has it. Pure. */
import { parseDuration } from '../../../lib/duration.ts'
import type { Certificate } from '../../../lib/pki/certificate.ts'
import type { Draft } from './draft.ts'

const hour = 3_600_000

export interface Issued {
  readonly ca: Certificate
  /** Without the users'. */
  readonly leaves: readonly Certificate[]
  readonly users: readonly Certificate[]
}

/** Leaves that were cut to the end of their CA are valid for less than what was asked: the longest counts. */
export function readValidity({ ca, leaves, users }: Issued, usual: Draft['certificates']) {
  const longest = Math.max(...(leaves.length > 0 ? leaves : [ca]).map(hoursOf))
  const shortest = Math.min(longest, ...[ca, ...users].map(hoursOf))
  return {
    validity: leaves.length > 0 ? format(longest) : usual.validity,
    caValidity: format(hoursOf(ca)),
    // It has to be less than each of them.
    renewBefore: shortest * hour > parseDuration(usual.renewBefore) ? usual.renewBefore : format(shortest / 3),
  }
}

export function formatValidity(certificate: Certificate): string {
  return format(hoursOf(certificate))
}

/** To the hour: a CA and its leaves are not of the same second. */
function hoursOf({ notBefore, notAfter }: Certificate): number {
  return Math.round((notAfter.getTime() - notBefore.getTime()) / hour)
}

/** `10y`, `400d` or `36h`. */
function format(hours: number): string {
  const whole = Math.max(1, Math.floor(hours))
  if (whole % 24 !== 0) return `${whole}h`
  return whole % (365 * 24) === 0 ? `${whole / 365 / 24}y` : `${whole / 24}d`
}
