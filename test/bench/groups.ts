/**
 * What is measured beside what. The sides of a group run one after the other, so many times, and each row compares two
 * of them.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { entry, sshEdit, writeCluster } from '../support/harderway.ts'
import { startBrowser } from '../support/programs.ts'
import {
  bigCluster,
  type Fill,
  guideCluster,
  guideKeys,
  inNewFolder,
  keyCount,
  makeFolder,
  noCluster,
  writeManifest,
} from './cluster-folder.ts'
import { runNode, runNodeOnTerminal, runProcess, type Sample } from './process.ts'

export interface Row {
  readonly what: string
  readonly ours: string
  /** Without it the goal is one of ours, in the row's unit. */
  readonly theirs?: string
  readonly of: keyof Sample
  readonly goal: number
  /** Of ours and of theirs: the row is then a node's share, in thousandths. */
  readonly nodes?: readonly [number, number]
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

/** What a script of one's own does, with as many certificates. Debian has no step-cli. */
const openssl: Group = {
  pairs: 5,
  parts: ['openssl'],
  rows: [inSeconds("the guide's certificates, cold, beside openssl in a loop", 'ours', 'loop', 0.6)],
  async prepare(place) {
    const folder = await made(place, guideCluster, 'certs')
    const names = readdirSync(join(folder, 'auth')).flatMap((file) => /^(.*)-key\.pem$/.exec(file)?.[1] ?? [])
    const leaves = names.filter((name) => name !== 'ca')
    return {
      ours: () => cold(place, guideCluster, 'certs'),
      loop: () =>
        inNewFolder(place, noCluster, (to) =>
          runProcess(place, 'sh', here('openssl-loop.sh'), join(to, 'auth'), ...leaves),
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

const rsa: Group = {
  pairs: 3,
  parts: [],
  rows: [inSeconds('200 workers, cold, RSA, beside the keys alone', 'ours', 'bare', 1.1)],
  async prepare(place) {
    const keys = keyCount(await made(place, bigCluster(200, 'ecdsa-p256'), 'certs'))
    return {
      ours: () => cold(place, bigCluster(200, 'rsa-2048'), 'certs'),
      bare: () => runNode(place, here('bare-rsa.ts'), String(keys)),
    }
  },
}

const large: Group = {
  pairs: 3,
  parts: [],
  rows: [
    inSeconds('5,000 nodes, cold, P-256, beside a bare script', 'cold', 'make', 3),
    inSeconds('5,000 nodes, nothing to do, beside a bare look', 'idle', 'read', 1.5),
    inSeconds(
      '5,000 nodes, nothing to do, beside a bare look with cluster.yaml and whole keys',
      'idle',
      'readAll',
      1.5,
    ),
    ...(['cold', 'idle'] as const).map((name): Row => {
      const what = `CPU a node, 5,000 beside 500, ${name === 'idle' ? 'nothing to do' : name}`
      return { what, ours: name, theirs: `${name}500`, of: 'cpu', goal: 1.15, nodes: [5000, 500] }
    }),
    { what: 'peak memory, 5,000 nodes, cold', ours: 'cold', of: 'mebibytes', goal: 400 },
    { what: 'peak memory, 5,000 nodes, nothing to do', ours: 'idle', of: 'mebibytes', goal: 400 },
  ],
  async prepare(place) {
    const [many, few] = [bigCluster(4999, 'ecdsa-p256'), bigCluster(499, 'ecdsa-p256')]
    const folder = await made(place, many, ...local)
    const folder500 = await made(place, few, ...local)
    const manifest = writeManifest(folder)
    return {
      cold: () => cold(place, many, ...local),
      make: () =>
        inNewFolder(place, noCluster, (to) => runNode(place, here('bare-make.ts'), manifest, join(to, 'auth'))),
      cold500: () => cold(place, few, ...local),
      idle: () => runNode(place, entry, ...local, ...quietly(folder)),
      read: () => runNode(place, here('bare-read.ts'), join(folder, 'auth')),
      readAll: () => runNode(place, here('bare-read.ts'), join(folder, 'auth'), join(folder, 'cluster.yaml')),
      idle500: () => runNode(place, entry, ...local, ...quietly(folder500)),
    }
  },
}

/** Of each stage: no node answers. */
const trial: Group = {
  pairs: 3,
  parts: [],
  rows: [
    { what: "CPU, the guide's cluster, every stage of rotate ca tried", ours: 'rotate', of: 'cpu', goal: 5 },
    { what: 'CPU, 5,000 nodes, verify --planned', ours: 'planned', of: 'cpu', goal: 5 },
  ],
  async prepare(place) {
    const unreached: Fill = (folder) =>
      writeCluster(folder, [guideKeys, [['install'], true], sshEdit(folder, ['ProxyCommand false'])])
    const [folder, large] = [
      await made(place, unreached, ...local),
      await made(place, bigCluster(4999, 'ecdsa-p256'), ...local),
    ]
    return {
      rotate: () => runNode(place, entry, 'rotate', 'ca', '--dry-run', ...quietly(folder)),
      planned: () => runNode(place, entry, 'verify', '--planned', ...quietly(large)),
    }
  },
}

/** 496 workers: as many certificates and kubeconfigs, and those of one control node and the components. */
const tree: Group = {
  pairs: 2,
  parts: ['script'],
  rows: [
    {
      what: 'CPU of the live tree, 1,000 targets, beside --quiet',
      ours: 'live',
      theirs: 'quiet',
      of: 'cpu',
      goal: 1.15,
    },
  ],
  async prepare(place) {
    const fill = bigCluster(496, 'rsa-2048')
    const names = ['certs', 'kubeconfigs']
    return {
      live: () =>
        inNewFolder(place, fill, (folder) => {
          const [, ...config] = quietly(folder)
          return runNodeOnTerminal(place, entry, ...names, ...config)
        }),
      quiet: () => cold(place, fill, ...names),
    }
  },
}

const page: Group = {
  pairs: 5,
  parts: ['chromium'],
  rows: [{ what: 'report at 1,000 nodes: opens in Chromium', ours: 'open', of: 'seconds', goal: 1 }],
  async prepare(place) {
    const folder = await made(place, bigCluster(999, 'ecdsa-p256'), ...local)
    await runNode(place, entry, 'report', ...quietly(folder))
    const url = pathToFileURL(join(folder, 'auth/report.html')).href
    const open = async () => {
      await using browser = await startBrowser(place)
      const page = await browser.newPage()
      await page.goto(url)
      const ended = await page.evaluate<number>(`performance.getEntriesByType('navigation')[0].loadEventEnd`)
      return { seconds: ended / 1000, cpu: Number.NaN, mebibytes: Number.NaN }
    }
    return { open }
  },
}

export const groups: readonly Group[] = [guide, openssl, rsa, idle, large, trial, tree, page]
