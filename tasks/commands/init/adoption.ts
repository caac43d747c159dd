/** What the files of an auth/ tell of the cluster that they were made for. Reads only. */
import { parseDuration } from '../../../lib/duration.ts'
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import { caName, kubeconfigFile, parseFileName } from '../../../lib/files/names.ts'
import { readEncryptionConfig } from '../../../lib/kubernetes/encryption.ts'
import { readServer } from '../../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, readCertificate } from '../../../lib/pki/certificate.ts'
import { keyKindOf } from '../../../lib/pki/profile.ts'
import { clusterCerts, nodeUser } from '../../tables/certs.ts'
import { encryptionConfig } from '../../tables/files.ts'
import { readApiNames } from './api-names.ts'
import { type Draft, newDraft } from './draft.ts'

const apiName = clusterCerts.find(({ phase }) => phase === 'cluster-cert')?.name ?? ''
const clients = clusterCerts.flatMap(({ name, isClient }) => (isClient ? [name] : []))
const ownNames = new Set(clusterCerts.map(({ name }) => name))

/** Undefined where it has no certificate of a CA. What it does not tell has its default. */
export function adopt(path: string): Draft | undefined {
  const auth = new AuthDir(path)
  const all = readAll(auth)
  const ca = all.get(caName)
  if (!ca) return undefined
  const named = [...all].map(([name, certificate]) => ({ name, certificate, sans: certificate.sans }))
  const own = named.filter(({ name }) => ownNames.has(name))
  const nodes = named.filter(({ name, certificate }) => valuesOf(certificate, 'CN')[0] === nodeUser(name))
  // What else has a certificate in there may be anything: a user has a kubeconfig too.
  const users = named.filter(
    ({ name, certificate }) =>
      !ownNames.has(name) && valuesOf(certificate, 'CN')[0] === name && auth.read(kubeconfigFile(name)),
  )
  const server = [...clients, ...nodes.map(({ name }) => name)].flatMap(
    (name) => readServer(textOf(auth, kubeconfigFile(name))) ?? [],
  )[0]
  const draft = newDraft(server?.cluster ?? 'kubernetes')
  const sealed = readEncryptionConfig(textOf(auth, encryptionConfig.file))
  return {
    ...draft,
    subject: readSubject(ca),
    certificates: {
      key: keyKindOf(ca.publicKey),
      ...readValidity(
        {
          ca,
          leaves: [...own.filter(({ name }) => name !== caName), ...nodes].map(({ certificate }) => certificate),
          users: users.map(({ certificate }) => certificate),
        },
        draft.certificates,
      ),
    },
    ...readApiNames(draft, { server, sans: all.get(apiName)?.sans ?? [], nodes }),
    encryption: sealed ? { provider: sealed.provider, resources: sealed.resources } : draft.encryption,
    users: users.map(({ name, certificate }) => ({
      name,
      groups: valuesOf(certificate, 'O'),
      validity: format(hoursOf(certificate)),
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

const hour = 3_600_000

interface Issued {
  readonly ca: Certificate
  /** Without the users'. */
  readonly leaves: readonly Certificate[]
  readonly users: readonly Certificate[]
}

/** Leaves that were cut to the end of their CA are valid for less than what was asked: the longest counts. */
function readValidity({ ca, leaves, users }: Issued, usual: Draft['certificates']) {
  const longest = Math.max(...(leaves.length > 0 ? leaves : [ca]).map(hoursOf))
  const shortest = Math.min(longest, ...[ca, ...users].map(hoursOf))
  return {
    validity: leaves.length > 0 ? format(longest) : usual.validity,
    caValidity: format(hoursOf(ca)),
    // It has to be less than each of them.
    renewBefore: shortest * hour > parseDuration(usual.renewBefore) ? usual.renewBefore : format(shortest / 3),
  }
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
