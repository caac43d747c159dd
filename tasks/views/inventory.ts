/** What was made in auth/, each with its expiry: for `status`, the report and the metrics. */
import { tryTo } from '../../lib/failure.ts'
import { type AuthDir, caName } from '../../lib/files/auth-dir.ts'
import { nameInPhase } from '../../lib/graph/target.ts'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, endOf, readCertificate } from '../../lib/pki/certificate.ts'
import { ownCas, tryCertificate } from '../../lib/pki/pair.ts'
import type { ClusterRow, ClusterRows, Run } from '../target.ts'

export interface Item {
  readonly row: ClusterRow
  readonly name: string
  /** Its own, or the one in the kubeconfig. */
  readonly certificate: Certificate | undefined
  /** The effective expiry: the earliest along the chain. */
  readonly end: Date | undefined
}

export function takeInventory({ auth }: Run, rows: ClusterRows): ReadonlyMap<string, Item> {
  const cas = ownCas(auth)
  const made = [...rows.values()].filter(({ target: { where, makes } }) => where === 'auth' && makes.length > 0)
  return new Map(
    made.map((row) => {
      const file = row.target.makes[0] ?? ''
      const { certificate, ca } = readFile(auth, file)
      const name = auth.files.parse(file)?.name ?? nameInPhase(row.target)
      const end = certificate && endOf(certificate, ca ? [ca, ...cas] : cas)
      return [row.id, { row, name, certificate, end }] as const
    }),
  )
}

function readFile(
  auth: AuthDir,
  file: string,
): { certificate?: Certificate | undefined; ca?: Certificate | undefined } {
  const { kind, name = caName } = auth.files.parse(file) ?? {}
  if (kind === 'certificate') return { certificate: tryCertificate(auth, name) }
  const { certificate = '', ca = '' } = readEmbedded(String(tryTo(() => auth.tryBytes(file)) ?? ''))
  return { certificate: readCertificate(certificate), ca: readCertificate(ca) }
}

export function findExpiries(items: ReadonlyMap<string, Item>, now: Date) {
  const dated = [...items.values()].flatMap(({ name, end }) => (end ? [{ name, end }] : []))
  const namesOf = (some: typeof dated) => [...new Set(some.map(({ name }) => name))]
  const left = dated.filter(({ end }) => end > now).toSorted((a, b) => Number(a.end) - Number(b.end))
  const [first] = left
  return {
    expired: namesOf(dated.filter(({ end }) => end <= now)),
    next: first && { end: first.end, names: namesOf(left.filter(({ end }) => Number(end) === Number(first.end))) },
  }
}
