import assert from 'node:assert/strict'
import { lstatSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { makeSocketFolder } from '../../../lib/node/ssh.ts'
import { scratch } from '../../support/files.ts'

test('each run has a folder of its own, which nobody else can enter', (t) => {
  const folder = scratch(t)
  const made = [makeSocketFolder(folder), makeSocketFolder(folder)]
  assert.deepEqual(readdirSync(folder).toSorted(), made.map((each) => basename(each)).toSorted())
  for (const each of made) assert.equal(lstatSync(each).mode & 0o777, 0o700)
})

test('if none can be made, the message names the path', (t) => {
  const message = /^can't make the folder \S+\/gone\/harderway-\d+-XXXXXX: no such file or directory$/
  assert.throws(() => makeSocketFolder(join(scratch(t), 'gone')), { name: 'Failure', code: 'enoent', message })
})
