import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { type Options, parseOptions } from '../../../tasks/run/options.ts'

const understood: readonly [string, Partial<Options>][] = [
  ['', {}],
  ['ca node-certs/worker0', { names: ['ca', 'node-certs/worker0'] }],
  ['deploy --node a,b --node c', { names: ['deploy'], nodes: ['a', 'b', 'c'] }],
  ['--dry-run certs --verbose', { names: ['certs'], dryRun: true, verbose: true }],
  ['--force --replace-identity --prune', { force: true, replaceIdentity: true, prune: true }],
  ['-h', { help: true }],
  ['status --on-nodes --verbose', { names: ['status'], onNodes: true, verbose: true }],
  ['init --virtual-ip 10.0.0.1', { names: ['init'], virtualIp: '10.0.0.1' }],
]

test('what is given has its value, and nothing else has one', () => {
  const nothing = parseOptions([])
  for (const value of Object.values(nothing)) assert.ok(!value || (Array.isArray(value) && value.length === 0))
  for (const [line, expected] of understood) {
    const { given, ...options } = parseOptions(line.split(' ').filter(Boolean))
    assert.deepEqual({ ...options, given: [] }, { ...nothing, ...expected }, line)
  }
})

test('what is not understood is bad usage, and the message says why', () => {
  for (const [line, message] of [
    ['--forse', /unknown option --forse; did you mean --force\?/],
    ['--nodes=worker0', /--nodes; did you mean --node\?/],
    ['--completely-unknown', /unknown option --completely-unknown$/],
    ['deploy --node worker0 --node', /--node needs a value: --node NAME/],
    // No name would be every node.
    ['deploy --node ,', /--node ,: a name is empty/],
    ['--config --force', /--config needs a value: --config FILE/],
    ['--expect-plan abc', /expected the hash/],
    ['--json=false', /--json takes no value/],
    ['--quiet --verbose', /--quiet and --verbose can't be combined/],
  ] as const)
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
