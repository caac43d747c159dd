import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { Failure } from '../../../lib/failure.ts'
import { type LockOptions, takeLock } from '../../../lib/files/lock.ts'
import { scratch } from '../../support/files.ts'

const onLinux = process.platform === 'linux' ? {} : { skip: 'only Linux tells when a process began' }

function take(path: string, options: Partial<LockOptions> = {}) {
  return takeLock(path, { signal: new AbortController().signal, wait: 0, onWait: () => {}, ...options })
}

function place(t: TestContext) {
  const auth = join(scratch(t), 'auth')
  mkdirSync(auth)
  const counter = join(auth, '../counter')
  writeFileSync(counter, '0')
  return { auth, counter, lock: join(auth, '.lock') }
}

const modulePath = JSON.stringify(pathToFileURL(join(import.meta.dirname, '../../../lib/files/lock.ts')).href)

/**
 * Holds the lock until its stdin ends or, given a counter, adds one to it, which goes wrong where two do it at once.
 */
const locker = `import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { takeLock } from ${modulePath}
const [path, counter] = process.argv.slice(1)
const onWait = () => process.stdout.write('waiting\\n')
const lock = await takeLock(path, { signal: new AbortController().signal, wait: Infinity, onWait })
if (counter) {
  closeSync(openSync(counter + '.busy', 'wx'))
  const count = Number(readFileSync(counter, 'utf8'))
  for (let turns = 0; turns < 200; turns++) await new Promise(setImmediate)
  writeFileSync(counter, String(count + 1))
  rmSync(counter + '.busy')
} else {
  process.stdout.write('held\\n')
  for await (const _ of process.stdin);
}
lock.release()`

/** A process that takes the lock. */
function start(t: TestContext, ...files: readonly string[]) {
  const args = ['--input-type=module', '-e', locker, ...files]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const exit = once(child, 'exit').then(([code]) => code as number | null)
  return { child, exit, line: async () => (await lines.next()).value }
}

/** What a lock of this process says of it. */
const thisProcess = await (async () => {
  const path = join(tmpdir(), `${randomUUID()}.lock`)
  const held = await take(path)
  const { token: _, since: __, ...own } = JSON.parse(readFileSync(path, 'utf8'))
  held.release()
  return own as Record<'pid' | 'start' | 'space' | 'machine' | 'host', string>
})()

/** Where a process can't be looked at from here. */
const elsewhere = { host: 'elsewhere.example', space: 'another' }
const endedPid = () => spawnSync('true').pid
const ownerText = (facts: object = {}) =>
  JSON.stringify({ ...thisProcess, pid: endedPid(), token: randomUUID(), since: '2026-03-04T05:06:07.000Z', ...facts })

test('a lock is a private file that names its owner, gone with everything else when it is given back', async (t) => {
  const { auth, lock } = place(t)
  const held = await take(lock)
  assert.deepEqual(readdirSync(auth), ['.lock'])
  assert.equal(statSync(lock).mode & 0o777, 0o600)
  assert.equal(JSON.parse(readFileSync(lock, 'utf8')).pid, process.pid)
  held.release()
  assert.deepEqual(readdirSync(auth), [])
  ;(await take(lock)).release()
})

test('the lock of a killed process is taken over by one after the other of those that wait', onLinux, async (t) => {
  const { auth, counter, lock } = place(t)
  const holder = start(t, lock)
  assert.equal(await holder.line(), 'held')
  const takers = Array.from({ length: 12 }, () => start(t, lock, counter))
  for (const { line } of takers) assert.equal(await line(), 'waiting')
  holder.child.kill('SIGKILL')
  assert.deepEqual(new Set(await Promise.all(takers.map(({ exit }) => exit))), new Set([0]))
  assert.equal(readFileSync(counter, 'utf8'), '12')
  assert.deepEqual(readdirSync(auth), [])
})

test('a process that was killed while it took over a dead lock keeps nobody from it', async (t) => {
  const { auth, lock } = place(t)
  const dead = ownerText()
  writeFileSync(lock, dead)
  writeFileSync(join(auth, `.tmp-${JSON.parse(dead).token}.lock`), ownerText())
  ;(await take(lock)).release()
  assert.deepEqual(readdirSync(auth), [])
})

test(
  'an owner is dead if no such process is there, or this machine has been started again since',
  onLinux,
  async (t) => {
    const { lock } = place(t)
    const earlier = { space: 'boot1 pid:[4026531836]', machine: thisProcess.machine || 'none' }
    const ofThisBoot = (space: string) => ({ space: `${thisProcess.space.split(' ')[0]} ${space}` })
    const table = [
      ['dead', { pid: endedPid() }],
      ['dead', { pid: process.pid, start: '1' }],
      [thisProcess.machine === '' ? 'held' : 'dead', earlier],
      ['held', thisProcess],
      ['held', { ...earlier, host: 'other' }],
      ['held', { ...earlier, machine: 'other' }],
      ['held', { ...earlier, machine: '' }],
      ['held', { space: '' }],
      ['held', ofThisBoot('pid:[2]')],
    ] as const
    for (const [liveness, facts] of table) {
      writeFileSync(lock, ownerText(facts))
      const taken = take(lock)
      if (liveness === 'held') await assert.rejects(taken, { code: 'locked' }, JSON.stringify(facts))
      else (await taken).release()
    }
  },
)

for (const [what, text, named] of [
  [
    'a living process',
    ownerText(thisProcess),
    new RegExp(`process ${process.pid} on ${hostname()}(?:.|\n)* kill ${process.pid}\\)?$`),
  ],
  [
    'a process elsewhere',
    ownerText({ ...elsewhere, pid: 4321 }),
    /process 4321 on elsewhere\.example \(since 2026-03[\s\S]* rm /,
  ],
  ['kubectl, which writes nothing into it', '', /another program[\s\S]* rm /],
  [
    'a token that would lead out of the folder',
    ownerText({ token: '../../../../tmp/elsewhere' }),
    /another program[\s\S]* rm /,
  ],
] as const)
  test(`a lock of ${what} is not taken over: its holder, the file and a command are named`, async (t) => {
    const { auth, lock } = place(t)
    writeFileSync(lock, text)
    await assert.rejects(take(lock), (error) => {
      assert.ok(error instanceof Failure && error.code === 'locked')
      assert.ok(error.message.startsWith(`${lock} is held by `))
      assert.match(`${error.message} ${error.remedy}`, named)
      return true
    })
    assert.equal(readFileSync(lock, 'utf8'), text)
    assert.deepEqual(readdirSync(auth), ['.lock'])
    const waits: string[] = []
    const onWait = (message: string) => {
      waits.push(message)
      rmSync(lock)
    }
    ;(await take(lock, { wait: Number.POSITIVE_INFINITY, onWait })).release()
    const [said = '', ...more] = waits
    assert.ok(said.includes(lock))
    assert.match(said, named)
    assert.deepEqual(more, [])
  })

test('an owner that can not be inspected is waited for during ten seconds, and a living one for as long as it lives', async (t) => {
  const { lock } = place(t)
  const abort = new AbortController()
  let now = 0
  t.mock.method(performance, 'now', () => {
    now += 6000
    if (now > 60_000) abort.abort()
    return now
  })
  const waiting = { signal: abort.signal, wait: Number.POSITIVE_INFINITY }
  const text = ownerText(elsewhere)
  writeFileSync(lock, text)
  await assert.rejects(take(lock, waiting), { code: 'locked' })
  assert.equal(now, 18_000)
  assert.equal(readFileSync(lock, 'utf8'), text)
  rmSync(lock)
  const held = await take(lock)
  await assert.rejects(take(lock, waiting), { name: 'AbortError' })
  held.release()
})

test('only our own lock is given back', async (t) => {
  const { lock } = place(t)
  const held = await take(lock)
  const other = ownerText(elsewhere)
  writeFileSync(lock, other)
  held.release()
  assert.equal(readFileSync(lock, 'utf8'), other)
  rmSync(lock)
  held.release()
})
