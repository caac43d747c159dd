/**
 * For deploy-faults.test.ts, in a mount namespace of its own: of seven nodes two have a home on a small disk, which is
 * full at first and read-only then. Ends with an AssertionError where a run does not say so.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fill } from './full-disk.ts'
import { assertTwoFail, makeSevenNodes } from './seven-nodes.ts'

const two = ['control1', 'worker0'] as const
const homes: string[] = []
const eachHome = (program: string, ...args: string[]) => {
  for (const home of homes) execFileSync(program, [...args, home], { stdio: 'inherit' })
}

const seven = await makeSevenNodes((path) => {
  homes.push(...two.map((name) => join(path, 'lab', name, 'home')))
  for (const home of homes) mkdirSync(home, { recursive: true })
  eachHome('mount', '-t', 'tmpfs', '-o', 'size=512k', 'none')
  return []
})
try {
  seven.empty()
  const theirs = homes.map((home) => join(home, 'theirs'))
  for (const file of theirs) fill(file, 1)
  await assertTwoFail(seven, {
    two,
    words: 'no space',
    remedy: /free some space there/,
    mend: () => {
      for (const file of theirs) rmSync(file)
    },
  })
  seven.empty()
  eachHome('mount', '-o', 'remount,ro')
  await assertTwoFail(seven, {
    two,
    words: 'read-only',
    remedy: /see why the file system is read-only/,
    mend: () => eachHome('mount', '-o', 'remount,rw'),
  })
} finally {
  await seven.lab.stop()
  eachHome('umount')
  await seven[Symbol.asyncDispose]()
}
