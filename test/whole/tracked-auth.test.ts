/** An auth/ of which git tracks a file: whoever may commit would choose the CA. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { stateOf } from '../support/files.ts'
import { copyPlace, exits, madePlace, oneOfEach } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

const local = ['certs', 'kubeconfigs', 'encryption-key'] as const
const origin = madePlace(oneOfEach, ...local)

test('it is refused by each command that reads a key, until the printed command is run; nothing is changed', {
  skip: needs('git'),
}, async (t) => {
  const { place, auth } = copyPlace(t, origin, oneOfEach)
  const git = (...args: string[]) => execFileSync('git', args, { cwd: place, stdio: 'pipe' })
  git('init', '-q')
  writeFileSync(join(auth, 'ca-next.pem'), 'of somebody else')
  git('add', '-f', 'auth/ca-next.pem')
  const before = stateOf(auth)
  for (const args of [
    [...local],
    ['certs', '--dry-run'],
    ['status'],
    ['verify'],
    ['report'],
    ['recover', '--node', 'control0'],
  ]) {
    const { stderr } = await exits(3, place, ...args)
    assert.match(stderr, /git tracks ca-next\.pem in /, args.join(' '))
  }
  const [, command = ''] = /^ +(git -C \S+ rm .*)$/m.exec((await exits(3, place, 'status')).stderr) ?? []
  execFileSync('sh', ['-c', command])
  assert.deepEqual(stateOf(auth), before)
  rmSync(join(auth, 'ca-next.pem'))
  git('add', '-f', 'auth/.gitignore')
  await exits(0, place, ...local)
})
