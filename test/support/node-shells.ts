/** What a node may have as its sh, and scripts run in it as ssh starts them. */
import assert from 'node:assert/strict'
import { execFileSync, type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe } from 'node:test'
import { needs } from './programs.ts'

interface Kind {
  /** Of busybox there is nothing but busybox on the PATH. */
  readonly command: readonly string[]
  readonly skip: false | string
  readonly isOfShTools?: true
  /** As sh of a node. */
  readonly isRare?: true
  readonly onlyBusybox?: true
}

const kinds: Readonly<Record<string, Kind>> = {
  sh: { command: ['sh'], skip: needs('flock') },
  bash: { command: ['bash'], skip: needs('bash', 'flock'), isOfShTools: true },
  ksh: { command: ['ksh'], skip: needs('ksh', 'flock'), isOfShTools: true, isRare: true },
  zsh: { command: ['zsh'], skip: needs('zsh', 'flock'), isOfShTools: true, isRare: true },
  'busybox sh': { command: ['busybox', 'sh'], skip: needs('busybox', 'flock'), onlyBusybox: true },
}

/** What a login may have in its environment, and tools and shells would read from there. */
export const oddEnvironment = [
  'POSIXLY_CORRECT=1 TAR_OPTIONS=--to-stdout CDPATH=/ QUOTING_STYLE=c LS_COLORS=x TZ= GLOBIGNORE=*.pem GREP_OPTIONS=-n',
  'export POSIXLY_CORRECT TAR_OPTIONS CDPATH QUOTING_STYLE LS_COLORS TZ GLOBIGNORE GREP_OPTIONS',
  'set -Cfu; export SHELLOPTS; ulimit -c unlimited 2>/dev/null || :',
  '',
].join('\n')

/** In an answer that is read. */
export const nonce = '0123456789abcdef'

export interface NodeShell {
  /** `who` is for the options of the process; with `path` in front of what is found. */
  run(home: string, script: string, more?: { who?: object; path?: string }): SpawnSyncReturns<string>
  /** What it printed; it must have ended well, and complained of nothing. */
  did(home: string, script: string, more?: { who?: object; path?: string }): string
  /**
   * Of what tools do, or files are: all in sh and in busybox sh, and the first in others, which run the same tools as
   * sh.
   */
  some<T>(cases: readonly T[]): readonly T[]
}

const isLong = process.env.FUZZ_RUNS !== undefined

/** The tests, once in each shell that nodes usually have as sh; in every one by `npm run test:long`. */
export function inUsualShells(tests: (shell: NodeShell) => void): void {
  inShells(
    Object.entries(kinds).filter(([, { isRare }]) => isLong || !isRare),
    tests,
  )
}

/** The tests, once in each shell. */
export function inEachShell(tests: (shell: NodeShell) => void): void {
  inShells(Object.entries(kinds), tests)
}

function inShells(shells: readonly (readonly [title: string, kind: Kind])[], tests: (shell: NodeShell) => void): void {
  for (const [title, { command, skip, onlyBusybox, isOfShTools }] of shells)
    describe(title, { skip }, () => {
      let busybox: string
      before(() => {
        busybox = mkdtempSync(join(tmpdir(), 'harderway-test-'))
        chmodSync(busybox, 0o755)
        if (!onlyBusybox) return
        execFileSync('busybox', ['--install', '-s', busybox])
        // Alpine's has one; Debian's is built without.
        if (!existsSync(join(busybox, 'flock'))) symlinkSync('/usr/bin/flock', join(busybox, 'flock'))
      })
      after(() => rmSync(busybox, { recursive: true }))

      const run: NodeShell['run'] = (home, script, { who = {}, path } = {}) => {
        const tools = onlyBusybox ? busybox : process.env.PATH
        const [program = '', ...args] = [...(onlyBusybox ? [join(busybox, 'sh')] : command), '-s']
        return spawnSync(program, args, {
          input: script,
          cwd: home,
          encoding: 'utf8',
          timeout: 60_000,
          maxBuffer: 64 << 20,
          env: { PATH: path === undefined ? tools : `${path}:${tools}`, HOME: home },
          ...who,
        })
      }
      const did: NodeShell['did'] = (home, script, more) => {
        const { status, stdout, stderr } = run(home, script, more)
        assert.deepEqual([status, stderr], [0, ''])
        return stdout
      }
      tests({ run, did, some: (cases) => (isOfShTools ? cases.slice(0, 1) : cases) })
    })
}

export const isRoot = process.getuid?.() === 0
/** nobody: root reads and writes whatever the mode is. */
export const anybody = 65534
export const asAnybody = isRoot ? { uid: anybody, gid: anybody } : {}
