/** The cluster.yaml that init reads out of an auth/ finds all of it fresh, whoever made it. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { ecdsa, genauth } from '../../guide/genauth.ts'
import { scratch } from '../../support/files.ts'
import { callInit, type Edit, exits, idsOf, readCluster, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']

const clusterIn = (folder: string) => readCluster(readFileSync(join(folder, 'cluster.yaml')))

test("what is named beside an auth/ of the guide's scripts is added: a gateway, a worker, and another address of a node", {
  skip: needs('cfssl', 'cfssljson', 'kubectl'),
}, async (t) => {
  const place = scratch(t)
  mkdirSync(join(place, 'old'))
  await genauth(join(place, 'old/auth'), { key: ecdsa })
  await callInit(place, ['old', '--gateway', 'lb=10.0.0.1', '--worker', 'worker0=10.0.0.9,worker3=10.0.0.3'])
  const { nodes } = clusterIn(join(place, 'old'))
  assert.deepEqual(
    nodes.slice(3).map(({ name, role, ips }) => [name, role, ips[0]]),
    [
      ['worker1', 'worker', '192.168.1.15'],
      ['worker2', 'worker', '192.168.1.16'],
      ['worker0', 'worker', '10.0.0.9'],
      ['worker3', 'worker', '10.0.0.3'],
      ['lb', 'gateway', '10.0.0.1'],
    ],
  )
})

const rich: readonly Edit[] = [
  [['name'], 'prod'],
  [['domain'], 'example.org'],
  [['subject'], { organization: 'Ærø: "Kubernetes" # 1', country: 'NO' }],
  [['certificates', 'key'], 'ecdsa-p384'],
  [['api'], { host: 'api', port: 443, virtualIP: '10.0.0.21', extraSANs: ['*.example.org', '203.0.113.7'] }],
  [['network'], { serviceCIDR: ['10.96.0.0/12', 'fd00:10:96::/112'], clusterDomain: 'cluster.local' }],
  [['encryption'], { provider: 'secretbox', resources: ['secrets', 'configmaps'] }],
  [
    ['nodes'],
    [
      { name: 'c0', role: 'control', ips: ['10.0.0.1', 'fd00::1'], sans: ['c0.other.org'] },
      { name: 'w0', role: 'worker', ip: 'fd00::2' },
    ],
  ],
]

test("an auth/ of harderway's own, with two families and names of its own", async (t) => {
  const place = scratch(t)
  for (const folder of ['home', 'old']) mkdirSync(join(place, folder))
  writeCluster(place, rich)
  await exits(0, place, ...phases)
  renameSync(join(place, 'auth'), join(place, 'old/auth'))
  assert.equal((await callInit(place, ['old'])).status, 4)
  const file = join(place, 'old/cluster.yaml')
  const { api, network } = parse(readFileSync(join(place, 'cluster.yaml'), 'utf8'))
  const left: Readonly<Record<string, unknown>> = { virtualIP: api.virtualIP, serviceCIDR: network.serviceCIDR }
  const fillIn = (_line: string, key: string) => `  ${key}: ${JSON.stringify(left[key])}`
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^ {2}(\w+):(?: "")? # MISSING.*/gm, fillIn))
  mkdirSync(join(place, 'old/home'))
  const ran = await exits(0, join(place, 'old'), ...phases, '--dry-run', '--json')
  assert.equal(idsOf(ran, 'fresh').length, 16)
  const [found, asked] = [clusterIn(join(place, 'old')), clusterIn(place)]
  for (const key of ['name', 'domain', 'subject', 'encryption', 'nodes'] as const)
    assert.deepEqual(found[key], asked[key], key)
  assert.deepEqual({ ...found.api, extraSANs: [] }, { ...asked.api, extraSANs: [] })
  assert.equal(found.certificates.key, asked.certificates.key)
})
