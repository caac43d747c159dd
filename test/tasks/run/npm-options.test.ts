/** What the real npm does with options without a -- before them, and with those of the user's .npmrc. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { refuseTakenByNpm } from '../../../tasks/run/options.ts'
import { scratch } from '../../support/files.ts'
import { entry, oneOfEach, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

test('an option that npm took is refused; what npm sets itself is not', () => {
  for (const [name, value] of [
    ['dry_run', 'true'],
    ['node', 'worker0\n\nworker1'],
    ['config', 'true'],
  ])
    assert.throws(() => refuseTakenByNpm({ [`npm_config_${name}`]: value }), { kind: 'usage' }, name)
  refuseTakenByNpm({
    ...{ npm_config_user_agent: 'npm', npm_config_noproxy: '', npm_config_node_gyp: '/x', npm_config_prefix: '/usr' },
    ...{ npm_config_force: 'true', npm_config_json: 'true' },
    ...{ npm_config_dry_run: 'false', npm_config_lock_wait: '', NPM_CONFIG_DRY_RUN: 'true' },
  })
})

test('npm run bootstrap --dry-run, without the --, exits with 2 and makes nothing', { skip: needs('npm') }, (t) => {
  const place = scratch(t)
  writeCluster(place, oneOfEach)
  const scripts = { bootstrap: `${process.execPath} ${entry} bootstrap` }
  writeFileSync(join(place, 'package.json'), JSON.stringify({ name: 'place', private: true, scripts }))
  const env = { PATH: process.env.PATH, HOME: place }
  const { status, stderr } = spawnSync('npm', ['run', 'bootstrap', '--dry-run'], { cwd: place, env, encoding: 'utf8' })
  assert.deepEqual([status, existsSync(join(place, 'auth'))], [2, false], stderr)
  assert.match(stderr, /^npm took --dry-run, .*\n.*\n {6}npm .* -- --dry-run --config FILE$/m)
})
