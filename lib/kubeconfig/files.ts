/** The user's own kubeconfigs, as they stand on this machine: kubectl's list, in its order. */
import { dirname, resolve } from 'node:path'
import { refusal } from '../failure.ts'
import { followLinks, type PlainFile, readPlainFile } from '../files/plain-file.ts'
import { type ReadKubeconfig, readKubeconfig } from './merge.ts'

export interface KubeconfigFile {
  readonly path: string
  /** Behind symbolic links, if the path is one; it need not exist. */
  readonly real: string
  readonly file: PlainFile | undefined
  readonly text: string
  readonly content: ReadKubeconfig
}

/** Unchanged files are not parsed again: they may have thousands of entries. */
export class KubeconfigReader {
  readonly #known = new Map<string, KubeconfigFile>()

  /** Each file once, by the first of its paths. Throws a Failure for one that can't be read. */
  read(paths: readonly string[]): KubeconfigFile[] {
    const firsts = new Map<string, string>()
    for (const path of paths) {
      const real = followLinks(path)
      if (!firsts.has(real)) firsts.set(real, path)
    }
    return [...firsts].map(([real, path]) => {
      const file = readPlainFile(real)
      const text = file ? textOf(file) : ''
      const known = this.#known.get(path)
      const content =
        known && known.text === text ? known.content : text === undefined ? undefined : readKubeconfig(text)
      if (!content || text === undefined)
        throw refusal(`${path} is not a valid kubeconfig, and was left unchanged`, [
          'fix it, or set localKubeconfig.path in cluster.yaml, or leave yours alone: localKubeconfig: false',
        ])
      const read = { path, real, file, text, content }
      this.#known.set(path, read)
      return read
    })
  }
}

function textOf(file: PlainFile): string | undefined {
  try {
    return file.kind === 'file'
      ? new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(file.bytes)
      : undefined
  } catch {
    return undefined
  }
}

/**
 * The certificates by which kubectl knows this cluster, in PEM; undefined where its entry names none. Throws a Failure
 * where they can't be read.
 */
export function readTrusted(files: readonly KubeconfigFile[], cluster: string): Buffer | undefined {
  const at = files.find(({ content }) => content.find('clusters', cluster))
  const entry = at?.content.find('clusters', cluster)
  const [data, path] = [entry?.['certificate-authority-data'], entry?.['certificate-authority']]
  if (typeof data === 'string' && data !== '') return Buffer.from(data, 'base64')
  if (!at || typeof path !== 'string' || path === '') return undefined
  // As kubectl: relative to the file that says so.
  const file = readPlainFile(followLinks(resolve(dirname(at.path), path)))
  return file?.kind === 'file' ? file.bytes : undefined
}
