/** An earlier commit beside the present one, in the rows whose figures are promises: `npm run bench -- --beside COMMIT`. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startLab } from '../lab/lab.ts'
import { entry, gateway, labEdits, makePlace, writeCluster } from '../support/harderway.ts'
import { start } from '../support/process.ts'
import { guideCluster, inNewFolder, makeFolder } from './cluster-folder.ts'
import { type Comparison, deploy, empty, names, timed } from './deploy.ts'
import { type Group, local, quietly, type Row } from './groups.ts'
import { runProcess } from './process.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
/** Not slower, but for what swings from run to run. */
const goal = 1.05

/** The commit in a new folder, with the packages that it depends on; the path of its entry. */
export function checkOut(commit: string, folder: string): string {
  mkdirSync(folder)
  const input = execFileSync('git', ['archive', commit], { cwd: root, maxBuffer: 2 ** 28 })
  execFileSync('tar', ['-x', '-C', folder], { input })
  const lockOf = (of: string) => readFileSync(join(of, 'package-lock.json'), 'utf8')
  if (lockOf(folder) === lockOf(root)) linkPackages(join(folder, 'node_modules'))
  else execFileSync('npm', ['ci', '--ignore-scripts', '--omit=dev'], { cwd: folder, stdio: ['ignore', 'ignore', 2] })
  return join(folder, 'tasks/main.js')
}

/** One by one: the compile cache, which is in there too, is each one's own. */
function linkPackages(to: string): void {
  mkdirSync(to)
  const from = join(root, 'node_modules')
  for (const name of readdirSync(from).filter((each) => each !== '.cache'))
    symlinkSync(join(from, name), join(to, name))
}

/** `before` is the entry of the commit. */
export function besideGroup(commit: string, before: string): Group {
  const row = (what: string, name: string): Row => {
    return { what: `${what}, beside ${commit}`, ours: name, theirs: `${name} before`, of: 'seconds', goal }
  }
  return {
    pairs: 11,
    parts: [],
    rows: [row('nothing to do', 'idle'), row('--version', 'version'), row("the guide's cluster, cold", 'cold')],
    async prepare(place) {
      const sidesOf = async (program: string, suffix = '') => {
        const run = (...args: readonly string[]) => runProcess(place, process.execPath, program, ...args)
        const folder = makeFolder(place, guideCluster)
        await run(...local, ...quietly(folder))
        return {
          [`idle${suffix}`]: () => run(...local, ...quietly(folder)),
          [`version${suffix}`]: () => run('--version'),
          [`cold${suffix}`]: () => inNewFolder(place, guideCluster, (to) => run(...local, ...quietly(to))),
        }
      }
      return { ...(await sidesOf(entry)), ...(await sidesOf(before, ' before')) }
    },
  }
}

export const besideRows = (commit: string) =>
  ['deploy, cold, 20 ms round trips', 'deploy, nothing to do, 20 ms round trips'].map((what) => {
    return { what: `${what}, beside ${commit}`, goal }
  })

/** A pair that is not counted warms up what is cached. */
export async function compareBeside(commit: string, before: string, pairs: number): Promise<Comparison[]> {
  const place = makePlace()
  const nodes = names.map((name) => ({ name, relay: { delayMs: 10 } }))
  const lab = await startLab({ dir: join(place, 'lab'), nodes })
  const programs = { ours: entry, guide: before }
  const times = {
    cold: { ours: [] as number[], guide: [] as number[] },
    idle: { ours: [] as number[], guide: [] as number[] },
  }
  try {
    writeCluster(place, [...labEdits(lab), gateway])
    await start(place, local).ended
    for (let pair = 0; pair <= pairs; pair++)
      for (const side of pair % 2 === 0 ? (['ours', 'guide'] as const) : (['guide', 'ours'] as const)) {
        empty(lab)
        for (const kind of ['cold', 'idle'] as const) {
          const seconds = await timed(() => deploy(place, programs[side]))
          if (pair > 0) times[kind][side].push(seconds)
        }
      }
    return besideRows(commit).map((row, i) => ({ ...row, ...(i === 0 ? times.cold : times.idle) }))
  } finally {
    await lab.stop()
    rmSync(place, { recursive: true, force: true })
  }
}
