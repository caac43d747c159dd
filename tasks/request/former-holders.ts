/** Machines and people with a certificate in auth/ that are no longer in cluster.yaml: they keep what they hold. */
import { dirname } from 'node:path'
import { tryTo } from '../../lib/failure.ts'
import type { AuthDir } from '../../lib/files/auth-dir.ts'
import { caName, kubeconfigFile } from '../../lib/files/names.ts'
import type { Run } from '../../lib/graph/run.ts'
import { readClientCertificate } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, isIssuedBy, readCertificate } from '../../lib/pki/certificate.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { folderWord } from '../../lib/remote/shell.ts'
import { typedCommand } from '../../lib/remote/ssh-config.ts'
import { formatDate, formatNames, quote } from '../../lib/wording.ts'
import { nodeUser } from '../layouts/layout.ts'
import { certTable } from '../tables/certs.ts'
import { namedPlaces } from '../tables/places.ts'
import { commandsAfterLeak } from './leak.ts'

interface FormerHolder {
  readonly name: string
  readonly heading: string
  /** What to do, in this order. */
  readonly steps: readonly Step[]
}

interface Step {
  readonly what: string
  /** To type as they are, in this order. */
  readonly commands: readonly string[]
}

type Seen = Pick<Run, 'auth' | 'cluster' | 'now' | 'command'>

export function formerHolders(seen: Seen): FormerHolder[] {
  const { auth, cluster } = seen
  const known = new Set(certTable(cluster).map(({ name }) => name))
  const ca = tryCertificate(auth, caName)
  const files = auth.names()
  const names = new Set(files.flatMap((file) => auth.files.parse(file)?.name ?? []))
  return [...names].flatMap((name) => {
    const certificate = known.has(name)
      ? undefined
      : (tryCertificate(auth, name) ?? certificateInKubeconfig(auth, name))
    if (!certificate) return []
    const held = [...auth.files.pair(name), kubeconfigFile(name)].filter((each) => files.includes(each))
    const former = { name, held, certificate }
    if (certificate.attributes.includes(`CN=${nodeUser(name)}`)) return [formerNode(seen, former)]
    const isUser = !certificate.isCa && certificate.attributes.includes(`CN=${name}`)
    return ca && isUser && isIssuedBy(certificate, ca) ? [formerUser(seen, former)] : []
  })
}

/** For a run: one line, as status has the rest. */
export function formerHoldersNote(seen: Seen): string[] {
  const names = formerHolders(seen).map(({ name }) => name)
  if (names.length === 0) return []
  return [
    `not in cluster.yaml any more: ${formatNames(names)}; what is left to do about that: ${seen.command('status')}`,
  ]
}

/** The heading, then the numbered steps, each command on its own line. */
export function formatFormer({ heading, steps }: FormerHolder): string {
  return [
    `${heading}:`,
    ...steps.flatMap(({ what, commands }, i) => [
      `  ${i + 1}. ${what}:`,
      ...commands.map((command) => `      ${command}`),
    ]),
  ].join('\n')
}

/** If the certificate itself was removed, and the kubeconfig was not. */
function certificateInKubeconfig(auth: AuthDir, name: string): Certificate | undefined {
  const text = tryTo(() => auth.tryBytes(kubeconfigFile(name)))
  const pem = text && readClientCertificate(text.toString())
  return pem && readCertificate(pem)
}

interface Former {
  readonly name: string
  /** Its files in auth/. */
  readonly held: readonly string[]
  readonly certificate: Certificate
}

/** The machine is not looked at: it may be gone, or somebody else's by now. */
function formerNode(seen: Seen, { name, held, certificate }: Former): FormerHolder {
  const { auth, cluster, command } = seen
  const role = cluster.nodes.find((node) => node.name === name)?.role
  const gone = role ? `${name} is a ${role} now, which has no certificate` : `${name} is no longer in cluster.yaml`
  const { user, directory } = cluster.ssh
  const remove = `rm -f ${[...auth.files.pair(name), kubeconfigFile(name)].join(' ')}`
  const inFolder = directory === '~' ? remove : `cd ${folderWord(directory)} && ${remove}`
  const places = namedPlaces(cluster, name)
  const inPlaces =
    cluster.install && places.length > 0 ? `${cluster.install.sudo} rm -f ${places.join(' ')}`.trim() : ''
  const there = [inFolder, inPlaces].filter(Boolean).join('; ')
  const use = { folder: dirname(auth.path), ssh: cluster.ssh }
  return {
    name,
    heading: `${gone}, and its certificate ${untilWhen(seen, certificate)}`,
    steps: [
      {
        what: 'remove its files on the machine',
        commands: [typedCommand('ssh', use, [`${user}@${name}`], quote(there))],
      },
      ...(role
        ? []
        : [{ what: 'or, if the machine has another name in cluster.yaml now', commands: [command('deploy --prune')] }]),
      { what: 'remove it from the cluster', commands: [`kubectl delete node ${name}`] },
      removal(auth, held),
      {
        what: 'if it was a control node and is not wiped, it also holds the keys of the CA, the service accounts and stored Secrets',
        commands: commandsAfterLeak(command, [caName, 'service-account', 'encryption-key']),
      },
    ],
  }
}

/** Kubernetes reads no list of revoked certificates, so only RBAC can cut a person off. */
function formerUser(seen: Seen, { name, held, certificate }: Former): FormerHolder {
  const groups = certificate.attributes.filter((each) => each.startsWith('O=')).map((each) => each.slice(2))
  const bound = new Intl.ListFormat('en').format([name, ...groups])
  const search = [name, ...groups].map((subject) => `-e ${quote(subject)}`).join(' ')
  const isExpired = certificate.notAfter <= seen.now
  const unbind = {
    what: `remove what RBAC binds to ${bound}${groups.length > 0 ? ' (who stays needs another group)' : ''}`,
    commands: [`kubectl get rolebindings,clusterrolebindings -A -o wide | grep -wF ${search}`],
  }
  return {
    name,
    heading: `${name} is no longer in cluster.yaml, and every copy of the certificate ${untilWhen(seen, certificate)}${isExpired ? '' : ', since nothing revokes it before it expires'}`,
    steps: [...(isExpired ? [] : [unbind]), removal(seen.auth, held)],
  }
}

function untilWhen({ now }: Seen, { notAfter }: Certificate): string {
  return `${notAfter <= now ? 'expired on' : 'is valid until'} ${formatDate(notAfter)}`
}

function removal({ path }: AuthDir, held: readonly string[]): Step {
  return {
    what: 'remove its files here, which also ends this notice',
    commands: [`rm ${held.map((file) => quote(`${path}/${file}`)).join(' ')}`],
  }
}
