import assert from 'node:assert/strict'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Diff, missing } from '../../lib/results.ts'
import { authTarget, type ClusterTarget, type Run } from '../../tasks/cluster-target.ts'
import { temporaryAuth } from '../support/certificates.ts'
import { fakeTarget, nowhere } from '../support/fakes.ts'

function setUp(t: TestContext, told: Partial<ClusterTarget> = {}) {
  const auth = temporaryAuth(t)
  const run: Run = { ...nowhere, auth }
  const built: string[] = []
  const build = async () => void built.push('built')
  const target = authTarget(
    fakeTarget('pair', { makes: ['a.pem', 'a-key.pem'], build, ...told } as Partial<ClusterTarget>),
  )
  const write = (name: string, mode: number) => writeFileSync(join(auth.path, name), name, { mode })
  const modeOf = (name: string) => statSync(join(auth.path, name)).mode & 0o777
  const rebuild = async (...diffs: Diff[]) =>
    await target.build?.(run, {
      findings: undefined,
      diffs,
      force: undefined,
      signal: new AbortController().signal,
      earlier: { findings: new Map(), rows: new Map(), whenEnded: () => undefined },
      tell: () => {},
    })
  return { built, write, modeOf, rebuild }
}

const wrongMode = (name: string): Diff => ({ what: `${name} has mode 0666`, verb: 'chmod', names: [name] })

test('where only a mode is wrong it is set, and nothing is built', async (t) => {
  const { built, write, modeOf, rebuild } = setUp(t)
  write('a.pem', 0o600)
  write('a-key.pem', 0o644)
  assert.equal(await rebuild(wrongMode('a.pem'), wrongMode('a-key.pem')), undefined)
  assert.deepEqual([modeOf('a.pem'), modeOf('a-key.pem'), built], [0o644, 0o600, []])
})

test('where more is wrong the mode is set before it is built: a key that stays is private too', async (t) => {
  const modes: number[] = []
  const { write, modeOf, rebuild } = setUp(t, {
    build: async () => {
      modes.push(modeOf('a-key.pem'))
      return { note: 'new' }
    },
  })
  write('a-key.pem', 0o644)
  const built = await rebuild(...missing(['a.pem']), wrongMode('a-key.pem'))
  assert.deepEqual(built, { note: 'new' })
  assert.deepEqual(modes, [0o600])
})
