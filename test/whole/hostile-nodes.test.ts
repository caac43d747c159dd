import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, beforeEach, describe, type TestContext, test } from 'node:test'
import { parseCluster } from '../../lib/cluster/cluster.ts'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { makePair, readIssuer } from '../../lib/pki/pair.ts'
import { generatePrivateKey, privateKeyPem } from '../../lib/pki/x509.ts'
import { harderWay } from '../../tasks/layouts/harder-way.ts'
import { certTable, layoutRules } from '../../tasks/layouts/tables.ts'
import { scratch, stateOf } from '../support/files.ts'
import {
  assertStatus,
  type Edit,
  exits,
  harderway,
  idsOf,
  labEdits,
  messageOf,
  oneOfEach,
  type Ran,
  withStatus,
  writeCluster,
} from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const names = ['control0', 'worker0', 'gateway'] as const
const hour = 3_600_000

describe('a node that is not what it should be', { skip: needs('ssh', 'flock') }, () => {
  const suite = localPlace(...names)
  const { place } = suite
  let kept: string
  const auth = (of = place) => join(of, 'auth')
  const home = (name = 'control0') => suite.lab.node(name).home
  const homes = () => Object.fromEntries(names.map((name) => [name, withoutChangeTime(stateOf(home(name)))]))
  const deploy = (...args: string[]) => harderway(place, 'deploy', '--json', ...args)
  const failureOf = ({ events }: Ran) => events.find((e) => e.id === 'deploy/control0' && e.type === 'failed') ?? {}
  /** With something else said of one of them. */
  const writeNode = (i: number, change: object) => {
    const nodes = oneOfEach.find(([path]) => path[0] === 'nodes')?.[1] as object[]
    write([['nodes'], nodes.with(i, { ...nodes[i], ...change })])
  }
  const write = (...more: Edit[]) => writeCluster(place, [...oneOfEach, ...labEdits(suite.lab), ...more])
  /** Another machine with the same auth/. */
  const colleague = (t: TestContext) => {
    const folder = scratch(t)
    mkdirSync(join(folder, 'home'))
    cpSync(auth(), auth(folder), { recursive: true })
    writeCluster(folder, [...oneOfEach, ...labEdits(suite.lab)])
    return folder
  }
  before(async () => {
    write()
    await exits(0, place, 'bootstrap')
    kept = join(place, 'kept')
    for (const name of names) cpSync(home(name), join(kept, name), { recursive: true })
    cpSync(auth(), join(kept, 'auth'), { recursive: true })
  })
  beforeEach(() => {
    write()
    for (const [folder, name] of [[auth(), 'auth'] as const, ...names.map((name) => [home(name), name] as const)]) {
      for (const file of readdirSync(folder)) rmSync(join(folder, file), { recursive: true })
      cpSync(join(kept, name), folder, { recursive: true })
    }
  })

  for (const [whose, open, closed] of [
    ['may be written by others', 'chmod 0777', 'chmod 0700'],
    ['is another user\u2019s', 'chown nobody', 'chown 0'],
  ] as const)
    test(`has a folder that ${whose}: nothing is copied there`, {
      skip: process.getuid?.() !== 0 && open.startsWith('chown') && 'only root gives files away',
    }, async () => {
      const folder = home('worker0')
      rmSync(join(folder, 'worker0-key.pem'))
      execFileSync('sh', ['-c', `${open} "$1"`, 'sh', folder])
      const ran = await deploy()
      execFileSync('sh', ['-c', `${closed} "$1"`, 'sh', folder])
      assertStatus(ran, 1)
      assert.match(String(messageOf(ran, 'deploy/worker0')), /^worker0: \S+ is writable by others than \S+, /)
      assert.equal(existsSync(join(folder, 'worker0-key.pem')), false)
      await withStatus(0, deploy())
    })

  /** New pairs in auth/, so that each file but the identity's differs. */
  const renew = () => exits(0, place, 'cluster-cert', 'component-certs', 'node-certs', 'kubeconfigs', '--force')

  // What else may not be replaced: test/lib/node/replace-in-folder.test.ts.
  const canChattr = process.getuid?.() === 0 && spawnSync('chattr', ['-i', '/tmp']).status === 0
  test('has an immutable file: nothing at all is replaced', {
    skip: !canChattr && 'needs root, and a file system that has it',
  }, async () => {
    await renew()
    const before = homes()
    const file = join(home(), 'kubernetes.pem')
    execFileSync('chattr', ['+i', file])
    const ran = await deploy('--node', 'control0').finally(() => execFileSync('chattr', ['-i', file]))
    assertStatus(ran, 1)
    assert.match(
      String(messageOf(ran, 'deploy/control0')),
      /^control0: couldn't replace a file; every file is as before \(.*kubernetes\.pem.*not permitted\)$/,
    )
    assert.deepEqual(homes(), before)
    await withStatus(0, deploy())
    await withStatus(0, deploy('--dry-run'))
  })

  describe('holds certificates that are newer than ours', () => {
    /** Our pair becomes one that was made a day ago. */
    const older = async (name: string) => {
      const folder = new AuthDir(auth(), harderWay.files)
      const parsed = parseCluster(readFileSync(join(place, 'cluster.yaml')), layoutRules)
      assert.ok('cluster' in parsed)
      const { profile } = certTable(parsed.cluster).find((row) => row.name === name) ?? assert.fail()
      const now = new Date(Date.now() - 24 * hour)
      await makePair(folder, name, { profile, issuer: readIssuer(folder), now, validity: 300 * 24 * hour })
    }

    // In which files: test/tasks/deploy/guards.test.ts.
    test('they stay, until --force is given', async () => {
      await older('control0')
      await exits(0, place, 'kubeconfigs')
      const before = homes()
      const ran = await withStatus(1, deploy())
      const { message, remedy } = failureOf(ran)
      assert.equal(message, `control0: control0.pem, control0.kubeconfig are newer than in ${auth()}`)
      assert.match(
        String(remedy),
        /^use the auth\/ that the nodes were deployed from[\s\S]*deploy --node control0 --force/,
      )
      assert.deepEqual(homes(), before)
      await withStatus(1, deploy('--dry-run'))
      await withStatus(0, deploy('--node', 'control0', '--force'))
      await withStatus(0, deploy('--dry-run'))
    })

    test('in the middle of a rotation that a colleague began: they stay, whichever files are there', async (t) => {
      const theirs = colleague(t)
      const next = await generatePrivateKey('ecdsa-p256')
      writeFileSync(join(auth(theirs), 'ca-next-key.pem'), privateKeyPem(next), { mode: 0o600 })
      await exits(0, theirs, 'certs', 'kubeconfigs')
      for (const name of ['control0', 'worker0'] as const)
        for (const file of readdirSync(home(name)))
          if (/\.(pem|kubeconfig)$/.test(file)) copyFileSync(join(auth(theirs), file), join(home(name), file))
      const before = homes()
      const ran = await withStatus(1, deploy())
      assert.deepEqual(idsOf(ran, 'failed'), ['deploy/control0', 'deploy/worker0'])
      for (const id of ['deploy/control0', 'deploy/worker0']) assert.match(String(messageOf(ran, id)), /newer than in/)
      assert.deepEqual(homes(), before)
      // To whom it belongs, it is right.
      await exits(0, theirs, 'deploy', '--dry-run', '--node', 'control0', '--node', 'worker0')
    })
  })

  test("holds somebody else's kubeconfig under a name of ours: it stays, until --replace-identity keeps a copy", async () => {
    const [path, text] = [join(home(), 'admin.kubeconfig'), 'users: [{name: x, user: {token: a-secret}}]\n']
    writeFileSync(path, text)
    for (const args of [['--dry-run'], []]) {
      const ran = await withStatus(3, deploy('--node', 'control0', ...args))
      assert.match(String(messageOf(ran, 'deploy/control0')), /another kubeconfig in admin\.kubeconfig than in /)
      assert.ok(!ran.stdout.includes('a-secret'))
    }
    await withStatus(0, deploy('--node', 'control0', '--replace-identity', '--yes'))
    assert.ok(readFileSync(path).equals(readFileSync(join(auth(), 'admin.kubeconfig'))))
    const backup = join(auth(), 'backup')
    const [kept = ''] = readdirSync(backup).filter((folder) => folder.startsWith('control0-'))
    assert.equal(readFileSync(join(backup, kept, 'admin.kubeconfig'), 'utf8'), text)
  })

  /** Somebody's self-signed certificate and key, under these names. */
  const strangersPair = (folder: string, name: string) =>
    execFileSync('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=mine'],
      ...['-days', '9', '-keyout', join(folder, `${name}-key.pem`), '-out', join(folder, `${name}.pem`)],
    ])

  test("holds somebody else's certificate and key under names of ours: they stay, until --replace-identity keeps a copy", async () => {
    const files = ['worker0.pem', 'worker0-key.pem']
    strangersPair(home('worker0'), 'worker0')
    const theirs = files.map((file) => readFileSync(join(home('worker0'), file)))
    for (const more of [['--dry-run'], [], ['--force']]) {
      const ran = await withStatus(3, deploy(...more))
      assert.match(
        String(messageOf(ran, 'deploy/worker0')),
        /^worker0: another certificate in worker0\.pem and private key in worker0-key\.pem than in /,
      )
      assert.deepEqual(idsOf(ran, 'failed'), ['deploy/worker0'])
    }
    assert.deepEqual(
      files.map((file) => readFileSync(join(home('worker0'), file))),
      theirs,
    )
    await withStatus(0, deploy('--node', 'worker0', '--replace-identity', '--yes'))
    const backup = join(auth(), 'backup')
    const [kept = ''] = readdirSync(backup).filter((folder) => folder.startsWith('worker0-'))
    assert.deepEqual(
      files.map((file) => readFileSync(join(backup, kept, file))),
      theirs,
    )
    await withStatus(0, deploy('--dry-run'))
  })

  test("holds another cluster's files that belong on no such node: --prune names them, and removes ours", async () => {
    strangersPair(home('worker0'), 'admin')
    writeFileSync(join(home('worker0'), 'admin.kubeconfig'), 'users: [{name: x, user: {token: a-secret}}]\n')
    copyFileSync(join(auth(), 'kubernetes.pem'), join(home('worker0'), 'kubernetes.pem'))
    copyFileSync(join(home('worker0'), 'admin-key.pem'), join(home('worker0'), 'kubernetes-key.pem'))
    const ran = await withStatus(0, deploy('--prune'))
    assert.match(ran.stdout, /--prune leaves (admin[^ ]+ ){3}on worker0, which are not of this cluster/)
    for (const file of ['admin.pem', 'admin-key.pem', 'admin.kubeconfig'])
      assert.ok(existsSync(join(home('worker0'), file)), file)
    // By the certificate beside it a key is ours.
    for (const file of ['kubernetes.pem', 'kubernetes-key.pem'])
      assert.ok(!existsSync(join(home('worker0'), file)), file)
  })

  describe('is pruned', () => {
    test('never of a folder', async () => {
      const folder = join(home(), 'worker0.pem')
      mkdirSync(folder)
      writeFileSync(join(folder, 'thesis.txt'), 'x')
      copyFileSync(join(auth(), 'worker0.kubeconfig'), join(home(), 'worker0.kubeconfig'))
      await withStatus(0, deploy('--prune'))
      assert.deepEqual(readdirSync(folder), ['thesis.txt'])
      assert.ok(!existsSync(join(home(), 'worker0.kubeconfig')))
    })

    test('not of what has the name of a gateway: it may be its own; what the node had in another role is told', async () => {
      const files = ['worker0.pem', 'worker0-key.pem', 'worker0.kubeconfig']
      writeFileSync(join(home('gateway'), 'gateway.pem'), 'of the load balancer')
      writeNode(1, { role: 'gateway' })
      const ran = await withStatus(0, deploy('--prune'))
      assert.match(ran.stdout, /may still be let in: worker0 \(until /)
      assert.equal(readFileSync(join(home('gateway'), 'gateway.pem'), 'utf8'), 'of the load balancer')
      for (const file of files) assert.ok(existsSync(join(home('worker0'), file)))
    })
  })
})

/** A second link to a file, and a flag of it, are changes of its inode alone. */
function withoutChangeTime(states: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(states).map(([name, state]) => [name, state.split(' ').toSpliced(4, 1).join(' ')]),
  )
}
