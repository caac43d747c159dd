/** The lock between processes that do not see each other, as in two containers that share a folder: PID namespaces. */
import assert from 'node:assert/strict'
import { type ChildProcessByStdio, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { describe, type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { Failure } from '../../../lib/failure.ts'
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import { type LockOptions, takeLock } from '../../../lib/files/lock.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { inNamespace, needsNamespaces } from '../../support/parts.ts'
import { scratch } from '../../support/scratch.ts'

const script = join(import.meta.dirname, '../../support/lock-process.ts')

interface Container {
  readonly child: ChildProcessByStdio<Writable, Readable, null>
  readonly exit: Promise<number | null>
  /** The next line that it prints. */
  line(): Promise<string>
  signal(name: NodeJS.Signals): void
}

/** A process of lock-process.ts, in a PID namespace of its own. */
function start(t: TestContext, ...args: [work: 'hold' | 'count' | 'write', lock: string, counter?: string]): Container {
  const [program, ...words] = inNamespace
  const child = spawn(program, [...words, process.execPath, script, ...args.map(String)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const exit = once(child, 'exit').then(([code]) => code as number | null)
  return {
    child,
    exit,
    line: async () => String((await lines.next()).value),
    signal: (name) => {
      const inner = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
      process.kill(Number(inner), name)
    },
  }
}

function place(t: TestContext) {
  const auth = join(scratch(t), 'auth')
  mkdirSync(auth)
  return { auth, lock: join(auth, '.lock') }
}

/** As a run on the host. */
async function take(lock: string, options: Partial<LockOptions> = {}) {
  const { signal } = new AbortController()
  return takeLock(lock, { signal, wait: Number.POSITIVE_INFINITY, waitForQuiet: 0, onWait: () => {}, ...options })
}

describe('between containers', { skip: needsNamespaces() }, () => {
  test('of two that start at once one waits for the other, 20 times of 20', async (t) => {
    const { auth, lock } = place(t)
    const counter = join(auth, '../counter')
    writeFileSync(counter, '0')
    for (let tries = 1; tries <= 20; tries++) {
      const both = [start(t, 'count', lock, counter), start(t, 'count', lock, counter)]
      const exits = await Promise.all(both.map(({ exit }) => exit))
      assert.deepEqual(exits, [0, 0], `try ${tries}`)
    }
    assert.equal(readFileSync(counter, 'utf8'), '40')
    assert.deepEqual(readdirSync(auth), [])
  })

  test('a lock is waited for while its owner lives, and then taken', async (t) => {
    const { lock } = place(t)
    const first = start(t, 'hold', lock)
    assert.equal(await first.line(), 'held')
    const second = start(t, 'hold', lock)
    assert.equal(await second.line(), 'waiting')
    first.child.stdin.end()
    assert.equal(await second.line(), 'held')
  })

  test('what a killed one leaves is not taken over, and the suggested command hands it to the next', async (t) => {
    const { auth, lock } = place(t)
    const first = start(t, 'hold', lock)
    assert.equal(await first.line(), 'held')
    first.signal('SIGKILL')
    await first.exit
    await assert.rejects(take(lock), (error) => {
      assert.ok(error instanceof Failure)
      assert.match(error.message, /process 1 on \S+ \(since \S+, in another container or on another machine, no sign/)
      const { remedy = '' } = error
      execFileSync('sh', ['-c', remedy.slice(remedy.lastIndexOf('rm '))])
      return true
    })
    ;(await take(lock)).release()
    assert.deepEqual(readdirSync(auth), [])
  })

  test('the suggested command hands the lock to one that waits', async (t) => {
    const { lock } = place(t)
    const first = start(t, 'hold', lock)
    assert.equal(await first.line(), 'held')
    first.signal('SIGKILL')
    await first.exit
    const onWait = (message: string) => {
      execFileSync('sh', ['-c', message.slice(message.lastIndexOf('rm '))])
    }
    ;(await take(lock, { waitForQuiet: Number.POSITIVE_INFINITY, onWait })).release()
  })

  test('one that was stopped, and whose lock was removed meanwhile, writes nothing when it goes on', async (t) => {
    const { auth, lock } = place(t)
    const first = start(t, 'write', lock)
    assert.equal(await first.line(), 'held')
    first.child.stdin.write('early\n')
    assert.equal(await first.line(), 'written')
    first.signal('SIGSTOP')
    rmSync(lock)
    const held = await take(lock)
    const mine = new AuthDir(auth, harderWay.files)
    mine.beginWriting(held.token)
    mine.write('ca.pem', 'new', 0o644)
    first.signal('SIGCONT')
    first.child.stdin.write('ca.pem\n')
    const said = [await first.line(), await first.line()]
    assert.ok(said.includes('lost'), said.join('\n'))
    assert.match(said.join('\n'), /Failure: \S+ was removed during the run, or another run has it now/)
    first.child.stdin.end()
    assert.equal(await first.exit, 0)
    assert.ok(!held.lost.aborted)
    mine.endWriting()
    held.release()
    assert.equal(readFileSync(join(auth, 'ca.pem'), 'utf8'), 'new')
    assert.deepEqual(readdirSync(auth), ['ca.pem', 'early'])
  })

  const tellSpace = `import { thisProcess } from ${JSON.stringify(pathToFileURL(join(import.meta.dirname, '../../../lib/files/process-id.ts')).href)}
console.log(JSON.stringify(thisProcess.space))`
  const node = [process.execPath, '--input-type=module', '-e', tellSpace]

  test('each has a space of its own, and none where /proc tells of other processes', () => {
    const ask = ([program = '', ...words]: readonly string[]) =>
      JSON.parse(execFileSync(program, words, { encoding: 'utf8' }))
    const [here, there] = [ask(node), ask([...inNamespace, ...node])]
    assert.match(here, /^[0-9a-f-]{36} pid:\[\d+\]$/)
    assert.match(there, /^[0-9a-f-]{36} pid:\[\d+\]$/)
    assert.notEqual(here, there)
    assert.equal(ask(['unshare', '--pid', '--fork', ...node]), '')
  })

  test('a process that may not be looked at (hidepid) is not taken for a dead one', () => {
    const judge = tellSpace
      .replace('thisProcess }', 'livenessOf, thisProcess }')
      .replace('thisProcess.space', "livenessOf({ ...thisProcess, pid: 1, start: 'unknown' })")
    const mount = 'mount -t proc -o hidepid=2 proc /proc'
    const hidden = `${mount} && setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; true`
    const words = ['--pid', '--mount', '--fork', 'sh', '-c', hidden, 'sh', process.execPath, '--input-type=module']
    const { stdout, stderr } = spawnSync('unshare', [...words, '-e', judge], { encoding: 'utf8', cwd: '/' })
    assert.equal(stdout, '"unknown"\n', stderr)
  })
})
