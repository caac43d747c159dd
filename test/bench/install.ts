/**
 * How long `install` takes on the guide's machines: renewed files beside a bare script that copies the same and restarts
 * nothing either; and a look, with 20 ms round trips, beside the same look without `install`. `node test/bench/install.ts`.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installAll } from '../lab/machines/components.ts'
import { type Machines, startMachines } from '../lab/machines/machines.ts'
import type { Edit } from '../support/harderway.ts'
import { running, startKubeletsOf } from '../support/running.ts'
import type { Comparison } from './deploy.ts'
import { median } from './figures.ts'

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** Goals as parts of the time beside. */
export const installRows = [
  { what: 'install, all of it renewed, six machines, kubelets of 1.36, beside a bare script', goal: 1 },
  { what: 'install, all of it renewed, 20 ms round trips, beside a bare script', goal: 1 },
  { what: 'install, nothing to do, 20 ms round trips, beside deploy alone', goal: 1.35 },
] as const

export async function compareInstall(pairs: number): Promise<Comparison[]> {
  await using lab = await startMachines()
  // No drain: the script has none.
  const edits = running({ drain: '', undrain: '' })
  lab.write(...edits)
  await must(lab, 'bootstrap')
  await installAll(lab)
  // Once, so that kubeconfigs name their pairs by file. The script restarts no kubelets, so none may need it.
  await must(lab, 'install')
  await startKubeletsOf(lab, '1.36')
  const [renewed, farRenewed, look] = installRows
  const bare = (config: string) => () => lab.exec(`sh ${here('bare-install.sh')} ${config}`)
  const renew = async () => must(lab, 'certs', 'kubeconfigs', '--force')
  const update = () => must(lab, 'deploy', 'install')
  const first = await inPairs(pairs, renew, update, bare('lab/ssh_config'))
  await must(lab, 'install')
  await using far = await startRelays(lab, 10)
  lab.write(...edits, [['nodes'], far.nodes])
  const second = await inPairs(pairs, renew, update, bare(far.config))
  const deploy = async () => {
    lab.write(...edits, [['nodes'], far.nodes], [['install'], undefined])
    await must(lab, 'deploy')
  }
  const install = async () => {
    lab.write(...edits, [['nodes'], far.nodes])
    await must(lab, 'install')
  }
  const third = await inPairs(pairs, async () => {}, install, deploy)
  return [
    { ...renewed, ours: first.ours, guide: first.theirs },
    { ...farRenewed, ours: second.ours, guide: second.theirs },
    { ...look, ours: third.ours, guide: third.theirs },
  ]
}

async function must(lab: Machines, ...args: string[]): Promise<void> {
  const { status, stdout, stderr } = await lab.run(...args, '--quiet')
  assert.equal(status, 0, stdout + stderr)
}

/** Who begins changes from pair to pair; the first, which warms up what is cached, is not counted. */
async function inPairs(
  pairs: number,
  prepare: () => Promise<unknown>,
  ours: () => Promise<unknown>,
  theirs: () => Promise<unknown>,
) {
  const times = { ours: [] as number[], theirs: [] as number[] }
  const timed = async (side: keyof typeof times, work: () => Promise<unknown>, counts: boolean) => {
    await prepare()
    const begun = performance.now()
    await work()
    if (counts) times[side].push((performance.now() - begun) / 1000)
  }
  for (let pair = 0; pair <= pairs; pair++) {
    const sides = [() => timed('ours', ours, pair > 0), () => timed('theirs', theirs, pair > 0)]
    for (const side of pair % 2 === 0 ? sides : sides.toReversed()) await side()
  }
  return times
}

/** In the machines' network, where the runs are too. */
async function startRelays(
  lab: Machines,
  delayMs: number,
): Promise<AsyncDisposable & { readonly nodes: Edit[1]; readonly config: string }> {
  const [first = '', ...args] = [...lab.within, process.execPath, here('relays.ts'), String(delayMs)]
  const child = spawn(first, [...args, ...lab.all.map(({ ip }) => ip)], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data')
  const ports: number[] = JSON.parse(line)
  const known = join(lab.place, 'lab/known_hosts')
  const keys = readFileSync(known, 'utf8').split('\n')
  const nodes = lab.all.map(({ name, role, ip }, i) => {
    const key = keys.find((each) => each.startsWith(`${name},`))?.replace(/^\S+/, `[127.0.0.1]:${ports[i]}`)
    appendFileSync(known, `${key}\n`)
    return { name, role, ip, host: '127.0.0.1', port: ports[i] }
  })
  const config = 'lab/far_config'
  const hosts = lab.all.map(({ name }, i) => `Host ${name}\n  HostName 127.0.0.1\n  Port ${ports[i]}\n`)
  writeFileSync(join(lab.place, config), hosts.join('') + readFileSync(join(lab.place, 'lab/ssh_config'), 'utf8'))
  return {
    nodes,
    config,
    async [Symbol.asyncDispose]() {
      child.stdin.end()
      await once(child, 'exit')
    },
  }
}

if (import.meta.main)
  for (const { what, ours, guide, goal } of await compareInstall(Number(process.argv[2] ?? 3))) {
    const [a, b] = [median(ours), median(guide)]
    process.stdout.write(`${what}: ${a.toFixed(2)} s, ${b.toFixed(2)} s, ${(a / b).toFixed(2)} (goal ${goal})\n`)
  }
