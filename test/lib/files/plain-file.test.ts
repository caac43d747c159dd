import assert from 'node:assert/strict'
import { mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeFolders } from '../../../lib/files/plain-file.ts'
import { scratch } from '../../support/files.ts'

test('a folder is made with what is above it, each with the mode', (t) => {
  const place = scratch(t)
  assert.equal(makeFolders(join(place, 'a/b/c'), 0o700), true)
  for (const path of ['a', 'a/b', 'a/b/c']) assert.equal(statSync(join(place, path)).mode & 0o777, 0o700)
  assert.equal(makeFolders(join(place, 'a/b/c'), 0o700), false)
  mkdirSync(join(place, 'theirs'))
  symlinkSync('theirs', join(place, 'link'))
  assert.equal(makeFolders(join(place, 'link/d')), true)
  assert.equal(makeFolders(join(place, 'link')), false)
})

test('what stands in the way is an error', (t) => {
  const place = scratch(t)
  writeFileSync(join(place, 'file'), '')
  symlinkSync('nowhere', join(place, 'dangling'))
  assert.throws(() => makeFolders(join(place, 'file')), { code: 'EEXIST' })
  assert.throws(() => makeFolders(join(place, 'file/a')), { code: 'EEXIST' })
  assert.throws(() => makeFolders(join(place, 'dangling')), { code: 'EEXIST' })
  assert.throws(() => makeFolders(join(place, 'dangling/a/b')), { code: 'EEXIST' })
})

test('a file system in which no folder can be made is an error, not a loop', {
  skip: process.platform !== 'linux' && 'there is no /proc',
}, () => {
  assert.throws(() => makeFolders('/proc/none'), { code: 'ENOENT' })
  assert.throws(() => makeFolders('/proc/none/a/b'), { code: 'ENOENT' })
})
