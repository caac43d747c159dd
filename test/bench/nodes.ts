/** Deploys to the guide's seven nodes. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { guideNodes } from '../guide/requests.ts'
import { type Lab, startLab } from '../lab/lab.ts'
import { entry, gateway, labEdits, writeCluster } from '../support/harderway.ts'
import { shellFiles } from '../support/labs.ts'
import { guideKeys } from './cluster-folder.ts'
import { type Group, local, quietly, type Row } from './groups.ts'
import { runProcess, type Sample } from './process.ts'

export const nodeParts = ['sshd', 'ssh', 'scp']

/** With a folder whose auth/ is made, and deployed. */
export async function startNodes(
  place: string,
  cleanUp: AsyncDisposableStack,
  name: string,
  { delayMs, cluster }: { readonly delayMs?: number; readonly cluster?: string } = {},
) {
  const names = [...guideNodes().map((node) => node.name), 'gateway']
  const nodes = names.map((node) => ({ name: node, ...(delayMs !== undefined && { relay: { delayMs } }) }))
  const folder = join(place, name)
  mkdirSync(folder)
  const lab = await startLab({ dir: join(folder, 'lab'), nodes })
  cleanUp.defer(() => lab.stop())
  writeCluster(folder, [guideKeys, ...labEdits(lab), gateway], cluster)
  await runProcess(place, process.execPath, entry, ...local, 'deploy', ...quietly(folder))
  return { place, lab, folder }
}

type Nodes = Awaited<ReturnType<typeof startNodes>>

const isOurs = (file: string) => !shellFiles.includes(file)

function empty({ nodes }: Lab): void {
  for (const { home } of nodes)
    for (const name of readdirSync(home).filter(isOurs)) rmSync(join(home, name), { recursive: true })
}

/** Cold, and once more after that. */
function bothOf({ lab }: Nodes, work: () => Promise<Sample>) {
  const cold = () => {
    empty(lab)
    return work()
  }
  const idle = async () => {
    await work()
    return work()
  }
  return { cold, idle }
}

export function deploys(nodes: Nodes, program = entry) {
  return bothOf(nodes, () => runProcess(nodes.place, process.execPath, program, 'deploy', ...quietly(nodes.folder)))
}

/** What a deploy costs the first control node, which gets most files. */
export const countGroup: Group = {
  pairs: 1,
  parts: [...nodeParts, 'strace'],
  rows: [
    counted('round trips', 'cold', 'roundTrips', 24),
    counted('round trips', 'idle', 'roundTrips', 10),
    counted('bytes to a node', 'cold', 'bytes', 75_000),
    counted('bytes to a node', 'idle', 'bytes', 20_000),
    counted('processes on a node', 'cold', 'processes', 31),
    counted('processes on a node', 'idle', 'processes', 11),
  ],
  prepare: async (place, cleanUp) => countedDeploys(await startNodes(place, cleanUp, 'far', { delayMs: 10 })),
}

function counted(what: string, side: 'cold' | 'idle', of: Row['of'], goal: number): Row {
  return { what: `${what}, deploy, ${side === 'cold' ? 'cold' : 'nothing to do'}`, ours: side, of, goal }
}

function countedDeploys(nodes: Nodes, program = entry) {
  const { cold, idle } = deploys(nodes, program)
  const { node, relay } = { node: nodes.lab.nodes[0], relay: nodes.lab.relay('control0') }
  const count = async (work: () => Promise<Sample>): Promise<Sample> => {
    const log = join(nodes.folder, 'strace')
    const before = relay.sent
    const strace = spawn('strace', ['-f', '-qq', '-e', 'trace=process', '-o', log, '-p', `${node?.pid}`], {
      stdio: 'ignore',
    })
    await setTimeout(500)
    const sample = await work()
    strace.kill('SIGINT')
    await once(strace, 'close')
    const started = readFileSync(log, 'utf8').match(/^\d+ +(?:<\.\.\. )?(?:clone3?|v?fork)\b.* = \d+$/gm) ?? []
    const { bytes, turns } = relay.sent
    return { ...sample, roundTrips: turns - before.turns, bytes: bytes - before.bytes, processes: started.length }
  }
  return {
    cold: () => count(cold),
    idle: async () => {
      await idle()
      return count(() => runProcess(nodes.place, process.execPath, program, 'deploy', ...quietly(nodes.folder)))
    },
  }
}
