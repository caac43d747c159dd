/** What --dry-run says of a cluster that is deployed on real sshd, and that the run then does just that. */
import assert from 'node:assert/strict'
import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Edit, idsOf } from '../support/harderway.ts'
import { openssl } from '../support/openssl.ts'
import { needs } from '../support/parts.ts'
import { makeSevenNodes, type SevenNodes, sevenNames } from '../support/seven-nodes.ts'

const controls = sevenNames.slice(0, 3)
const moreResources: Edit = [
  ['encryption', 'resources'],
  ['secrets', 'configmaps'],
]
describe('the plan of a dry run', { skip: needs('sshd', 'ssh', 'scp', 'openssl') }, () => {
  let seven: SevenNodes

  before(async () => {
    seven = await makeSevenNodes()
  })
  after(async () => await seven[Symbol.asyncDispose]())

  /** The plan in words and as JSON; the run after it makes what was planned, and then there is nothing to plan. */
  const planAndRun = async () => {
    const [words, dry] = [
      await seven.run('bootstrap', '--dry-run'),
      await seven.run('bootstrap', '--dry-run', '--json'),
    ]
    assert.deepEqual([words.status, dry.status, words.stderr], [4, 4, ''])
    const lines = words.stdout.trimEnd().split('\n')
    for (const line of lines) assert.ok(line.length <= 80, line)
    const planned = dry.events.filter(({ type }) => type === 'plan')
    const last = dry.events.slice(-planned.length - 1).map(({ type }) => type)
    assert.deepEqual(last, [...planned.map(() => 'plan'), 'summary'])
    const { stale, fresh } = dry.events.at(-1) ?? {}
    assert.match(
      String(lines.at(-1)),
      new RegExp(`^32 targets: ${stale} to make, ${fresh} fresh, 0 failed in [\\d.]+ s$`),
    )
    const told = planned.flatMap(({ ids, follows }) => [...(ids as string[]), ...(follows as string[])])
    assert.deepEqual([...new Set(told)].toSorted(), idsOf(dry, 'stale'))
    const run = await seven.run('bootstrap', '--json')
    assert.equal(run.status, 0, run.stdout)
    assert.deepEqual(idsOf(run, 'built'), idsOf(dry, 'stale'))
    assert.ok(run.events.every(({ type }) => type !== 'plan'))
    const { made, fresh: left } = run.events.at(-1) ?? {}
    assert.deepEqual([made, left], [stale, fresh])
    assert.equal((await seven.run('bootstrap', '--dry-run')).status, 0)
    return { plan: lines.slice(0, -2), planned: planned.map(({ type, ...rest }) => rest) }
  }

  test('where nothing is to be made is one line, and exits with 0', async () => {
    const { status, stdout } = await seven.run('bootstrap', '--dry-run')
    assert.equal(status, 0)
    assert.match(stdout, /^32 targets: 0 made, 32 fresh, 0 failed in [\d.]+ s\n$/)
  })

  test('for another virtual IP is the certificate, the control nodes and nothing of what stays: its units take it up by themselves', async () => {
    seven.write([['api', 'virtualIP'], '192.168.1.99'])
    const { plan, planned } = await planAndRun()
    assert.deepEqual(plan, [
      'Cluster certificate',
      '  kubernetes.pem: SAN added: 192.168.1.99; SAN removed: 192.168.1.21',
      '    → deploy control0, control1, control2',
    ])
    assert.deepEqual(planned, [
      {
        ids: ['cluster-cert'],
        why: 'SAN added: 192.168.1.99; SAN removed: 192.168.1.21',
        follows: controls.map((name) => `deploy/${name}`),
        restart: [],
      },
    ])
  })

  test("for a worker's certificate that is about to end goes through its kubeconfig to the node and its kubelet", async () => {
    seven.write()
    assert.equal((await seven.run('bootstrap')).status, 0)
    seven.write([['certificates', 'validity'], '20d'], [['certificates', 'renewBefore'], '1d'])
    rmSync(join(seven.path, 'auth/worker1.pem'))
    assert.equal((await seven.run('bootstrap')).status, 0)
    const enddate = openssl('x509', '-in', join(seven.path, 'auth/worker1.pem'), '-noout', '-enddate')
    const end = new Date(enddate.trim().replace('notAfter=', '')).toISOString().slice(0, 10)
    seven.write()
    const { plan } = await planAndRun()
    assert.deepEqual(plan, [
      'Node certificates',
      `  worker1.pem: expires ${end}`,
      '    → kubeconfigs worker1 → deploy worker1 → then restart kubelet',
    ])
  })

  test('for a mode alone has nothing following', async () => {
    chmodSync(join(seven.path, 'auth/kubernetes-key.pem'), 0o644)
    const { plan, planned } = await planAndRun()
    assert.deepEqual(plan, ['Cluster certificate', '  kubernetes-key.pem has mode 0644, not 0600'])
    assert.deepEqual([planned[0]?.follows, planned[0]?.restart], [[], []])
  })

  test('for a resource more to encrypt restarts the API servers', async () => {
    seven.write(moreResources)
    const { plan } = await planAndRun()
    assert.deepEqual(plan, [
      'Encryption key',
      '  encryption-config.yaml: resource added: configmaps',
      '    → deploy control0, control1, control2 → then restart kube-apiserver',
    ])
  })

  test('for a file that was changed on a node names the node, the file and what has it open', async () => {
    rmSync(join(seven.lab.node('worker2').home, 'worker2.kubeconfig'))
    chmodSync(join(seven.lab.node('worker0').home, 'worker0-key.pem'), 0o644)
    rmSync(join(seven.lab.node('control1').home, 'encryption-config.yaml'))
    const { plan } = await planAndRun()
    assert.deepEqual(plan, [
      'Deploy to nodes',
      '  control1: encryption-config.yaml missing',
      '  worker0: worker0-key.pem with a wrong mode',
      '  worker2: worker2.kubeconfig missing',
    ])
  })

  test('for a kubeconfig that is lost here goes on to its node, where the run then finds the same', async () => {
    rmSync(join(seven.path, 'auth/worker1.kubeconfig'))
    const { status, stdout } = await seven.run('bootstrap', '--dry-run')
    assert.equal(status, 4)
    assert.deepEqual(stdout.split('\n').slice(0, 3), [
      'Kubeconfigs',
      '  worker1.kubeconfig: new',
      '    → deploy worker1 → then restart kubelet',
    ])
    assert.deepEqual(idsOf(await seven.run('bootstrap', '--json'), 'built'), ['kubeconfigs/worker1'])
  })

  test('for a change that concerns a node with something else wrong too deploys it there, and says what to restart', async () => {
    seven.write([['api', 'virtualIP'], '192.168.1.98'], moreResources)
    for (const name of controls) rmSync(join(seven.lab.node(name).home, 'admin.kubeconfig'))
    const { plan } = await planAndRun()
    assert.ok(plan.includes('    → deploy control0, control1, control2'), plan.join('\n'))
  })

  test('for a certificate that is lost or garbage, with its key still there, takes no node for one of another cluster', async () => {
    rmSync(join(seven.path, 'auth/ca.pem'))
    writeFileSync(join(seven.path, 'auth/service-account.pem'), 'garbage')
    const dry = await seven.run('bootstrap', '--dry-run')
    assert.equal(dry.status, 4, dry.stdout)
    assert.doesNotMatch(dry.stdout + dry.stderr, /another/)
    assert.match(dry.stdout, /^ {2}ca\.pem missing$/m)
    const ran = await seven.run('bootstrap')
    assert.equal(ran.status, 0, ran.stdout)
    assert.equal((await seven.run('bootstrap', '--dry-run')).status, 0)
  })

  test('of a first run has a reason for everything, and restarts nothing', async () => {
    seven.empty()
    for (const folder of ['auth', 'home/.kube']) rmSync(join(seven.path, folder), { recursive: true })
    const { plan, planned } = await planAndRun()
    assert.equal(planned.flatMap(({ ids }) => ids).length, 31)
    for (const { why, restart } of planned) {
      assert.match(String(why), /^new$| missing$/)
      assert.deepEqual(restart, [])
    }
    // It is made of what is not there yet, and so can't be looked at.
    assert.deepEqual(
      planned.flatMap(({ follows }) => follows),
      ['local-kubeconfig'],
    )
    assert.deepEqual(
      plan.filter((line) => line.includes('→')),
      ['    → local-kubeconfig'],
    )
  })
})
