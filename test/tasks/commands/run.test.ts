/** What runs leave in auth/: what they made, and nothing besides; and what leaves it as it was. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { scratch, stateOf } from '../../support/files.ts'
import { type Edit, exits, harderway, writeCluster } from '../../support/harderway.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const nodes = [
  { name: 'control0', role: 'control', ip: '192.168.1.11' },
  { name: 'worker0', role: 'worker', ip: '192.168.1.14' },
]
const edits: Edit[] = [[['nodes'], nodes]]
function makeFolder(t: TestContext) {
  const place = scratch(t)
  mkdirSync(join(place, 'home/.kube'), { recursive: true })
  writeCluster(place, edits)
  return { place, auth: join(place, 'auth') }
}

test('auth/ is left as it was by what only looks, and where there is none, none is left', async (t) => {
  const { place, auth } = makeFolder(t)
  const looks = [
    ...[[...phases, '--dry-run'], ['bootstrap', '--dry-run', '--json'], ['verify'], ['status'], ['status', '--json']],
    ['--help'],
  ]
  for (const args of looks) await harderway(place, ...args)
  assert.ok(!existsSync(auth))
  await harderway(place, 'certs')
  const state = stateOf(auth)
  for (const args of looks) {
    await harderway(place, ...args)
    assert.deepEqual(stateOf(auth), state, args.join(' '))
  }
})

test('what replaces something that cannot be made again, or a CA of the same key, is followed by a backup, in its plan too, and a CA is not replaced with nobody to confirm it', async (t) => {
  const { place, auth } = makeFolder(t)
  const countBackups = async (when: string, ...args: string[]) => {
    const { stdout } = await harderway(place, ...args, '--quiet')
    return stdout.split('\n').filter((line) => line === `To do      ${when}back up ${auth} (docs/everyday.md)`).length
  }
  await harderway(place, ...phases)
  const state = stateOf(auth)
  await exits(3, place, 'ca', '--force')
  assert.deepEqual(stateOf(auth), state)
  for (const [name, how] of [
    ['ca', '--renew'],
    ['component-certs/service-account', '--force'],
    ['encryption-key', '--force'],
    ['ca', '--force'],
  ] as const) {
    assert.equal(await countBackups('after the run, ', name, how, '--dry-run'), 1, name)
    assert.equal(await countBackups('', name, how, ...(how === '--force' ? ['--yes'] : [])), 1, name)
  }
  assert.equal(await countBackups('', 'certs'), 0)
})
