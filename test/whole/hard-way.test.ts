/** Kubernetes The Hard Way: what its followers have is taken over as it is, and what is made here means the same. */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse, stringify } from 'yaml'
import { nodeFiles } from '../../tasks/layouts/tables.ts'
import { type Follower, followHardWay } from '../guide/hard-way.ts'
import { openssl } from '../support/certificates.ts'
import { problemsOf, scratch } from '../support/files.ts'
import {
  callInit,
  exits,
  harderway,
  idsOf,
  makePlace,
  messageOf,
  oneOfEach,
  readCluster,
  writeCluster,
} from '../support/harderway.ts'
import { startLocalLab } from '../support/labs.ts'
import { kubectl, needs } from '../support/programs.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const skip = needs('openssl', 'kubectl', 'ssh')

/** For init: no certificate has their addresses, and server has none. */
const named = ['--control', 'server=192.168.1.11', '--worker', 'node-0=192.168.1.12,node-1=192.168.1.13']

const cluster = { name: 'kubernetes-the-hard-way', layout: 'hard-way' }
const nodes = ['server', 'node-0', 'node-1'].map((name, i) => ({
  name,
  role: i === 0 ? 'control' : 'worker',
  ip: `192.168.1.${11 + i}`,
}))

/** A place with what a follower has in `follower/`. */
async function follow(place: string, follower: Follower = {}): Promise<string> {
  await followHardWay(join(place, 'follower'), { bits: 2048, ...follower })
  return place
}

/** Through init and recover; what the plan of all that is in auth/ says then. */
async function takeOver(place: string, more: readonly string[] = []) {
  const inited = await callInit(place, ['new', '--from', 'follower', ...named, ...more])
  assert.deepEqual([inited.status, inited.stderr], [0, ''])
  const at = join(place, 'new')
  mkdirSync(join(at, 'home'))
  await exits(0, at, 'recover', '--from', '../follower')
  return { at, inited, ran: await harderway(at, ...phases, '--dry-run', '--json') }
}

describe("a follower's folder", { skip }, () => {
  let origin: string
  let taken: Awaited<ReturnType<typeof takeOver>>
  before(async () => {
    origin = await follow(makePlace())
    taken = await takeOver(origin)
  })
  after(() => rmSync(origin, { recursive: true, force: true }))
  test('is recognised, read into a cluster.yaml, and found fresh: nothing is to be made', () => {
    const { at, inited, ran } = taken
    assert.equal(inited.printed.at(-1), '    npm run task -- recover --from follower --config new/cluster.yaml')
    assert.equal(ran.status, 0, ran.stdout)
    assert.deepEqual([idsOf(ran, 'fresh').length, idsOf(ran, 'stale')], [16, []])
    const found = readCluster(readFileSync(join(at, 'cluster.yaml')))
    assert.deepEqual(
      found.nodes.map(({ name, role, ips, user }) => [name, role, ips[0], user]),
      nodes.map(({ name, role, ip }) => [name, role, ip, 'root']),
    )
    assert.equal(found.name, cluster.name)
    // Requests and the CA's serial number are of no use here.
    assert.ok(!readdirSync(join(at, 'auth')).some((name) => /\.(csr|srl|conf)$/.test(name)))
    for (const name of readdirSync(join(at, 'auth')).filter((name) => /\.(crt|key)$/.test(name)))
      assert.ok(readFileSync(join(at, 'auth', name)).equals(readFileSync(join(origin, 'follower', name))), name)
  })

  test("the local kubeconfig dials server, and not this machine as the control node's admin.kubeconfig does", async () => {
    const { at } = taken
    await exits(0, at, 'local-kubeconfig')
    const serverIn = (file: string) => parse(readFileSync(join(at, file), 'utf8')).clusters[0].cluster.server
    assert.equal(serverIn('home/.kube/config'), 'https://server.kubernetes.local:6443')
    assert.equal(serverIn('auth/admin.kubeconfig'), 'https://127.0.0.1:6443')
  })
})

test("a follower's own ca.conf: three workers, another place, more names, an expired CA renewed", {
  skip,
}, async (t) => {
  const own = { workers: ['node-0', 'node-1', 'node-2'], place: { C: 'DE', ST: 'Bayern', L: 'Bamberg' } }
  const place = await follow(scratch(t), { ...own, apiNames: ['k8s.example.org'], days: 90 })
  const { at, ran } = await takeOver(place, ['--worker', 'node-2=192.168.1.14'])
  assert.equal(ran.status, 0, ran.stdout)
  assert.equal(idsOf(ran, 'fresh').length, 18)
  const { subject, api } = readCluster(readFileSync(join(at, 'cluster.yaml')))
  assert.deepEqual(subject, { country: 'DE', state: 'Bayern', locality: 'Bamberg', organization: 'Kubernetes' })
  assert.deepEqual(api.extraSANs, ['k8s.example.org'])
  // Everything has expired: the CA over its key, then the rest.
  const late = { place: at, now: new Date(Date.now() + 120 * 86_400_000) }
  await exits(0, late, 'ca', '--renew', '--json')
  const again = await exits(0, late, ...phases, '--json')
  assert.equal(idsOf(again, 'failed').length, 0)
  const end = String(Math.floor(late.now.getTime() / 1000))
  const leaves = readdirSync(join(at, 'auth')).filter((name) => name.endsWith('.crt') && name !== 'ca.crt')
  openssl('verify', '-attime', end, '-CAfile', join(at, 'auth/ca.crt'), ...leaves.map((name) => join(at, 'auth', name)))
})

describe("what is made here, beside what the guide's commands make", { skip }, () => {
  let place: string
  const auth = (name: string) => join(place, 'auth', name)
  const theirs = (name: string) => join(place, 'follower', name)
  before(async () => {
    place = await follow(makePlace())
    const made = { ...cluster, certificates: { key: 'rsa-2048' }, nodes, localKubeconfig: false }
    writeFileSync(join(place, 'cluster.yaml'), stringify(made))
    await exits(0, place, ...phases, '--json')
  })
  after(() => rmSync(place, { recursive: true, force: true }))

  test('the same files, and no others', () => {
    const kept = readdirSync(join(place, 'follower')).filter((name) => !/\.(csr|srl|conf)$/.test(name))
    assert.deepEqual(
      readdirSync(join(place, 'auth')).filter((name) => !name.startsWith('.')),
      kept,
    )
  })

  /** By openssl: the subject's attributes, the names, the usages and the validity in days; each sorted. */
  function meaningOf(file: string) {
    const print = (...options: string[]) => openssl('x509', '-in', file, '-noout', ...options)
    const listed = (text: string) =>
      text
        .trim()
        .split(/, ?|\n */)
        .toSorted()
    const subject = print('-subject', '-nameopt', 'multiline')
      .split('\n')
      .slice(1, -1)
      .map((line) => line.trim())
    const extension = (name: string) => print('-ext', name).split('\n').slice(1).join('\n')
    const times = ['-startdate', '-enddate'].map((option) => Date.parse(print(option).replace(/^.*=/, '')))
    return {
      subject: subject.toSorted(),
      names: listed(extension('subjectAltName')),
      usages: listed(extension('extendedKeyUsage')),
      keyUsage: listed(extension('keyUsage')),
      isCa: /CA:TRUE/.test(extension('basicConstraints')),
      days: Math.round(((times[1] ?? 0) - (times[0] ?? 0)) / 86_400_000),
    }
  }
  test('the other certificates mean the same', () => {
    for (const name of 'ca node-0 node-1 kube-api-server'.split(' '))
      assert.deepEqual(meaningOf(auth(`${name}.crt`)), meaningOf(theirs(`${name}.crt`)), name)
  })
  test("those of components that are clients alone mean the same, without a server's usages and the guide's slip", () => {
    for (const name of 'admin service-accounts kube-proxy kube-controller-manager kube-scheduler'.split(' ')) {
      const { subject, usages, keyUsage, ...rest } = meaningOf(theirs(`${name}.crt`))
      const corrected = subject.map((line) => line.replace('system:system:', 'system:'))
      const narrower = usages.filter((usage) => usage !== 'TLS Web Server Authentication')
      assert.equal(narrower.length, name.startsWith('kube') ? usages.length - 1 : usages.length)
      const signs = keyUsage.filter((usage) => usage !== 'Key Encipherment')
      const expected = { subject: corrected, usages: narrower, keyUsage: signs, ...rest }
      assert.deepEqual(meaningOf(auth(`${name}.crt`)), expected, name)
    }
  })

  test('kubeconfigs mean the same to kubectl', () => {
    const view = (file: string) => kubectl(place, ['config', 'view', `--kubeconfig=${file}`])
    for (const name of ['admin', 'node-0', 'node-1', 'kube-proxy', 'kube-controller-manager', 'kube-scheduler'])
      assert.equal(view(auth(`${name}.kubeconfig`)), view(theirs(`${name}.kubeconfig`)), name)
  })

  test('encryption-config.yaml means the same, but for the key', () => {
    const [ours, other] = [auth, theirs].map((of) => {
      const config = parse(readFileSync(of('encryption-config.yaml'), 'utf8'))
      config.resources[0].providers[0].aescbc.keys[0].secret = ''
      return config
    })
    assert.deepEqual(ours, other)
  })

  test('each machine gets what the documents copy to it', () => {
    const { certificates, ...rest } = readCluster(readFileSync(join(place, 'cluster.yaml')))
    const of = (name: string, caKeyOnNodes = true) =>
      rest.nodes
        .filter((node) => node.name === name)
        .flatMap((node) => nodeFiles({ ...rest, certificates: { ...certificates, caKeyOnNodes } }, node).toSorted())
    assert.deepEqual(of('node-0'), 'ca.crt kube-proxy.kubeconfig node-0.crt node-0.key node-0.kubeconfig'.split(' '))
    assert.deepEqual(of('server'), [
      ...['admin.kubeconfig', 'ca.crt', 'ca.key', 'encryption-config.yaml', 'kube-api-server.crt'],
      ...['kube-api-server.key', 'kube-controller-manager.kubeconfig', 'kube-scheduler.kubeconfig'],
      ...['service-accounts.crt', 'service-accounts.key'],
    ])
    const all = of('server')
    assert.deepEqual(
      of('server', false),
      all.filter((file) => file !== 'ca.key'),
    )
  })
})

test('mistakes in a cluster.yaml of layout hard-way', () => {
  const written = (more: object) => problemsOf(stringify({ ...cluster, nodes, ...more }))
  assert.deepEqual(written({}), [])
  const node = (name: string, role: string) => ({ nodes: [...nodes, { name, role, ip: '192.168.1.19' }] })
  for (const [more, expected] of [
    [
      { api: { virtualIP: '10.0.0.1' } },
      /api\.virtualIP is not a key of layout hard-way; the guide has no load balancer/,
    ],
    [{ subject: { organization: 'x' } }, /subject\.organization is not a key of layout hard-way/],
    [node('b', 'control'), /nodes\[3\]\.role layout hard-way has one control node; its etcd/],
    [node('g', 'gateway'), /nodes\[3\]\.role layout hard-way has no load balancer/],
    [node('kube-proxy', 'worker'), /"kube-proxy" is reserved by harderway/],
  ] as const) {
    const [first, ...others] = written(more)
    assert.match(String(first), expected)
    assert.deepEqual(others, [])
  }
})

test('an auth/ of the other layout is refused by every command, with the one thing to do', async (t) => {
  const place = scratch(t)
  writeCluster(place, oneOfEach)
  await exits(0, place, ...phases)
  writeFileSync(join(place, 'cluster.yaml'), stringify({ ...cluster, nodes }))
  const before = readdirSync(join(place, 'auth'))
  for (const task of ['bootstrap', 'status', 'verify', 'ca --force', 'recover --node server', 'report']) {
    const { stdout, stderr } = await exits(3, place, ...task.split(' '))
    assert.match(
      stderr,
      /auth has ca\.pem \(layout harder-way\), but cluster\.yaml has layout hard-way\n +- correct layout in/,
    )
    assert.doesNotMatch(stdout + stderr, /kubectl delete|--force|recover --/)
  }
  assert.deepEqual(readdirSync(join(place, 'auth')), before)
})

test("a worker of another cluster is refused, whatever that cluster's layout: its kubeconfigs trust another CA", {
  skip: needs('ssh'),
}, async (t) => {
  const place = scratch(t)
  mkdirSync(join(place, 'lab'))
  await using lab = startLocalLab(join(place, 'lab'), ['c', 'w', 'c2'])
  const at = (host: string, more: object) => {
    const its = join(place, host)
    mkdirSync(join(its, 'home'), { recursive: true })
    const control = { name: 'c', role: 'control', ip: '192.168.1.11', host }
    const all = { name: host, nodes: [control, { name: 'w', role: 'worker', ip: '192.168.1.12' }], ...more }
    const ssh = { configFile: lab.sshConfig, user: userInfo().username }
    const quick = { certificates: { key: 'ecdsa-p256' }, localKubeconfig: false }
    writeFileSync(join(its, 'cluster.yaml'), stringify({ ...all, ssh, ...quick }))
    return its
  }
  await exits(0, at('c', { api: { virtualIP: '192.168.1.21' } }), 'bootstrap')
  const kubeconfig = () => readFileSync(join(lab.node('w').home, 'w.kubeconfig'), 'utf8')
  const before = kubeconfig()
  const ran = await exits(3, at('c2', { layout: 'hard-way' }), 'bootstrap', '--json')
  assert.match(String(messageOf(ran, 'deploy/w')), /w: another CA in kube-proxy\.kubeconfig \(it trusts another CA/)
  assert.equal(kubeconfig(), before)
  await exits(0, join(place, 'c'), 'bootstrap')
})
