/** Inspects a node: the files in its folder, and the contents that a verdict needs. */
import { createHash, randomBytes } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, tryTo } from '../../lib/failure.ts'
import { parseFileName } from '../../lib/files/names.ts'
import { once } from '../../lib/files/plain-file.ts'
import { type Inspection, inspectScript, makeFolderScript, parseInspection } from '../../lib/remote/look.ts'
import { bothScripts } from '../../lib/remote/shell.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { identityFiles, nodeFiles } from '../tables/files.ts'
import { nodeFailure } from './node-failure.ts'

export const sha256 = once((bytes) => createHash('sha256').update(bytes).digest('hex'))

/** Of the file in auth/; undefined where there is none. */
export function digestOf({ auth }: Pick<Workspace, 'auth'>, name: string): string | undefined {
  const bytes = auth.tryBytes(name)
  return bytes && sha256(bytes)
}

/** In place of a digest: whatever is there differs. */
const noDigest = '-'

/** With the reader of its answer, which throws a Failure where that is not whole. */
export interface NodeScript<Answer> {
  readonly script: (nonce: string) => string
  readonly parse: (output: string, nonce: string) => Answer
}

export function inspectNode(workspace: Workspace, node: ClusterNode): Promise<Inspection> {
  return askNode(workspace, node, inspection(workspace, node))
}

function inspection(workspace: Workspace, node: ClusterNode): NodeScript<Inspection> {
  const expected = expectedDigests(workspace, node)
  return { script: (nonce) => inspectScript(node.directory, expected, nonce), parse: parseInspection }
}

/**
 * With another script in the same command; its answer is undefined where that has none: asked alone, it tells why. What it
 * does to the command (it hangs, it takes the connection with it) is not the folder's: that is then asked for alone.
 */
export async function inspectNodeAnd<Answer>(
  workspace: Workspace,
  node: ClusterNode,
  { script, parse }: NodeScript<Answer>,
): Promise<[Inspection, Answer | undefined]> {
  const first = inspection(workspace, node)
  const both: NodeScript<[Inspection, Answer | undefined]> = {
    script: (nonce) => bothScripts(first.script(`${nonce}1`), script(`${nonce}2`)),
    parse: (output, nonce) => [first.parse(output, `${nonce}1`), tryTo(() => parse(output, `${nonce}2`))],
  }
  try {
    return await askNode(workspace, node, both)
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    if (error.code !== 'connection-lost' && !(await workspace.connect(node)).wasReached) throw error
    return [await inspectNode(workspace, node), undefined]
  }
}

/** With the content of each named file that is no larger than one of ours can be. */
export function readFiles(workspace: Workspace, node: ClusterNode, names: readonly string[]): Promise<Inspection> {
  const all = new Map(names.map((name) => [name, noDigest]))
  const script = (nonce: string) => inspectScript(node.directory, all, nonce)
  return askNode(workspace, node, { script, parse: parseInspection })
}

export function makeFolder(workspace: Workspace, node: ClusterNode): Promise<Inspection> {
  const script = (nonce: string) => makeFolderScript(node.directory, nonce)
  return askNode(workspace, node, { script, parse: parseInspection }, { trouble: 'could not make its folder' })
}

interface Asking {
  /** Where there is no answer: 'could not be inspected'. */
  readonly trouble?: string
  /** Milliseconds. */
  readonly limit?: number
}

/** By one command on the node's connection. Throws a Failure where its answer is not whole. */
export async function askNode<Answer>(
  { connect }: Pick<Workspace, 'connect'>,
  node: ClusterNode,
  { script, parse }: NodeScript<Answer>,
  { trouble, limit }: Asking = {},
): Promise<Answer> {
  const connection = await connect(node)
  const nonce = newNonce()
  try {
    return parse(await connection.run(script(nonce), limit), nonce)
  } catch (error) {
    throw asUnknown(node, error, trouble)
  }
}

/** Unpredictable, so that text printed by a login can't contain it. */
export function newNonce(): string {
  return randomBytes(16).toString('hex')
}

/** A script that failed, or an incomplete answer: the state of the node is unknown. */
export function asUnknown(node: ClusterNode, error: unknown, trouble = 'could not be inspected'): unknown {
  if (!(error instanceof Failure) || !(error.code === 'other' || error.code === 'no-answer')) return error
  const said = error.message.replace(`${node.name}: `, '')
  const remedy = error.remedy ?? 'fix that there, then run the same command again'
  return nodeFailure(node, `${trouble}: ${said}`, { code: 'not-looked-at', remedy })
}

/**
 * Identity files are always compared, even if they do not belong on the node or are missing in auth/; certificates and
 * kubeconfigs, to see whether they are newer than ours.
 */
function expectedDigests(workspace: Workspace, node: ClusterNode): Map<string, string> {
  const dated = nodeFiles(node).filter((name) => parseFileName(name)?.kind !== 'key')
  return new Map([
    ...dated.flatMap((name): [string, string][] => {
      const digest = digestOf(workspace, name)
      return digest === undefined ? [] : [[name, digest]]
    }),
    ...[...identityFiles.keys()].map((name): [string, string] => [name, digestOf(workspace, name) ?? noDigest]),
  ])
}
