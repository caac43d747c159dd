/** An auth/ of which git tracks a file: whoever may commit would choose the CA. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { fakeTool, scratch, stateOf } from '../support/files.ts'
import { copyPlace, exits, madePlace, oneOfEach } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

const local = ['certs', 'kubeconfigs', 'encryption-key'] as const

describe('an auth/ of which git tracks a file', { skip: needs('git') }, () => {
  const origin = madePlace(oneOfEach, ...local)

  function inTree(t: TestContext) {
    const { place, auth } = copyPlace(t, origin, oneOfEach)
    const git = (...args: string[]) => execFileSync('git', args, { cwd: place, stdio: 'pipe' })
    git('init', '-q')
    return { place, auth, git }
  }

  test('is refused by each command that reads a key, until the printed command is run; nothing is changed', async (t) => {
    const { place, auth, git } = inTree(t)
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

  test('is looked for without a program that the repository names', async (t) => {
    const { place, git } = inTree(t)
    const ran = join(place, 'was-run')
    const program = join(place, 'program')
    writeFileSync(program, `#!/bin/sh\n: > ${ran}\n`)
    chmodSync(program, 0o755)
    git('add', '-f', 'auth/ca.pem')
    git('config', 'core.fsmonitor', program)
    await exits(3, place, 'status')
    assert.ok(!existsSync(ran))
  })

  test('is refused where git does not answer; but where there is no repository git is not needed', async (t) => {
    const { place, auth } = inTree(t)
    const failing = fakeTool(t, 'git', 'echo "fatal: bad index" >&2; exit 128')
    const { stderr } = await exits(3, { place, env: { PATH: `${failing}:${process.env.PATH}` } }, 'status')
    assert.match(stderr, /can't tell whether git tracks files in \S+auth \(fatal: bad index\)/)
    const env = { PATH: scratch(t) }
    await exits(3, { place, env }, 'status')
    rmSync(join(place, '.git'), { recursive: true })
    await exits(0, { place, env }, ...local)
    assert.ok(existsSync(join(auth, 'ca.pem')))
  })
})
