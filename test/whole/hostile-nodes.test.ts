import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, beforeEach, describe, test } from 'node:test'
import {
  assertStatus,
  type Edit,
  exits,
  harderway,
  idsOf,
  labEdits,
  messageOf,
  oneOfEach,
  withStatus,
  writeCluster,
} from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const names = ['control0', 'worker0', 'gateway'] as const

describe('a node that is not what it should be', { skip: needs('ssh', 'flock') }, () => {
  const suite = localPlace(...names)
  const { place } = suite
  const [auth, kept] = [join(place, 'auth'), join(place, 'kept')]
  const home = (name = 'worker0') => suite.lab.node(name).home
  const deploy = (...args: string[]) => harderway(place, 'deploy', '--json', ...args)
  const write = (...more: Edit[]) => writeCluster(place, [...oneOfEach, ...labEdits(suite.lab), ...more])
  before(async () => {
    write()
    await exits(0, place, 'bootstrap')
    for (const name of names) cpSync(home(name), join(kept, name), { recursive: true })
    cpSync(auth, join(kept, 'auth'), { recursive: true })
  })
  beforeEach(() => {
    write()
    for (const [folder, name] of [[auth, 'auth'] as const, ...names.map((name) => [home(name), name] as const)]) {
      for (const file of readdirSync(folder)) rmSync(join(folder, file), { recursive: true })
      cpSync(join(kept, name), folder, { recursive: true })
    }
  })

  test('has a folder that may be written by others: nothing is copied there', async () => {
    rmSync(join(home(), 'worker0-key.pem'))
    chmodSync(home(), 0o777)
    const ran = await deploy()
    chmodSync(home(), 0o700)
    assertStatus(ran, 1)
    assert.match(String(messageOf(ran, 'deploy/worker0')), /^worker0: \S+ is writable by others than \S+, /)
    assert.equal(existsSync(join(home(), 'worker0-key.pem')), false)
    await withStatus(0, deploy())
  })

  /** Somebody's self-signed certificate and key, under these names. */
  const strangersPair = (folder: string, name: string) =>
    execFileSync('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=mine'],
      ...['-days', '9', '-keyout', join(folder, `${name}-key.pem`), '-out', join(folder, `${name}.pem`)],
    ])

  test("holds somebody else's certificate and key under names of ours: they stay, until --replace-identity keeps a copy", async () => {
    const files = ['worker0.pem', 'worker0-key.pem']
    strangersPair(home(), 'worker0')
    const theirs = files.map((file) => readFileSync(join(home(), file)))
    for (const more of [['--dry-run'], [], ['--force']]) {
      const ran = await withStatus(3, deploy(...more))
      assert.match(
        String(messageOf(ran, 'deploy/worker0')),
        /^worker0: another certificate in worker0\.pem and private key in worker0-key\.pem than in /,
      )
      assert.deepEqual(idsOf(ran, 'failed'), ['deploy/worker0'])
    }
    assert.deepEqual(
      files.map((file) => readFileSync(join(home(), file))),
      theirs,
    )
    await withStatus(0, deploy('--node', 'worker0', '--replace-identity', '--yes'))
    const backup = join(auth, 'backup')
    const [kept = ''] = readdirSync(backup).filter((folder) => folder.startsWith('worker0-'))
    assert.deepEqual(
      files.map((file) => readFileSync(join(backup, kept, file))),
      theirs,
    )
    await withStatus(0, deploy('--dry-run'))
  })

  test("holds another cluster's files that belong on no such node: --prune names them, and removes ours", async () => {
    strangersPair(home(), 'admin')
    writeFileSync(join(home(), 'admin.kubeconfig'), 'users: [{name: x, user: {token: a-secret}}]\n')
    copyFileSync(join(auth, 'kubernetes.pem'), join(home(), 'kubernetes.pem'))
    copyFileSync(join(home(), 'admin-key.pem'), join(home(), 'kubernetes-key.pem'))
    const ran = await withStatus(0, deploy('--prune'))
    assert.match(ran.stdout, /--prune leaves (admin[^ ]+ ){3}on worker0, which are not of this cluster/)
    for (const file of ['admin.pem', 'admin-key.pem', 'admin.kubeconfig'])
      assert.ok(existsSync(join(home(), file)), file)
    // By the certificate beside it a key is ours.
    for (const file of ['kubernetes.pem', 'kubernetes-key.pem']) assert.ok(!existsSync(join(home(), file)), file)
  })

  test('is not pruned of what has the name of a gateway: it may be its own; what the node had in another role is told', async () => {
    writeFileSync(join(home('gateway'), 'gateway.pem'), 'of the load balancer')
    const nodes = oneOfEach.find(([path]) => path[0] === 'nodes')?.[1] as object[]
    write([['nodes'], nodes.with(1, { ...nodes[1], role: 'gateway' })])
    const ran = await withStatus(0, deploy('--prune'))
    assert.match(ran.stdout, /may still be let in: worker0 \(until /)
    assert.equal(readFileSync(join(home('gateway'), 'gateway.pem'), 'utf8'), 'of the load balancer')
    for (const file of ['worker0.pem', 'worker0-key.pem', 'worker0.kubeconfig'])
      assert.ok(existsSync(join(home(), file)))
  })
})
