import assert from 'node:assert/strict'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { stateOf } from '../support/files.ts'
import { exits, gateway, harderway, labEdits, type Ran, writeCluster } from '../support/harderway.ts'
import { labPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const names = ['control0', 'control1', 'control2', 'worker0', 'worker1', 'worker2', 'gateway']
const own = (name: string) => [`${name}-key.pem`, `${name}.kubeconfig`, `${name}.pem`]
const controlFiles = (name: string) => [
  ...['admin.kubeconfig', 'ca-key.pem', 'ca.pem', 'encryption-config.yaml', 'kube-controller-manager.kubeconfig'],
  ...['kube-proxy.kubeconfig', 'kube-scheduler.kubeconfig', 'kubernetes-key.pem', 'kubernetes.pem'],
  ...['service-account-key.pem', 'service-account.pem', ...own(name)],
]
const workerFiles = (name: string) => ['ca.pem', 'kube-proxy.kubeconfig', ...own(name)]
const filesOf = (name: string) =>
  (name === 'gateway' ? ['ca.pem'] : name.startsWith('control') ? controlFiles(name) : workerFiles(name)).toSorted()

const isSecret = (name: string) => !name.endsWith('.pem') || name.endsWith('-key.pem')

describe("the guide's cluster, bootstrapped onto seven real sshd", { skip: needs('sshd', 'ssh', 'scp') }, () => {
  const suite = labPlace(...names)
  const { place } = suite
  let first: Ran

  before(async () => {
    writeCluster(place, [...labEdits(suite.lab), gateway])
    first = await harderway(place, 'bootstrap', '--json')
  })

  const seen = (name: string) =>
    readdirSync(suite.lab.node(name).home)
      .filter((file) => !file.startsWith('.'))
      .toSorted()

  test('the first run makes everything and exits 0', () => {
    assert.equal(first.status, 0, first.stdout + first.stderr)
    const { seconds, ...summary } = first.events.at(-1) ?? {}
    assert.equal(typeof seconds, 'number')
    assert.deepEqual(summary, {
      ...{ type: 'summary', targets: 32, made: 32, fresh: 0, stale: 0, failed: 0, skipped: 0, exit: 0 },
      // What no node had before, nobody has read.
      todo: [`back up ${join(place, 'auth')} (docs/everyday.md)`],
    })
  })

  test('auth/ holds the files of the guide with their modes, and nothing else', () => {
    const auth = join(place, 'auth')
    const clients = ['admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy', ...names.slice(0, 6)]
    const pairs = ['ca', 'kubernetes', 'service-account', ...clients]
    const expected = [
      '.gitignore',
      ...pairs.flatMap((name) => [`${name}.pem`, `${name}-key.pem`]),
      ...clients.map((name) => `${name}.kubeconfig`),
      'encryption-config.yaml',
    ]
    assert.deepEqual(readdirSync(auth).toSorted(), expected.toSorted())
    assert.equal(lstatSync(auth).mode & 0o777, 0o700)
    for (const name of expected)
      assert.equal(lstatSync(join(auth, name)).mode & 0o7777, isSecret(name) ? 0o600 : 0o644, name)
  })

  for (const name of names) {
    test(`${name} holds its role's files with the right bytes and modes, and none that does not belong`, () => {
      assert.deepEqual(seen(name), filesOf(name))
      for (const file of filesOf(name)) {
        const there = join(suite.lab.node(name).home, file)
        assert.ok(readFileSync(there).equals(readFileSync(join(place, 'auth', file))), file)
        assert.equal(lstatSync(there).mode & 0o7777, isSecret(file) ? 0o600 : 0o644, file)
      }
    })
  }

  test('a second run builds nothing, changes no file but its own record, costs a connection a node and exits 0', async () => {
    const folders = [join(place, 'auth'), join(place, 'home/.kube'), ...suite.lab.nodes.map(({ home }) => home)]
    const states = folders.map((folder) => stateOf(folder))
    const second = await exits(0, place, 'bootstrap', '--json')
    assert.deepEqual(
      second.events.map(({ type }) => type).filter((type) => !['cluster', 'started', 'summary'].includes(String(type))),
      new Array(32).fill('fresh'),
    )
    await exits(0, place, 'certs', 'kubeconfigs', '--dry-run')
    assert.deepEqual(
      folders.map((folder) => stateOf(folder)),
      states,
    )
    for (const node of suite.lab.nodes) {
      const { connections, sessions } = await node.counts()
      // The first run's look for another cluster on control nodes, its look at the folder, its copy and swap; the second's
      // look.
      assert.deepEqual([connections, sessions], [2, node.name.startsWith('control') ? 5 : 4], node.name)
    }
  })
})
