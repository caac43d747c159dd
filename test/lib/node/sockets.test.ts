import assert from 'node:assert/strict'
import { lstatSync, readdirSync, rmdirSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { test } from 'node:test'
import { makeSocketFolder } from '../../../lib/node/ssh.ts'
import { scratch } from '../../support/files.ts'

test('each run has a folder of its own, which nobody else can enter', (t) => {
  const folder = scratch(t)
  const made = [makeSocketFolder(folder), makeSocketFolder(folder)]
  assert.deepEqual(readdirSync(folder).toSorted(), made.map((each) => basename(each)).toSorted())
  for (const each of made) assert.equal(lstatSync(each).mode & 0o777, 0o700)
})

test('it is in TMPDIR where that exists and the path leaves room for what ssh appends, else in /tmp', () => {
  for (const bad of [
    '/var/folders/zz/none/T',
    '/dev/null',
    `/${'x'.repeat(60)}`,
    '/tmp/a b',
    '/tmp/%h',
    '/tmp/$' + '{HOME}',
  ]) {
    const made = makeSocketFolder(bad)
    rmdirSync(made)
    assert.equal(dirname(made), '/tmp')
  }
})
