import { execFile } from 'node:child_process'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'

/** Every live process of this machine; a zombie has ended. */
async function readProcesses(): Promise<{ pid: number; parent: number }[]> {
  // ps, since macOS has no /proc; on Debian openssh-server itself depends on procps.
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=,stat='], { maxBuffer: 2 ** 24 })
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , state = '']) => !state.startsWith('Z'))
    .map(([pid, parent]) => ({ pid: Number(pid), parent: Number(parent) }))
}

/**
 * Ends these processes and everything below them, and waits until they are gone. What a session left running with
 * another parent (`nohup … &`) is not found. Throws when something is still there after 5 s.
 */
export async function endTrees(roots: readonly number[]): Promise<void> {
  // Frozen first, since a process that runs on could start another between being listed and being ended.
  const frozen = new Set<number>()
  let found = [...roots]
  while (found.length > 0) {
    for (const pid of found) {
      signal(pid, 'SIGSTOP')
      frozen.add(pid)
    }
    const below = (await readProcesses()).filter(({ pid, parent }) => frozen.has(parent) && !frozen.has(pid))
    found = below.map(({ pid }) => pid)
  }
  for (const pid of frozen) signal(pid, 'SIGKILL')
  await waitUntilGone(frozen)
}

async function waitUntilGone(pids: ReadonlySet<number>): Promise<void> {
  if (pids.size === 0) return
  const deadline = Date.now() + 5000
  for (;;) {
    const left = (await readProcesses()).filter(({ pid }) => pids.has(pid))
    if (left.length === 0) return
    if (Date.now() > deadline) throw new Error(`still running: ${left.map(({ pid }) => pid).join(', ')}`)
    await wait(5)
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It ended by itself, or is another user's (sudo in a session): waitUntilGone tells which.
  }
}
