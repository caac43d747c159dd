/**
 * `npm run record`: docs/bootstrap.svg, runs on the guide's machines as a terminal showed them. For Linux, as root,
 * with what the tests of `install` need, and util-linux' script.
 */
import { spawn, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Edit, entry } from '../support/harderway.ts'
import { install } from '../support/running.ts'
import { allWell, installAll } from './machines/components.ts'
import { type Machines, startMachines } from './machines/machines.ts'
import { formatRecording } from './recording.ts'
import { type Chunk, columns, type Frame, readFrames, rows } from './screens.ts'

const file = fileURLToPath(new URL('../../docs/bootstrap.svg', import.meta.url))
/** Times as fast as it was. */
const speed = 2
const ended = new AbortController()

interface Scene {
  /** As it is typed; each has its own screen. */
  readonly commands: readonly Command[]
  /** Seconds that its end stands. */
  readonly stands: number
  /** Before the next, unseen. */
  readonly after?: (lab: Machines) => Promise<void>
}

interface Command {
  readonly typed: string
  /** What npm or the shell is given. */
  readonly run: readonly string[]
  readonly status?: number
}

const bootstrap: Command = { typed: 'npm run bootstrap', run: [process.execPath, entry, 'bootstrap'] }
const plan: Command = {
  typed: 'npm run bootstrap -- --dry-run',
  run: [...bootstrap.run, '--dry-run'],
  status: 4,
}
/** Each connection of each stage is tried, and nothing changes. */
const trial: Command = {
  typed: 'npm run task -- rotate ca --dry-run',
  run: [process.execPath, entry, 'rotate', 'ca', '--dry-run'],
  status: 4,
}
const edit = (script: string): Command => ({
  typed: `sed -i '${script}' cluster.yaml`,
  run: ['sed', '-i', script, 'cluster.yaml'],
})

/** The first `install` restarts what reads a kubeconfig; later renewals restart none of them for its kubeconfig. */
async function installOnce(lab: Machines): Promise<void> {
  await installAll(lab)
  const { status, stdout, stderr } = await lab.run('install')
  if (status !== 0) throw new Error(stdout + stderr)
}

/** The guide's next chapters come between the first run and the second. */
const scenes: readonly Scene[] = [
  { commands: [bootstrap], stands: 3, after: installOnce },
  { commands: [edit('s/extraSANs: .*/extraSANs: [api.example.org]/'), plan], stands: 5 },
  { commands: [bootstrap], stands: 3, after: allWell },
  { commands: [edit('s/validity: 90d/validity: 1y/; s/: 30d/: 91d/'), bootstrap], stands: 4, after: allWell },
  { commands: [trial], stands: 5 },
]

const edits: readonly Edit[] = [
  [['certificates', 'validity'], '90d'],
  [['install'], install],
  [['localKubeconfig', 'path'], './kubeconfig'],
]

async function record(): Promise<void> {
  await using lab = await startMachines()
  lab.write(...edits)
  const chunks: Chunk[] = []
  let seconds = 0
  for (const { commands, stands, after } of scenes) {
    chunks.push({ seconds, data: '\x1bc' })
    for (const command of commands)
      for (const chunk of [...typed(command.typed), ...(await show(lab, command))]) {
        seconds += chunk.seconds
        chunks.push({ seconds, data: chunk.data })
      }
    seconds += stands
    await after?.(lab)
  }
  const frames = await readFrames(chunks)
  const svg = formatRecording({
    title: `${lab.all.length} machines, ${speed} times as fast as it was`,
    description:
      'In a terminal: npm run bootstrap makes the CA, certificates, kubeconfigs and the encryption key of a cluster and deploys them. A name is added: the plan, then the run. Then every certificate is renewed, and only kubelets are restarted. At last a rotation of the CA is tried, and nothing changes.',
    frames,
    seconds,
    still: frames.findLastIndex(showsRenewal),
  })
  if (!frames.some(showsRenewal)) throw new Error('no renewal was seen')
  if (svg.includes(lab.place)) throw new Error(`the recording shows ${lab.place}`)
  writeFileSync(file, svg)
  process.stdout.write(`${file}: ${(svg.length / 1000).toFixed(0)} kB, ${seconds.toFixed(1)} s\n`)
}

/** The last run, in its middle: one control node is done, and another is not. */
function showsRenewal({ lines }: Frame): boolean {
  const text = lines.map((line) => line.map((run) => run.text).join(' ')).join('\n')
  return /files installed/.test(text) && /installing|checking again/.test(text)
}

/** As if by hand; each chunk's seconds are those since the one before. */
function typed(command: string): Chunk[] {
  const keys = [...command].map((data) => ({ seconds: 0.03, data }))
  return [{ seconds: 0, data: '$ ' }, { seconds: 0.4, data: '' }, ...keys, { seconds: 0.3, data: '\r\n' }]
}

/** What npm would start, so npm's own two lines are not there; throws where it ends with another status. */
async function show(lab: Machines, { run, status: expected = 0 }: Command): Promise<Chunk[]> {
  ended.signal.throwIfAborted()
  const quoted = run.map((word) => `'${word}'`).join(' ')
  const command = `stty rows ${rows} cols ${columns}; exec ${quoted}`
  const [first = '', ...others] = [...lab.within, 'script', '-qec', command, '/dev/null']
  const child = spawn(first, others, {
    cwd: lab.place,
    env: { PATH: process.env.PATH, HOME: join(lab.place, 'home'), TERM: 'xterm-256color' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  ended.signal.addEventListener('abort', () => child.kill('SIGINT'))
  const exit = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  const chunks: Chunk[] = []
  let before = performance.now()
  child.stdout.on('data', (data: Buffer) => {
    const now = performance.now()
    // The folder is this machine's own: cluster.yaml has the path as ./kubeconfig.
    const text = data.toString('latin1').replaceAll(lab.place, '.')
    chunks.push({ seconds: (now - before) / 1000 / speed, data: Buffer.from(text, 'latin1') })
    before = now
  })
  const status = await exit
  ended.signal.throwIfAborted()
  if (status !== expected)
    throw new Error(`${quoted} ended with ${status}:\n${chunks.map(({ data }) => data).join('')}`)
  return chunks
}

if (process.getuid?.() !== 0 || spawnSync('script', ['--version']).error)
  throw new Error('npm run record needs root, and util-linux: apt-get install bsdutils')
// The machines are stopped in any case; script's own status does not tell that it was ended.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => ended.abort())
await record()
