/** `status`, as its users and their cron call it. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import {
  copyPlace,
  oneOfEach as edits,
  exits,
  harderway,
  makePlace,
  type Ran,
  withStatus,
  writeCluster,
} from '../../support/harderway.ts'

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

describe('status', { concurrency: 2 }, () => {
  let origin: string

  before(async () => {
    origin = makePlace()
    writeCluster(origin, edits)
    const phases = ['certs', 'kubeconfigs', 'encryption-key', 'local-kubeconfig']
    await exits(0, { place: origin, now: new Date(made) }, ...phases)
  })
  after(() => rmSync(origin, { recursive: true, force: true }))

  const copied = (t: TestContext) => copyPlace(t, origin, edits)
  const statusAt = (place: string, days: number, ...args: string[]) =>
    harderway({ place, now: new Date(made + days * day) }, 'status', ...args)

  test('exits with 0 if everything is in order, with the end and the issuer of everything', async (t) => {
    const { place, auth } = copied(t)
    const json = await statusAt(place, 1, '--json')
    assert.deepEqual([json.status, json.stderr], [0, ''])
    assert.equal(outcomesOf(json).length, pairs.length + clients.length + 2)
    const { validTo } = new X509Certificate(readFileSync(join(auth, 'worker0.pem')))
    const until = new Date(validTo).toISOString().replace('.000', '')
    assert.equal(outcomeOf(json, 'node-certs/worker0')?.until, until)
    assert.deepEqual(notFresh(json), [])
    const { fresh, exit } = json.events.at(-1) ?? {}
    assert.deepEqual([fresh, exit], [17, 0])
  })

  test("the user's own kubeconfig counts where it is another, none, or has expired, unless cluster.yaml has localKubeconfig: false", async (t) => {
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
    await withStatus(4, statusAt(place, 401))
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
    await withStatus(2, statusAt(place, 1, '--node', 'worker9'))
  })

  test('--quiet prints nothing if everything is in order, and else what is not', async (t) => {
    const { place, auth } = copied(t)
    const { status, stdout, stderr } = await statusAt(place, 1, '--quiet')
    assert.deepEqual([status, stdout, stderr], [0, '', ''])
    rmSync(join(auth, 'worker0.kubeconfig'))
    const quiet = await statusAt(place, 1, '--quiet')
    const rows = quiet.stdout.match(/^[✔●✖] \S+/gm)
    assert.deepEqual([quiet.status, rows], [4, ['● worker0.kubeconfig']])
  })

  test('exits with 3 where a run would refuse something, also beside what fails', async (t) => {
    const { place, auth } = copied(t)
    rmSync(join(auth, 'ca-key.pem'))
    const ran = await withStatus(3, statusAt(place, 1, '--json'))
    assert.deepEqual([outcomeOf(ran, 'ca')?.refused, ran.events.at(-1)?.exit], [true, 3])
    truncateSync(join(auth, 'admin.kubeconfig'), 100 * 2 ** 20)
    await withStatus(3, statusAt(place, 1))
    assert.match((await withStatus(1, statusAt(place, 400, '--node', 'worker0'))).stdout, /^Expired: worker0/m)
  })
})
