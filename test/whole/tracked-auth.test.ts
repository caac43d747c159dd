/** An auth/ of which git tracks a file: whoever may commit would choose the CA. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { fakeTool, scratch, stateOf } from '../support/files.ts'
import { copyPlace, exits, madePlace, oneOfEach } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

const local = ['certs', 'kubeconfigs', 'encryption-key'] as const

describe('an auth/ of which git tracks a file', { skip: needs('git') }, () => {
  const origin = madePlace(oneOfEach, ...local)

  const gitIn =
    (cwd: string) =>
    (...args: string[]) =>
      execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@localhost', ...args], { cwd, stdio: 'pipe' })

  /** In a repository that has cluster.yaml. */
  function inTree(t: TestContext) {
    const { place, auth } = copyPlace(t, origin, oneOfEach)
    const git = gitIn(place)
    git('init', '-q')
    git('add', 'cluster.yaml')
    const commit = (...files: string[]) => {
      if (files.length > 0) git('add', '-f', ...files)
      git('commit', '-qm', 'a change')
    }
    return { place, auth, git, commit }
  }

  const refused = async (place: string, ...args: string[]) => {
    const { stderr } = await exits(3, place, ...args)
    return stderr
  }

  function untrackAsPrinted(said: string): void {
    const [, command = ''] = /: (git -C \S+ rm .* --cached .*)$/m.exec(said) ?? []
    execFileSync('sh', ['-c', command])
  }

  test('that is ours by its name is refused by each command that reads a key, and nothing is changed', async (t) => {
    const { place, auth, commit } = inTree(t)
    for (const file of ['ca-next.pem', 'ca-next-key.pem']) writeFileSync(join(auth, file), 'of somebody else')
    commit('auth/ca-next.pem', 'auth/ca-next-key.pem')
    const before = stateOf(auth)
    for (const args of [
      [...local],
      ['certs', '--dry-run'],
      ['status'],
      ['verify'],
      ['report'],
      ['recover', '--node', 'control0'],
    ]) {
      const said = await refused(place, ...args)
      assert.match(said, /git tracks ca-next-key\.pem, ca-next\.pem in /, args.join(' '))
      assert.match(said, /A key that may have leaked/)
    }
    assert.deepEqual(stateOf(auth), before)
  })

  test('is used again after the printed command, and once the file is gone that somebody else has committed', async (t) => {
    const { place, auth, git, commit } = inTree(t)
    commit('auth')
    const before = stateOf(auth)
    const said = await refused(place, ...local)
    untrackAsPrinted(said)
    assert.deepEqual(stateOf(auth), before)
    await exits(0, place, ...local)
    commit()
    await exits(0, place, ...local)
    writeFileSync(join(auth, 'ca-next-key.pem'), 'of somebody else')
    commit('auth/ca-next-key.pem')
    await refused(place, ...local)
    git('rm', '-qf', 'auth/ca-next-key.pem')
    await exits(0, place, ...local)
  })

  for (const [title, file] of [
    ['in auth/backup', 'backup/2026-01-01T00-00-00-000Z/ca.pem'],
    ['in capitals, which is the same file where the disk ignores case', 'CA-Next-key.PEM'],
  ] as const)
    test(`is refused for one ${title}`, async (t) => {
      const { place, auth, commit } = inTree(t)
      mkdirSync(dirname(join(auth, file)), { recursive: true })
      writeFileSync(join(auth, file), '')
      commit(join('auth', file))
      await refused(place, 'status')
    })

  test('that is none of ours is used: .gitignore, a file of the user', async (t) => {
    const { place, auth, commit } = inTree(t)
    writeFileSync(join(auth, 'README.md'), '')
    commit('auth/.gitignore', 'auth/README.md')
    await exits(0, place, ...local)
  })

  test('is refused where it is a link into a repository, whatever that has beside it; and not where it leads out of one', async (t) => {
    const { place, auth, commit } = inTree(t)
    renameSync(auth, join(place, 'other'))
    symlinkSync('other', auth)
    commit('other/ca.pem')
    assert.match(await refused(place, 'status'), /git tracks ca\.pem/)
    const outside = join(scratch(t), 'auth')
    renameSync(join(place, 'other'), outside)
    rmSync(auth)
    symlinkSync(outside, auth)
    await exits(0, place, ...local)
  })

  test('is refused where a repository around that of the cluster tracks one, though the inner one tracks none', async (t) => {
    const { place, commit } = inTree(t)
    const inner = join(place, 'clusters/one')
    mkdirSync(inner, { recursive: true })
    for (const each of ['cluster.yaml', 'auth']) cpSync(join(place, each), join(inner, each), { recursive: true })
    writeFileSync(join(inner, 'auth/ca-next.pem'), 'of somebody else')
    commit('clusters/one/auth/ca-next.pem')
    gitIn(inner)('init', '-q')
    gitIn(inner)('add', 'cluster.yaml')
    assert.match(await refused(inner, 'status'), /git tracks ca-next\.pem in /)
    // A submodule is one entry of the outer repository, and none of its files.
    rmSync(join(inner, 'auth/ca-next.pem'))
    gitIn(inner)('commit', '-qm', 'mine')
    rmSync(join(place, '.git'), { recursive: true })
    gitIn(place)('init', '-q')
    commit('clusters/one')
    await exits(0, inner, ...local)
  })

  test('is refused where git tracks it itself, or a link that it leads through', async (t) => {
    const { place, auth, git, commit } = inTree(t)
    const outside = join(scratch(t), 'auth')
    renameSync(auth, outside)
    symlinkSync(outside, auth)
    commit('auth')
    assert.match(await refused(place, 'certs', '--dry-run'), /git tracks \S+auth, a link or submodule/)
    git('rm', '-q', '--cached', 'auth')
    await exits(0, place, ...local)
    rmSync(auth)
    mkdirSync(join(place, 'links'))
    symlinkSync(outside, join(place, 'links/other'))
    symlinkSync('links/../links/other', auth)
    commit('links/other')
    assert.match(await refused(place, 'status'), /git tracks \S+links\/other, a link or submodule/)
  })

  test('is refused where the folder is tracked in capitals, which is the same where the disk ignores case', async (t) => {
    const { place, commit } = inTree(t)
    mkdirSync(join(place, 'AUTH'))
    writeFileSync(join(place, 'AUTH/ca-next.pem'), '')
    commit('AUTH/ca-next.pem')
    const said = await refused(place, 'status')
    assert.match(said, /git tracks ca-next\.pem in /)
    untrackAsPrinted(said)
    await exits(0, place, ...local)
  })

  test('is untracked as printed, and nothing else, whatever its path is and whatever git hides of it', async (t) => {
    const { place, git } = inTree(t)
    const at = join(place, 'a* b')
    for (const each of ['a* b', 'ab b/auth']) mkdirSync(join(place, each), { recursive: true })
    for (const each of ['cluster.yaml', 'auth']) cpSync(join(place, each), join(at, each), { recursive: true })
    writeFileSync(join(place, 'ab b/auth/ca.pem'), '')
    // Without a commit.
    git('add', '-f', 'a* b/auth/ca.pem', 'ab b/auth/ca.pem')
    git('update-index', '--skip-worktree', 'a* b/auth/ca.pem')
    const said = await refused(at, 'status')
    const [, log = ''] = /: (git -C \S+ log .*)$/m.exec(said) ?? []
    execFileSync('sh', ['-c', log])
    untrackAsPrinted(said)
    await exits(0, at, ...local)
    assert.equal(String(git('ls-files', '*/auth/*')), 'ab b/auth/ca.pem\n')
  })

  test('is looked for without a program that fetches, also by a git that fetches what it lacks', async (t) => {
    const { place, git, commit } = inTree(t)
    const ran = join(place, 'was-run')
    mkdirSync(join(place, 'other'))
    writeFileSync(join(place, 'other/file'), '')
    commit('other')
    git('sparse-checkout', 'set', '--cone', '--sparse-index', 'docs')
    const object = String(git('rev-parse', 'HEAD:other')).trim()
    rmSync(join(place, '.git/objects', object.slice(0, 2), object.slice(2)))
    for (const [key, value] of Object.entries({
      'core.repositoryFormatVersion': '1',
      'extensions.partialClone': 'origin',
      'remote.origin.promisor': 'true',
      'remote.origin.url': `ext::touch ${ran}`,
      'protocol.ext.allow': 'always',
    }))
      git('config', key, value)
    const old = fakeTool(t, 'git', `unset GIT_NO_LAZY_FETCH; PATH='${process.env.PATH}' exec git "$@"`)
    await exits(0, { place, env: { PATH: `${old}:${process.env.PATH}` } }, ...local)
    assert.ok(!existsSync(ran))
    assert.throws(() => git('ls-files', 'auth', '--with-tree=HEAD'))
    assert.ok(existsSync(ran), 'a git that may fetch starts the program')
  })

  test('is refused although it looks like a repository itself, and whatever GIT_DIR a hook has set', async (t) => {
    const { place, auth, git, commit } = inTree(t)
    for (const folder of ['objects', 'refs']) mkdirSync(join(auth, folder))
    for (const folder of ['objects', 'refs']) writeFileSync(join(auth, folder, 'kept'), '')
    writeFileSync(join(auth, 'HEAD'), 'ref: refs/heads/main\n')
    writeFileSync(join(auth, 'config'), '[core]\n\tbare = true\n')
    commit('auth')
    await refused(place, 'status')
    const other = scratch(t)
    gitIn(other)('init', '-q')
    const env = { GIT_DIR: join(other, '.git'), GIT_INDEX_FILE: join(other, 'index') }
    await exits(3, { place, env }, 'status')
    git('config', 'core.bare', 'true')
    await refused(place, 'status')
  })

  test('is looked for without a program that the repository names', async (t) => {
    const { place, git, commit } = inTree(t)
    const ran = join(place, 'was-run')
    const program = join(place, 'program')
    writeFileSync(program, `#!/bin/sh\n: > ${ran}\n`)
    chmodSync(program, 0o755)
    mkdirSync(join(place, 'hooks'))
    symlinkSync(program, join(place, 'hooks/post-index-change'))
    commit('auth/ca.pem')
    git('config', 'core.hooksPath', join(place, 'hooks'))
    git('config', 'core.fsmonitor', program)
    git('config', 'core.pager', program)
    git('config', 'alias.ls-files', `!${program}`)
    await refused(place, 'status')
    assert.ok(!existsSync(ran))
  })

  test('can not be found where git does not answer: refused, with what to do; but no repository needs no git', async (t) => {
    const { place, git } = inTree(t)
    const tools = (script: string) => ({ PATH: `${fakeTool(t, 'git', script)}:${process.env.PATH}` })
    const failing = await exits(3, { place, env: tools('echo "fatal: bad index" >&2; exit 128') }, 'status')
    assert.match(failing.stderr, /can't tell whether git tracks files in \S+auth \(fatal: bad index\)/)
    const missing = await exits(3, { place, env: { PATH: scratch(t) } }, 'status')
    assert.match(missing.stderr, /can't start git/)
    // A folder of that name, or a link to nowhere, is no repository, to git either.
    for (const text of [undefined, 'gitdir: /nowhere\n']) {
      rmSync(join(place, '.git'), { recursive: true, force: true })
      if (text === undefined) mkdirSync(join(place, '.git'))
      else writeFileSync(join(place, '.git'), text)
      await exits(0, place, ...local)
    }
    rmSync(join(place, '.git'))
    await exits(0, { place, env: { PATH: scratch(t) } }, ...local)
    assert.throws(() => git('status'))
  })
})
