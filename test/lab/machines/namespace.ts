/** The network, mounts and processes that the machines of one test have to themselves. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const script = fileURLToPath(new URL('namespace.sh', import.meta.url))

export interface Namespace {
  /** Before a command: run in the machines' network and by their /etc/hosts, else as here. */
  readonly outside: readonly string[]
  /** Before a command: run where the machines' folders and processes are. */
  readonly inside: readonly string[]
  /** The folder of the machines' disks, as paths of this process. */
  readonly root: string
  /** The cgroup for one machine, as a path there and as one of this process. */
  cgroup(name: string): { readonly inside: string; readonly path: string }
  /** Ends every process in it, and with them the rest. It ends by itself when this process does, however it ends. */
  end(): Promise<void>
}

/**
 * `folder` holds a file `hosts` for the place of /etc/hosts, and is removed at the end. Needs root. Throws with what
 * was said.
 */
export async function openNamespace(folder: string): Promise<Namespace> {
  // Its own process group: what ends the test's group leaves it the time to tidy up.
  const child = spawn('sh', [script, folder], { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
  const closed = once(child, 'close')
  let said = ''
  const ready = new Promise<RegExpExecArray>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text
        const found = /^ready (\d+) (\d+) (\S+)$/m.exec(said)
        if (found) resolve(found)
      })
    child.on('error', reject)
    closed.then(() => reject(new Error(`no namespace for machines:\n${said}`)), reject)
  })
  const [, outside = '', inside = '', cgroup = ''] = await ready
  const root = `/proc/${inside}/root`
  return {
    outside: ['nsenter', '--target', outside, '--mount', '--net', '--'],
    inside: ['nsenter', '--target', inside, '--mount', '--net', '--pid', '--'],
    root: `${root}/run/lab`,
    cgroup: (name) => ({ inside: `${cgroup}/${name}`, path: `${root}${cgroup}/${name}` }),
    async end() {
      child.stdin.end()
      await closed
    },
  }
}
