import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { type Options, parseOptions } from '../../../tasks/request/options.ts'

const nothing: Partial<Options> = {
  names: [],
  nodes: [],
  config: undefined,
  concurrency: undefined,
  dryRun: false,
  offline: false,
  force: false,
  renew: false,
  replaceIdentity: false,
  prune: false,
  noLockWait: false,
  onNodes: false,
  format: undefined,
  list: false,
  json: false,
  verbose: false,
  quiet: false,
  version: false,
  help: false,
}

const understood: readonly [string, Partial<Options>][] = [
  ['', {}],
  ['certs', { names: ['certs'] }],
  ['ca node-certs/worker0', { names: ['ca', 'node-certs/worker0'] }],
  ['deploy --node worker0 --node worker1', { names: ['deploy'], nodes: ['worker0', 'worker1'] }],
  ['--node=worker0 deploy', { names: ['deploy'], nodes: ['worker0'] }],
  ['certs --dry-run', { names: ['certs'], dryRun: true }],
  ['certs --dry-run --offline', { names: ['certs'], dryRun: true, offline: true }],
  ['--dry-run certs', { names: ['certs'], dryRun: true }],
  ['--config other/cluster.yaml', { config: 'other/cluster.yaml' }],
  ['--config=a=b.yaml', { config: 'a=b.yaml' }],
  ['--force', { force: true }],
  ['ca --renew', { names: ['ca'], renew: true }],
  ['--replace-identity --prune', { replaceIdentity: true, prune: true }],
  ['--concurrency 1', { concurrency: 1 }],
  ['--concurrency=1000', { concurrency: 1000 }],
  ['--no-lock-wait', { noLockWait: true }],
  ['--list', { list: true }],
  ['--json', { json: true }],
  ['--verbose', { verbose: true }],
  ['--quiet', { quiet: true }],
  ['--json --quiet', { json: true, quiet: true }],
  ['--version', { version: true }],
  ['--help', { help: true }],
  ['-h', { help: true }],
  ['status', { names: ['status'] }],
  ['status --on-nodes', { names: ['status'], onNodes: true }],
  ['--format=dot graph --node worker0', { names: ['graph'], format: 'dot', nodes: ['worker0'] }],
  ['graph --format dot', { names: ['graph'], format: 'dot' }],
  ['report --format=html', { names: ['report'], format: 'html' }],
  ['certs -- --force', { names: ['certs', '--force'] }],
]

for (const [line, expected] of understood)
  test(`"${line}" is understood`, () => {
    const options = parseOptions(line.split(' ').filter(Boolean))
    for (const [name, value] of Object.entries({ ...nothing, ...expected }))
      assert.deepEqual(options[name as keyof Options], value, name)
  })

const refused: readonly [string, RegExp][] = [
  ['--forse', /unknown option --forse: did you mean --force\?/],
  ['--dryrun', /--dryrun: did you mean --dry-run\?/],
  ['--nodes worker0', /--nodes: did you mean --node\?/],
  ['--nodes=worker0', /--nodes: did you mean --node\?/],
  ['--completely-unknown', /unknown option --completely-unknown$/],
  ['--FORCE', /unknown option --FORCE/],
  ['--h', /unknown option --h/],
  ['-x', /unknown option -x/],
  ['-hx', /unknown option -x/],
  ['--__proto__', /unknown option --__proto__/],
  ['--constructor', /unknown option --constructor/],
  ['--no-force', /unknown option --no-force/],
  ['--node', /--node needs a value: --node NAME/],
  ['--node=', /--node needs a value/],
  ['--node --json', /--node needs a value/],
  ['deploy --node worker0 --node', /--node needs a value/],
  ['--config', /--config needs a value: --config FILE/],
  ['--config --force', /--config needs a value/],
  ['--concurrency', /--concurrency needs a value: --concurrency N/],
  ['--concurrency 0', /--concurrency 0: give a whole number from 1 to 1000/],
  ['--concurrency 1001', /give a whole number/],
  ['--concurrency 1.5', /give a whole number/],
  ['--concurrency many', /--concurrency many: give a whole number/],
  ['--concurrency -1', /--concurrency/],
  ['--force=yes', /--force takes no value/],
  ['--json=false', /--json takes no value/],
  ['--help=all', /--help takes no value/],
  ['--quiet --verbose', /--quiet and --verbose can't be combined/],
  ['status --on-nodes=yes', /--on-nodes takes no value/],
  ['graph --format', /--format needs a value: --format F/],
]

for (const [line, message] of refused)
  test(`"${line}" is bad usage, and the message says why`, () => {
    assert.throws(
      () => parseOptions(line.split(' ')),
      (error: unknown) => {
        assert.ok(error instanceof Failure, String(error))
        assert.equal(error.kind, 'usage')
        assert.match(error.message, message)
        assert.match(error.remedy ?? '', /--help/)
        return true
      },
    )
  })
