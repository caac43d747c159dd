/** What the real npm does with options without a -- before them, and with those of the user's .npmrc. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { refuseTakenByNpm } from '../../../tasks/run/options.ts'
import { scratch } from '../../support/files.ts'
import { entry, oneOfEach, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

test('an option that npm took is refused, however it is spelt; what npm sets itself is not', () => {
  for (const [name, value] of [
    ['dry_run', 'true'],
    ['dryrun', 'true'],
    ['node', 'worker0\n\nworker1'],
    ['config', 'true'],
    ['offline', 'true'],
  ])
    assert.throws(() => refuseTakenByNpm({ [`npm_config_${name}`]: value }), { kind: 'usage' }, name)
  refuseTakenByNpm({
    ...{ npm_config_user_agent: 'npm', npm_config_noproxy: '', npm_config_node_gyp: '/x', npm_config_prefix: '/usr' },
    ...{ npm_config_force: 'true', npm_config_json: 'true' },
    ...{ npm_config_dry_run: 'false', npm_config_lock_wait: '', NPM_CONFIG_DRY_RUN: 'true' },
  })
})

/** In a package with our scripts. */
function npm(t: TestContext, args: readonly string[]) {
  const place = scratch(t)
  mkdirSync(join(place, 'home'))
  writeCluster(place, oneOfEach)
  writeFileSync(join(place, 'home/.npmrc'), 'update-notifier=false\nforce=true\njson=true\n')
  const ours = `${process.execPath} ${entry}`
  const scripts = { bootstrap: `${ours} bootstrap`, task: ours }
  writeFileSync(join(place, 'package.json'), JSON.stringify({ name: 'place', private: true, scripts }))
  const env = { PATH: process.env.PATH, HOME: join(place, 'home') }
  return new Promise<{ status: number | null; stderr: string; made: boolean }>((resolve) => {
    const child = execFile('npm', ['run', ...args], { cwd: place, env }, (_error, _stdout, stderr) =>
      resolve({ status: child.exitCode, stderr, made: readdirSync(place).includes('auth') }),
    )
  })
}

for (const args of ['bootstrap --dry-run', 'task ca --renew -- --verbose'])
  test(`npm run ${args}, without the --, exits with 2 and makes nothing`, { skip: needs('npm') }, async (t) => {
    const { status, stderr, made } = await npm(t, args.split(' '))
    assert.deepEqual([status, made], [2, false], stderr)
    assert.match(stderr, /^npm took --[\w-]+, .*\n.*\n {6}npm .* -- --dry-run --config FILE$/m)
  })

for (const [args, status] of [
  ['task -- certs --dry-run', 4],
  ['task certs', 0],
] as const)
  test(`npm run ${args} is understood, with force and json in the user's .npmrc`, { skip: needs('npm') }, async (t) => {
    const ran = await npm(t, args.split(' '))
    assert.equal(ran.status, status, ran.stderr)
  })
