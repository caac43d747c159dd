/** What strace saw of a process and all its children: a file a process, so that no call is cut in two by another's. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

const command = 'strace'
const calls = 'execve,openat,open,creat,mkdir,mkdirat,chmod,fchmod,fchmodat,fchmodat2,rename,renameat,renameat2'

/** Arguments and environments in full; file descriptors with their paths. `prefix` is where the files go. */
export function straceArgs(prefix: string): string[] {
  return ['-ff', '-qq', '-y', '-v', '-s', '65536', '-e', `trace=${calls}`, '-e', 'signal=none', '-o', prefix]
}

/** Resolves when every process is watched; what it returns ends the watch. */
export async function watch(prefix: string, pids: readonly number[]): Promise<() => Promise<void>> {
  // Without -qq, strace says when it is attached.
  const args = straceArgs(prefix).filter((arg) => arg !== '-qq')
  const child: ChildProcess = spawn(command, [...args, ...pids.flatMap((pid) => ['-p', String(pid)])], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const exited = once(child, 'exit')
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (pids.every((pid) => said.includes(`Process ${pid} attached`))) resolve()
    })
    exited.then(() => reject(new Error(`strace ended: ${said}`)))
  })
  return async () => {
    child.kill('SIGINT')
    await exited
  }
}

export interface Traced {
  readonly text: string
  /** Every file and folder made, and every mode set, that succeeded; a file that is not whole yet under the name that it gets. */
  readonly modes: readonly { readonly call: string; readonly path: string; readonly mode: number }[]
}

export function readTrace(prefix: string): Traced {
  const names = readdirSync(dirname(prefix)).filter((name) => name.startsWith(`${basename(prefix)}.`))
  const text = names.map((name) => readFileSync(join(dirname(prefix), name), 'utf8')).join('')
  return { text, modes: text.split('\n').flatMap(modeOf) }
}

function modeOf(line: string): { call: string; path: string; mode: number }[] {
  const [, call = '', args = ''] = /^(\w+)\((.*)\) += \d/.exec(line) ?? []
  if (!/^(open|openat|creat|mkdir|mkdirat|chmod|fchmod|fchmodat|fchmodat2)$/.test(call)) return []
  if (call.startsWith('open') && !args.includes('O_CREAT')) return []
  const mode = /, (0[0-7]*)(, 0|, AT_\w+)?$/.exec(args)?.[1]
  if (mode === undefined) throw new Error(`no mode in ${line.slice(0, 300)}`)
  const [, folder = '', , quoted] = /^(?:(?:AT_FDCWD|\d+)<([^>]*)>)?(, )?(?:"((?:[^"\\]|\\.)*)")?/.exec(args) ?? []
  const path = quoted === undefined ? folder : quoted.startsWith('/') ? quoted : join(folder, quoted)
  return [{ call, path: path.replace(/~$/, ''), mode: Number.parseInt(mode, 8) }]
}
