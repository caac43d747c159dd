/**
 * For disk.test.ts, in a mount namespace of its own: the home of control0 is a small disk that gets full, and has more
 * and more room at each further try, and is read-only at last. Prints what each try said of it; ends with an
 * AssertionError where something is lost.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fill } from './full-disk.ts'
import { assertComplete, assertKept, assertNothingHalf, readIdentity } from './invariants.ts'
import { makeThreeNodes } from './labs.ts'
import { start } from './process.ts'

let home = ''
const place = await makeThreeNodes((path) => {
  home = join(path, 'lab/control0/home')
  mkdirSync(home, { recursive: true })
  execFileSync('/bin/sh', ['-c', `mount -t tmpfs -o size=512k none ${home}`])
  return { name: 'control0' }
})
try {
  for (const pages of [0, 2, 18, 'read-only'] as const) {
    place.reset('changed')
    const identity = readIdentity(place)
    if (pages !== 'read-only') fill(join(home, 'theirs'), pages)
    else execFileSync('/bin/sh', ['-c', `exec mount -o remount,ro ${home}`])
    const { status, stdout, stderr } = await start(place.path, ['bootstrap', '--json']).ended
    const failed = stdout.split('\n').find((line) => line.startsWith('{"type":"failed"'))
    const said = failed === undefined ? undefined : JSON.parse(failed)
    process.stdout.write(`${JSON.stringify({ pages, status, id: said?.id, message: said?.message })}\n`)
    assert.equal(stderr, '')
    assertNothingHalf(place, 'changed')
    assert.deepEqual(
      readdirSync(home).filter((name) => name.startsWith('.harderway-')),
      [],
      `with ${pages} pages left`,
    )
    if (pages !== 'read-only') rmSync(join(home, 'theirs'))
    else execFileSync('/bin/sh', ['-c', `exec mount -o remount,rw ${home}`])
    const next = await start(place.path, ['bootstrap']).ended
    assert.equal(next.status, 0, next.stdout + next.stderr)
    assertComplete(place)
    assertKept(identity, place, readIdentity(place))
  }
} finally {
  await place.lab.stop()
  execFileSync('/bin/sh', ['-c', `umount ${home}`])
  await place[Symbol.asyncDispose]()
}
