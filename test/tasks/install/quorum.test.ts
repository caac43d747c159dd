/**
 * When a member of etcd gets its turn: by an etcd that answers as its JSON gateway does, and another that does not
 * answer yet.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import type { ClusterNode, Install } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import type { Run } from '../../../tasks/cluster-target.ts'
import { waitForOthers } from '../../../tasks/install/restart.ts'
import { nodeUnits } from '../../../tasks/layouts/tables.ts'
import { parsed } from '../../support/files.ts'

/** Its etcd needs no certificate; the second control node is what the layout itself does not have. */
const { nodes, ...rest } = parsed(`name: kubenet
layout: hard-way
install: { sudo: "", timeout: 1h }
nodes: [{ name: c0, role: control, ip: 192.168.1.11 }]
`)
const c0 = nodes[0] as ClusterNode
const cluster = { ...rest, nodes: [c0, { ...c0, name: 'c1', ips: ['192.168.1.12'] }] }
const withTimeout = (timeout: number) => ({ ...cluster, install: { ...(cluster.install as Install), timeout } })
const etcd = nodeUnits(cluster, c0).find(({ unit }) => unit === 'etcd') ?? assert.fail()

const answers: Readonly<Record<string, object>> = {
  '/v3/cluster/member/list': { members: [{ ID: '1', name: 'c0' }] },
  '/health': { health: 'true' },
}

interface Told {
  readonly failing: number
  /** Milliseconds: install.timeout. */
  readonly timeout?: number
  /** Other answers of c0. */
  readonly other?: Readonly<Record<string, unknown>>
}

/** How often c1 was asked, until c0 was restarted or why it was not. `asked`: of its answers, those that fail. */
async function turn({ failing, timeout, other = {} }: Told) {
  const all: Readonly<Record<string, unknown>> = { ...answers, ...other }
  await using server = createServer(({ url = '' }, response) => response.end(JSON.stringify(all[url])))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  let asked = 0
  const tunnel = async () => connect(port, '127.0.0.1')
  const toOther = async () => {
    if (asked++ < failing) throw new Failure('timed out', { node: 'c1', code: 'timed-out' })
    return tunnel()
  }
  const run = {
    ...{ cluster: timeout === undefined ? cluster : withTimeout(timeout), now: new Date(), command: String },
    connect: async ({ name }: ClusterNode) => (name === 'c0' ? { tunnel } : { tunnel: toOther }),
  } as unknown as Run
  const on = { run, node: c0, signal: AbortSignal.timeout(60_000), tell: () => {} }
  const ended = await waitForOthers(on, etcd).then(
    () => 'restarted',
    (error) => error,
  )
  return { asked, ended }
}

test('a member waits until the others are healthy', async () => {
  assert.deepEqual(await turn({ failing: 2 }), { asked: 3, ended: 'restarted' })
})

test('a member is not restarted while another stays unhealthy', async () => {
  const { ended } = await turn({ failing: Number.POSITIVE_INFINITY, timeout: 1 })
  assert.match(String(ended), /etcd not restarted; unhealthy on c1 \(.*timed out/)
})

test('a member is not restarted while etcd has a member that is on no control node', async () => {
  const other = { '/v3/cluster/member/list': { members: [{ ID: '2', name: 'stranger' }] } }
  const { ended } = await turn({ failing: 0, other })
  assert.match(String(ended), /c0: etcd not restarted; the etcd member stranger .* matches no control node/)
})
