/** Which API servers are no control node's of cluster.yaml, by what the cluster publishes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Run } from '../../../lib/graph/target.ts'
import type { Client } from '../../../lib/kubernetes/client.ts'
import { findOtherApiServers, formatSilent } from '../../../tasks/units/other-api-servers.ts'
import { twoNodes } from '../../support/fakes.ts'

const leaseOf = (hostname: string | undefined, renewTime?: string | null) => ({
  metadata: {
    ...{ name: `apiserver-of-${hostname}`, namespace: 'kube-system' },
    labels: hostname ? { 'kubernetes.io/hostname': hostname } : {},
  },
  spec: { renewTime },
})
const at = new Date('2026-11-26T12:00:00Z')
const [control] = twoNodes.nodes.filter(({ role }) => role === 'control')

/** Answers with these addresses. Nothing answers at any of them. */
async function find(leases: ReturnType<typeof leaseOf>[], addresses: string[] = [], isKnown = (_: string) => false) {
  const api = {
    readAs: async () => ({ items: [{ endpoints: [{ addresses }], ports: [{ port: 6443 }] }] }),
  } as unknown as Client
  const connect = async () => ({ tunnel: async () => Promise.reject(new Error('no route')) })
  const run = {
    cluster: twoNodes,
    connect,
    auth: { tryBytes: () => undefined, files: { certificate: () => '' } },
  } as unknown as Run
  return findOtherApiServers({ run }, control ?? assert.fail(), { api, leases: { leases, now: at }, isKnown })
}

test('an API server is live for a minute after its last renewal, by the clock of the one that answers', async () => {
  const isLiveAt = async (renewTime: string | null | undefined) =>
    (await find([leaseOf('control0', renewTime)])).found.length === 1
  assert.equal(await isLiveAt('2026-11-26T11:59:55.000000Z'), true)
  assert.equal(await isLiveAt('2026-11-26T11:59:00.000000Z'), true)
  assert.equal(await isLiveAt('2026-11-26T11:58:59.000000Z'), false)
  assert.equal(await isLiveAt('2026-11-26T12:00:30.000000Z'), true, 'a clock that is ahead')
  for (const unread of ['soon', '', null, undefined])
    assert.equal(await isLiveAt(unread), true, 'what can not be read proves nothing')
})

test('a lease belongs to the machine that it names, whole; a name moves no cursor', async () => {
  const leases = [
    leaseOf('c0.example.org'),
    leaseOf('c0'),
    leaseOf('c0.example.org.old'),
    leaseOf(undefined),
    leaseOf('\u001b[2J'),
  ]
  const { found } = await find(leases, [], (host) => host === 'c0.example.org')
  assert.deepEqual(found, ['on c0', 'on c0.example.org.old', 'on an unnamed machine', 'on \uFFFD[2J'])
})

test('an address of a control node is known, one of another node is not; one that does not answer is told and blocks nothing', async () => {
  const worker = twoNodes.nodes.find(({ role }) => role === 'worker') ?? assert.fail()
  const { found, silent } = await find([], [...(control?.ips ?? []), worker.ips[0] ?? assert.fail(), '192.0.2.9'])
  assert.deepEqual(found, [])
  assert.deepEqual(silent, [`at ${worker.ips[0]}:6443`, 'at 192.0.2.9:6443'])
  assert.match(formatSilent({ silent }) ?? '', /^the cluster lists API servers at .*, which do not answer/)
  assert.equal(formatSilent({ silent: [] }), undefined)
})
