import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { isErrno } from '../../lib/failure.ts'
import { assertComplete, assertKept, assertNothingHalf, readIdentity } from '../support/invariants.ts'
import { makeThreeNodes, stoppedCommand, type ThreeNodes } from '../support/labs.ts'
import { type Started, sshProcesses, start } from '../support/process.ts'
import { eventually, eventuallyNone, needs } from '../support/programs.ts'

const skip = process.platform === 'linux' ? needs('sshd', 'ssh', 'scp', 'mkfifo') : 'finds processes in /proc'
const names = ['control0', 'worker0', 'gateway']
/** One SIGINT, and SIGTERM: below, at other moments. */
const signals = [
  [['SIGINT', 'SIGINT'], 130],
  [['SIGHUP'], 129],
] as const

describe('a deploy that stands still on one of three nodes', { skip, timeout: 900_000 }, () => {
  let place: ThreeNodes
  let gate: Gate

  before(async () => {
    place = await makeThreeNodes((path) => {
      gate = new Gate(join(path, 'gate'))
      return { name: 'control0', relay: {}, env: { PATH: `${gate.programs}:${process.env.PATH}` } }
    })
  })
  after(() => place[Symbol.asyncDispose]())
  beforeEach(() => {
    gate.open()
    place.lab.relay('control0').behave({})
    place.reset('changed')
  })

  const bootstrap = () => start(place.path, stoppedCommand.changed)

  /** Nothing of the run is left, and the next one completes. */
  async function assertTidy(before: ReturnType<typeof readIdentity>, pid: number): Promise<void> {
    await eventuallyNone(() => sshProcesses(place.path, { pid }))
    assertNothingHalf(place, 'changed')
    assertKept(before, place, readIdentity(place))
    assert.deepEqual(
      readdirSync(place.auth).filter((name) => name.startsWith('.')),
      ['.gitignore'],
    )
    await eventuallyNone(() => stagingOf(place, names))
    await assertNextCompletes(before)
  }

  async function assertNextCompletes(before: ReturnType<typeof readIdentity>): Promise<void> {
    gate.open()
    place.lab.relay('control0').behave({})
    const next = await start(place.path, ['bootstrap', '--json']).ended
    assert.equal(next.status, 0, next.stdout + next.stderr)
    assertComplete(place)
    assertKept(before, place, readIdentity(place))
  }

  /** A run whose control0 waits for tar in the middle of the swap, with ssh and its master at work. */
  async function startAndReach(): Promise<Started> {
    gate.close('tar')
    const run = bootstrap()
    await gate.reached()
    return run
  }

  for (const [sent, status] of signals)
    test(`${sent.join(' and ')} in the middle of the swap exits with ${status}, and leaves no process and no copied file`, async () => {
      const identity = readIdentity(place)
      const run = await startAndReach()
      assert.ok(sshProcesses(place.path, { pid: run.pid, masters: false }).length > 0)
      assert.ok(sshProcesses(place.path, { pid: run.pid }).length > 1)
      for (const signal of sent) run.child.kill(signal)
      const ended = await run.ended
      assert.deepEqual([ended.status, ended.stderr], [status, ''])
      assert.match(ended.stdout, /^{"type":"skipped","id":"deploy\/control0"/m)
      assert.match(ended.stdout, new RegExp(`"exit":${status},[^\n]*}\n$`))
      await assertTidy(identity, run.pid)
    })

  test('SIGTERM while a node goes dark in the middle of the copy ends the run, and the next one tidies that node up', async () => {
    const identity = readIdentity(place)
    const relay = place.lab.relay('control0')
    // A copy takes many round trips: it can't be over when it is seen to have begun.
    relay.behave({ delayMs: 40 })
    const { sessions } = await place.lab.node('control0').counts()
    const run = bootstrap()
    const isCopying = async () => (await place.lab.node('control0').counts()).sessions >= sessions + 2
    await eventually(async () => assert.ok(await isCopying(), 'nothing is copied'))
    relay.behave({ hang: true })
    run.child.kill('SIGTERM')
    assert.equal((await run.ended).status, 143)
    await eventuallyNone(() => sshProcesses(place.path, { pid: run.pid }))
    assertNothingHalf(place, 'changed')
    await eventuallyNone(() => stagingOf(place, ['worker0', 'gateway']))
    await assertNextCompletes(identity)
  })

  test('a stdout that is closed in the middle of a deploy ends it with 141, and leaves no process and no copied file', async () => {
    const identity = readIdentity(place)
    // The next thing it has to tell is what became of control0, unless another node's end comes first.
    const run = await startAndReach()
    run.child.stdout.destroy()
    await once(run.child.stdout, 'close')
    gate.open()
    assert.equal((await run.ended).status, 141)
    await assertTidy(identity, run.pid)
  })

  test('a swap that was moving files when the run was ended has moved all of them or none', async () => {
    const identity = readIdentity(place)
    gate.close('mv')
    const run = bootstrap()
    await gate.reached()
    run.child.kill('SIGINT')
    assert.equal((await run.ended).status, 130)
    await gate.passed()
    assertNothingHalf(place, 'changed')
    await assertTidy(identity, run.pid)
  })

  test('Ctrl-C in the middle of the swap exits with 130, shows what was skipped, and leaves no process', {
    skip: skip || needs('script'),
  }, async () => {
    const identity = readIdentity(place)
    gate.close('tar')
    const run = start(place.path, ['bootstrap', '--force'], {
      through: (command) => ['script', '-qec', `stty rows 24 cols 80; ${command}`, '/dev/null'],
      env: { TERM: 'xterm-256color' },
    })
    await gate.reached()
    const pid = Number(JSON.parse(readFileSync(join(place.auth, '.lock'), 'utf8')).pid)
    run.child.stdin.write('\x03')
    const { status, stdout } = await run.ended
    assert.equal(status, 130)
    assert.match(stdout, /Deploy to nodes.*(skipped|interrupted)/)
    assert.match(
      stdout.replaceAll(/\s+/g, ' '),
      /early; every file is whole; continue with:\s+npm run bootstrap \d+ targets/,
    )
    assert.ok(stdout.lastIndexOf('\x1b[?25h') > stdout.lastIndexOf('\x1b[?25l'), 'the cursor is not shown again')
    await assertTidy(identity, pid)
  })
})

function stagingOf({ lab }: ThreeNodes, nodes: readonly string[]): string[] {
  return nodes.flatMap((name) => readdirSync(lab.node(name).home).filter((each) => each.includes('.harderway-')))
}

/** Programs of a node that stand still until they may go on. */
class Gate {
  /** For the node's PATH. */
  readonly programs: string
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
    this.programs = join(folder, 'bin')
    mkdirSync(this.programs, { recursive: true })
    for (const name of ['reached', 'passed']) spawnSync('mkfifo', [join(folder, name)])
    this.#write('tar', 'reach tar; exec "$real" "$@"')
    // One file is moved; then, for a second, the others wait.
    this.#write(
      'mv',
      `"$real" "$@"
case "$*" in *.harderway-new*) ;; *) exit ;; esac
if shut mv && [ ! -e ${folder}/moved ]; then echo > ${folder}/moved; reach mv /; fi`,
    )
    this.#write('sync', `"$real" "$@"; case "$*" in '-- .') if shut mv; then echo > ${folder}/passed; fi ;; esac`)
  }

  #write(name: string, body: string): void {
    const real = ['/usr/bin', '/bin'].map((bin) => join(bin, name)).find(existsSync)
    const text = `#!/bin/sh
real=${real}
shut() { [ -e ${this.#folder}/shut-$1 ]; }
reach() {
  shut "$1" || return 0
  echo > ${this.#folder}/reached
  n=0
  while shut "$1" && [ $n -lt 50 ] && [ -e "\${2:-/}" ]; do sleep 0.02; [ -z "$2" ] || n=$((n + 1)); done
}
${body}
`
    writeFileSync(join(this.programs, name), text, { mode: 0o755 })
  }

  close(program: 'tar' | 'mv'): void {
    writeFileSync(join(this.#folder, `shut-${program}`), '')
  }

  open(): void {
    for (const file of ['shut-tar', 'shut-mv', 'moved']) rmSync(join(this.#folder, file), { force: true })
  }

  /** Resolves when a program of the node stands still. */
  async reached(): Promise<void> {
    await this.#told('reached')
  }

  /** Resolves when all files were moved. */
  async passed(): Promise<void> {
    await this.#told('passed')
  }

  /** Not by a read that blocks: a thread that waits in open(2) can't be ended, and so its process can't. */
  async #told(name: string): Promise<void> {
    const fd = openSync(join(this.#folder, name), constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      await eventually(() => assert.ok(hasBytes(fd), `no program has ${name}`))
    } finally {
      closeSync(fd)
    }
  }
}

/** Of a pipe; none where nobody writes, or has written yet. */
function hasBytes(fd: number): boolean {
  try {
    return readSync(fd, Buffer.alloc(64)) > 0
  } catch (error) {
    if (isErrno(error, 'EAGAIN')) return false
    throw error
  }
}
