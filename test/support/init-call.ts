/** `init`, with an ssh_config of the test's alone. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseCluster } from '../../lib/cluster/cluster.ts'
import { formatExplained } from '../../lib/wording.ts'
import { known } from '../../tasks/tables/files.ts'
import { harderway } from './harderway.ts'

export interface Inited {
  readonly status: number | null
  /** Lines. */
  readonly printed: readonly string[]
  readonly stderr: string
}

/** The name of an ssh_config is `cfg`. */
export async function callInit(folder: string, args: readonly string[], config = ''): Promise<Inited> {
  writeFileSync(join(folder, 'cfg'), config)
  const more = args.includes('--ssh-config') ? [] : ['--ssh-config', 'cfg']
  const { status, stdout, stderr } = await harderway(folder, 'init', ...args, ...more)
  return { status, printed: stdout.split('\n').slice(0, -1), stderr }
}

/** Throws where it is none. */
export function readCluster(bytes: Uint8Array) {
  const parsed = parseCluster(bytes, known)
  if ('problems' in parsed) throw new Error(parsed.problems.map(formatExplained).join('\n'))
  return parsed.cluster
}
