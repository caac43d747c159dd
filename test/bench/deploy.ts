/**
 * How long a deploy takes beside the guide's: whole runs in pairs, seven nodes, medians. `node test/bench/deploy.ts`, with
 * `--pairs N` and `--json`. The guide's side is its scp calls alone, without the shell that would start them.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, rmSync } from 'node:fs'
import { loadavg, userInfo } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { command } from '../guide/command.ts'
import { deployauth } from '../guide/deployauth.ts'
import { guideNodes } from '../guide/requests.ts'
import { type Lab, startLab } from '../lab/lab.ts'
import { entry, gateway, harderway, labEdits, makePlace, writeCluster } from '../support/harderway.ts'
import { shellFiles } from '../support/three-nodes.ts'
import { median } from './figures.ts'

export const names = [...guideNodes().map(({ name }) => name), 'gateway']

export interface Comparison {
  readonly what: string
  /** Seconds, one of each pair. */
  readonly ours: readonly number[]
  readonly guide: readonly number[]
  readonly goal: number
}

/** Goals as parts of the guide's time. */
export const deployRows = [
  { what: 'deploy, cold, loopback', goal: 1 },
  { what: 'deploy, cold, 20 ms round trips', goal: 0.11 },
  { what: 'deploy, nothing to do, 20 ms round trips', goal: 0.06 },
] as const

if (import.meta.main) await main()

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { pairs: { type: 'string', default: '7' }, json: { type: 'boolean' } } })
  const load = loadavg().map((each) => Number(each.toFixed(2)))
  const comparisons = await compare(Number(values.pairs))
  if (values.json)
    say(JSON.stringify({ load, comparisons: comparisons.map((each) => ({ ...each, ...figures(each) })) }))
  else printTable(comparisons, load)
}

export async function compare(pairs: number): Promise<Comparison[]> {
  const place = makePlace()
  const labs: Lab[] = []
  try {
    const add = async (name: string, delayMs?: number) => {
      const nodes = names.map((node) => ({ name: node, ...(delayMs !== undefined && { relay: { delayMs } }) }))
      const lab = await startLab({ dir: join(place, name), nodes })
      labs.push(lab)
      return lab
    }
    const near = await add('near')
    const far = await add('far', 10)
    writeCluster(place, [...labEdits(near), gateway])
    const made = await harderway(place, 'certs', 'kubeconfigs', 'encryption-key')
    assert.equal(made.status, 0, made.stdout + made.stderr)
    const onLoopback = await measure(place, near, pairs)
    const atDistance = await measure(place, far, pairs)
    const [cold, coldFar, freshFar] = deployRows
    return [
      { ...cold, ours: onLoopback.cold, guide: onLoopback.guide },
      { ...coldFar, ours: atDistance.cold, guide: atDistance.guide },
      { ...freshFar, ours: atDistance.fresh, guide: atDistance.guide },
    ]
  } finally {
    await Promise.all(labs.map((lab) => lab.stop()))
    rmSync(place, { recursive: true, force: true })
  }
}

/** Who begins changes from pair to pair; a pair that is not counted warms up what is cached. */
async function measure(place: string, lab: Lab, pairs: number) {
  writeCluster(place, [...labEdits(lab), gateway])
  const times: { cold: number[]; fresh: number[]; guide: number[] } = { cold: [], fresh: [], guide: [] }
  const ours = async (counts: boolean) => {
    empty(lab)
    const cold = await timed(() => deploy(place))
    const fresh = await timed(() => deploy(place))
    if (counts) times.cold.push(cold)
    if (counts) times.fresh.push(fresh)
  }
  const guide = async (counts: boolean) => {
    empty(lab)
    const seconds = await timed(() => guideDeploy(place, lab))
    if (counts) times.guide.push(seconds)
  }
  for (let pair = 0; pair <= pairs; pair++)
    for (const side of pair % 2 === 0 ? [ours, guide] : [guide, ours]) await side(pair > 0)
  return times
}

export function empty(lab: Lab): void {
  for (const { home } of lab.nodes)
    for (const name of readdirSync(home).filter((each) => !shellFiles.includes(each)))
      rmSync(join(home, name), { recursive: true })
}

export async function timed(work: () => Promise<void>): Promise<number> {
  const begun = performance.now()
  await work()
  return (performance.now() - begun) / 1000
}

export async function deploy(place: string, program = entry): Promise<void> {
  const env = { PATH: process.env.PATH, HOME: join(place, 'home') }
  const child = spawn(process.execPath, [program, 'deploy', '--quiet'], { cwd: place, env, stdio: 'inherit' })
  const [status] = await once(child, 'exit')
  assert.equal(status, 0)
}

async function guideDeploy(place: string, { sshConfig }: Lab): Promise<void> {
  const auth = join(place, 'auth')
  const user = userInfo().username
  await deployauth(auth, guideNodes(), { sshConfig, user })
  await command({ cwd: auth }, 'scp', '-F', sshConfig, 'ca.pem', `${user}@gateway:~`)
}

/** The ratio is that of the medians; beside it the least and the greatest of one pair. */
function figures({ ours, guide, goal }: Comparison) {
  const ratio = median(ours) / median(guide)
  const ratios = ours.map((seconds, i) => seconds / (guide[i] ?? Number.NaN))
  return {
    medians: { ours: median(ours), guide: median(guide) },
    ratio,
    least: Math.min(...ratios),
    greatest: Math.max(...ratios),
    isReached: ratio <= goal,
  }
}

function printTable(rows: readonly Comparison[], load: readonly number[]): void {
  say(`seven nodes, medians of ${rows[0]?.ours.length} pairs, load at the start ${load.join(' ')}\n`)
  say('| what | ours | guide | ratio (pairs) | goal | reached |')
  say('| --- | --- | --- | --- | --- | --- |')
  for (const row of rows) {
    const { medians, ratio, least, greatest, isReached } = figures(row)
    const seconds = [medians.ours, medians.guide].map((each) => `${each.toFixed(2)} s`).join(' | ')
    const ratios = `${ratio.toFixed(3)} (${least.toFixed(3)} to ${greatest.toFixed(3)})`
    say(`| ${row.what} | ${seconds} | ${ratios} | ${row.goal} | ${isReached ? 'yes' : 'no'} |`)
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
