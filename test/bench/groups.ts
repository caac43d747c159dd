import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { entry } from '../support/harderway.ts'
import {
  bigCluster,
  type Fill,
  guideCluster,
  inNewFolder,
  makeFolder,
  noCluster,
  writeManifest,
} from './cluster-folder.ts'
import { runNode, runProcess, type Sample } from './process.ts'

export interface Row {
  readonly what: string
  readonly ours: string
  /** Without it the goal is one of ours, in the row's unit. */
  readonly theirs?: string
  readonly of: keyof Sample
  readonly goal: number
}

export interface Group {
  readonly pairs: number
  /** Commands without which its rows are left out. */
  readonly parts: readonly string[]
  readonly rows: readonly Row[]
  /** What it makes first is not measured. */
  prepare(place: string, cleanUp: AsyncDisposableStack): Promise<Readonly<Record<string, () => Promise<Sample>>>>
}

export const inSeconds = (what: string, ours: string, theirs: string, goal: number): Row => {
  return { what, ours, theirs, of: 'seconds', goal }
}
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))
/** What is made in auth/. */
export const local = ['certs', 'kubeconfigs', 'encryption-key']
export const quietly = (folder: string) => ['--quiet', '--config', join(folder, 'cluster.yaml')]
const cold = (place: string, fill: Fill, ...names: readonly string[]) =>
  inNewFolder(place, fill, (folder) => runNode(place, entry, ...names, ...quietly(folder)))

async function made(place: string, fill: Fill, ...names: readonly string[]): Promise<string> {
  const folder = makeFolder(place, fill)
  await runNode(place, entry, ...names, ...quietly(folder))
  return folder
}

const guide: Group = {
  pairs: 5,
  parts: ['cfssl', 'cfssljson', 'kubectl'],
  rows: [
    inSeconds("the guide's cluster, cold, npm run", 'npm', 'guide', 0.15),
    inSeconds("the guide's cluster, cold, node", 'node', 'guide', 0.11),
  ],
  async prepare(place) {
    const task = ['run', '-s', 'task', '--', ...local]
    return {
      npm: () => inNewFolder(place, guideCluster, (folder) => runProcess(place, 'npm', ...task, ...quietly(folder))),
      node: () =>
        inNewFolder(place, guideCluster, (folder) =>
          runProcess(place, process.execPath, entry, ...local, ...quietly(folder)),
        ),
      guide: () =>
        inNewFolder(place, guideCluster, (folder) =>
          runProcess(place, process.execPath, here('../guide/genauth.ts'), join(folder, 'auth')),
        ),
    }
  },
}

const idle: Group = {
  pairs: 11,
  parts: [],
  rows: [
    inSeconds("the guide's cluster, nothing to do, node", 'idle', 'bare', 4),
    inSeconds('--version, node', 'version', 'bare', 2),
  ],
  async prepare(place) {
    const folder = await made(place, guideCluster, ...local)
    return {
      idle: () => runProcess(place, process.execPath, entry, ...local, ...quietly(folder)),
      version: () => runProcess(place, process.execPath, entry, '--version'),
      bare: () => runProcess(place, process.execPath, '-e', '0'),
    }
  },
}

const large: Group = {
  pairs: 3,
  parts: [],
  rows: [
    inSeconds('5,000 nodes, cold, P-256, beside a bare script', 'cold', 'make', 3),
    inSeconds('5,000 nodes, nothing to do, beside a bare look', 'idle', 'read', 1.5),
    { what: 'peak memory, 5,000 nodes, cold', ours: 'cold', of: 'mebibytes', goal: 400 },
    { what: 'peak memory, 5,000 nodes, nothing to do', ours: 'idle', of: 'mebibytes', goal: 400 },
  ],
  async prepare(place) {
    const many = bigCluster(4999, 'ecdsa-p256')
    const folder = await made(place, many, ...local)
    const manifest = writeManifest(folder)
    return {
      cold: () => cold(place, many, ...local),
      make: () =>
        inNewFolder(place, noCluster, (to) => runNode(place, here('bare-make.ts'), manifest, join(to, 'auth'))),
      idle: () => runNode(place, entry, ...local, ...quietly(folder)),
      read: () => runNode(place, here('bare-read.ts'), join(folder, 'auth')),
    }
  },
}

export const groups: readonly Group[] = [guide, idle, large]
