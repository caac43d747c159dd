/** Whole processes, from the start to the end. */
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
  /** Seconds of all its threads; NaN of a process that is no Node of ours, as is the next. */
  readonly cpu: number
  readonly mebibytes: number
}

/** In the repository, with a home of its own; throws where it fails. */
export async function runProcess(place: string, program: string, ...args: readonly string[]): Promise<Sample> {
  const usage = join(place, 'usage.json')
  rmSync(usage, { force: true })
  const env = {
    PATH: process.env.PATH,
    HOME: join(place, 'home'),
    TERM: 'xterm',
    BENCH_USAGE: usage,
    // A look at the registry is no part of `npm run`: it is once a day, and of a new home each time.
    npm_config_update_notifier: 'false',
  }
  const begun = performance.now()
  const child = spawn(program, args, { cwd: root, env, stdio: 'ignore' })
  const [status] = await once(child, 'close')
  const seconds = (performance.now() - begun) / 1000
  assert.equal(status, 0, `${program} ${args.join(' ')}`)
  return { seconds, ...readUsage(usage) }
}

/** The Node that runs this, which is then asked what it used. */
export function runNode(place: string, ...args: readonly string[]): Promise<Sample> {
  return runProcess(place, process.execPath, '--import', usageModule, ...args)
}

/** On a terminal of 24 rows: what a terminal would show goes nowhere. */
export function runNodeOnTerminal(place: string, ...args: readonly string[]): Promise<Sample> {
  const words = [process.execPath, '--import', usageModule, ...args]
  const command = `stty rows 24 cols 80; exec ${words.map((word) => `'${word}'`).join(' ')}`
  return process.platform === 'linux'
    ? runProcess(place, 'script', '-qec', command, '/dev/null')
    : runProcess(place, 'script', '-q', '/dev/null', 'sh', '-c', command)
}

function readUsage(path: string): Omit<Sample, 'seconds'> {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return { cpu: Number.NaN, mebibytes: Number.NaN }
  }
}
