/** Machines on which Kubernetes The Hard Way was followed by hand, and their cluster taken over. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { followHardWay } from '../guide/hard-way.ts'
import { startAll } from '../lab/machines/components.ts'
import { hardWay, jumpbox, placeFiles } from '../lab/machines/hard-way.ts'
import { type Machines, startMachines } from '../lab/machines/machines.ts'
import { mustRun, restartSooner } from './running.ts'

/** Machines as their follower has them; runs do not wait long (short-waits.ts). */
export async function startFollowed(): Promise<Machines> {
  const lab = await startMachines(join(import.meta.dirname, 'short-waits.ts'), hardWay)
  try {
    await followHardWay(join(lab.place, jumpbox), { bits: 2048 })
    await placeFiles(lab)
    await startAll(lab, restartSooner)
    return lab
  } catch (error) {
    await lab.stop()
    throw error
  }
}

/** By the commands that are printed: `init`, and what it says is next. */
export async function takeOver(lab: Machines): Promise<void> {
  const inited = await mustRun(lab, 0, 'init', 'taken', '--from', jumpbox, '--control', 'server')
  assert.match(inited.stdout, /now run:\n.* recover --from kubernetes-the-hard-way --config taken\/cluster\.yaml/)
  const text = readFileSync(join(lab.place, 'taken/cluster.yaml'), 'utf8')
  writeFileSync(join(lab.place, 'cluster.yaml'), text.replace('# configFile: ./', 'configFile: ./lab/'))
  await mustRun(lab, 0, 'recover', '--from', jumpbox)
}
