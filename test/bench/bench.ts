/**
 * Every figure that the project holds itself to, whole processes beside whole processes in one run on one machine: `npm
 * run bench`, with `-- --only PATTERN` for some of the rows, and with `--beside COMMIT` for what changed since. Prints
 * a table, and writes bench.json and the rows of FIGURES.md.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { makePlace } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'
import { besideGroups } from './beside.ts'
import { type Group, groups, type Row } from './groups.ts'
import { installGroup } from './install.ts'
import { countGroup } from './nodes.ts'
import type { Sample } from './process.ts'

const { values } = parseArgs({
  options: { only: { type: 'string', default: '' }, beside: { type: 'string', multiple: true } },
})
const only = new RegExp(values.only, 'i')
const units: Readonly<Partial<Record<keyof Sample, string>>> = { seconds: 's', mebibytes: 'MiB' }
const load = loadavg().map((each) => Number(each.toFixed(2)))
const all = [...groups, countGroup, installGroup]
const outcomes: Outcome[] = []
for (const group of [...all, ...(values.beside ?? []).flatMap(besideGroups)]) {
  outcomes.push(...(await measure(group)))
  // Each time, since a later group may fail, after a quarter of an hour.
  writePage()
}
report()

type Outcome = ReturnType<typeof toOutcome>

/** Who begins changes from pair to pair. */
async function measure(group: Group): Promise<Outcome[]> {
  const rows = group.rows.filter(({ what }) => only.test(what))
  const lacking = needs(...group.parts)
  const named = rows.map(({ what }) => what).join('; ')
  if (rows.length === 0) return []
  process.stderr.write(
    `${(performance.now() / 1000).toFixed(0)} s: ${lacking ? `left out (${lacking}): ` : ''}${named}\n`,
  )
  if (lacking) return []
  await using cleanUp = new AsyncDisposableStack()
  const place = makePlace()
  cleanUp.defer(() => rmSync(place, { recursive: true, force: true }))
  const sides = Object.entries(await group.prepare(place, cleanUp)).flatMap(([name, run]) =>
    rows.some(({ ours, theirs }) => name === ours || name === theirs) ? [{ name, run, samples: [] as Sample[] }] : [],
  )
  for (let pair = 0; pair < group.pairs; pair++)
    for (const { run, samples } of pair % 2 === 0 ? sides : sides.toReversed()) samples.push(await run())
  return rows.map((row) => toOutcome(row, new Map(sides.map(({ name, samples }) => [name, samples]))))
}

/** The ratio is that of the medians. A goal without a ratio is the most that any run may have. */
function toOutcome({ what, ours, theirs, of, goal }: Row, samples: ReadonlyMap<string, readonly Sample[]>) {
  const unit = units[of] ?? ''
  const column = (side: string) => (samples.get(side) ?? []).map((sample) => sample[of] ?? Number.NaN)
  const pairs = { ours: column(ours), theirs: theirs && column(theirs) }
  const shown = (value: number) => (unit === '' ? String(value) : `${value.toPrecision(3)} ${unit}`)
  const most = Math.max(...pairs.ours)
  if (!pairs.theirs) return { what, ...pairs, cells: [shown(most), '', ''], goal: shown(goal), isMet: most <= goal }
  const [a, b] = [median(pairs.ours), median(pairs.theirs)]
  return { what, ...pairs, cells: [shown(a), shown(b), (a / b).toFixed(2)], goal: String(goal), isMet: a / b <= goal }
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  const at = (i: number) => sorted[Math.floor(i)] ?? Number.NaN
  return (at((sorted.length - 1) / 2) + at(sorted.length / 2)) / 2
}

/**
 * Only what was measured is written anew; in order, and without rows that there are no more. A goal that is missed is
 * bold.
 */
function writePage(): void {
  const path = fileURLToPath(new URL('./FIGURES.md', import.meta.url))
  const git = (...args: readonly string[]) => execFileSync('git', args, { encoding: 'utf8' }).trim()
  const changes = git('status', '--porcelain', 'lib', 'tasks') === '' ? '' : ' with changes'
  const commit = git('rev-parse', '--short', 'HEAD') + changes
  const date = new Date().toISOString().slice(0, 10)
  const measured = `${date}, ${commit}, ${availableParallelism()} cores`
  const [before = '', inside = '', after = ''] = readFileSync(path, 'utf8').split(
    /(?<=figures: begin -->\n)|(?=<!-- figures: end)/,
  )
  const head = ['| what | measured | goal |', '| --- | --- | --- |']
  const table = all
    .flatMap(({ rows }) => rows)
    .flatMap(({ what }) => {
      const found = outcomes.find((outcome) => outcome.what === what)
      if (!found) return inside.split('\n').find((line) => line.split('|')[1]?.trim() === what) ?? []
      const { cells, goal, isMet } = found
      const [ours, beside, ratio] = cells
      const figures = ratio ? `${ratio}: ${ours} beside ${beside}` : ours
      return `| ${what} | ${figures} (${measured}) | ${isMet ? goal : `**${goal}**`} |`
    })
  writeFileSync(path, `${before}${[...head, ...table].join('\n')}\n${after}`)
  execFileSync('biome', ['check', '--write', path], { stdio: 'pipe' })
}

function report(): void {
  const rows = outcomes.map(({ what, cells, goal, isMet }) => [what, ...cells, goal, isMet ? 'yes' : 'no'])
  for (const row of [['what', 'ours', 'theirs', 'ratio', 'goal', 'met'], Array(6).fill('---'), ...rows])
    process.stdout.write(`| ${row.join(' | ')} |\n`)
  const machine = { node: process.version, cores: availableParallelism(), load, seconds: performance.now() / 1000 }
  writeFileSync('bench.json', `${JSON.stringify({ ...machine, rows: outcomes }, null, 2)}\n`)
  process.stdout.write(`${machine.seconds.toFixed(0)} s, load at the start ${load.join(' ')}; bench.json\n`)
}
