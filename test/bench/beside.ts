/**
 * An earlier commit beside the present one, in the rows whose figures are promises: `npm run bench -- --beside COMMIT`.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { entry, writeCluster } from '../support/harderway.ts'
import { bigCluster, type Fill, guideKeys, inNewFolder, makeFolder } from './cluster-folder.ts'
import { type Group, inSeconds, local, quietly } from './groups.ts'
import { deploys, nodeParts, startNodes } from './nodes.ts'
import { runNode, runProcess } from './process.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/**
 * The commit in a new folder, with the packages that it depends on: its entry, and its cluster.yaml, which this one
 * reads too.
 */
function checkOut(commit: string, folder: string): { readonly program: string; readonly cluster: string } {
  mkdirSync(folder)
  const input = execFileSync('git', ['archive', commit], { cwd: root, maxBuffer: 2 ** 28 })
  execFileSync('tar', ['-x', '-C', folder], { input })
  const lockOf = (of: string) => readFileSync(join(of, 'package-lock.json'), 'utf8')
  if (lockOf(folder) === lockOf(root)) linkPackages(join(folder, 'node_modules'))
  else execFileSync('npm', ['ci', '--ignore-scripts', '--omit=dev'], { cwd: folder, stdio: ['ignore', 'ignore', 2] })
  return { program: join(folder, 'tasks/main.js'), cluster: readFileSync(join(folder, 'cluster.yaml'), 'utf8') }
}

/** One by one: the compile cache, which is in there too, is each one's own. */
function linkPackages(to: string): void {
  mkdirSync(to)
  const from = join(root, 'node_modules')
  for (const name of readdirSync(from).filter((each) => each !== '.cache'))
    symlinkSync(join(from, name), join(to, name))
}

export function besideGroups(commit: string): Group[] {
  // Not slower, but for what swings from run to run.
  const row = (what: string, name: string) => inSeconds(`${what}, beside ${commit}`, name, `${name} before`, 1.05)
  const before = (sides: Awaited<ReturnType<Group['prepare']>>) =>
    Object.fromEntries(Object.entries(sides).map(([name, side]) => [`${name} before`, side]))
  return [
    {
      pairs: 11,
      parts: [],
      rows: [row('nothing to do', 'idle'), row('--help', 'help'), row("the guide's cluster, cold", 'cold')],
      async prepare(place) {
        const earlier = checkOut(commit, join(place, 'before'))
        const fill: Fill = (folder) => writeCluster(folder, [guideKeys], earlier.cluster)
        const sidesOf = async (program: string) => {
          const run = (...args: readonly string[]) => runProcess(place, process.execPath, program, ...args)
          const folder = makeFolder(place, fill)
          await run(...local, ...quietly(folder))
          return {
            idle: () => run(...local, ...quietly(folder)),
            help: () => run('--help'),
            cold: () => inNewFolder(place, fill, (to) => run(...local, ...quietly(to))),
          }
        }
        return { ...(await sidesOf(entry)), ...before(await sidesOf(earlier.program)) }
      },
    },
    {
      pairs: 3,
      parts: [],
      rows: [
        row('5,000 nodes, cold', 'cold'),
        row('5,000 nodes, nothing to do', 'idle'),
        { ...row('peak memory, 5,000 nodes, nothing to do', 'idle'), of: 'mebibytes' },
      ],
      async prepare(place) {
        const earlier = checkOut(commit, join(place, 'before'))
        const many = bigCluster(4999, 'ecdsa-p256', earlier.cluster)
        const sidesOf = async (program: string) => {
          const run = (folder: string) => runNode(place, program, ...local, ...quietly(folder))
          const folder = makeFolder(place, many)
          await run(folder)
          return { idle: () => run(folder), cold: () => inNewFolder(place, many, run) }
        }
        return { ...(await sidesOf(entry)), ...before(await sidesOf(earlier.program)) }
      },
    },
    {
      pairs: 3,
      parts: nodeParts,
      rows: [row('deploy, cold, 20 ms round trips', 'cold'), row('deploy, nothing to do, 20 ms round trips', 'idle')],
      async prepare(place, cleanUp) {
        const earlier = checkOut(commit, join(place, 'before'))
        const nodes = await startNodes(place, cleanUp, 'far', { delayMs: 10, cluster: earlier.cluster })
        return { ...deploys(nodes), ...before(deploys(nodes, earlier.program)) }
      },
    },
  ]
}
