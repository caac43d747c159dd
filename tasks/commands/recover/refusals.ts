/** Why nothing is taken from where it was found. Each throws a Failure that names the way out. */
import { Failure, refusal } from '../../../lib/failure.ts'
import { caName, certificateFile } from '../../../lib/files/names.ts'
import { otherIdentity } from '../../../lib/identity/identity.ts'
import type { Workspace } from '../../../lib/targets/workspace.ts'
import { formatNames, quote } from '../../../lib/wording.ts'
import { identityFiles } from '../../tables/files.ts'
import type { Holding } from './holding.ts'

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

/** `found` is in words what is wrong there. */
export function refuseWrong(workspace: Workspace, holding: Holding, found: readonly string[]): void {
  if (found.length === 0) return
  throw refusal(`nothing was taken from ${holding.where}: ${found.join('; ')}`, [
    `if cluster.yaml is wrong: change cluster.yaml to what is there, ${again}`,
    ...elsewhere(workspace, holding),
    `or correct or move away there what is wrong, ${again}: what is neither the CA's, the service accounts' nor the encryption key's is made anew`,
  ])
}

/** Two that hold another identity can't be one cluster's: which is right, only its user knows. */
export function refuseDisagreement(workspace: Workspace, main: Holding, others: readonly Holding[]): void {
  const read = (file: string) => workspace.auth.tryBytes(file)
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

/** The same command again, after a run that was killed, finds its own files there. */
export function refusePresent({ auth }: Workspace, { where }: Holding, files: ReadonlyMap<string, Buffer>): void {
  const others = [...files].filter(([name, bytes]) => auth.read(name) && !auth.tryBytes(name)?.equals(bytes))
  if (others.length === 0) return
  const path = quote(auth.path)
  throw refusal(
    `${auth.path} holds ${formatNames(others.map(([name]) => name))}, other than ${where} has: nothing is overwritten`,
    [`if it is not needed, move it away: mv ${path} ${path}.old; ${again}`],
  )
}

function elsewhere({ cluster, command }: Workspace, { where }: Holding): string[] {
  const others = cluster.nodes.filter(({ name, role }) => role === 'control' && name !== where)
  return [
    ...others.slice(0, 1).map(({ name }) => `take it from a control node: ${command(`recover --node ${name}`)}`),
    `take it from a backup, the folder that ${certificateFile(caName)} is in: ${command('recover --from DIR')}`,
  ]
}
