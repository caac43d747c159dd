import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Failure } from '../../lib/failure.ts'
import { copyFile, runScript, spawn } from '../../lib/process.ts'
import { scratch } from '../support/files.ts'
import { needs } from '../support/programs.ts'

const { signal } = new AbortController()

test('ssh reads a script from its input, scp copies a file by SFTP, and each value is one word', async (t) => {
  const folder = scratch(t)
  const tell = '#!/bin/sh\nfor word do echo "$word"; done\n'
  writeFileSync(join(folder, 'ssh'), `${tell}cat\n`, { mode: 0o700 })
  writeFileSync(join(folder, 'scp'), tell, { mode: 0o700 })
  const how = { cwd: folder, env: { PATH: `${folder}:${process.env.PATH}` }, signal }
  const destination = { host: 'fd00::1', options: ['-o', 'User=a b'] }
  const ran = await runScript(destination, 'a script', how)
  assert.deepEqual(ran.lines(), [
    '-o',
    'SessionType=default',
    ...destination.options,
    '--',
    'fd00::1',
    'sh',
    '-s',
    'a script',
  ])
  const copied = await copyFile(destination, '/a $HOME', '/b', how)
  assert.deepEqual(copied.lines(), ['-s', '-q', ...destination.options, '--', '/a $HOME', '[fd00::1]:/b'])
})

test('an ssh that is not there is reported as such, with what to do', async (t) => {
  await assert.rejects(spawn({ cwd: '/', env: { PATH: scratch(t) }, signal })`ssh -V`, (error) => {
    assert.ok(error instanceof Failure)
    assert.equal(error.message, "can't start ssh: it is not in PATH")
    assert.match(String(error.remedy), /command -v ssh/)
    return true
  })
})

test('a status of 127 is the node’s where ssh is there', { skip: needs('ssh') }, async () => {
  const { exitCode } = await spawn({ cwd: '/', env: process.env, signal })`sh -c ${'exit 127'}`
  assert.equal(exitCode, 127)
})

test('what ssh holds comes into no core file', { skip: needs('prlimit') }, () => {
  const code = `const { spawn } = await import(process.argv[1])
const { signal } = new AbortController()
console.log((await spawn({ cwd: '/', env: process.env, signal })\`sh -c 'ulimit -c'\`).stdout)`
  const module = new URL('../../lib/process.ts', import.meta.url).href
  const words = ['--core=unlimited', process.execPath, '--input-type=module', '-e', code, module]
  assert.equal(execFileSync('prlimit', words, { encoding: 'utf8' }).trim(), '0')
})
