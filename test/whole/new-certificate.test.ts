/** "To add something" in CONTRIBUTING.md, a certificate, done to a copy of the project: what follows from a row of each table. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openssl } from '../support/certificates.ts'
import { scratch } from '../support/files.ts'
import { idsOf, labEdits, oneOfEach, type Ran, writeCluster } from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { start } from '../support/process.ts'
import { needs } from '../support/programs.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const id = 'component-certs/front-proxy'
/** All that is changed in the copy is in this file. */
const table = 'tasks/layouts/harder-way.ts'
const files = ['front-proxy.pem', 'front-proxy-key.pem'] as const
const [file] = files
const control = 'control0'
const others = ['worker0', 'gateway'] as const

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
/** Each in front of a text that the table has once. */
const insertions = [
  { at: ']\n\nconst nodeSans', text: row },
  {
    at: ',\n    serves: [{ port: 6443',
    text: `.concat(pairsInFolder(shared.kubernetes, files.pair('front-proxy'), ['--proxy-client-cert-file', '--proxy-client-key-file']).map((row) => ({ ...row, loads: 'restart' })))`,
  },
]

/** Its entry. */
function copyProject(folder: string, inserted = insertions): string {
  mkdirSync(folder)
  for (const name of ['lib', 'tasks', 'package.json', 'cluster.yaml', 'docs/cluster.schema.json'])
    cpSync(join(root, name), join(folder, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  for (const { at, text } of inserted) {
    const [head = '', tail, ...more] = readFileSync(join(folder, table), 'utf8').split(at)
    assert.ok(tail !== undefined && more.length === 0, `${table} has ${JSON.stringify(at)} once`)
    writeFileSync(join(folder, table), head + text + at + tail)
  }
  return join(folder, 'tasks/main.js')
}

describe('a certificate that is one row more', { skip: needs('ssh', 'openssl') }, () => {
  const suite = localPlace(control, ...others)
  const { place } = suite
  let run: (...args: string[]) => Promise<Ran>
  let first: Ran
  const auth = (file: string) => join(place, 'auth', file)
  const onNode = (node: string, file: string) => join(suite.lab.node(node).home, file)
  const write = () => writeCluster(place, [...oneOfEach, ...labEdits(suite.lab)])

  before(async () => {
    const entry = copyProject(join(place, 'project'))
    run = (...args) => start(place, args, { entry }).ended
    write()
    first = await run('bootstrap', '--json')
    assert.equal(first.status, 0, first.stdout + first.stderr)
  })

  const planOf = async () => {
    const { status, events } = await run('bootstrap', '--dry-run', '--json')
    return { status, plan: events.filter(({ type }) => type === 'planned') }
  }

  test('is a target, with an edge to the CA and one to it from the control node alone', async () => {
    const { events } = await run('graph', '--json')
    const target = events.find((event) => event.id === id)
    assert.deepEqual([target?.phase, target?.needs, target?.makes], ['component-certs', ['ca'], files])
    const needing = events.filter(({ needs }) => Array.isArray(needs) && needs.includes(id))
    assert.deepEqual(
      needing.map((event) => event.id),
      [`deploy/${control}`],
    )
  })

  test('is made as its row says, to openssl too', () => {
    assert.ok(idsOf(first, 'built').includes(id))
    const subject = openssl('x509', '-in', auth(file), '-noout', '-subject', '-nameopt', 'RFC2253')
    assert.match(subject, /CN=front-proxy-client\b/)
    assert.match(openssl('verify', '-CAfile', auth('ca.pem'), auth(file)), /: OK/)
    assert.deepEqual(
      files.map((each) => statSync(auth(each)).mode & 0o777),
      [0o644, 0o600],
    )
  })

  test('is on the control node, byte for byte, and on no other', () => {
    for (const each of files) {
      assert.ok(readFileSync(onNode(control, each)).equals(readFileSync(auth(each))), each)
      for (const node of others)
        assert.throws(() => statSync(onNode(node, each)), { code: 'ENOENT' }, `${each} on ${node}`)
    }
    assert.throws(() => statSync(auth('front-proxy.kubeconfig')), { code: 'ENOENT' })
  })

  test('is found fresh by the next run and its plan, and is named by status', async () => {
    const again = await run('bootstrap', '--json')
    assert.deepEqual([again.status, idsOf(again, 'built'), idsOf(again, 'fresh').includes(id)], [0, [], true])
    assert.deepEqual(await planOf(), { status: 0, plan: [] })
    assert.match((await run('status')).stdout, /^✔ front-proxy\.pem +aggregation +ca +\d{4}-\d\d-\d\d/m)
  })

  test('is planned where it is spoiled, with the node that follows; the run ends with that too', async () => {
    writeFileSync(auth(file), 'no certificate\n')
    const { status, plan } = await planOf()
    const entries = plan.map(({ ids, copied }) => ({ ids, copied }))
    const made = { ids: [id], copied: [] }
    const deployed = { ids: [`deploy/${control}`], copied: files }
    assert.deepEqual([status, entries], [4, [made, deployed]])
    const ran = await run('bootstrap', '--json')
    assert.deepEqual([ran.status, idsOf(ran, 'built')], [0, [id, `deploy/${control}`]])
    assert.deepEqual(ran.events.at(-1)?.advice, [{ nodes: [control], files, restart: [] }])
    for (const each of files) assert.ok(readFileSync(onNode(control, each)).equals(readFileSync(auth(each))), each)
  })
})

/** A CA of its own for the front proxy. */
const secondCa = [row, row].map((row, i) =>
  row
    .replaceAll('front-proxy', i === 0 ? 'front-proxy-ca' : 'front-proxy')
    .replace('isClient', `${i === 0 ? 'isCa: true' : "issuer: 'front-proxy-ca'"},\n    isClient`),
)

test('a second CA, and what it signs', { skip: needs('openssl') }, async (t) => {
  const place = scratch(t)
  const entry = copyProject(join(place, 'project'), [{ at: ']\n\nconst nodeSans', text: secondCa.join('') }])
  writeCluster(place, oneOfEach)
  const run = (...args: string[]) => start(place, args, { entry }).ended
  const ran = await run('certs', '--json')
  assert.equal(ran.status, 0, ran.stdout + ran.stderr)
  const auth = (name: string) => join(place, 'auth', name)
  assert.match(openssl('verify', '-CAfile', auth('ca.pem'), auth('front-proxy-ca.pem')), /: OK/)
  const chain = ['-CAfile', auth('ca.pem'), '-untrusted', auth('front-proxy-ca.pem')]
  assert.match(openssl('verify', ...chain, auth('front-proxy.pem')), /: OK/)
  assert.throws(() => openssl('verify', '-CAfile', auth('ca.pem'), auth('front-proxy.pem')))
  assert.deepEqual(idsOf(await run('certs', '--json'), 'built'), [])
  // What it signs follows it.
  await run('component-certs/front-proxy-ca', '--force', '--yes')
  assert.deepEqual(idsOf(await run('certs', '--json'), 'built'), [id])
  assert.match((await run('status')).stdout, /^✔ front-proxy\.pem +aggregation +front-proxy-ca/m)
})
