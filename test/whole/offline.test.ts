/** A plan of a stranger's cluster.yaml: it names commands and files of this machine, and none of them is touched. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratch } from '../support/files.ts'
import {
  assertStatus,
  type Edit,
  exits,
  harderway,
  idsOf,
  oneOfEach,
  type Ran,
  writeCluster,
} from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

const notes = ({ events }: Ran) => events.flatMap(({ type, message }) => (type === 'note' ? [String(message)] : []))
const left = '--offline skips control0, worker0, gateway and your kubeconfig'

/** Whoever looks at a node runs the command, and whoever looks at the kubeconfig is refused. */
function makePlace(t: Parameters<typeof scratch>[0]) {
  const place = scratch(t)
  const ran = join(place, 'was-run')
  mkdirSync(join(place, 'home'))
  writeFileSync(join(place, 'kubeconfig'), 'clusters: [')
  writeFileSync(join(place, 'ssh_config'), `Match exec "touch ${ran}"\nHost *\n  ProxyCommand touch ${ran}\n`)
  const named: Edit[] = [
    [['ssh', 'configFile'], './ssh_config'],
    [['localKubeconfig', 'path'], './kubeconfig'],
    [['install'], { sudo: `touch ${ran};` }],
  ]
  writeCluster(place, [...oneOfEach, ...named])
  return { place, ran }
}

test('with --offline a plan says what auth/ alone says, and runs and reads nothing that cluster.yaml names', async (t) => {
  const { place, ran } = makePlace(t)
  const plan = (...args: string[]) => harderway(place, 'bootstrap', '--dry-run', '--offline', '--json', ...args)
  const first = await plan()
  assertStatus(first, 4)
  assert.deepEqual(notes(first).slice(1), [left])
  assert.match(notes(first)[0] ?? '', /^creates a new cluster identity/)
  assert.ok(idsOf(first, 'stale').includes('kubeconfigs/worker0'))
  assert.ok(!existsSync(join(place, 'auth')))
  await exits(0, place, 'certs', 'kubeconfigs', 'encryption-key')
  const second = await plan()
  assertStatus(second, 0)
  assert.deepEqual(notes(second), [left])
  assert.ok(idsOf(second, 'fresh').every((id) => !/^(deploy|install|local)/.test(id)))
  // Neither has to exist.
  for (const name of ['ssh_config', 'kubeconfig']) rmSync(join(place, name))
  assertStatus(await plan(), 0)
  rmSync(join(place, 'auth/ca-key.pem'))
  assertStatus(await plan(), 3)
  assert.ok(!existsSync(ran))
})

test('without it the same plan runs what cluster.yaml names', { skip: needs('ssh') }, async (t) => {
  const { place, ran } = makePlace(t)
  // Its control nodes can't be reached.
  await exits(3, place, 'deploy', '--dry-run', '--node', 'worker0')
  assert.ok(existsSync(ran))
})

test('--offline is for a plan alone', async (t) => {
  const { place } = makePlace(t)
  const alone = await exits(2, place, 'bootstrap', '--offline')
  assert.match(alone.stderr, /--offline can only be used with --dry-run/)
  await exits(2, place, 'status', '--offline')
  assert.ok(!existsSync(join(place, 'auth')))
})
