/** `init` in this process: what it printed, and what it found; with an ssh_config of the test's alone. */
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseCluster } from '../../lib/cluster/cluster.ts'
import { parseCommandLine } from '../../tasks/commands/command-line.ts'
import { init } from '../../tasks/commands/init/init.ts'
import type { Finding } from '../../tasks/looks/exit-status.ts'
import type { Call } from '../../tasks/request/session.ts'
import { known } from '../../tasks/tables/files.ts'

export interface Inited {
  readonly findings: readonly Finding[]
  readonly printed: readonly string[]
}

/** Rejects with the Failure. The name of an ssh_config is `cfg`. */
export async function callInit(folder: string, args: readonly string[], config = ''): Promise<Inited> {
  writeFileSync(join(folder, 'cfg'), config)
  const hasConfig = args.includes('--ssh-config')
  const { options } = parseCommandLine(['init', ...args, ...(hasConfig ? [] : ['--ssh-config', 'cfg'])])
  const printed: string[] = []
  const call: Partial<Call> = {
    options,
    env: process.env,
    cwd: () => folder,
    pathOf: (path) => resolve(folder, path),
    signal: new AbortController().signal,
    print: (line) => printed.push(line),
  }
  return { findings: await init(call as Call), printed }
}

/** Throws where it is none. */
export function readCluster(bytes: Uint8Array) {
  const parsed = parseCluster(bytes, known)
  if ('problems' in parsed) throw new Error(parsed.problems.map(({ message }) => message).join('\n'))
  return parsed.cluster
}
