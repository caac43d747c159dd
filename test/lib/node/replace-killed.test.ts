/** A replace that is killed, with all of its shells, before each of the tools that it runs: node.sh says what that leaves. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { buildTar, lookLines, type Replacement, replaceLines } from '../../../lib/node/node.ts'
import { marksFolder, oldSuffix } from '../../../lib/node/place.ts'
import { message, readAnswer, readState } from '../../../lib/node/state.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { scratch } from '../../support/files.ts'
import { isRoot, nonce } from '../../support/node-shells.ts'
import { needs } from '../../support/programs.ts'

const { files: names } = harderWay
const [first, second] = ['.harderway-0123456789abcdef', '.harderway-fedcba9876543210'] as const
const tools = ['tar', 'sha256sum', 'sync', 'ln', 'mv', 'rm']
const own = ['ca.pem', 'worker0.pem', 'worker0-key.pem']

/** Tools that count how often one of them is run, and end the whole session before that run. */
function killingTools(t: TestContext, run: number) {
  const folder = scratch(t)
  const count = join(folder, 'count')
  writeFileSync(count, '0')
  for (const tool of tools) {
    const counted = `n=$(($(cat ${count}) + 1)); echo $n >${count}; [ $n -ne ${run} ] || kill -KILL 0`
    // What is not killed need not reach the disk.
    const real = tool === 'sync' ? ':' : `PATH=\${PATH#*:} exec ${tool} "$@"`
    writeFileSync(join(folder, tool), `#!/bin/sh\n${counted}\n${real}\n`, { mode: 0o755 })
  }
  return { PATH: `${folder}:${process.env.PATH}`, runs: () => Number(readFileSync(count, 'utf8')) }
}

/** An old file in each place but the first, and the archive of the new ones. `at`: undefined for the folder itself. */
function oldSet(t: TestContext, at?: string) {
  const home = scratch(t)
  const place = at ?? home
  for (const name of own.slice(1)) writeFileSync(join(place, name), `old ${name}`)
  const files = own.map((name) => ({
    path: at === undefined ? name : join(at, name),
    bytes: Buffer.from(`new ${name}`),
    access: { mode: 0o600 },
  }))
  const run = (script: string, PATH = String(process.env.PATH)) =>
    spawnSync('setsid', ['-w', 'sh', '-s'], {
      ...{ input: script.replaceAll(marksFolder, join(home, 'marks')), cwd: home, encoding: 'utf8' },
      env: { PATH, HOME: home },
    }).stdout
  const replace = (archive: string, PATH?: string) => {
    const look = lookLines({ directory: '~', names, expected: new Map() })
    const { files: seen, leftovers } = readState(run(message('look', look, nonce)), nonce)
    const inFolder = { unchanged: own, seen, tidied: { names, pruned: [], modes: [], leftovers } }
    const atPlaces = { sudo: '', unchanged: [], seen: new Map() }
    const change: Replacement = { folder: home, files, ...(at === undefined ? inFolder : atPlaces) }
    writeFileSync(join(home, archive), buildTar(files))
    return run(message('replace', replaceLines(change, archive), nonce), PATH)
  }
  return { home, place, replace }
}

const contentOf = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8') : undefined)

for (const [where, skip] of [
  ['in a folder', needs('setsid', 'flock')],
  ['where units read', !isRoot && "files become root's"],
] as const)
  test(`a replace ${where} that is killed at any step leaves whole files, and the next one completes`, {
    skip,
  }, (t) => {
    const isFolder = where === 'in a folder'
    const mixtures = new Set<string>()
    for (let run = 1; ; run++) {
      const { home, place, replace } = oldSet(t, isFolder ? undefined : scratch(t))
      const { PATH, runs } = killingTools(t, run)
      replace(first, PATH)
      if (runs() < run) break
      for (const name of own) {
        const path = join(place, name)
        const old = name === own[0] ? undefined : `old ${name}`
        const present = contentOf(path)
        assert.ok(present === old || present === `new ${name}`, `${name} before run ${run}: ${present}`)
        if (present !== old && old !== undefined && existsSync(join(home, first)))
          assert.equal(contentOf(path + oldSuffix), old, `before run ${run}`)
      }
      mixtures.add(own.map((name) => contentOf(join(place, name))?.slice(0, 3)).join())
      assert.equal(readAnswer(replace(second), nonce, 'replace').stopped, undefined, `before run ${run}`)
      const kept = isFolder ? [] : own.slice(1).map((name) => name + oldSuffix)
      // Of a file that came anew, the second run keeps what the first has placed.
      const left = readdirSync(place).filter((name) => !['marks', own[0] + oldSuffix].includes(name))
      assert.deepEqual(left.toSorted(), [...own, ...kept].toSorted(), `before run ${run}`)
      for (const name of own) assert.equal(contentOf(join(place, name)), `new ${name}`)
      for (const name of kept) assert.equal(contentOf(join(place, name)), `old ${name.slice(0, -oldSuffix.length)}`)
    }
    // From the old set, one file after the other, to the new one.
    assert.deepEqual([...mixtures].toSorted(), [',old,old', 'new,new,new', 'new,new,old', 'new,old,old'])
  })
