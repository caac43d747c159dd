import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Lab, startLab } from '../lab/lab.ts'
import { gateway, harderway, idsOf, labEdits, makePlace, type Ran, writeCluster } from '../support/harderway.ts'
import { freePorts, needs } from '../support/programs.ts'

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
  let place: string
  let lab: Lab
  let first: Ran

  before(async () => {
    place = makePlace()
    lab = await startLab({ dir: join(place, 'lab'), nodes: names.map((name) => ({ name })) })
    writeCluster(place, [...labEdits(lab), gateway])
    first = await harderway(place, 'bootstrap', '--json')
  })
  after(async () => {
    await lab.stop()
    rmSync(place, { recursive: true, force: true })
  })

  const seen = (name: string) =>
    readdirSync(lab.node(name).home)
      .filter((file) => !file.startsWith('.'))
      .toSorted()

  test('the first run makes everything and exits 0', () => {
    assert.equal(first.status, 0, first.stdout + first.stderr)
    const { seconds, nextToExpire, ...summary } = first.events.at(-1) ?? {}
    assert.equal(typeof seconds, 'number')
    assert.ok(JSON.stringify(nextToExpire).startsWith('{"name":"'), JSON.stringify(nextToExpire))
    assert.deepEqual(summary, {
      ...{ type: 'summary', targets: 32, made: 32, fresh: 0, stale: 0, failed: 0, cancelled: 0, exit: 0 },
      // What no node had before, nobody has read.
      advice: [],
      toDo: [`back up ${join(place, 'auth')} (docs/backup.md): it is the only copy`],
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
        const there = join(lab.node(name).home, file)
        assert.equal(digest(there), digest(join(place, 'auth', file)), file)
        assert.equal(lstatSync(there).mode & 0o7777, isSecret(file) ? 0o600 : 0o644, file)
      }
    })
  }

  test('one connection and one authentication a node carried it all, and nothing is left in the homes beside the files', async () => {
    for (const node of lab.nodes) {
      const { connections, authentications } = await node.counts()
      assert.deepEqual([connections, authentications], [1, 1], node.name)
      assert.ok(!readdirSync(node.home).some((file) => file.startsWith('.harderway')))
    }
  })

  test('the admin is in the local kubeconfig, and it is the current context', () => {
    const config = readFileSync(join(place, 'home/.kube/config'), 'utf8')
    assert.match(config, /^current-context: kubenet$/m)
    assert.equal(lstatSync(join(place, 'home/.kube/config')).mode & 0o777, 0o600)
  })

  test('a second run builds nothing, changes no file but its own record, costs a connection a node and exits 0', async () => {
    const auth = snapshot(join(place, 'auth'))
    const kubeconfig = snapshot(join(place, 'home/.kube'))
    const homes = lab.nodes.map(({ home }) => snapshot(home))
    const second = await harderway(place, 'bootstrap', '--json')
    assert.equal(second.status, 0, second.stdout + second.stderr)
    assert.deepEqual(
      second.events.map(({ type }) => type).filter((type) => !['cluster', 'started', 'summary'].includes(String(type))),
      new Array(32).fill('fresh'),
    )
    assert.equal((await harderway(place, 'certs', 'kubeconfigs', '--dry-run')).status, 0)
    assert.deepEqual(snapshot(join(place, 'auth')), auth)
    assert.deepEqual(snapshot(join(place, 'home/.kube')), kubeconfig)
    assert.deepEqual(
      lab.nodes.map(({ home }) => snapshot(home)),
      homes,
    )
    for (const node of lab.nodes) {
      const { connections, sessions } = await node.counts()
      // The first run's looks for another cluster, at files and ports, at the clock and at the folder, its copy and swap; the
      // second's look.
      assert.deepEqual([connections, sessions], [2, 7], node.name)
    }
  })

  test('with two nodes down the others are finished, the two are named, and the next run does only what is missing', async () => {
    writeCluster(place, [...labEdits(lab), gateway, [['api', 'extraSANs'], ['192.168.1.22']]])
    await Promise.all([lab.node('control1').stop(), lab.node('worker2').stop()])
    const cut = await harderway(place, 'bootstrap', '--json')
    assert.equal(cut.status, 1)
    assert.deepEqual(idsOf(cut, 'built'), ['cluster-cert', 'deploy/control0', 'deploy/control2'])
    assert.deepEqual(idsOf(cut, 'failed'), ['deploy/control1', 'deploy/worker2'])
    for (const event of cut.events.filter(({ type }) => type === 'failed')) {
      assert.equal(event.cause, 'connection-refused')
      assert.match(String(event.message), /^(control1|worker2): connection refused/)
    }
    await Promise.all([lab.node('control1').start(), lab.node('worker2').start()])
    const mended = await harderway(place, 'bootstrap', '--json')
    assert.equal(mended.status, 0, mended.stdout)
    assert.deepEqual(idsOf(mended, 'built'), ['deploy/control1'])
  })
})

test('a dry run in an empty folder makes nothing, names every target with its reason, and nodes that can not be reached', async () => {
  const place = makePlace()
  const [port] = await freePorts(1)
  const nodes = names.slice(0, 6).map((name, i) => {
    return { name, role: name.replace(/\d/, ''), ip: `192.168.1.${11 + i}`, host: '127.0.0.1', port }
  })
  writeFileSync(join(place, 'ssh_config'), '')
  writeCluster(place, [
    [['nodes'], nodes],
    [['ssh', 'configFile'], './ssh_config'],
  ])
  const dry = await harderway(place, 'bootstrap', '--dry-run', '--json')
  assert.equal(dry.status, 1)
  assert.deepEqual(
    idsOf(dry, 'failed'),
    names
      .slice(0, 6)
      .map((name) => `deploy/${name}`)
      .toSorted(),
  )
  const stale = dry.events.filter(({ type }) => type === 'stale')
  assert.equal(stale.length, 24)
  for (const event of stale) assert.ok((event.reasons as unknown[]).length > 0, String(event.id))
  const local = await harderway(place, 'certs', 'kubeconfigs', 'encryption-key', 'local-kubeconfig', '--dry-run')
  assert.equal(local.status, 4)
  rmSync(join(place, 'ssh_config'))
  assert.deepEqual(readdirSync(place).toSorted(), ['cluster.yaml', 'home'])
  assert.deepEqual(readdirSync(join(place, 'home')), [])
  rmSync(place, { recursive: true, force: true })
})

function digest(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}

/** Every file's inode, mode and times. */
function snapshot(folder: string): string[] {
  return readdirSync(folder).map((name) => {
    const { ino, mode, mtimeMs, ctimeMs } = lstatSync(join(folder, name))
    return [name, ino, mode, mtimeMs, ctimeMs].join(' ')
  })
}
