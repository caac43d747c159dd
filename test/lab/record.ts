/** `npm run record`: docs/bootstrap.svg, the tree of a real run, at its real speed. For Linux, with util-linux' script. */
import { spawn } from 'node:child_process'
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startGuideLab } from './guide-lab.ts'
import { formatRecording } from './recording.ts'
import { type Chunk, columns, readFrames, rows } from './screens.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const file = join(root, 'docs/bootstrap.svg')
/** Nodes on this machine answer at once: so far away, the deploy is seen. */
const roundTripMs = 40
/** Seconds that the end of each run stands. */
const stands = [3, 4]
const ended = new AbortController()

async function record(): Promise<void> {
  // Short, since the tree cuts the line that has it at the terminal's width.
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'kubenet-')))
  try {
    await using lab = await startGuideLab(dir, { delayMs: roundTripMs / 2 })
    const chunks: Chunk[] = []
    let seconds = 0
    for (const stand of stands) {
      for (const chunk of [...typed(), ...(await bootstrap(dir))]) {
        seconds += chunk.seconds
        chunks.push({ seconds, data: chunk.data })
      }
      seconds += stand
    }
    const svg = formatRecording({
      title: `npm run bootstrap: ${lab.nodes.length} nodes, ${roundTripMs} ms away, at its real speed`,
      description:
        'In a terminal, npm run bootstrap makes the CA, certificates, kubeconfigs and encryption key of a Kubernetes cluster, and deploys them to its nodes. Run again, it finds everything fresh.',
      frames: await readFrames(chunks),
      seconds,
    })
    if (svg.includes(dir)) throw new Error(`the recording shows ${dir}`)
    writeFileSync(file, svg)
    process.stdout.write(`${file}: ${(svg.length / 1000).toFixed(0)} kB, ${seconds.toFixed(1)} s\n`)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** A cleared screen, and the command as if by hand; each chunk's seconds are those since the one before. */
function typed(): Chunk[] {
  const keys = [...'npm run bootstrap'].map((data) => ({ seconds: 0.06, data }))
  return [{ seconds: 0, data: '\x1bc$ ' }, { seconds: 0.5, data: '' }, ...keys, { seconds: 0.4, data: '\r\n' }]
}

/** What `npm run bootstrap` starts, so npm's own two lines are not there; throws where it fails. */
async function bootstrap(dir: string): Promise<Chunk[]> {
  ended.signal.throwIfAborted()
  const { NO_COLOR, FORCE_COLOR, ...env } = process.env
  const command = `stty rows ${rows} cols ${columns}; exec "$NODE" "$MAIN" bootstrap`
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    cwd: dir,
    env: { ...env, TERM: 'xterm-256color', NODE: process.execPath, MAIN: join(root, 'tasks/main.js') },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  ended.signal.addEventListener('abort', () => child.kill('SIGINT'))
  const exit = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  const chunks: Chunk[] = []
  let before = performance.now()
  child.stdout.on('data', (data: Buffer) => {
    const now = performance.now()
    // The folder is this machine's own: cluster.yaml has the path as ./kubeconfig.
    chunks.push({
      seconds: (now - before) / 1000,
      data: Buffer.from(data.toString('latin1').replaceAll(dir, '.'), 'latin1'),
    })
    before = now
  })
  const status = await exit
  ended.signal.throwIfAborted()
  if (status !== 0) throw new Error(`bootstrap ended with ${status}:\n${chunks.map(({ data }) => data).join('')}`)
  return chunks
}

// The nodes are stopped in any case; script's own status does not tell that it was ended.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => ended.abort())
await record()
