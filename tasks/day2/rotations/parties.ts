/** The two ends of a connection, by the files in an auth/: what each presents and trusts. */
import { createPublicKey } from 'node:crypto'
import { isIP } from 'node:net'
import { type AuthDir, caName, type FileNames, kubeconfigFile } from '../../../lib/files/auth-dir.ts'
import { readEmbedded, readServer } from '../../../lib/kubernetes/kubeconfig.ts'
import { formatNotFor, type Met, type Party, type Presented, shakeHands } from '../../../lib/pki/handshake.ts'
import { certificateIn, readIssuer } from '../../../lib/pki/pair.ts'
import { generatePrivateKey, issueCertificate, privateKeyPem } from '../../../lib/pki/x509.ts'
import { type Diff, missing } from '../../../lib/results.ts'
import { day } from '../../../lib/wording.ts'
import type { ConnectionRow } from '../../layouts/connections.ts'
import { certTable } from '../../layouts/tables.ts'
import type { Run } from '../../target.ts'

/** `dials`: the host in its kubeconfig. */
export type ClientParty = (Party & { readonly dials?: string | undefined }) | Pick<Party, 'ca'>

export interface Parties {
  readonly server: Party
  readonly client: ClientParty
}

type Seen = Pick<Run, 'auth' | 'cluster' | 'now'>

/** What is not there of what it needs. */
export function missingOf(auth: AuthDir, row: ConnectionRow): Diff[] {
  return missingFiles(auth, filesOf(auth.files, row))
}

export function missingFiles(auth: AuthDir, names: readonly string[]): Diff[] {
  return missing([...new Set([auth.files.certificate(caName), ...names])].filter((name) => !auth.tryBytes(name)))
}

function filesOf(
  { pair, certificate }: FileNames,
  { client, server, ca = caName, trusts = ca }: ConnectionRow,
): string[] {
  const ofServer = [certificate(ca), certificate(trusts), ...pair(server)]
  if (client === 'nobody') return ofServer
  if (typeof client === 'string') return [...ofServer, ...pair(ca)]
  return [...ofServer, ...pair(client.name), ...(client.in === 'files' ? [] : [kubeconfigFile(client.name)])]
}

/** Undefined where a file is missing, or the kubeconfig can't be read. */
export async function partiesOf(seen: Seen, row: ConnectionRow): Promise<Parties | undefined> {
  const { auth } = seen
  const { client, server, ca = caName, trusts = ca } = row
  if (missingOf(auth, row).length > 0) return undefined
  const own = { ca: auth.bytes(auth.files.certificate(trusts)) }
  const ends = { server: { ...presentedBy(auth, server), ca: auth.bytes(auth.files.certificate(ca)) }, client: own }
  if (client === 'nobody') return ends
  if (typeof client === 'string') return { ...ends, client: { ...own, ...(await stranger(seen, client, ca)) } }
  if (client.in === 'files') return { ...ends, client: { ...own, ...presentedBy(auth, client.name) } }
  const text = auth.bytes(kubeconfigFile(client.name)).toString()
  const embedded = readEmbedded(text)
  return embedded && { ...ends, client: { ...embedded, dials: readServer(text)?.host } }
}

/**
 * What comes of a connection: the handshake under the first name that the client dials. The other names need only stand
 * in the server's certificate. Undefined where no name is dialled.
 */
export async function connect(
  row: Pick<ConnectionRow, 'dialled' | 'strict'>,
  { server, client }: Parties,
  shake: typeof shakeHands = shakeHands,
): Promise<Met | undefined> {
  const own = 'dials' in client && client.dials !== undefined ? [client.dials] : []
  const [dialled, ...others] = [...own, ...row.dialled]
  if (dialled === undefined) return undefined
  const met = await shake({ server, client, dialled, strict: row.strict ?? false })
  const lacking = others.find((name) => !isServerFor(server, name))
  return 'refused' in met || lacking === undefined ? met : { refused: formatNotFor(lacking) }
}

export function isServerFor({ certificate }: Party, name: string): boolean {
  const x509 = certificateIn(certificate)?.x509
  return (isIP(name) ? x509?.checkIP(name) : x509?.checkHost(name, { subject: 'never' })) !== undefined
}

function presentedBy(auth: AuthDir, name: string): Presented {
  return { certificate: auth.bytes(auth.files.certificate(name)), key: auth.bytes(auth.files.key(name)) }
}

/** An admin made in memory: signed by another CA of the same name, or by ours but expired yesterday, or by ours. */
export async function stranger(
  { auth, now, cluster }: Seen,
  kind: 'of another CA' | 'expired' | 'ours',
  ca: string,
): Promise<Presented> {
  const admin = certTable(cluster).find(({ name }) => name === auth.files.names.admin)?.profile
  if (!admin) throw new Error('the table has no admin')
  const [key, otherCaKey] = await Promise.all([generatePrivateKey('ecdsa-p256'), generatePrivateKey('ecdsa-p256')])
  const ours = readIssuer(auth, ca)
  const issuer = kind === 'of another CA' ? { ...ours, privateKey: otherCaKey } : ours
  const notBefore = new Date(now.getTime() - 2 * day)
  const notAfter = new Date(now.getTime() + (kind === 'expired' ? -day : day))
  const profile = { ...admin, key: 'ecdsa-p256' as const }
  const certificate = issueCertificate({ profile, publicKey: createPublicKey(key), notBefore, notAfter }, issuer)
  return { certificate: Buffer.from(certificate), key: Buffer.from(privateKeyPem(key)) }
}
