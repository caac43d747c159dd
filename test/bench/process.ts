/** What is measured: whole processes from the start to the end, and other work by its time. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const usageModule = new URL('usage.js', import.meta.url).href

export interface Sample {
  readonly seconds: number
  /** NaN of what is no Node of ours. */
  readonly mebibytes: number
  /** On a node, of its connection and of what runs there. */
  readonly roundTrips?: number
  readonly bytes?: number
  readonly processes?: number
}

export async function timed(work: () => Promise<unknown>): Promise<Sample> {
  const begun = performance.now()
  await work()
  return { seconds: (performance.now() - begun) / 1000, mebibytes: Number.NaN }
}

/** In the repository, with a home of its own; throws where it fails. */
export async function runProcess(place: string, program: string, ...args: readonly string[]): Promise<Sample> {
  const usage = join(place, 'usage.json')
  rmSync(usage, { force: true })
  const env = {
    PATH: process.env.PATH,
    HOME: join(place, 'home'),
    TERM: 'xterm',
    LC_ALL: 'C.UTF-8',
    BENCH_USAGE: usage,
    // A look at the registry is no part of `npm run`: it is once a day, and of a new home each time.
    npm_config_update_notifier: 'false',
  }
  const sample = await timed(async () => {
    const [status] = await once(spawn(program, args, { cwd: root, env, stdio: 'ignore' }), 'close')
    // 4: a plan has something to do.
    assert.ok(status === 0 || status === 4, `${program} ${args.join(' ')}`)
  })
  try {
    return { ...sample, ...JSON.parse(readFileSync(usage, 'utf8')) }
  } catch {
    return sample
  }
}

/** The Node that runs this, which is then asked what it used. */
export function runNode(place: string, ...args: readonly string[]): Promise<Sample> {
  return runProcess(place, process.execPath, '--import', usageModule, ...args)
}
