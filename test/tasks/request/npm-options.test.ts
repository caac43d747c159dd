import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { findLostOptions } from '../../../tasks/request/options.ts'
import { entry, oneOfEach, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/parts.ts'
import { scratch } from '../../support/scratch.ts'

const isName = (word: string) => /^(bootstrap|certs|deploy|ca|status|node-certs\/.*)$/.test(word)
const lost = (line: string, env: Record<string, string>, npmrc: string[] = []) =>
  findLostOptions({ args: line.split(' ').filter(Boolean), env, npmrc, isName })

/** What npm 10.9 and npm 11.19 hand to a script for the options after `npm run …`. */
const rows: readonly [args: string, env: Record<string, string>, meant: string][] = [
  ['bootstrap', { npm_config_dry_run: 'true' }, 'bootstrap --dry-run'],
  ['bootstrap', { npm_config_dryrun: 'true' }, 'bootstrap --dry-run'],
  ['certs', { npm_config_force: 'true' }, 'certs --force'],
  ['certs', { npm_config_lock_wait: '' }, 'certs --no-lock-wait'],
  ['status', { npm_config_on_nodes: 'true', npm_config_json: 'true' }, 'status --on-nodes --json'],
  ['bootstrap', { npm_config_node: 'worker0' }, 'bootstrap --node worker0'],
  ['deploy', { npm_config_node: 'worker0\n\nworker1' }, 'deploy --node worker0 --node worker1'],
  ['bootstrap worker0', { npm_config_node: 'true' }, 'bootstrap --node worker0'],
  ['worker0 deploy', { npm_config_node: 'true', npm_config_force: 'true' }, 'deploy --node worker0 --force'],
  ['certs clusters/east.yaml', { npm_config_config: 'true' }, 'certs --config clusters/east.yaml'],
  // Which is whose, nobody knows.
  [
    'deploy worker0 3',
    { npm_config_node: 'true', npm_config_concurrency: 'true' },
    'deploy worker0 3 --node NAME --concurrency N',
  ],
  ['deploy worker0', { npm_config_node: 'worker1\n\ntrue' }, 'deploy --node worker1 --node worker0'],
  // npm 10 completes --node to --node-options.
  ['bootstrap', { npm_config_node_options: 'worker0' }, 'bootstrap --node worker0'],
  ['', { npm_config_list: 'true' }, '--list'],
]

for (const [args, env, meant] of rows)
  test(`"${args}" with ${JSON.stringify(env)} was meant as "${meant}"`, () => {
    assert.equal(lost(args, env)?.meant.join(' '), meant)
  })

const harmless: readonly [what: string, args: string, env: Record<string, string>, npmrc?: string[]][] = [
  [
    'what npm always sets',
    'certs',
    {
      npm_config_user_agent: 'npm',
      npm_config_noproxy: '',
      npm_config_node_gyp: '/x',
      npm_config_nodedir: '/usr',
      npm_config_prefix: '/usr',
      npm_config_loglevel: 'verbose',
    },
  ],
  ['options of Node', 'certs', { npm_config_node_options: '--max-old-space-size=100' }],
  [
    'an option that is off',
    'certs',
    { npm_config_force: '', npm_config_dry_run: 'false', npm_config_lock_wait: 'true' },
  ],
  [
    'an option that harderway was given too',
    'certs --force --node=worker0',
    { npm_config_force: 'true', npm_config_node: 'worker0' },
  ],
  [
    'a setting of an .npmrc',
    'certs',
    { npm_config_force: 'true', npm_config_json: 'true' },
    ['; mine\nforce=true\n', ' json = true'],
  ],
  ['a setting of an .npmrc without a value', 'certs', { npm_config_dry_run: 'true' }, ['dry-run\n']],
  ["an environment variable in capitals, which is the user's own", 'certs', { NPM_CONFIG_FORCE: 'true' }],
]

for (const [what, args, env, npmrc] of harmless)
  test(`${what} is not a lost option`, () => {
    assert.equal(lost(args, env, npmrc), undefined)
  })

test('an .npmrc excuses what it sets, and nothing else', () => {
  const meant = lost('certs', { npm_config_force: 'true', npm_config_dry_run: 'true' }, ['# dry-run=true\nforce=true'])
  assert.deepEqual(meant?.options, ['--dry-run'])
})

interface Ran {
  readonly status: number | undefined
  readonly stderr: string
  readonly files: readonly string[]
}

/** The real npm, in a package with our scripts. */
function npm(t: TestContext, args: readonly string[], npmrc = ''): Promise<Ran> {
  const place = scratch(t)
  mkdirSync(join(place, 'home'))
  writeCluster(place, oneOfEach)
  writeFileSync(join(place, 'home/.npmrc'), `update-notifier=false\n${npmrc}`)
  const ours = `${process.execPath} ${entry}`
  const scripts = { bootstrap: `${ours} bootstrap`, task: ours }
  writeFileSync(join(place, 'package.json'), JSON.stringify({ name: 'place', private: true, scripts }))
  const env = { PATH: process.env.PATH, HOME: join(place, 'home') }
  return new Promise((resolve) => {
    const child = execFile('npm', ['run', ...args], { cwd: place, env }, (_error, _stdout, stderr) =>
      resolve({ status: child.exitCode ?? undefined, stderr, files: readdirSync(place).toSorted() }),
    )
  })
}

const skip = needs('npm')
const nothingMade = ['cluster.yaml', 'home', 'package.json']

for (const [args, command] of [
  ['bootstrap --dry-run', 'npm run bootstrap -- --dry-run'],
  ['bootstrap --force', 'npm run bootstrap -- --force'],
  ['bootstrap -f', 'npm run bootstrap -- --force'],
  ['bootstrap --node worker0', 'npm run bootstrap -- --node worker0'],
  ['bootstrap --node=worker0', 'npm run bootstrap -- --node worker0'],
  ['--dry-run bootstrap', 'npm run bootstrap -- --dry-run'],
  ['task certs --no-lock-wait', 'npm run task -- certs --no-lock-wait'],
  ['task status --json', 'npm run task -- status --json'],
  ['task certs --config other.yaml', 'npm run task -- certs --config other.yaml'],
  ['bootstrap --config /a/other.yaml --dry-run', 'npm run bootstrap -- --config /a/other.yaml --dry-run'],
  ['task ca --renew -- --verbose', 'npm run task -- ca --verbose --renew'],
  ['task --list', 'npm run task -- --list'],
] as const)
  test(`npm run ${args}, without the --, exits with 2, makes nothing, and names "${command}"`, {
    skip,
  }, async (t) => {
    const { status, stderr, files } = await npm(t, args.split(' '))
    assert.equal(status, 2, stderr)
    assert.match(stderr, /^npm took --.* as its own option: options of harderway come after --$/m)
    assert.ok(stderr.includes(`\n    ${command}\n`), stderr)
    assert.deepEqual(files, nothingMade)
  })

for (const [args, status] of [
  ['task -- certs --dry-run', 4],
  ['task certs', 0],
  ['task -- certs --force', 0],
  ['task certs --no-dry-run', 0],
  ['task certs --silent', 0],
] as const)
  test(`npm run ${args} is understood, whatever force, json and dry-run are in the user's .npmrc`, {
    skip,
  }, async (t) => {
    const ran = await npm(t, args.split(' '), 'force=true\njson=true\ndry-run=true\n')
    assert.equal(ran.status, status, ran.stderr)
  })
