/** docs/everyday.md and docs/bad-day.md: their lines with age, as they stand there. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { chownSync, cpSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { test } from 'node:test'
import { entry, exits, makePlace, oneOfEach, writeCluster } from '../support/harderway.ts'
import { another, asAnother, needs } from '../support/programs.ts'

const root = join(dirname(entry), '..')
const pages = ['everyday', 'bad-day'].map((name) => readFileSync(join(root, `docs/${name}.md`), 'utf8')).join('')

/** The command under that heading. */
function commandUnder(heading: string): string {
  const [, section = ''] = pages.split(`# ${heading}\n`)
  const [, command = ''] = /^```sh\n(.*)\n/m.exec(section) ?? []
  assert.notEqual(command, '', heading)
  return command
}

const isRoot = process.getuid?.() === 0

/** Typed in the cluster's directory, with `harderway` on the PATH. */
function type(command: string, home: string, by: readonly string[] = []) {
  const env = { PATH: [join(root, 'bin'), process.env.PATH].join(delimiter), HOME: home }
  const [program = '', ...words] = [...by, '/bin/sh', '-c', command]
  const { status, stdout, stderr } = spawnSync(program, words, {
    ...{ cwd: join(home, 'clusters/kubenet'), env, encoding: 'utf8' },
  })
  return { status, said: stdout + stderr }
}

test('the commands that encrypt and restore auth/ work, in another home and as another user', {
  skip: needs('age', 'age-keygen', 'tar'),
}, async (t) => {
  const place = makePlace()
  const [home, elsewhere] = [join(place, 'home'), makePlace()]
  t.after(() => {
    for (const folder of [place, elsewhere]) rmSync(folder, { recursive: true, force: true })
  })
  const [ours, theirs] = [home, elsewhere].map((each) => join(each, 'clusters/kubenet')) as [string, string]
  for (const folder of [ours, theirs]) {
    mkdirSync(folder, { recursive: true })
    writeCluster(folder, oneOfEach)
  }
  await exits(0, ours, 'certs', 'kubeconfigs', 'encryption-key')

  execFileSync('age-keygen', ['-o', join(elsewhere, 'key.txt')], { stdio: 'ignore' })
  const recipient = execFileSync('age-keygen', ['-y', join(elsewhere, 'key.txt')], { encoding: 'utf8' })
  writeFileSync(join(ours, 'recipients.txt'), recipient)
  assert.equal(type(commandUnder('Back up auth/'), home).status, 0)
  cpSync(join(home, 'kubenet.tar.gz.age'), join(elsewhere, 'kubenet.tar.gz.age'))

  if (isRoot)
    for (const name of ['.', ...readdirSync(elsewhere, { recursive: true, encoding: 'utf8' })])
      chownSync(join(elsewhere, name), another, another)
  const checked = type(commandUnder('Try a backup'), elsewhere)
  // There are no such nodes.
  assert.equal(checked.status, 1, checked.said)
  assert.match(checked.said, /^would restore ca-key\.pem, ca\.pem, [\s\S]*\ncontrol0: unreachable /)
  rmSync(join(elsewhere, 'checked'), { recursive: true })
  const restored = type(commandUnder('From a backup'), elsewhere, isRoot ? asAnother : [])
  assert.equal(restored.status, 0, restored.said)
  const [before, after] = [join(ours, 'auth'), join(theirs, 'auth')]
  assert.deepEqual(readdirSync(after), readdirSync(before))
  for (const name of readdirSync(before)) {
    assert.ok(readFileSync(join(after, name)).equals(readFileSync(join(before, name))), name)
    const { mode, uid = 0 } = lstatSync(join(after, name))
    assert.deepEqual([mode, uid], [lstatSync(join(before, name)).mode, isRoot ? another : process.getuid?.()], name)
  }
})
