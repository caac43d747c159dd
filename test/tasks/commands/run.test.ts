/** What runs leave in auth/: what they made, and nothing besides; and what leaves it as it was. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { scratch, stateOf } from '../../support/files.ts'
import { copyPlace, type Edit, exits, harderway, idsOf, madePlace, writeCluster } from '../../support/harderway.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const nodes = [
  { name: 'control0', role: 'control', ip: '192.168.1.11' },
  { name: 'worker0', role: 'worker', ip: '192.168.1.14' },
]
const edits: Edit[] = [[['nodes'], nodes]]
/** Of the phases above, for these nodes. */
const count = 9 + 6 + 1
const pairs = (...names: string[]) => names.flatMap((name) => [`${name}-key.pem`, `${name}.pem`])

function makeFolder(t: TestContext, more: readonly Edit[] = []) {
  const place = scratch(t)
  mkdirSync(join(place, 'home/.kube'), { recursive: true })
  writeCluster(place, [...edits, ...more])
  return { place, auth: join(place, 'auth'), kube: join(place, 'home/.kube') }
}

describe('auth/', { concurrency: 2 }, () => {
  test('is left as it was by a run that finds everything fresh, down to the times of its files', async (t) => {
    const { place, auth } = makeFolder(t)
    const made = await harderway(place, ...phases, '--json')
    assert.deepEqual([made.status, idsOf(made, 'built').length], [0, count])
    const state = stateOf(auth)
    assert.equal(Object.keys(state).length, 2 * 9 + 6 + 1 + 1)
    const again = await harderway(place, ...phases, '--json')
    assert.deepEqual([again.status, idsOf(again, 'fresh').length], [0, count])
    assert.deepEqual(stateOf(auth), state)
  })

  test('has everything that a target needs, though only the target was named', async (t) => {
    const { place, auth } = makeFolder(t)
    const ran = await exits(0, place, 'kubeconfigs/worker0', '--json')
    assert.deepEqual(
      ran.events.filter(({ type }) => type === 'built').map(({ id }) => id),
      ['ca', 'node-certs/worker0', 'kubeconfigs/worker0'],
    )
    assert.deepEqual(
      readdirSync(auth).toSorted(),
      ['.gitignore', ...pairs('ca', 'worker0'), 'worker0.kubeconfig'].toSorted(),
    )
  })

  test('is left as it was by what only looks, and where there is none, none is left', async (t) => {
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

  const origin = madePlace(edits, 'certs')
  const spoiled = (title: string, status: number, spoil: (place: string) => void, args: readonly string[]) =>
    test(`is left as it was by a run that ${title}`, async (t) => {
      const { place, auth } = copyPlace(t, origin, edits)
      spoil(place)
      const state = stateOf(auth)
      assert.equal((await harderway(place, ...args)).status, status)
      assert.deepEqual(stateOf(auth), state)
    })
  spoiled('is refused before it begins', 3, (place) => rmSync(join(place, 'auth/ca-key.pem')), phases)
  spoiled('is to replace the CA, with nobody to confirm it', 3, () => {}, ['ca', '--force'])
  spoiled('is asked for with a bad option', 2, () => {}, ['certs', '--forse'])
  spoiled('has a bad cluster.yaml', 2, (place) => writeFileSync(join(place, 'cluster.yaml'), 'name: 1'), ['certs'])
})

test('a run that makes a CA says so, and is followed by a backup, and by nothing that alarms; no other run is', async (t) => {
  const { place, auth } = makeFolder(t)
  const toDo = (stdout: string) => stdout.split('\n').filter((line) => line.startsWith('To do'))
  const { stdout } = await harderway(place, 'certs')
  assert.match(stdout, /^made a new cluster identity \(ca, service-account\)$/m)
  assert.doesNotMatch(stdout, /\bmv\b|recover/)
  assert.deepEqual(toDo(stdout), [`To do      back up ${auth} (docs/everyday.md)`])
  const key = toDo((await harderway(place, 'encryption-key', '--quiet')).stdout)
  assert.deepEqual(key, [`To do      back up ${auth} (docs/everyday.md)`])
  for (const again of ['certs', 'encryption-key'])
    assert.deepEqual(toDo((await harderway(place, again)).stdout), [], again)
})

test('what replaces something that cannot be made again, or a CA of the same key, is followed by a backup, in its plan too', async (t) => {
  const { place, auth } = makeFolder(t)
  const countBackups = async (when: string, ...args: string[]) => {
    const { stdout } = await harderway(place, ...args, '--quiet')
    return stdout.split('\n').filter((line) => line === `To do      ${when}back up ${auth} (docs/everyday.md)`).length
  }
  await harderway(place, ...phases)
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
