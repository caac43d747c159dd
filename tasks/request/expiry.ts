/** What expires, for the end of a run, a plan and a look: the next certificate, the CA, and what outlasts `validity`. */
import { caName } from '../../lib/files/auth-dir.ts'
import { endsSoon, type Outcome, type Run, type Target } from '../../lib/graph/target.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import type { Summary } from '../../lib/show/reporter.ts'
import { count, day, formatDuration, hour } from '../../lib/wording.ts'
import { certTable } from '../layouts/tables.ts'
import { signingCa } from '../rotations/states.ts'

/** The next to expire of the run's own certificates. */
export function nextToExpire({ auth, cluster }: Run, targets: Iterable<Target>): Summary['nextToExpire'] {
  const dated = [...targets].flatMap(({ makes: [file = ''] }) => {
    const { kind, name = '' } = auth.files.parse(file) ?? {}
    const expires = kind === 'certificate' ? tryCertificate(auth, name)?.notAfter : undefined
    return expires ? [{ name, expires }] : []
  })
  if (dated.length === 0) return undefined
  const { name, expires } = dated.reduce((first, each) => (each.expires < first.expires ? each : first))
  // What expires with its CA would not last longer if it were reissued; no run renews a CA.
  const { issuer = caName, phase } = certTable(cluster).find((row) => row.name === name) ?? {}
  const end = phase === 'ca' ? undefined : tryCertificate(auth, issuer)?.notAfter
  const isRenewed = end !== undefined && expires < end
  return {
    name,
    expires,
    renewsFrom: isRenewed ? new Date(expires.getTime() - cluster.certificates.renewBefore) : undefined,
  }
}

/** If a CA expires within renewBefore: no run renews it, and everything stops with it. An expired one is refused. */
export function adviseOnCa(run: Run): Summary['caEnds'] {
  const { auth, now, command, cluster } = run
  const cas = certTable(cluster).flatMap(({ phase, name }) => {
    const expires = phase === 'ca' ? tryCertificate(auth, name)?.notAfter : undefined
    return expires && expires > now && endsSoon(run, expires) ? [{ name, expires }] : []
  })
  const [first] = cas.toSorted((a, b) => Number(a.expires) - Number(b.expires))
  if (!first) return undefined
  const { name, expires } = first
  const isRotating = signingCa(auth, now, name).stage !== 'settled'
  return {
    expires,
    days: Math.floor((expires.getTime() - now.getTime()) / day),
    commands: isRotating ? [command(`rotate ${name} --finish`)] : [command('ca --renew'), command('bootstrap')],
  }
}

/** A sentence, if fresh certificates were issued for longer than cluster.yaml has now: no run shortens them. */
export function noteOnValidity({ auth, cluster, command }: Run, outcomes: ReadonlyMap<string, Outcome>): string[] {
  const longer = certTable(cluster).filter(({ id, phase, name, validity }) => {
    const { notBefore, notAfter } = (phase !== 'ca' && tryCertificate(auth, name)) || {}
    const isFresh = outcomes.get(id)?.kind === 'fresh'
    // Other tools backdate by some minutes.
    return isFresh && notBefore && notAfter && notAfter.getTime() - notBefore.getTime() > validity + hour
  })
  if (longer.length === 0) return []
  const ids = longer.length > 3 ? 'certs' : longer.map(({ id }) => id).join(' ')
  const validity = [...new Set(longer.map((row) => formatDuration(row.validity)))].join(', ')
  const found = `${count(longer.length, 'certificate')} ${longer.length === 1 ? 'was' : 'were'} issued for longer than validity in cluster.yaml (${validity})`
  return [`${found}; to reissue: ${command(`${ids} --force`)}, then ${command('bootstrap')}`]
}
