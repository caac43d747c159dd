import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Browser } from 'playwright-core'
import type { KubeconfigAccess } from '../../lib/kubernetes/kubeconfig.ts'
import { findProgram } from '../lab/programs.ts'

/** Which real parts this machine has: a test that needs one it lacks says so and is skipped. */

/** For `{ skip }`: false where every command is there. With REQUIRE_PARTS set nothing is skipped: the test fails. */
export function needs(...commands: string[]): false | string {
  const missing = commands.filter((command) => findProgram(command) === undefined)
  return (
    missing.length > 0 &&
    !process.env.REQUIRE_PARTS &&
    `${missing.join(', ')} missing: npm run setup -- --tests installs it`
  )
}

/** Who is neither the user who runs the tests, nor root. */
export const another = 54321

const project = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
const foldersAround = [project]
while (foldersAround[0] !== '/') foldersAround.unshift(dirname(String(foldersAround[0])))
/** The outermost that others may not enter, such as root's home. */
const closedFolder = foldersAround.find((folder) => (statSync(folder).mode & 0o001) === 0)

/** The command shows the project in a closed folder to whoever it starts, and nothing else of that folder. */
const show = `mount --bind "$0" /mnt && mount -t tmpfs -o mode=755 tmpfs "$1" && mkdir -p "$0" && mount --move /mnt "$0" &&
  cd "$PWD" && shift && exec "$@"`
const shown = closedFolder === undefined ? [] : ['unshare', '--mount', 'sh', '-c', show, project, closedFolder]

/** In front of a command: another user carries it out, where root runs the tests. */
export const asAnother: readonly string[] = [
  ...shown,
  ...['setpriv', '--reuid', String(another), '--regid', String(another), '--clear-groups'],
]

/** A server that a test starts: there once it says so, and ended, with no other, when the test is done with it. */

interface Server extends AsyncDisposable {
  /** What it said when it was ready. */
  readonly ready: RegExpExecArray
}

// As with the lab's nodes: nothing may outlive a test that crashes.
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Throws, with all that it said, where it is not ready within a minute. */
export async function startServer(program: string, args: readonly string[], ready: RegExp): Promise<Server> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  const exited = once(child, 'exit').finally(() => running.delete(child))
  let text = ''
  let isOver = false
  child.once('close', () => {
    isOver = true
  })
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
  const stop = async () => {
    child.kill('SIGKILL')
    await exited
  }
  for (const until = Date.now() + 60_000; ; await wait(5)) {
    const found = ready.exec(text)
    if (found) return { ready: found, [Symbol.asyncDispose]: stop }
    if (!isOver && Date.now() < until) continue
    await stop()
    throw new Error(`${program} ${isOver ? 'ended without' : 'did not say'} "${ready.source}":\n${text}`)
  }
}

/** Ports of 127.0.0.1 that are free now, all of them different. */
export async function freePorts(count: number): Promise<number[]> {
  const listeners = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(listeners.map((listener) => once(listener, 'listening')))
  const ports = listeners.map((listener) => (listener.address() as AddressInfo).port)
  await Promise.all(listeners.map((listener) => once(listener.close(), 'close')))
  return ports
}

/** Milliseconds: what takes so long on a busy computer does not come. */
const limit = 120_000

/** Waits for a state, never for a time: until the look at it does not throw any more, and gives what it then gives. */
export async function eventually<Seen>(look: () => Promise<Seen> | Seen): Promise<Seen> {
  const begun = Date.now()
  for (;;)
    try {
      return await look()
    } catch (error) {
      const waited = Date.now() - begun
      if (waited > limit) throw error
      // Soon at first; a look that starts processes again and again would slow down what it waits for.
      await wait(Math.min(10 + waited / 10, 250))
    }
}

export function eventuallyNone(list: () => readonly unknown[]): Promise<void> {
  return eventually(() => assert.deepEqual(list(), []))
}

/** The real kubectl, for what is to be as kubectl does it. */

/** Its stdout; neither the user's home nor his kubeconfig are touched. */
export function kubectl(home: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  return execFileSync('kubectl', args, {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HOME: home, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

/** The guide's four commands, to the file given. */
export function kubectlConfig(home: string, access: KubeconfigAccess, { file }: { readonly file: string }): void {
  const pems = join(home, 'pems')
  mkdirSync(pems, { recursive: true })
  const pem = (name: string, bytes: Buffer) => {
    writeFileSync(join(pems, name), bytes)
    return join(pems, name)
  }
  const { cluster, server, user, context, ca, certificate, key } = access
  const commands = [
    ['set-cluster', cluster, `--certificate-authority=${pem('ca', ca)}`, '--embed-certs=true', `--server=${server}`],
    [
      ...['set-credentials', user, `--client-certificate=${pem('certificate', certificate)}`],
      ...[`--client-key=${pem('key', key)}`, '--embed-certs=true'],
    ],
    ['set-context', context, `--cluster=${cluster}`, `--user=${user}`],
    ['use-context', context],
  ]
  for (const command of commands) kubectl(home, ['config', ...command, `--kubeconfig=${file}`])
}

/**
 * Chromium, with a profile that is new and gone afterwards, and without a word to the network on its own account. What
 * it writes besides goes into the given home.
 */

const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export async function startBrowser(home: string): Promise<Browser> {
  // Loaded where it is used: it takes as long as all else that a test file loads.
  const { chromium } = await import('playwright-core')
  const env = { PATH: process.env.PATH, HOME: home }
  return chromium.launch({ executablePath: '/usr/bin/chromium', args, env })
}
