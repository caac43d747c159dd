/** A plan says who gets a key and who no longer has one, of a cluster that is there: in text and --json. */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Edit, exits, labEdits, writeCluster } from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'

const at = localPlace('control0', 'control1', 'control2', 'worker0')
const nodes = (...names: string[]): Edit => [
  ['nodes'],
  names.map((name, i) => ({ name, role: name.replace(/\d/, ''), ip: `192.168.1.${11 + i}` })),
]
const user = (name: string, ...groups: string[]) => ({ name, groups })
const base: Edit[] = [[['etcd'], { ca: 'own' }], [['users'], [user('jane', 'devs')]], nodes('control0', 'worker0')]
const write = (...edits: Edit[]) => writeCluster(at.place, [...labEdits(at.lab), ...base, ...edits])
const bootstrap = (...args: string[]) => exits(0, at.place, 'bootstrap', ...args)

/** "+ control0: ca-key.pem", of what is in a plan. */
async function planned(...args: string[]): Promise<string[]> {
  const { events } = await exits(4, at.place, 'bootstrap', '--dry-run', '--json', ...args)
  return events
    .filter(({ type }) => type === 'access')
    .map(({ mark, holders, key }) => [`${mark} ${(holders as string[]).join(', ')}`, key ?? []].flat().join(': '))
}

test('a new cluster gives nobody more than he had; later each key that somebody gets or loses has a line', async () => {
  write()
  assert.deepEqual(await planned(), [])
  assert.deepEqual(await planned('--offline'), [])
  await bootstrap()

  const more: Edit[] = [
    nodes('control0', 'worker0', 'control1'),
    [['users'], [user('jane', 'devs', 'ops'), user('joe')]],
  ]
  write(...more)
  const ofUsers = ['+ jane: jane.kubeconfig', '+ joe: joe.kubeconfig']
  const own = ['ca-key.pem', 'etcd-ca-key.pem', 'kubernetes-key.pem', 'encryption-config.yaml', 'control1-key.pem']
  const plan = await planned()
  assert.deepEqual(
    plan.filter((line) => !line.includes('control1')),
    ofUsers,
  )
  for (const file of own) assert.ok(plan.includes(`+ control1: ${file}`), plan.join('\n'))
  // Whatever a new machine has under these names.
  const junk = join(at.lab.node('control1').home, 'control1-key.pem')
  writeFileSync(junk, 'no key of ours')
  assert.deepEqual(await planned(), plan)
  rmSync(junk)
  // Its key is in control1-key.pem already.
  assert.ok(!plan.some((line) => line.includes('control1.kubeconfig')))
  assert.deepEqual(await planned('--offline'), [...ofUsers, '? control0, worker0, control1'])
  const line = 'Access + control1: ca-key.pem (becomes anyone; signs certificates for any user and any server)'
  assert.ok((await exits(4, at.place, 'bootstrap', '--dry-run')).stdout.split('\n').includes(line))
  await bootstrap()

  // A node whose key is replaced has had the old one.
  await exits(0, at.place, 'node-certs', '--force')
  assert.deepEqual(await planned(), [])
  await bootstrap()

  const kept: Edit = [['certificates', 'caKeyOnNodes'], false]
  write(...more, [['aggregation'], true])
  assert.deepEqual(await planned(), ['+ control0, control1: front-proxy-client-key.pem'])
  write(...more, kept)
  assert.deepEqual(await planned('--prune'), [
    '- control0, control1: ca-key.pem',
    '- control0, control1: etcd-ca-key.pem',
  ])
  write(...more, [['localKubeconfig'], { as: 'jane' }])
  assert.deepEqual(await planned(), ['+ your kubeconfig: jane.kubeconfig', '- your kubeconfig: admin.kubeconfig'])

  write(nodes('control0', 'worker0', 'control1'), [['install'], true], [['revoked'], ['joe']])
  assert.deepEqual(await planned('--offline'), ['- joe', '? control0, worker0, control1'])
  const { stdout } = await exits(4, at.place, 'bootstrap', '--dry-run', '--offline')
  assert.match(stdout, /^Access - joe \(every request to the API, once all API servers have loaded the list\)$/m)

  // Another machine in the place of the only control node, of a cluster that is there.
  write(nodes('control2', 'worker0'), [['users'], [user('mallory', 'ops')]])
  const others = await planned()
  for (const line of ['+ control2: ca-key.pem', '+ mallory: mallory.kubeconfig'])
    assert.ok(others.includes(line), others.join('\n'))
})
