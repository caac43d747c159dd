/**
 * A night: a bad day on a whole cluster, typed from the pages, while clients on which everybody depends go on asking.
 */
import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { allWell } from '../../lab/machines/components.ts'
import type { Machines } from '../../lab/machines/machines.ts'
import type { Ran } from '../../support/harderway.ts'
import { eventually } from '../../support/programs.ts'
import {
  assertNothingLeft,
  mustRun,
  probe,
  running,
  shutdownDelay,
  startRunning,
  statusOf,
  toldOf,
} from '../../support/running.ts'

export const controls = ['control0', 'control1', 'control2']

/**
 * Machines on which the whole cluster runs, with `harderway` as a command in its folder, which is ~/clusters/kubenet.
 */
export async function startNights(): Promise<Machines> {
  const lab = await startRunning(shutdownDelay)
  const [bin, clusters] = [join(lab.place, 'bin'), join(lab.place, 'home/clusters')]
  for (const folder of [bin, clusters]) mkdirSync(folder)
  writeFileSync(join(bin, 'harderway'), `#!/bin/sh\nexec ${process.execPath} ${lab.entry} "$@"\n`, { mode: 0o755 })
  symlinkSync(lab.place, join(clusters, 'kubenet'))
  return lab
}

/** cluster.yaml without nodes that are gone. */
export function writeNight(lab: Machines, { gone = [] }: { readonly gone?: readonly string[] }): void {
  const nodes = lab.all.filter(({ name }) => !gone.includes(name)).map(({ name, role, ip }) => ({ name, role, ip }))
  lab.write(...running({}, [['nodes'], nodes], [['users'], [{ name: 'jane' }, { name: 'bob' }]]))
}

/** A line as a page has it, in the cluster's folder. */
export async function type(lab: Machines, line: string, status = 0): Promise<string> {
  const command = line.replace(/^npm run (?:task -- )?/, 'harderway ').replaceAll('npm run task --', 'harderway')
  const typed = lab.exec(`PATH=$PWD/bin:$PATH; set -e; ${command}`)
  const ran = await typed.then(
    (stdout) => ({ status: 0, stdout, stderr: '' }),
    ({ code, stdout, stderr }) => ({ status: code, stdout, stderr }),
  )
  const told = toldOf(ran as Ran)
  assert.equal(ran.status, status, `${line}\n${told}`)
  return told
}

/** What each API server answers to who shows a pair of that folder. */
export function answers(lab: Machines, pair: string): Promise<string[]> {
  const ask = (name: string) => statusOf(lab, `https://${lab.machine(name).ip}:6443/healthz`, pair)
  return Promise.all(controls.map(ask))
}

export const everyone = (status: string): string[] => controls.map(() => status)

/** `isDown`: everything was, so that requests had to fail. `folder`: where the clients have an auth/ of their own. */
export async function live(
  t: TestContext,
  lab: Machines,
  story: () => Promise<void>,
  { folder = '.', isDown = false } = {},
): Promise<void> {
  const began = Date.now()
  let figures = 'everything was down'
  if (isDown) await story()
  else {
    await using probing = probe(lab, lab.guide.probed, folder)
    await story()
    await assertRight(lab)
    const { counts, failures, cut } = await probing.end()
    assert.deepEqual(failures, [])
    assert.ok(cut <= 9, `${cut} writes cut off by restarts of etcd`)
    figures = `${counts.reduce((sum, each) => sum + each, 0)} requests, 0 failed, ${cut} writes cut off by etcd`
  }
  if (isDown) await assertRight(lab)
  t.diagnostic(`${t.name}: ${figures}; ${((Date.now() - began) / 60_000).toFixed(1)} min`)
}

/** Nothing is left to do, on any machine, and all are healthy. */
async function assertRight(lab: Machines): Promise<void> {
  await allWell(lab)
  await eventually(async () => {
    await mustRun(lab, 0, 'bootstrap', '--dry-run')
  })
  await mustRun(lab, 0, 'status', '--on-nodes')
  await assertNothingLeft(lab)
}
