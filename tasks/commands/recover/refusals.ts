/** Why nothing is taken from where it was found, and each way out. */
import { Failure, refusal, runAgain } from '../../../lib/failure.ts'
import { caName, certificateFile } from '../../../lib/files/names.ts'
import type { Workspace } from '../../../lib/graph/workspace.ts'
import { otherIdentity } from '../../../lib/kubernetes/identity.ts'
import { quote } from '../../../lib/wording.ts'
import { identityFiles } from '../../tables/files.ts'
import type { Holding } from './holding.ts'

const again = `then ${runAgain}`

export function refuseNothing(workspace: Workspace, main: Holding): void {
  if (main.files.size + main.unread.size > 0) return
  throw new Failure(`${main.where} holds no file of this cluster's auth/`, {
    remedy: [
      ...(workspace.cluster.install ? [] : [`if the cluster runs: set install: guide in cluster.yaml, ${again}`]),
      ...elsewhere(workspace, main),
    ].join('\n'),
  })
}

/** Throws a refusal where something is wrong: a clause for each. */
export function refuseWrong(
  workspace: Workspace,
  main: Holding,
  wrong: readonly string[],
  ways = [
    `if cluster.yaml is wrong: change cluster.yaml to what is there, ${again}`,
    ...elsewhere(workspace, main),
    `or correct what is wrong there, or move it away, ${again}: what is neither the CA's, the service accounts' nor the encryption key's is made anew`,
  ],
): void {
  if (wrong.length > 0) throw refusal(`nothing was taken from ${main.where}: ${wrong.join('; ')}`, ways)
}

/** Two that hold another identity can't be one cluster's: which is right, only its user knows. */
export function refuseDisagreement(found: Workspace, main: Holding, others: readonly Holding[]): void {
  const read = (file: string) => found.auth.tryBytes(file)
  const labelsOf = ({ files, unread }: Holding) => {
    const differ = [...files].filter(([name, bytes]) => identityFiles.has(name) && otherIdentity(name, read, bytes))
    const names = [...differ.map(([name]) => name), ...unread.keys()]
    return [...new Set(names.flatMap((name) => identityFiles.get(name) ?? []))]
  }
  const disagreeing = others.filter((other) => labelsOf(other).length > 0)
  const wrong = disagreeing.map((other) => `${other.where} holds another ${labelsOf(other).join(', ')}`)
  refuseWrong(found, main, wrong, [
    ...disagreeing.map(({ where }) => `if that of ${where} is right: ${found.command(`recover --node ${where}`)}`),
    `if that of ${main.where} is right: take ${disagreeing.map(({ where }) => where).join(', ')} out of cluster.yaml until this command has run`,
  ])
}

/** The same command again, after a run that was killed, finds its own files there. */
export function refusePresent(workspace: Workspace, main: Holding, files: ReadonlyMap<string, Buffer>): void {
  const { auth } = workspace
  const others = [...files].filter(([name, bytes]) => auth.read(name) && !auth.tryBytes(name)?.equals(bytes))
  const path = quote(auth.path)
  const wrong = others.map(([name]) => `${auth.path} holds another ${name}, and nothing there is overwritten`)
  refuseWrong(workspace, main, wrong, [`if it is not needed, move it away: mv ${path} ${path}.old; ${again}`])
}

function elsewhere({ cluster, command }: Workspace, { where }: Holding): string[] {
  const others = cluster.nodes.filter(({ name, role }) => role === 'control' && name !== where)
  return [
    ...others.slice(0, 1).map(({ name }) => `take it from a control node: ${command(`recover --node ${name}`)}`),
    `take it from a backup, the folder that ${certificateFile(caName)} is in: ${command('recover --from DIR')}`,
  ]
}
