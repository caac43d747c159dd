/** The user's own kubeconfigs on this machine: kubectl's list, in its order. */
import { isUtf8 } from 'node:buffer'
import { accessSync, constants } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { doing, refusal } from '../failure.ts'
import { type Lock, type LockOptions, takeLock } from '../files/lock.ts'
import { followLinks, makeFolders, readPlainFile } from '../files/plain-file.ts'
import type { Fields, KubeconfigAccess } from './kubeconfig.ts'
import { type EntryChange, entriesOf, isCurrent, type List, readKubeconfig } from './kubeconfig-merge.ts'

export type KubeconfigFile = ReturnType<typeof readKubeconfigs>[number]

const absent = { kind: 'file', bytes: Buffer.alloc(0), mode: undefined } as const

/**
 * Each file once, by the first of its paths; `real` has symbolic links resolved, and `mode` is undefined where it does not exist. Throws a
 * Failure for one that can't be read.
 */
export function readKubeconfigs(paths: readonly string[]) {
  const firsts = new Map<string, string>()
  for (const path of paths) {
    const real = followLinks(path)
    if (!firsts.has(real)) firsts.set(real, path)
  }
  return [...firsts].map(([real, path]) => {
    const file = readPlainFile(real) ?? absent
    const text = file.kind === 'file' && isUtf8(file.bytes) ? file.bytes.toString() : undefined
    const content = text === undefined ? undefined : readKubeconfig(text)
    if (file.kind === 'file' && text !== undefined && content) return { path, real, mode: file.mode, text, content }
    throw refusal(`${path} is not a valid kubeconfig, and was left unchanged`, [
      'fix it, or set localKubeconfig.path in cluster.yaml, or leave yours alone: localKubeconfig: false',
    ])
  })
}

/** The first file that has the entry counts. */
function fileOf(files: readonly KubeconfigFile[], list: List, name: string) {
  return files.find(({ content }) => content[list].has(name))
}

export function findEntry(files: readonly KubeconfigFile[], list: List, name: string): Fields | undefined {
  return fileOf(files, list, name)?.content[list].get(name)
}

/** The first one that is set counts. */
export function currentContextIn(files: readonly KubeconfigFile[]): string | undefined {
  return files.find(({ content }) => content.currentContext !== undefined)?.content.currentContext
}

/** The changes that are needed, by file. */
export function planChanges(files: readonly KubeconfigFile[], access: KubeconfigAccess) {
  // A new entry and the current context go to the first file that exists, else to the last of the list.
  const target = files.find(({ mode }) => mode !== undefined) ?? files.at(-1)
  const changes = new Map<KubeconfigFile, EntryChange[]>()
  const add = (file: KubeconfigFile | undefined, change: EntryChange) =>
    file && changes.set(file, [...(changes.get(file) ?? []), change])
  for (const entry of entriesOf(access)) {
    const { list, name } = entry
    if (!isCurrent(findEntry(files, list, name), entry)) add(fileOf(files, list, name) ?? target, entry)
  }
  // Made once: after that the choice is the user's.
  const current = currentContextIn(files)
  const isNew = findEntry(files, 'contexts', access.context) === undefined
  if (current === undefined || (isNew && current !== access.context)) add(target, { currentContext: access.context })
  return changes
}

/**
 * The certificates that kubectl trusts for this cluster, in PEM; undefined if its entry names none. Throws a Failure
 * if they can't be read.
 */
export function readTrusted(files: readonly KubeconfigFile[], cluster: string): Buffer | undefined {
  const at = fileOf(files, 'clusters', cluster)
  const entry = at?.content.clusters.get(cluster)
  const [data, path] = [entry?.['certificate-authority-data'], entry?.['certificate-authority']]
  if (typeof data === 'string' && data !== '') return Buffer.from(data, 'base64')
  if (!at || typeof path !== 'string' || path === '') return undefined
  // Relative to the kubeconfig that names it, as in kubectl.
  const file = readPlainFile(followLinks(resolve(dirname(at.path), path)))
  return file?.kind === 'file' ? file.bytes : undefined
}

/** Does the work, which is synchronous, while all of them are locked. Throws as takeLock does. */
export async function whileLocked<T>(
  paths: readonly string[],
  options: Pick<LockOptions, 'signal' | 'onWait'>,
  work: () => T,
): Promise<T> {
  const locks: Lock[] = []
  try {
    // kubectl locks the path that it was given; a file with several paths is also locked by its resolved path, if we may.
    const names = new Set([...paths, ...paths.map(followLinks).filter((real) => mayWriteBeside(real))])
    // Always in the same order, as kubectl does, so that two runs can't deadlock.
    for (const path of [...names].toSorted()) {
      doing('make the folder', dirname(path), () => makeFolders(dirname(path), 0o700))
      locks.push(await takeLock(`${path}.lock`, { ...options, wait: 60_000 }))
    }
    return work()
  } finally {
    for (const each of locks.reverse()) each.release()
  }
}

function mayWriteBeside(path: string): boolean {
  try {
    accessSync(dirname(path), constants.W_OK)
    return true
  } catch {
    return false
  }
}
