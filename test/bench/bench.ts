/**
 * Every figure that the project holds itself to, whole processes beside whole processes in one run on one machine:
 * `npm run bench`, with `-- --only PATTERN` for some of the rows, and with `--beside COMMIT` for what changed since. Prints a
 * table, and writes bench.json and the rows of docs/performance.md.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { makePlace } from '../support/harderway.ts'
import { needs } from '../support/parts.ts'
import { ansibleRows, compareAnsible } from './ansible.ts'
import { besideGroup, besideRows, checkOut, compareBeside } from './beside.ts'
import { compare, deployRows } from './deploy.ts'
import { median } from './figures.ts'
import { type Group, groups, type Row } from './groups.ts'
import { compareInstall, installRows } from './install.ts'
import { updatePage } from './page.ts'
import type { Sample } from './process.ts'

interface Outcome {
  readonly what: string
  readonly unit: string
  /** One of each pair. */
  readonly ours: readonly number[]
  readonly theirs?: readonly number[]
  readonly goal: number
}

const { values } = parseArgs({ options: { only: { type: 'string', default: '' }, beside: { type: 'string' } } })
const only = new RegExp(values.only, 'i')
const load = loadavg().map((each) => Number(each.toFixed(2)))
const outcomes: Outcome[] = []
const left: string[] = []

const lab = ['sshd', 'ssh', 'scp']
for (const group of groups) await measureChosen(group)
await onNodes(chosen(deployRows, lab), compare)
await onNodes(chosen(ansibleRows, [...lab, 'ansible-playbook']), compareAnsible)
await onNodes(chosen(installRows, ['systemd-nspawn', 'mmdebstrap', 'ip', 'etcdctl', 'curl']), compareInstall)
writePage()
if (values.beside !== undefined) await measureBeside(values.beside)
report()

async function measureChosen(group: Group): Promise<void> {
  const rows = chosen(group.rows, group.parts)
  if (rows.length > 0) outcomes.push(...(await measure(group, rows)))
}

async function measureBeside(commit: string): Promise<void> {
  const place = makePlace()
  try {
    const before = checkOut(commit, join(place, 'before'))
    await measureChosen(besideGroup(commit, before))
    await onNodes(chosen(besideRows(commit), lab), (pairs) => compareBeside(commit, before, pairs))
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
}

async function onNodes(rows: readonly { readonly what: string }[], work: typeof compare): Promise<void> {
  if (rows.length === 0) return
  progress(rows)
  for (const { what, ours, guide, goal } of await work(3))
    if (rows.some((row) => row.what === what)) outcomes.push({ what, unit: 's', ours, theirs: guide, goal })
}

function chosen<T extends { readonly what: string }>(rows: readonly T[], parts: readonly string[]): T[] {
  const wanted = rows.filter(({ what }) => only.test(what))
  const why = needs(...parts)
  if (why === false) return wanted
  left.push(...wanted.map(({ what }) => `left out: ${what} (${why})`))
  return []
}

/** Who begins changes from pair to pair. */
async function measure(group: Group, rows: readonly Row[]): Promise<Outcome[]> {
  progress(rows)
  const place = makePlace()
  try {
    const sides = Object.entries(await group.prepare(place)).flatMap(([name, run]) =>
      rows.some(({ ours, theirs }) => name === ours || name === theirs) ? [{ name, run, samples: [] as Sample[] }] : [],
    )
    for (let pair = 0; pair < group.pairs; pair++)
      for (const { run, samples } of pair % 2 === 0 ? sides : sides.toReversed()) samples.push(await run())
    return rows.map((row) => toOutcome(row, new Map(sides.map(({ name, samples }) => [name, samples]))))
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
}

function toOutcome(row: Row, samples: ReadonlyMap<string, readonly Sample[]>): Outcome {
  const { what, goal, nodes } = row
  const column = (side: string, count = 1) =>
    (samples.get(side) ?? []).map((sample) => (sample[row.of] / count) * (nodes ? 1000 : 1))
  return {
    what,
    unit: nodes ? 'ms' : row.of === 'mebibytes' ? 'MiB' : 's',
    ours: column(row.ours, nodes?.[0]),
    ...(row.theirs !== undefined && { theirs: column(row.theirs, nodes?.[1]) }),
    goal,
  }
}

/** The ratio is that of the medians. A goal without a ratio is the most that any run may have. */
function figures({ ours, theirs, goal }: Outcome) {
  if (theirs === undefined) return { ours: Math.max(...ours), isMet: Math.max(...ours) <= goal }
  const medians = { ours: median(ours), theirs: median(theirs) }
  const ratio = medians.ours / medians.theirs
  return { ...medians, ratio, isMet: ratio <= goal }
}

function cellsOf(outcome: Outcome) {
  const { ours, theirs, ratio, isMet } = { theirs: undefined, ratio: undefined, ...figures(outcome) }
  const shown = (value: number | undefined) => (value === undefined ? '' : `${value.toPrecision(3)} ${outcome.unit}`)
  const goal = ratio === undefined ? shown(outcome.goal) : String(outcome.goal)
  return { what: outcome.what, ours: shown(ours), theirs: shown(theirs), ratio: ratio?.toFixed(2) ?? '', goal, isMet }
}

/** Only what was measured is written anew. */
function writePage(): void {
  const path = fileURLToPath(new URL('../../docs/performance.md', import.meta.url))
  const git = (...args: readonly string[]) => execFileSync('git', args, { encoding: 'utf8' }).trim()
  const changes = git('status', '--porcelain', 'lib', 'tasks') === '' ? '' : ' with changes'
  const commit = git('rev-parse', '--short', 'HEAD') + changes
  const date = new Date().toISOString().slice(0, 10)
  const measured = `${date}, ${commit}, ${availableParallelism()} cores, Node ${process.versions.node}`
  const order = [...groups.flatMap(({ rows }) => rows), ...deployRows, ...ansibleRows, ...installRows]
  const page = readFileSync(path, 'utf8')
  const names = order.map(({ what }) => what)
  writeFileSync(path, updatePage(page, outcomes.map(cellsOf), measured, names))
  execFileSync('biome', ['check', '--write', path], { stdio: 'pipe' })
}

function report(): void {
  say('| what | ours | theirs | ratio | goal | met |')
  say('| --- | --- | --- | --- | --- | --- |')
  for (const outcome of outcomes) {
    const { what, ours, theirs, ratio, goal, isMet } = cellsOf(outcome)
    say(`| ${[what, ours, theirs, ratio, goal, isMet ? 'yes' : 'no'].join(' | ')} |`)
  }
  for (const line of left) say(line)
  const machine = { node: process.version, cores: availableParallelism(), load, seconds: performance.now() / 1000 }
  const path = resolve('bench.json')
  const rows = outcomes.map((outcome) => ({ ...outcome, figures: figures(outcome) }))
  writeFileSync(path, `${JSON.stringify({ ...machine, rows, left }, null, 2)}\n`)
  say(`${machine.seconds.toFixed(0)} s, load at the start ${load.join(' ')}; ${path}`)
}

function progress(rows: readonly { readonly what: string }[]): void {
  const at = (performance.now() / 1000).toFixed(0)
  process.stderr.write(`${at} s: ${rows.map(({ what }) => what).join('; ')}\n`)
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
