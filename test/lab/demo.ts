/** `npm run demo`: the guide's cluster, bootstrapped onto throw-away nodes on this machine, each a real sshd. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { layoutNames, usualLayout } from '../../lib/cluster/schema.ts'
import { asFailure } from '../../lib/failure.ts'
import { takeLock } from '../../lib/files/lock.ts'
import { formatFailure } from '../../lib/show/rows.ts'
import { startGuideLab } from './guide-lab.ts'
import type { Lab } from './lab.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const dir = join(root, 'demo')
const ended = new AbortController()

const options = process.argv.slice(2)
const isKept = options.includes('--keep')
const at = options.indexOf('--layout')
const named = at < 0 ? usualLayout : options[at + 1]
const layout = layoutNames.find((name) => name === named)

async function demo(): Promise<number> {
  if (!layout) {
    say(`--layout ${named}: it can be ${layoutNames.join(' or ')}`)
    return 2
  }
  if (options.includes('--help') || options.includes('-h')) {
    say(
      'npm run demo [-- --keep] [--layout hard-way] [options of bootstrap]: a first run and a second one, on nodes of this machine in demo/.',
    )
    say('--keep: the nodes stay until Ctrl-C, for more to be tried on them.')
    return 0
  }
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const lock = await takeLock(join(dir, 'lock'), {
    signal: ended.signal,
    wait: 0,
    onWait: () => {},
  }).catch((error) => say(`The demo needs the folder ${dir} for itself.\n${formatFailure(asFailure(error))}`))
  if (!lock) return 1
  const left = readdirSync(dir).filter((name) => name !== 'lock')
  for (const name of left) rmSync(join(dir, name), { recursive: true, force: true })
  const lab = await startGuideLab(dir, layout)
  try {
    return await show(lab)
  } finally {
    await lab.stop()
    rmSync(join(dir, 'lab'), { recursive: true, force: true })
    lock.release()
  }
}

async function show(lab: Lab): Promise<number> {
  say(`${lab.nodes.length} nodes are up, each an sshd of its own on this machine. npm run bootstrap:\n`)
  const first = await bootstrap()
  if (first !== 0) return first
  say('\nThe same again: everything is up to date.\n')
  const second = await bootstrap()
  if (second !== 0) return second
  say('\nWhat landed where:')
  for (const { name, home } of lab.nodes) {
    say(`\n  ${name}`)
    const byMode = Map.groupBy(
      readdirSync(home).filter((file) => !file.startsWith('.')),
      (file) => statSync(join(home, file)).mode & 0o777,
    )
    for (const [mode, files] of byMode)
      say(
        `    ${mode.toString(8).padStart(4, '0')}  ${files
          .join(' ')
          .match(/.{1,66}(\s|$)/g)
          ?.join('\n          ')}`,
      )
  }
  if (isKept && !ended.signal.aborted) {
    say(
      `\nThe nodes stay until Ctrl-C. In another terminal:\n\n    ${join(root, 'bin/harderway')} status --on-nodes --config ${join(dir, 'cluster.yaml')}`,
    )
    // Nodes keep no process alive.
    const alive = setInterval(() => {}, 60_000)
    await once(ended.signal, 'abort')
    clearInterval(alive)
  }
  say(`\nThe nodes are gone again; auth/ and the kubeconfig of this run are in ${dir}`)
  return 0
}

/** Its exit status. */
function bootstrap(): Promise<number> {
  const args = [
    join(root, 'tasks/main.js'),
    'bootstrap',
    '--config',
    join(dir, 'cluster.yaml'),
    ...options.filter((option) => !['--keep', '--layout', named].includes(option)),
  ]
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: 'inherit', cwd: root })
    ended.signal.addEventListener('abort', () => child.kill('SIGINT'))
    child.on('error', reject)
    child.on('exit', (code) => resolve(code ?? 1))
  })
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

// The nodes are stopped in any case: a signal ends the run, and the run's end ends the demo.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => ended.abort())
process.exitCode = await demo()
