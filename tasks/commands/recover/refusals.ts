/** Why nothing is taken from where it was found. Each throws a Failure that names the way out. */
import { Failure, refusal } from '../../../lib/failure.ts'
import { caName, certificateFile } from '../../../lib/files/names.ts'
import { otherIdentity } from '../../../lib/identity/identity.ts'
import { readEncryptionConfig } from '../../../lib/kubernetes/encryption.ts'
import { readCertificate } from '../../../lib/pki/certificate.ts'
import { formatReasons, type Reason } from '../../../lib/reason.ts'
import type { Workspace } from '../../../lib/targets/workspace.ts'
import { formatNames, quote } from '../../../lib/wording.ts'
import { encryptionConfig, identityFiles } from '../../tables/files.ts'
import type { Holding } from './holding.ts'
import { type Asked, findStale, type Part } from './part.ts'
import { rotationFilesOf } from './rotation.ts'
import { formatPorts } from './served.ts'

const again = 'then run the same command again'

export function refuseNothing(workspace: Workspace, holding: Holding): void {
  if (holding.files.size + holding.unread.size > 0) return
  const { where, hidden } = holding
  const unseen = hidden === undefined ? '' : `; where its units read was not looked at: ${hidden}`
  throw new Failure(`${where} holds no file of this cluster's auth/${unseen}`, {
    remedy: [
      ...(workspace.cluster.install ? [] : [`if the cluster runs: set install: guide in cluster.yaml, ${again}`]),
      ...elsewhere(workspace, holding),
    ].join('\n'),
  })
}

export function refuseUnread(workspace: Workspace, holding: Holding): void {
  if (holding.unread.size === 0) return
  const what = [...holding.unread].map(([name, why]) => `${name} (${why})`)
  throw refusal(`${holding.where}: could not be read: ${formatNames(what)}`, [
    `mend that there, ${again}`,
    ...elsewhere(workspace, holding),
  ])
}

/** Two that hold another identity can't be one cluster's: which is right, only its user knows. */
export function refuseDisagreement(workspace: Workspace, main: Holding, others: readonly Holding[]): void {
  const ca = main.files.get(certificateFile(caName))
  const left = rotationFilesOf(main, ca && readCertificate(ca))
  const read = (file: string) => left.get(file) ?? main.files.get(file)
  const disagreeing = others.flatMap(({ where, files, unread }) => {
    const isOther = ([name, theirs]: [string, Buffer]) =>
      identityFiles.has(name) && otherIdentity(name, read, theirs) !== undefined
    const names = [...[...files].filter(isOther).map(([name]) => name), ...unread.keys()]
    const labels = [...new Set(names.flatMap((name) => identityFiles.get(name) ?? []))]
    return labels.length > 0 ? [{ where, found: `${where} (${labels.join(', ')})` }] : []
  })
  if (disagreeing.length === 0) return
  const nodes = disagreeing.map(({ where }) => where)
  throw refusal(
    `${main.where} and ${disagreeing.map(({ found }) => found).join(', ')} hold different identities: nothing was taken`,
    [
      ...nodes.map((node) => `if that of ${node} is the right one: ${workspace.command(`recover --node ${node}`)}`),
      `if that of ${main.where} is: take ${nodes.join(', ')} out of cluster.yaml until this command has run`,
    ],
  )
}

export function refuseMisfits(workspace: Workspace, holding: Holding, misfits: readonly string[]): void {
  if (misfits.length === 0) return
  throw refusal(`${holding.where} holds what does not fit together: ${misfits.join('; ')}: nothing was taken`, [
    ...elsewhere(workspace, holding),
    `or move what is wrong away there, ${again}: what is neither the CA's nor the service accounts' is made anew`,
  ])
}

/** Files that the cluster does not run with would be another's, to every node. */
export function refuseForeign(workspace: Workspace, holding: Holding, ports: readonly number[]): void {
  if (ports.length === 0) return
  throw refusal(
    `${holding.where}: what runs there on ${formatPorts(ports)} shows a certificate that its ${certificateFile(caName)} did not sign: nothing was taken`,
    [...elsewhere(workspace, holding), `or stop what is not this cluster's there, ${again}`],
  )
}

export function refuseEncryptionConfig(workspace: Workspace, holding: Holding, bytes: Buffer | undefined): void {
  const config = bytes && readEncryptionConfig(bytes.toString())
  const { file } = encryptionConfig
  if (!config)
    throw refusal(
      `${holding.where}: ${file} ${bytes ? 'is nothing that kube-apiserver would read' : 'is missing'}: nothing was taken`,
      elsewhere(workspace, holding),
    )
  const { provider, resources } = workspace.cluster.encryption
  const more = config.resources.filter((resource) => !resources.includes(resource))
  const asked = [
    ...(config.provider === provider ? [] : [`encryption.provider: ${config.provider}`]),
    ...(more.length === 0 ? [] : [`${more.join(', ')} in encryption.resources`]),
  ]
  if (asked.length > 0)
    throw refusal(`${holding.where}: ${file} is not what cluster.yaml asks for: nothing was taken`, [
      `write ${asked.join(', and ')} into cluster.yaml, ${again}`,
    ])
}

/** What no run replaces, and the next would refuse. */
export function refuseOtherCluster({ where }: Holding, parts: readonly Part[], asked: Asked): void {
  const others = parts.flatMap((part) => {
    const { irreplaceable } = part.row
    if (!irreplaceable) return []
    const reasons = findStale(part, asked).filter(({ kind }) => lasting[irreplaceable.part].includes(kind))
    return reasons.length > 0 ? [`${irreplaceable.label}: ${formatReasons(reasons)}`] : []
  })
  if (others.length > 0)
    throw refusal(
      `${where} is not of the cluster that cluster.yaml describes: ${others.join('; ')}: nothing was taken`,
      [`change cluster.yaml to what is there, ${again}`],
    )
}

/** What is not mended by a new certificate over the same key. */
const lasting: Readonly<Record<'whole' | 'key', readonly Reason['kind'][]>> = {
  whole: ['subject-changed', 'san-changed', 'usages-changed', 'key-kind-changed'],
  key: ['key-kind-changed'],
}

/** The same command again, after a run that was killed, finds its own files there. */
export function refusePresent({ auth }: Workspace, { where }: Holding, files: ReadonlyMap<string, Buffer>): void {
  const others = [...files].filter(([name, bytes]) => auth.read(name) && !auth.tryBytes(name)?.equals(bytes))
  if (others.length === 0) return
  const path = quote(auth.path)
  throw refusal(
    `${auth.path} holds ${formatNames(others.map(([name]) => name))}, other than ${where} has: nothing is overwritten`,
    [`if it is worth nothing, move it away: mv ${path} ${path}.old; ${again}`],
  )
}

function elsewhere({ cluster, command }: Workspace, { where }: Holding): string[] {
  const others = cluster.nodes.filter(({ name, role }) => role === 'control' && name !== where)
  return [
    ...others.slice(0, 1).map(({ name }) => `take it from a control node: ${command(`recover --node ${name}`)}`),
    `take it from a backup, the folder that ${certificateFile(caName)} is in: ${command('recover --from DIR')}`,
  ]
}
