/** "To add a certificate" in CONTRIBUTING.md, done to a copy of the project: what follows from a row of each table. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Lab, startLab } from '../lab/lab.ts'
import { idsOf, labEdits, makePlace, oneOfEach, type Ran, writeCluster } from '../support/harderway.ts'
import { openssl } from '../support/openssl.ts'
import { needs } from '../support/parts.ts'
import { start } from '../support/process.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const id = 'component-certs/front-proxy'
const files = ['front-proxy.pem', 'front-proxy-key.pem']

/** By which kube-apiserver shows aggregated API servers who asks: a pair on control nodes, and no client of the API. */
const row = `  {
    phase: 'component-certs',
    name: 'front-proxy',
    subject: subject('front-proxy-client'),
    isClient: false,
    on: { control: pair },
    purpose: 'aggregation',
    power: 'says to aggregated API servers who asks',
  },
`
/** All that is changed in the copy, in one file. */
const table = 'tasks/layouts/harder-way.ts'

/** Each in front of a text that the file has once. */
const insertions = [
  { at: ']\n\nconst nodeSans', text: row },
  { at: 'tokenKey),\n      {', text: "...files.pair('front-proxy'), " },
]

/** Its entry. */
function copyProject(folder: string): string {
  mkdirSync(folder)
  for (const name of ['lib', 'tasks', 'package.json', 'cluster.schema.json'])
    cpSync(join(root, name), join(folder, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  for (const { at, text } of insertions) {
    const [head = '', tail, ...more] = readFileSync(join(folder, table), 'utf8').split(at)
    assert.ok(tail !== undefined && more.length === 0, `${table} has ${JSON.stringify(at)} once`)
    writeFileSync(join(folder, table), head + text + at + tail)
  }
  return join(folder, 'tasks/main.js')
}

test('CONTRIBUTING.md names the file that the copy has something more in, and no other', () => {
  const [, section = ''] = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8').split('## To add a certificate\n')
  const [steps = ''] = section.split('That is all')
  assert.deepEqual(steps.match(/(?:lib|tasks)\/[\w./-]*\w/g), [table])
})

describe('a certificate that is one row more', { skip: needs('sshd', 'ssh', 'scp', 'openssl') }, () => {
  let place: string
  let lab: Lab
  let run: (...args: string[]) => Promise<Ran>
  let first: Ran
  const auth = (file: string) => join(place, 'auth', file)
  const onNode = (node: string, file: string) => join(lab.node(node).home, file)
  const write = () => writeCluster(place, [...oneOfEach, ...labEdits(lab)])

  before(async () => {
    place = makePlace()
    const entry = copyProject(join(place, 'project'))
    lab = await startLab({
      dir: join(place, 'lab'),
      nodes: ['control0', 'worker0', 'gateway'].map((name) => ({ name })),
    })
    run = (...args) => start(place, args, { entry }).ended
    write()
    first = await run('bootstrap', '--json')
    assert.equal(first.status, 0, first.stdout + first.stderr)
  })
  after(async () => {
    await lab.stop()
    rmSync(place, { recursive: true, force: true })
  })

  const planOf = async () => {
    const { status, events } = await run('bootstrap', '--dry-run', '--json')
    return { status, plan: events.filter(({ type }) => type === 'plan') }
  }
  const spoil = () => writeFileSync(auth('front-proxy.pem'), 'no certificate\n')

  test('is a target, with an edge to the CA and one to it from the control node alone', async () => {
    const { events } = await run('graph', '--json')
    const target = events.find((event) => event.id === id)
    assert.deepEqual([target?.phase, target?.needs, target?.makes], ['component-certs', ['ca'], files])
    const needing = events.filter(({ needs }) => Array.isArray(needs) && needs.includes(id))
    assert.deepEqual(
      needing.map((event) => event.id),
      ['deploy/control0'],
    )
  })

  test('is made as its row says, to openssl too', () => {
    assert.ok(idsOf(first, 'built').includes(id))
    const subject = openssl('x509', '-in', auth('front-proxy.pem'), '-noout', '-subject', '-nameopt', 'RFC2253')
    assert.match(subject, /CN=front-proxy-client\b/)
    assert.match(openssl('verify', '-CAfile', auth('ca.pem'), auth('front-proxy.pem')), /: OK/)
    assert.deepEqual(
      files.map((file) => statSync(auth(file)).mode & 0o777),
      [0o644, 0o600],
    )
  })

  test('is on the control node, byte for byte, and on no other', () => {
    for (const file of files) {
      assert.ok(readFileSync(onNode('control0', file)).equals(readFileSync(auth(file))), file)
      for (const node of ['worker0', 'gateway'])
        assert.throws(() => statSync(onNode(node, file)), { code: 'ENOENT' }, `${file} on ${node}`)
    }
    assert.throws(() => statSync(auth('front-proxy.kubeconfig')), { code: 'ENOENT' })
  })

  test('is found fresh by the next run, which makes nothing', async () => {
    const again = await run('bootstrap', '--json')
    assert.deepEqual([again.status, idsOf(again, 'built')], [0, []])
    assert.ok(idsOf(again, 'fresh').includes(id))
    assert.deepEqual(await planOf(), { status: 0, plan: [] })
  })

  test('is named by status, in words and as JSON', async () => {
    assert.match((await run('status')).stdout, /^✔ front-proxy +aggregation +ca +\d{4}-\d\d-\d\d/m)
    const { status, events } = await run('status', '--json')
    assert.equal(status, 0)
    assert.ok(events.some((event) => event.id === id && event.name === 'front-proxy'))
  })

  test('is planned where it is spoiled, with the node that follows and the unit to restart; the run ends with that too', async () => {
    spoil()
    assert.match((await run('status')).stdout, /^● front-proxy .*\n +front-proxy\.pem is not a valid certificate/m)
    const { status, plan } = await planOf()
    const entries = plan.map(({ ids, copied, yours }) => ({ ids, copied, yours }))
    const made = { ids: [id], copied: [], yours: [] }
    const deployed = { ids: ['deploy/control0'], copied: files, yours: ['kube-apiserver'] }
    assert.deepEqual([status, entries], [4, [made, deployed]])
    const ran = await run('bootstrap', '--json')
    assert.deepEqual([ran.status, idsOf(ran, 'built')], [0, [id, 'deploy/control0']])
    assert.deepEqual(ran.events.at(-1)?.advice, [{ nodes: ['control0'], files, restart: ['kube-apiserver'] }])
    for (const file of files) assert.ok(readFileSync(onNode('control0', file)).equals(readFileSync(auth(file))), file)
  })

  test('is deployed again where it is missing on the node, and not made again', async () => {
    rmSync(onNode('control0', 'front-proxy-key.pem'))
    const ran = await run('bootstrap', '--json')
    assert.deepEqual([ran.status, idsOf(ran, 'built')], [0, ['deploy/control0']])
  })

  test('has a name that no node may have, which is an error of its line in cluster.yaml', async () => {
    const file = join(place, 'cluster.yaml')
    const text = readFileSync(file, 'utf8').replace('name: worker0', 'name: front-proxy')
    writeFileSync(file, text)
    const lines = text.split('\n')
    const line = lines.findIndex((each) => each.includes('name: front-proxy'))
    const column = (lines[line] ?? '').indexOf('front-proxy')
    const { status, stderr } = await run('certs')
    write()
    assert.equal(status, 2)
    const where = `${file}:${line + 1}:${column + 1}: `
    assert.ok(stderr.startsWith(`${where}nodes[1].name "front-proxy" can't be a node's name`), stderr)
  })
})
