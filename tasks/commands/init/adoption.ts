/** What the files of an auth/ tell of the cluster that they were made for. Reads only. */
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import { caName, kubeconfigFile, parseFileName } from '../../../lib/files/names.ts'
import { readEncryptionConfig } from '../../../lib/kubernetes/encryption.ts'
import { readServer } from '../../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, readCertificate } from '../../../lib/pki/certificate.ts'
import { keyKindOf } from '../../../lib/pki/x509.ts'
import { clusterCerts } from '../../tables/certs.ts'
import { encryptionConfig } from '../../tables/files.ts'
import { readApiNames } from './api-names.ts'
import { type Draft, newDraft } from './draft.ts'
import { formatValidity, renewBefore, validityOf } from './validity.ts'

const apiName = clusterCerts.find(({ phase }) => phase === 'cluster-cert')?.name ?? ''
const ownNames = new Set(clusterCerts.map(({ name }) => name))

/** Undefined where it has no certificate of a CA. What it does not tell has its default. */
export function adopt(path: string): Draft | undefined {
  const auth = new AuthDir(path)
  const certificates = readAll(auth)
  const ca = certificates.get(caName)
  if (!ca) return undefined
  const server = clientsOf(certificates).flatMap((name) => readServer(textOf(auth, kubeconfigFile(name))) ?? [])[0]
  const draft = newDraft(server?.cluster ?? 'kubernetes')
  const api = certificates.get(apiName)
  const nodes = [...certificates].filter(([name, { attributes }]) => attributes.includes(`CN=system:node:${name}`))
  const users = [...certificates].filter(
    ([name, { attributes }]) => !ownNames.has(name) && attributes.includes(`CN=${name}`),
  )
  const leaves = [...certificates].filter(([name]) => name !== caName && !users.some(([user]) => user === name))
  const longest = Math.max(...leaves.map(([, leaf]) => validityOf(leaf)))
  const spans = [ca, ...users.map(([, user]) => user)].map(validityOf)
  const sealed = readEncryptionConfig(textOf(auth, encryptionConfig.file))
  return {
    ...draft,
    subject: readSubject(ca),
    certificates: {
      key: keyKindOf(ca.publicKey),
      validity: leaves.length > 0 ? formatValidity(longest) : draft.certificates.validity,
      caValidity: formatValidity(validityOf(ca)),
      renewBefore: renewBefore(Math.min(longest, ...spans), draft.certificates.renewBefore),
    },
    ...readApiNames(draft, { server, sans: api?.sans ?? [], nodes: nodes.map(([name, { sans }]) => ({ name, sans })) }),
    encryption: sealed ? { provider: sealed.provider, resources: sealed.resources } : draft.encryption,
    users: users.map(([name, user]) => ({
      name,
      groups: valuesOf(user, 'O'),
      validity: formatValidity(validityOf(user)),
    })),
  }
}

function readAll(auth: AuthDir): ReadonlyMap<string, Certificate> {
  const found = auth.names().flatMap((file): [string, Certificate][] => {
    const { kind, name = '' } = parseFileName(file) ?? {}
    const bytes = kind === 'certificate' ? auth.tryBytes(file) : undefined
    const certificate = bytes && readCertificate(bytes)
    return certificate ? [[name, certificate]] : []
  })
  return new Map(found)
}

function clientsOf(certificates: ReadonlyMap<string, Certificate>): string[] {
  const own = clusterCerts.flatMap(({ name, isClient }) => (isClient ? [name] : []))
  return [...own, ...[...certificates.keys()].filter((name) => !ownNames.has(name))]
}

function textOf(auth: AuthDir, file: string): string {
  return auth.tryBytes(file)?.toString() ?? ''
}

function valuesOf({ attributes }: Certificate, name: string): string[] {
  return attributes.filter((each) => each.startsWith(`${name}=`)).map((each) => each.slice(name.length + 1))
}

function readSubject(ca: Certificate): Draft['subject'] {
  const [country, state, locality, organization, organizationalUnit] = ['C', 'ST', 'L', 'O', 'OU'].map(
    (name) => valuesOf(ca, name)[0],
  )
  return { country, state, locality, organization, organizationalUnit }
}
