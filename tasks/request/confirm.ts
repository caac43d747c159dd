/** Asks before something is replaced that a running cluster depends on. */
import { createInterface } from 'node:readline'
import { refusal } from '../../lib/failure.ts'
import { printable } from '../../lib/wording.ts'
import type { CommandRun } from './command-run.ts'

/** `loss` is what it does, `again` the task. Throws a refusal unless the cluster's name is typed on a terminal, or --yes is given. */
export async function confirm(run: CommandRun, loss: string, again: string): Promise<void> {
  const { cluster, command, file, host, options, signal } = run
  if (options.yes) return
  const [stdin, stderr] = [host.stdin?.(), host.stderr]
  const found = `${cluster.name} (${file}): ${loss}`
  const yes = `on a terminal it asks; without a question: ${command(`${again} --yes`)}`
  if (!stdin?.isTTY || !stderr.isTTY) throw refusal(`${found}: nothing was done`, [yes])
  stderr.write(printable(`${found}\nTo do it, type the name of the cluster: `))
  const lines = createInterface({ input: stdin, signal })
  let typed = ''
  for await (const line of lines) {
    typed = line.trim()
    break
  }
  // A terminal that is still read keeps the process.
  lines.close()
  signal.throwIfAborted()
  if (typed !== cluster.name) throw refusal(`that is not ${cluster.name}: nothing was done`, [yes])
}
