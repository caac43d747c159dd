/** Files of ours that a look at a node has found: in its folder, and where its units read. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import type { Part } from '../../lib/kubernetes/kubeconfig.ts'
import { type FileState, type FilesSeen, largestFile } from '../../lib/node/place.ts'
import { realPath } from '../../lib/node/state.ts'
import type { NodeLook } from '../inspect/look.ts'
import { identityFiles, nodeFiles } from '../layouts/tables.ts'
import type { Run } from '../target.ts'

/** A file of ours on a node. */
export interface HeldFile {
  /** Its name in auth/. */
  readonly file: string
  /** Its name in the node's folder, or its absolute path. */
  readonly at: string
  readonly state: FileState
  /** Undefined if it is the same as in auth/, or could not be read. */
  readonly bytes: Buffer | undefined
  readonly isPlace: boolean
  readonly part?: Part | undefined
}

/** In the folder, and where units read. The check of `install` reports places that could not be looked at. */
export function heldOn(run: Run, node: ClusterNode, seen: NodeLook): HeldFile[] {
  const { cluster, options } = run
  const { places, units } = seen
  // --prune would remove identity files that do not belong there.
  const names = [...nodeFiles(cluster, node), ...(options.prune ? identityFiles(cluster).keys() : [])]
  const inFolder = names.flatMap((name) => heldAt(seen, name, name))
  if (!places || places instanceof Failure) return inFolder
  const atPlaces = new Map(units.flatMap(({ files }) => files.map((place) => [realPath(places, place.path), place])))
  return [...inFolder, ...[...atPlaces].flatMap(([at, { file, part }]) => heldAt(places, at, file, part))]
}

export function heldAt({ files, contents }: FilesSeen, at: string, file: string, part?: Part): HeldFile[] {
  const state = files.get(at)
  return state ? [{ file, at, state, bytes: contents.get(at), isPlace: at.startsWith('/'), part }] : []
}

/** Why the node did not send the file's content. */
export function whyNotCompared({ kind, size, sha256 }: FileState): string {
  if (kind !== 'file') return 'not a regular file'
  return size > largestFile || sha256 ? 'too large to compare' : 'not readable'
}
