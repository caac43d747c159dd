/** `status`, as its users and their cron call it. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { stateOf } from '../../support/files.ts'
import {
  copyPlace,
  type Edit,
  oneOfEach as edits,
  exits,
  harderway,
  labEdits,
  makePlace,
  type Ran,
  withStatus,
  writeCluster,
} from '../../support/harderway.ts'
import { labPlace } from '../../support/labs.ts'
import { needs } from '../../support/programs.ts'

const day = 86_400_000
/** When everything is made; leaves end a year later, and the CA ten years. */
const made = Date.parse('2027-03-01T00:00:00Z')
const components = ['admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy']
const nodes = ['control0', 'worker0']
const pairs = ['ca', 'kubernetes', ...components, 'service-account', ...nodes]
const clients = [...components, ...nodes]

const states = ['fresh', 'stale', 'failed', 'skipped']
const outcomesOf = ({ events }: Ran) => events.filter(({ type }) => states.includes(String(type)))
const outcomeOf = (ran: Ran, id: string) => outcomesOf(ran).find((row) => row.id === id)
const notFresh = (ran: Ran) => outcomesOf(ran).flatMap(({ id, type }) => (type === 'fresh' ? [] : [id]))
/** The lines of the table that begin with a mark, by their columns. */
const rowsOf = ({ stdout }: Ran) =>
  stdout.split('\n').flatMap((line) => (/^[✔●✖] /.test(line) ? [line.slice(2).split(/ {2,}/)] : []))

describe('status', { concurrency: 2 }, () => {
  let origin: string

  before(async () => {
    origin = makePlace()
    writeCluster(origin, edits)
    const phases = ['certs', 'kubeconfigs', 'encryption-key', 'local-kubeconfig']
    await exits(0, { place: origin, now: new Date(made) }, ...phases)
  })
  after(() => rmSync(origin, { recursive: true, force: true }))

  const copied = (t: TestContext, more: readonly Edit[] = []) => copyPlace(t, origin, [...edits, ...more])
  const statusAt = (place: string, days: number, ...args: string[]) =>
    harderway({ place, now: new Date(made + days * day) }, 'status', ...args)

  test('exits with 0 if everything is in order, with the end and the issuer of everything', async (t) => {
    const { place, auth } = copied(t)
    const json = await statusAt(place, 1, '--json')
    assert.deepEqual([json.status, json.stderr], [0, ''])
    assert.equal(outcomesOf(json).length, pairs.length + clients.length + 2)
    for (const [id, name] of [
      ['ca', 'ca'],
      ['node-certs/worker0', 'worker0'],
    ] as const)
      assert.equal(
        outcomeOf(json, id)?.until,
        new Date(new X509Certificate(readFileSync(join(auth, `${name}.pem`))).validTo)
          .toISOString()
          .replace('.000', ''),
      )
    assert.deepEqual(notFresh(json), [])
    const { fresh, exit } = json.events.at(-1) ?? {}
    assert.deepEqual([fresh, exit], [17, 0])
  })

  describe("the user's own kubeconfig", () => {
    test('counts where it is another, none, or has expired, unless cluster.yaml has localKubeconfig: false', async (t) => {
      const { place } = copied(t)
      await exits(0, { place, now: new Date(made + 400 * day) }, 'certs', 'kubeconfigs', 'encryption-key')
      const expired = await withStatus(4, statusAt(place, 401, '--json'))
      assert.deepEqual(notFresh(expired), ['local-kubeconfig'])
      await exits(0, { place, now: new Date(made + 401 * day) }, 'local-kubeconfig')
      await withStatus(0, statusAt(place, 401))
      writeFileSync(join(place, 'home/.kube/config'), 'apiVersion: v1\nkind: Config\n')
      const ran = await withStatus(4, statusAt(place, 401, '--json'))
      assert.deepEqual(notFresh(ran), ['local-kubeconfig'])
      rmSync(join(place, 'home/.kube'), { recursive: true })
      const without = await withStatus(4, statusAt(place, 401))
      assert.match(
        without.stdout,
        /^● local-kubeconfig +your kubectl\n +to change; \S*\/home\/\.kube\/config missing$/m,
      )
      writeCluster(place, [...edits, [['localKubeconfig'], false]])
      await withStatus(0, statusAt(place, 401))
    })

    test('leads to recover where auth/ has no CA: what is missing may have been lost', async (t) => {
      const { place } = copied(t)
      const advice =
        /\S+\/auth has no CA; if this cluster already runs, restore it:\s+npm run task -- recover --node control0/
      assert.doesNotMatch((await statusAt(place, 1)).stdout, / has no CA/)
      rmSync(join(place, 'auth'), { recursive: true })
      const { stdout } = await withStatus(3, statusAt(place, 1))
      assert.match(stdout.replaceAll(/\n +/g, ' '), advice)
      assert.match(String((await statusAt(place, 1, '--json')).events.at(-1)?.todo), advice)
    })
  })

  test('--node shows what belongs to the node, and judges by that alone', async (t) => {
    const { place, auth } = copied(t)
    rmSync(join(auth, 'admin.pem'))
    const ran = await statusAt(place, 1, '--node', 'worker0', '--json')
    assert.deepEqual(
      [ran.status, outcomesOf(ran).map(({ id }) => id)],
      [0, ['node-certs/worker0', 'kubeconfigs/worker0']],
    )
    rmSync(join(auth, 'worker0-key.pem'))
    await withStatus(4, statusAt(place, 1, '--node', 'worker0'))
    await withStatus(0, statusAt(place, 1, '--node', 'control0'))
    const both = await statusAt(place, 1, '--node', 'worker0', '--node', 'control0', '--json')
    assert.deepEqual([both.status, outcomesOf(both).length], [4, 4])
    await withStatus(2, statusAt(place, 1, '--node', 'worker9'))
  })

  test('--quiet prints nothing if everything is in order, and else what is not', async (t) => {
    const { place, auth } = copied(t)
    const { status, stdout, stderr } = await statusAt(place, 1, '--quiet')
    assert.deepEqual([status, stdout, stderr], [0, '', ''])
    rmSync(join(auth, 'worker0.kubeconfig'))
    const quiet = await statusAt(place, 1, '--quiet')
    assert.deepEqual([quiet.status, rowsOf(quiet).map(([file]) => file)], [4, ['worker0.kubeconfig']])
  })

  test('exits with 3 where a run would refuse something, also beside what fails', async (t) => {
    const { place, auth } = copied(t)
    rmSync(join(auth, 'ca-key.pem'))
    const ran = await withStatus(3, statusAt(place, 1, '--json'))
    assert.deepEqual([outcomeOf(ran, 'ca')?.refused, ran.events.at(-1)?.exit], [true, 3])
    truncateSync(join(auth, 'admin.kubeconfig'), 100 * 2 ** 20)
    await withStatus(3, statusAt(place, 1))
    await withStatus(1, statusAt(place, 400, '--node', 'worker0'))
  })
})

describe('status --on-nodes, of three real sshd', { skip: needs('sshd', 'ssh', 'scp', 'openssl') }, () => {
  const names = ['control0', 'worker0', 'gateway']
  const suite = labPlace(...names)
  const { place } = suite

  before(async () => {
    writeCluster(place, [...edits, ...labEdits(suite.lab)])
    await exits(0, place, 'bootstrap')
  })

  const home = (name: string) => suite.lab.node(name).home
  const status = (...args: string[]) => harderway(place, 'status', ...args)
  const connections = async () => Promise.all(suite.lab.nodes.map(async (node) => (await node.counts()).connections))
  const nodesOf = (ran: Ran) =>
    outcomesOf(ran).flatMap(({ type, id, message }) => (String(id).startsWith('deploy/') ? [[id, type, message]] : []))
  const same = names.map((name) => [`deploy/${name}`, 'fresh', 'up to date'])

  test('all is the same on each node, at a connection a node, and nothing is touched there or here', async () => {
    const before = await connections()
    const state = [join(place, 'auth'), ...names.map(home)].map((folder) => stateOf(folder))
    const ran = await status('--on-nodes', '--json')
    assert.deepEqual([ran.status, nodesOf(ran)], [0, same], ran.stdout)
    assert.deepEqual(
      await connections(),
      before.map((count) => count + 1),
    )
    assert.deepEqual(
      [join(place, 'auth'), ...names.map(home)].map((folder) => stateOf(folder)),
      state,
    )
  })
})
