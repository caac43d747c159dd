/** What `npm run release` makes: the same bytes wherever and whenever it runs, and an SBOM of what is in them. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { findProgram } from '../lab/programs.ts'
import { copySource, fakeTool, scratch } from '../support/files.ts'
import { needs } from '../support/programs.ts'

const root = join(import.meta.dirname, '../..')

/**
 * A repository of its own, as it is after the release is named in the changelog. Its node_modules has links alone: ours
 * stays as it is.
 */
function clone(folder: string): { version: string } {
  copySource(folder)
  const [from, modules] = [join(root, 'node_modules'), join(folder, 'node_modules')]
  rmSync(modules)
  mkdirSync(modules)
  for (const name of readdirSync(from)) symlinkSync(join(from, name), join(modules, name))
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  head(folder, version)
  git(folder, 'init', '--quiet')
  commit(folder)
  return { version }
}

/** As somebody does who looks for an error in what is bundled. */
function editModule(folder: string): void {
  const module = join(folder, 'node_modules/leven')
  rmSync(module)
  cpSync(join(root, 'node_modules/leven'), module, { recursive: true })
  appendFileSync(join(module, 'index.js'), "export const edited = console.log('edited')\n")
}

function head(folder: string, version: string): void {
  const changelog = join(folder, 'CHANGELOG.md')
  writeFileSync(changelog, readFileSync(changelog, 'utf8').replace(/^## .*/m, `## ${version} (2026-01-01)`))
}

function commit(folder: string): void {
  git(folder, 'add', '--all')
  git(folder, '-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '--quiet', '--message', 'all')
}

function git(folder: string, ...args: readonly string[]): void {
  execFileSync('git', args, { cwd: folder, env: { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null' } })
}

/** `npm ci` installs ours again, without a registry. */
function release(t: TestContext, cwd: string, ...before: readonly string[]) {
  const ci = `if [ "$1" = ci ]; then rm -r node_modules && exec ln -s '${join(root, 'node_modules')}' .; fi`
  const npm = fakeTool(t, 'npm', `${ci}\nexec '${findProgram('npm')}' "$@"`)
  const env = { ...process.env, PATH: `${npm}:${process.env.PATH}` }
  const [program = '', ...args] = [...before, 'npm', 'run', 'release']
  return spawnSync(program, args, { cwd, env, encoding: 'utf8' })
}

/** Debian's npm 9 has no `npm sbom`. */
const isNpmOld = Number.parseInt(spawnSync('npm', ['--version'], { encoding: 'utf8' }).stdout, 10) < 10
const skip =
  needs('npm', 'git', 'tar', 'sha256sum', 'faketime') ||
  (isNpmOld && !process.env.REQUIRE_PARTS && 'npm is older than 10')

describe('a release', { skip }, () => {
  test('is the same bytes from another clone, with other modes and an edited node_modules, years later; the sums are right; the SBOM has what is bundled', (t) => {
    const place = scratch(t)
    const [one, other] = [join(place, 'one'), join(place, 'another/folder')]
    const { version } = clone(one)
    clone(other)
    editModule(other)
    execFileSync('chmod', ['-R', 'go=', other])
    git(other, 'config', 'core.fileMode', 'false')
    const made = release(t, one)
    assert.equal(made.status, 0, made.stderr)
    const later = release(t, other, 'sh', '-c', 'umask 077; exec faketime "2031-02-03 04:05:06" "$@"', 'sh')
    assert.equal(later.status, 0, later.stderr)

    const names = [`harderway-${version}.sbom.json`, `harderway-${version}.tgz`]
    assert.deepEqual(readdirSync(join(one, 'release')).toSorted(), ['SHA256SUMS', ...names])
    for (const name of ['SHA256SUMS', ...names])
      assert.ok(readFileSync(join(one, 'release', name)).equals(readFileSync(join(other, 'release', name))), name)
    const checked = spawnSync('sha256sum', ['-c', 'SHA256SUMS'], { cwd: join(one, 'release'), encoding: 'utf8' })
    assert.equal(checked.stdout, names.map((name) => `${name}: OK\n`).join(''), checked.stderr)

    const [sbom, tgz] = names.map((name) => join(one, 'release', name))
    const licences = execFileSync('tar', ['-xzOf', `${tgz}`, 'package/LICENSES'], { encoding: 'utf8' })
    const named = [...licences.matchAll(/^(\S+) ([\d.]+) \(.+\)\n\n/gm)].map(([, name, its]) => `${name}@${its}`)
    const { components, metadata, dependencies } = JSON.parse(readFileSync(`${sbom}`, 'utf8'))
    const inSbom = components.map((each: { name: string; version: string }) => `${each.name}@${each.version}`)
    assert.deepEqual(inSbom.toSorted(), [...new Set(named)].toSorted())
    assert.deepEqual([metadata.component.name, metadata.component.version], ['harderway', version])
    const linked = dependencies.map(({ ref }: { ref: string }) => ref)
    assert.deepEqual(linked.toSorted(), [...inSbom, `harderway@${version}`].toSorted())
  })

  test('is refused where the changelog is of another version, or where something is not committed', (t) => {
    const folder = join(scratch(t), 'clone')
    clone(folder)
    writeFileSync(join(folder, 'note.txt'), '')
    const uncommitted = release(t, folder)
    assert.deepEqual([uncommitted.status, /note\.txt/.test(uncommitted.stderr)], [1, true], uncommitted.stderr)
    head(folder, 'Unreleased')
    commit(folder)
    const unnamed = release(t, folder)
    assert.deepEqual([unnamed.status, /CHANGELOG\.md/.test(unnamed.stderr)], [1, true], unnamed.stderr)
    assert.ok(!readdirSync(folder).includes('release'))
  })
})
