/**
 * A process that takes the lock of an auth/, for lock.test.ts. It prints `waiting` and `held`. `hold` keeps the lock until
 * its stdin ends; `count` adds one to the number in a file, which goes wrong where two processes do it at once; `write`
 * writes a file for each line that it is sent, named so, and prints what came of it, and `lost` when it has lost the lock.
 */
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { takeLock } from '../../lib/files/lock.ts'
import { harderWay } from '../../tasks/layouts/harder-way.ts'

const [work, path = '', counter = ''] = process.argv.slice(2)
const lock = await takeLock(path, {
  signal: new AbortController().signal,
  wait: Number.POSITIVE_INFINITY,
  waitForQuiet: Number.POSITIVE_INFINITY,
  onWait: () => process.stdout.write('waiting\n'),
})
if (work === 'hold') {
  process.stdout.write('held\n')
  for await (const _ of process.stdin);
} else if (work === 'count') {
  closeSync(openSync(`${counter}.busy`, 'wx'))
  const count = Number(readFileSync(counter, 'utf8'))
  for (let turns = 0; turns < 200; turns++) await new Promise(setImmediate)
  writeFileSync(counter, String(count + 1))
  rmSync(`${counter}.busy`)
} else {
  const auth = new AuthDir(dirname(path), harderWay.files)
  auth.beginWriting(lock.token)
  lock.lost.addEventListener('abort', () => process.stdout.write('lost\n'))
  process.stdout.write('held\n')
  for await (const name of createInterface(process.stdin)) process.stdout.write(`${write(auth, name)}\n`)
}
lock.release()

function write(auth: AuthDir, name: string): string {
  try {
    auth.write(name, 'late', 0o600)
    return 'written'
  } catch (error) {
    return String(error)
  }
}
