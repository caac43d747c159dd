import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { type Lock, type LockOptions, takeLock } from '../../../lib/files/lock.ts'
import { livenessOf, type ProcessId, thisProcess } from '../../../lib/files/process-id.ts'
import { scratch } from '../../support/scratch.ts'

const onLinux = process.platform === 'linux' ? {} : { skip: 'only Linux tells when a process began' }

function take(path: string, options: Partial<LockOptions> = {}): Promise<Lock> {
  return takeLock(path, {
    signal: new AbortController().signal,
    wait: 0,
    waitForQuiet: 0,
    onWait: () => {},
    ...options,
  })
}

interface LockProcess {
  readonly child: ChildProcessByStdio<Writable, Readable, null>
  readonly lines: Interface
  readonly exit: Promise<number | null>
}

/** Started, and as far as it was asked to be. */
async function start(
  t: TestContext,
  args: ['hold', string] | ['count', string, string],
  until?: 'waiting' | 'held',
): Promise<LockProcess> {
  const script = join(import.meta.dirname, '../../support/lock-process.ts')
  const child = spawn(process.execPath, [script, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  const exit = once(child, 'exit').then(([code]) => code as number | null)
  const lines = createInterface(child.stdout)
  if (until) {
    const [line] = await once(lines, 'line')
    assert.equal(line, until)
  }
  return { child, lines, exit }
}

async function killAbruptly({ child, exit }: LockProcess): Promise<void> {
  child.kill('SIGKILL')
  await exit
}

/** Where a process can't be looked at from here. */
const elsewhere = { host: 'elsewhere.example', space: 'another' }
const endedPid = () => spawnSync('true').pid

function owner(told: object = {}): string {
  const since = '2026-03-04T05:06:07.000Z'
  return JSON.stringify({ ...thisProcess, pid: endedPid(), start: '1', token: randomUUID(), since, ...told })
}

const failure = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Failure, String(error))
  assert.match(error.message, pattern)
  assert.equal(error.code, 'locked')
  return true
}

test('a lock is a private file, gone with everything else when it is given back', async (t) => {
  const path = scratch(t)
  const lock = join(path, '.lock')
  const held = await take(lock)
  assert.deepEqual(readdirSync(path), ['.lock'])
  assert.equal(statSync(lock).mode & 0o777, 0o600)
  assert.equal(JSON.parse(readFileSync(lock, 'utf8')).pid, process.pid)
  held.release()
  assert.deepEqual(readdirSync(path), [])
  held.release()
  ;(await take(lock)).release()
})

test('of thirty processes that count under the lock none loses a step', async (t) => {
  const path = scratch(t)
  const counter = join(path, 'counter')
  const auth = join(path, 'auth')
  mkdirSync(auth)
  writeFileSync(counter, '0')
  const processes = await Promise.all(
    Array.from({ length: 30 }, () => start(t, ['count', join(auth, '.lock'), counter])),
  )
  const exits = await Promise.all(processes.map(({ exit }) => exit))
  assert.deepEqual([...new Set(exits)], [0])
  assert.equal(readFileSync(counter, 'utf8'), '30')
  assert.deepEqual(readdirSync(auth), [])
})

test('the lock of a killed process is taken over by one after the other of those that wait', onLinux, async (t) => {
  const path = scratch(t)
  const counter = join(path, 'counter')
  const auth = join(path, 'auth')
  const lock = join(auth, '.lock')
  mkdirSync(auth)
  writeFileSync(counter, '0')
  const holder = await start(t, ['hold', lock], 'held')
  const takers = await Promise.all(Array.from({ length: 8 }, () => start(t, ['count', lock, counter], 'waiting')))
  await killAbruptly(holder)
  assert.deepEqual(
    await Promise.all(takers.map(({ exit }) => exit)),
    takers.map(() => 0),
  )
  assert.equal(readFileSync(counter, 'utf8'), '8')
  assert.deepEqual(readdirSync(auth), [])
})

test('a process that was killed while it took over a dead lock keeps nobody from it', async (t) => {
  const path = scratch(t)
  const lock = join(path, '.lock')
  const dead = owner()
  writeFileSync(lock, dead)
  writeFileSync(`${lock}.${JSON.parse(dead).token}`, owner())
  const held = await take(lock)
  held.release()
  assert.deepEqual(readdirSync(path), [])
})

test('who may not take over a dead lock yet waits, and then leaves alone what has taken its place', async (t) => {
  const path = scratch(t)
  const lock = join(path, '.lock')
  const dead = owner()
  const takeover = `${lock}.${JSON.parse(dead).token}`
  const successor = owner(elsewhere)
  writeFileSync(lock, dead)
  writeFileSync(takeover, owner(elsewhere))
  const abort = new AbortController()
  const waits: string[] = []
  const onWait = (message: string) => {
    waits.push(message)
    if (waits.length > 1) return abort.abort()
    assert.equal(readFileSync(lock, 'utf8'), dead)
    writeFileSync(lock, successor)
    rmSync(takeover)
  }
  const forever = Number.POSITIVE_INFINITY
  const options = { signal: abort.signal, wait: forever, waitForQuiet: forever, onWait }
  await assert.rejects(take(lock, options), { name: 'AbortError' })
  assert.deepEqual(
    waits.map((wait) => wait.split(/which holds |;/)[1]),
    [takeover, lock],
  )
  assert.equal(readFileSync(lock, 'utf8'), successor)
  assert.deepEqual(readdirSync(path), ['.lock'])
})

test('what processes leave that are killed while they take the lock is removed by the next, wherever they were', async (t) => {
  const path = scratch(t)
  const lock = join(path, '.lock')
  writeFileSync(`${lock}.${randomUUID()}`, '')
  writeFileSync(`${lock}.${randomUUID()}`, owner(elsewhere))
  writeFileSync(`${lock}.${randomUUID()}.${randomUUID()}`, owner(elsewhere))
  const held = await take(lock)
  assert.deepEqual(readdirSync(path), ['.lock'])
  held.release()
})

test('files beside the lock that are not of its making stay', async (t) => {
  const path = scratch(t)
  for (const [name, text] of [
    ['.lock.notes', 'mine'],
    ['.lock2', owner()],
    ['other', ''],
  ] as const)
    writeFileSync(join(path, name), text)
  ;(await take(join(path, '.lock'))).release()
  assert.deepEqual(readdirSync(path).sort(), ['.lock.notes', '.lock2', 'other'])
})

test('a lock that names a living pid which began at another time is a dead one', onLinux, async (t) => {
  const lock = join(scratch(t), '.lock')
  writeFileSync(lock, owner({ pid: process.pid, start: '1' }))
  const held = await take(lock)
  assert.notEqual(JSON.parse(readFileSync(lock, 'utf8')).start, '1')
  held.release()
})

test(
  'a lock whose owner has ended, though nobody has asked for its exit status yet, is a dead one',
  onLinux,
  async (t) => {
    const lock = join(scratch(t), '.lock')
    // The cat knows nothing of the child that the shell before it had, and which ends when its own pipe does.
    const script = 'cat <&3 >/dev/null & exec 3<&-; echo $!; exec cat'
    const parent = spawn('sh', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit', 'pipe'] })
    t.after(() => parent.kill('SIGKILL'))
    const [stdin, stdout, , own] = parent.stdio as unknown as [Writable, Readable, null, Writable]
    const lines = createInterface(stdout)[Symbol.asyncIterator]()
    const pid = Number((await lines.next()).value)
    stdin.write('is the shell a cat?\n')
    await lines.next()
    own.end()
    const stat = () => readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /s, '').split(' ')
    while (stat()[0] !== 'Z') await new Promise(setImmediate)
    writeFileSync(lock, owner({ pid, start: stat()[19] }))
    const held = await take(lock)
    assert.equal(JSON.parse(readFileSync(lock, 'utf8')).pid, process.pid)
    held.release()
  },
)

test('a living owner is named with its host and the file, where the wait is over', async (t) => {
  const path = scratch(t)
  const lock = join(path, '.lock')
  const holder = await start(t, ['hold', lock], 'held')
  await assert.rejects(take(lock), (error: Error) => {
    assert.ok(failure(/is held by process/)(error))
    for (const part of [String(holder.child.pid), hostname(), lock])
      assert.ok(error.message.includes(part), `${part} in ${error.message}`)
    return true
  })
  assert.deepEqual(readdirSync(path), ['.lock'])
  holder.child.stdin.end()
  assert.equal(await holder.exit, 0)
  assert.deepEqual(readdirSync(path), [])
})

test('a lock of an owner that cannot be inspected stays, and is reported with its holder, its file and the command', async (t) => {
  const path = scratch(t)
  const lock = join(path, '.lock')
  const other = owner({ ...elsewhere, pid: 4321 })
  writeFileSync(lock, other)
  const long = new Date(Date.now() - 3_600_000)
  utimesSync(lock, long, long)
  const waits: string[] = []
  const options = { wait: Number.POSITIVE_INFINITY, waitForQuiet: 1, onWait: (wait: string) => waits.push(wait) }
  await assert.rejects(take(lock, options), (error: Error) => {
    assert.ok(failure(/^\S+\.lock is held by process 4321 on elsewhere\.example \(since 2026-03-04T05:06:07/)(error))
    assert.match(error.message, /in another container or on another machine, no sign of life for 60 min\)$/)
    assert.ok(error instanceof Failure && error.remedy?.endsWith(`rm ${lock}`))
    return true
  })
  for (const wait of waits)
    for (const part of ['4321', lock, '60 min', `rm ${lock}`]) assert.ok(wait.includes(part), part)
  assert.equal(readFileSync(lock, 'utf8'), other)
  assert.deepEqual(readdirSync(path), ['.lock'])
})

test('a lock of an earlier boot seems dead, but only of this machine', () => {
  const me: ProcessId = { pid: 9, start: '1', space: 'boot2 pid:[1]', machine: 'm', host: 'h' }
  const before = { ...me, space: 'boot1 pid:[1]' }
  assert.equal(livenessOf(before, me), 'seems dead')
  for (const other of [
    { ...before, host: 'other' },
    { ...before, machine: 'other' },
    { ...before, space: '' },
    { ...me, space: 'boot2 pid:[2]' },
  ])
    assert.equal(livenessOf(other, me), 'unknown', JSON.stringify(other))
  assert.equal(livenessOf({ ...before, machine: '' }, { ...me, machine: '' }), 'unknown')
  assert.equal(livenessOf(before, { ...me, space: '' }), 'unknown')
})

for (const [what, text] of [
  ['an empty file', ''],
  ['half of an owner', '{"pid": 12, "ho'],
  ['something that is no owner', '{"pid": 12}'],
  ['null', 'null'],
  ['an owner with a token that would lead out of the folder', owner({ token: '../../../../tmp/elsewhere' })],
] as const)
  test(`a lock that is ${what} names nobody: it is waited for, then a Failure names the file`, async (t) => {
    const path = scratch(t)
    const lock = join(path, '.lock')
    writeFileSync(lock, text)
    const waits: string[] = []
    const options = { wait: Number.POSITIVE_INFINITY, waitForQuiet: 1, onWait: (wait: string) => waits.push(wait) }
    await assert.rejects(take(lock, options), (error: Error) => {
      assert.ok(failure(/is held by another program/)(error))
      assert.ok(error.message.includes(lock))
      return true
    })
    assert.ok(waits.length <= 1)
    assert.equal(readFileSync(lock, 'utf8'), text)
    assert.deepEqual(readdirSync(path), ['.lock'])
  })

test('a lock that names nobody is taken as soon as it is gone', async (t) => {
  const lock = join(scratch(t), '.lock')
  writeFileSync(lock, '')
  const onWait = () => rmSync(lock)
  const forever = Number.POSITIVE_INFINITY
  const held = await take(lock, { wait: forever, waitForQuiet: forever, onWait })
  assert.equal(JSON.parse(readFileSync(lock, 'utf8')).pid, process.pid)
  held.release()
})

test('who waits for an owner that cannot be inspected waits while it touches the lock', async (t) => {
  const lock = join(scratch(t), '.lock')
  writeFileSync(lock, owner(elsewhere))
  let beat = 1
  const abort = new AbortController()
  const touches = setInterval(() => {
    utimesSync(lock, beat, beat)
    if (++beat === 100) abort.abort()
  }, 5)
  t.after(() => clearInterval(touches))
  const options = { wait: Number.POSITIVE_INFINITY, waitForQuiet: 1, signal: abort.signal }
  await assert.rejects(take(lock, options), { name: 'AbortError' })
})

test('an owner that can be seen to live is waited for, signs or none', async (t) => {
  const lock = join(scratch(t), '.lock')
  writeFileSync(lock, owner(thisProcess))
  const waits: string[] = []
  const onWait = (wait: string) => {
    waits.push(wait)
    setImmediate(() => rmSync(lock))
  }
  ;(await take(lock, { wait: Number.POSITIVE_INFINITY, onWait })).release()
  assert.equal(waits.length, 1)
})

test('who holds a lock gives signs of life, to the lock alone', async (t) => {
  const lock = join(scratch(t), '.lock')
  const held = await take(lock)
  const modified = () => statSync(lock).mtimeMs
  const first = modified()
  while (modified() === first) await new Promise(setImmediate)
  assert.ok(!held.lost.aborted)
  held.release()
  assert.ok(!existsSync(lock))
})

for (const [what, spoil] of [
  ['taken over', (lock: string) => writeFileSync(lock, owner(elsewhere))],
  ['removed', (lock: string) => rmSync(lock)],
] as const)
  test(`who holds a lock that is ${what} learns it`, async (t) => {
    const lock = join(scratch(t), '.lock')
    const held = await take(lock)
    spoil(lock)
    // The beat alone keeps no process alive.
    const awake = setInterval(() => {}, 1000)
    await once(held.lost, 'abort')
    clearInterval(awake)
    assert.ok(held.lost.reason instanceof Failure)
    assert.equal(held.lost.reason.code, 'lock-lost')
    held.release()
    assert.equal(existsSync(lock), what === 'taken over')
  })

test('the wait for a living owner is reported once, with its holder and the path', async (t) => {
  const lock = join(scratch(t), '.lock')
  const held = await take(lock)
  const waits: string[] = []
  const onWait = (wait: string) => {
    waits.push(wait)
    setImmediate(held.release)
  }
  const second = await take(lock, { wait: Number.POSITIVE_INFINITY, onWait })
  second.release()
  assert.equal(waits.length, 1)
  for (const part of [hostname(), lock, `ps -fp ${process.pid}`]) assert.ok(waits[0]?.includes(part), part)
})

test('only our own lock is given back', async (t) => {
  const lock = join(scratch(t), '.lock')
  const held = await take(lock)
  const other = owner(elsewhere)
  writeFileSync(lock, other)
  held.release()
  assert.equal(readFileSync(lock, 'utf8'), other)
  rmSync(lock)
  held.release()
})

test('an abort ends the wait, and leaves nothing but the lock of its owner', async (t) => {
  const path = scratch(t)
  const lock = join(path, '.lock')
  const held = await take(lock)
  const abort = new AbortController()
  const onWait = () => abort.abort()
  await assert.rejects(take(lock, { signal: abort.signal, wait: Number.POSITIVE_INFINITY, onWait }), {
    name: 'AbortError',
  })
  assert.deepEqual(readdirSync(path), ['.lock'])
  held.release()
})

test('where there is no folder for the lock a Failure names it', async (t) => {
  const lock = join(scratch(t), 'gone', '.lock')
  await assert.rejects(take(lock), (error: unknown) => error instanceof Failure && error.message.includes(lock))
  assert.ok(!existsSync(lock))
})
