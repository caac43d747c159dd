/** What a command loads, counted: each file costs a third of a millisecond before anything is done. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { scratch } from '../support/files.ts'
import { oneOfEach, writeCluster } from '../support/harderway.ts'
import { start } from '../support/process.ts'

const counter = new URL('./loaded.ts', import.meta.url).href
const local = ['certs', 'kubeconfigs', 'encryption-key', '--quiet']

/** The files of ours, from lib/ or tasks/ on, and the packages that the others are of. */
async function loadedBy(place: string, ...args: string[]): Promise<{ ours: string[]; packages: Set<string> }> {
  const ran = await start(place, args, { env: { NODE_OPTIONS: `--import=${counter}` } }).ended
  assert.equal(ran.status, 0, ran.stdout + ran.stderr)
  const urls: string[] = JSON.parse(readFileSync(join(place, 'loaded.json'), 'utf8'))
  const root = new URL('../../', import.meta.url).href
  const packageOf = (url: string) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1]
  return {
    ours: urls.flatMap((url) => (url.startsWith(root) && !packageOf(url) ? [url.slice(root.length)] : [])),
    packages: new Set(urls.flatMap((url) => packageOf(url) ?? [])),
  }
}

function place(t: TestContext): string {
  const folder = scratch(t)
  writeCluster(folder, oneOfEach)
  return folder
}

function assertAtMost(most: number, files: readonly string[]): void {
  assert.ok(files.length <= most, `${files.length} files, and not ${most}:\n${files.join('\n')}`)
}

test('--version and --help load the command line: no cluster, and no package', async (t) => {
  for (const [most, ...args] of [[9, '--version'] as const, [14, '--help'] as const]) {
    const { ours, packages } = await loadedBy(place(t), ...args)
    assertAtMost(most, ours)
    assert.deepEqual([ours.filter((file) => file.startsWith('lib/cluster/')), ...packages], [[]])
  }
})

test('a run with nothing to do loads what reads, and listr2, which runs it, and nothing that makes, draws, connects, plans or is not in cluster.yaml', async (t) => {
  const folder = place(t)
  const made = await loadedBy(folder, ...local)
  assert.ok(made.packages.has('node-forge'), 'what makes certificates is counted too')
  const { ours, packages } = await loadedBy(folder, ...local)
  assertAtMost(58, ours)
  assert.deepEqual([...packages].toSorted(), ['listr2', 'p-limit', 'valibot', 'yaml', 'yocto-queue'])
  assert.deepEqual(
    ours.filter((file) => /^lib\/(node|show\/(tree|plan))|^tasks\/(inspect|deploy|day2)\//.test(file)),
    [],
  )
})
