import assert from 'node:assert/strict'
import { lstatSync, readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { test } from 'node:test'
import { makeSocketFolder } from '../../../lib/node/ssh.ts'
import { scratch } from '../../support/files.ts'

test('each run has a folder of its own, which nobody else can enter', (t) => {
  const folder = scratch(t)
  const made = [makeSocketFolder(folder), makeSocketFolder(folder)]
  assert.deepEqual(readdirSync(folder).toSorted(), made.map((each) => basename(each)).toSorted())
  for (const each of made) assert.equal(lstatSync(each).mode & 0o777, 0o700)
})
