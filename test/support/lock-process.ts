/**
 * A process that takes a lock, for lock.test.ts. It prints `waiting` and `held`. `hold` keeps the lock until its stdin
 * ends; `count` adds one to the number in a file, which goes wrong where two processes do it at once.
 */
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { takeLock } from '../../lib/files/lock.ts'

const [work, lock = '', counter = ''] = process.argv.slice(2)
const release = await takeLock(lock, {
  signal: new AbortController().signal,
  wait: Number.POSITIVE_INFINITY,
  waitForNameless: 0,
  onWait: () => process.stdout.write('waiting\n'),
})
process.stdout.write('held\n')
if (work === 'hold') for await (const _ of process.stdin);
else {
  closeSync(openSync(`${counter}.busy`, 'wx'))
  const count = Number(readFileSync(counter, 'utf8'))
  await new Promise(setImmediate)
  writeFileSync(counter, String(count + 1))
  rmSync(`${counter}.busy`)
}
release()
