/** `report --format prometheus`, read by promtool, beside what openssl says of the files. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { openssl } from '../../support/certificates.ts'
import { scratch } from '../../support/files.ts'
import { type Edit, exits, gateway, harderway, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']

function prepare(t: { after(work: () => void): void }, ...edits: Edit[]) {
  const path = scratch(t)
  mkdirSync(join(path, 'home'))
  writeCluster(path, [...edits])
  return { path, auth: join(path, 'auth') }
}

type Place = ReturnType<typeof prepare>

/** The values of each metric by their target, of a text that promtool has nothing against. */
async function metricsOf({ path, auth }: Place): Promise<Record<string, Map<string, number>>> {
  await exits(0, path, 'report', '--format', 'prometheus')
  const input = readFileSync(join(auth, 'report.prom'), 'utf8')
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8' })
  assert.deepEqual([status, stdout, stderr], [0, '', ''])
  const samples = input.split('\n').flatMap((line) => {
    const [, name, labels = '', value] = /^harderway_(\w+)\{(.*)\} (\d+)$/.exec(line) ?? []
    assert.equal(name === undefined, line === '' || line.startsWith('#'), line)
    return name === undefined ? [] : [{ name, labels, value: Number(value) }]
  })
  for (const { labels } of samples) assert.ok(`${labels},`.startsWith('cluster="kubenet",'), labels)
  return Object.fromEntries(
    [...Map.groupBy(samples, ({ name }) => name)].map(([name, all]) => [
      name,
      new Map(all.map(({ labels, value }) => [/,id="(.*?)"/.exec(labels)?.[1] ?? '', value])),
    ]),
  )
}

function endOf(file: string): number {
  return Date.parse(openssl('x509', '-in', file, '-noout', '-enddate').replace('notAfter=', '')) / 1000
}

/** By target, of every certificate in auth/ and of the one in every kubeconfig. */
function endsOf({ auth, path }: Place): Map<string, number> {
  const inKubeconfig = (name: string) => {
    const { users } = parse(readFileSync(join(auth, name), 'utf8'))
    writeFileSync(join(path, 'embedded.pem'), Buffer.from(users[0].user['client-certificate-data'], 'base64'))
    return endOf(join(path, 'embedded.pem'))
  }
  return new Map(
    readdirSync(auth).flatMap((file): [string, number][] => {
      const [, name = '', kind] = /^(.*?)(-key\.pem|\.pem|\.kubeconfig)$/.exec(file) ?? []
      if (kind === '.kubeconfig') return [[`kubeconfigs/${name}`, inKubeconfig(file)]]
      return kind === '.pem' ? [[idOf(name), endOf(join(auth, file))]] : []
    }),
  )
}

function idOf(name: string): string {
  if (name === 'ca') return 'ca'
  if (name === 'kubernetes') return 'cluster-cert'
  return `${/^(control|worker)\d$/.test(name) ? 'node-certs' : 'component-certs'}/${name}`
}

const sorted = (values: ReadonlyMap<string, number> | undefined) => [...(values ?? [])].toSorted()

test("the expiries in report.prom are those that openssl reads, and the CA's where it ends before what it signed", {
  skip: needs('promtool', 'openssl'),
}, async (t) => {
  const place = prepare(t, gateway)
  await exits(0, place.path, ...phases)
  writeCluster(place.path, [gateway, [['certificates', 'validity'], '90d']])
  await exits(0, place.path, 'node-certs/worker1', 'cluster-cert', '--force')
  const [ca = '', caKey = ''] = ['ca.pem', 'ca-key.pem'].map((name) => join(place.auth, name))
  openssl('x509', '-in', ca, '-signkey', caKey, '-days', '200', '-out', ca)
  const before = Math.floor(Date.now() / 1000)
  const metrics = await metricsOf(place)
  const ends = endsOf(place)
  const caEnds = ends.get('ca') ?? 0
  assert.ok(['node-certs/worker1', 'node-certs/worker0'].every((id, i) => Number(ends.get(id)) > caEnds === i > 0))
  assert.deepEqual(sorted(metrics.not_after_timestamp_seconds), sorted(ends))
  const first = new Map([...ends].map(([id, end]) => [id, Math.min(end, caEnds)]))
  assert.deepEqual(sorted(metrics.end_timestamp_seconds), sorted(first))
  const [read = 0] = metrics.report_timestamp_seconds?.values() ?? []
  assert.ok(read >= before && read <= Date.now() / 1000)
})

test('--output writes a copy that others can read, and nothing else in its folder', async (t) => {
  const place = prepare(t)
  await exits(0, place.path, ...phases)
  const folder = join(place.path, 'textfile')
  const file = join(folder, 'kubenet.prom')
  const write = () => harderway(place.path, 'report', '--format', 'prometheus', '--output', 'textfile/kubenet.prom')
  const missing = await write()
  assert.equal(missing.status, 1)
  assert.match(missing.stderr, /textfile.*no such file or directory/)
  // What a killed run has left: no file that ends in .prom, which the collector would read.
  mkdirSync(join(folder, '.tmp-kubenet.prom~'), { recursive: true })
  const umask = process.umask(0o077)
  const { status, stdout } = await write()
  process.umask(umask)
  assert.deepEqual([status, stdout], [0, `${join(place.auth, 'report.prom')}\n${file}\n`])
  assert.equal(statSync(file).mode & 0o777, 0o644)
  assert.deepEqual(readFileSync(file), readFileSync(join(place.auth, 'report.prom')))
  assert.deepEqual(readdirSync(folder), ['kubenet.prom'])
})
