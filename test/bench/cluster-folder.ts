/** Folders with a cluster.yaml, one to each cold run. */
import { mkdirSync, mkdtempSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Edit, writeCluster } from '../support/harderway.ts'
import type { Manifest } from './bare-make.ts'

export type Fill = (folder: string) => void

/** The guide's keys, which most tests do without. */
export const guideKeys: Edit = [['certificates', 'key'], 'rsa-2048']

/** The cluster.yaml of the guide. */
export const guideCluster: Fill = (folder) => writeCluster(folder, [guideKeys])

/** One control node and as many workers as asked. `cluster`: a cluster.yaml to begin with that is not ours. */
export function bigCluster(workers: number, key: 'rsa-2048' | 'ecdsa-p256', cluster?: string): Fill {
  const nodes = Array.from({ length: workers + 1 }, (_, i) => ({
    name: i === 0 ? 'control0' : `worker${i - 1}`,
    role: i === 0 ? 'control' : 'worker',
    ip: `10.0.${i >> 8}.${i & 0xff}`,
  }))
  const edits = [
    [['certificates', 'key'], key],
    [['nodes'], nodes],
  ] as const
  return (folder) => writeCluster(folder, edits, cluster)
}

export function makeFolder(place: string, fill: Fill): string {
  const folder = mkdtempSync(join(place, 'cluster-'))
  fill(folder)
  return folder
}

/**
 * It stays until the group ends: for minutes after many files were deleted, ext4 takes up to twenty times as long for a
 * new one.
 */
export function inNewFolder<T>(place: string, fill: Fill, work: (folder: string) => Promise<T>): Promise<T> {
  return work(makeFolder(place, fill))
}

/** An empty one, to write auth/ in. */
export const noCluster: Fill = (folder) => mkdirSync(join(folder, 'auth'))

export function keyCount(folder: string): number {
  return readdirSync(join(folder, 'auth')).filter((name) => name.endsWith('-key.pem')).length
}

/** What bare-make.ts is to make; the path of the file that says it. */
export function writeManifest(folder: string): string {
  const names = readdirSync(join(folder, 'auth'))
  const sizes = Object.fromEntries(names.map((name) => [name, statSync(join(folder, 'auth', name)).size]))
  const keys = keyCount(folder)
  const signatures = names.filter((name) => name.endsWith('.pem')).length - keys
  const path = join(folder, 'manifest.json')
  writeFileSync(path, JSON.stringify({ keys, signatures, sizes } satisfies Manifest))
  return path
}
