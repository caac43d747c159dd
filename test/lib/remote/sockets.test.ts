import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { thisProcess } from '../../../lib/files/process-id.ts'
import { makeSocketFolder } from '../../../lib/remote/ssh.ts'
import { scratch } from '../../support/scratch.ts'

/** A folder for temporary files, with a folder of a run in it that says it is this one's. */
function temporaryWith(t: TestContext, owner: string | undefined, more: readonly string[] = []): string {
  const folder = scratch(t)
  const left = join(folder, 'harderway-7-AbCdEf')
  mkdirSync(left)
  if (owner !== undefined) symlinkSync(owner, join(left, 'owner'))
  for (const name of more) writeFileSync(join(left, name), '')
  return folder
}

const dead = { ...thisProcess, pid: spawnSync('true').pid, start: '1' }

test('the folder of a run that is dead is removed', (t) => {
  const folder = temporaryWith(t, JSON.stringify(dead))
  const made = makeSocketFolder(folder)
  assert.deepEqual(readdirSync(folder), [basename(made)])
})

test('one that was ended before it said whose it is, is empty, and is removed', (t) => {
  const folder = temporaryWith(t, undefined)
  const made = makeSocketFolder(folder)
  assert.deepEqual(readdirSync(folder), [basename(made)])
})

for (const [whose, owner, more] of [
  ['a run that lives', JSON.stringify(thisProcess)],
  ['a run in another container', JSON.stringify({ ...dead, space: `${dead.space} too` })],
  ['nobody, with a file in it', undefined, ['notes']],
  ['something else', '{}'],
  ['a dead run, with a file in it that is none of ours', JSON.stringify(dead), ['notes']],
] as const)
  test(`the folder of ${whose} stays`, (t) => {
    const folder = temporaryWith(t, owner, more)
    makeSocketFolder(folder)
    assert.ok(readdirSync(folder).includes('harderway-7-AbCdEf'))
  })

test('if none can be made, that is reported once for all nodes, with a remedy', (t) => {
  const folder = join(temporaryWith(t, undefined), 'gone')
  assert.throws(
    () => makeSocketFolder(folder),
    (error) => {
      assert.ok(error instanceof Failure)
      assert.match(error.message, /^can't make a folder in \S+\/gone: no such file or directory$/)
      assert.deepEqual([error.shared?.what, error.shared?.who], [error.message, 'this machine'])
      assert.match(String(error.remedy), /TMPDIR=/)
      return true
    },
  )
})
