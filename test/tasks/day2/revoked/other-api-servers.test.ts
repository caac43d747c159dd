/** Which API servers are no control node's of cluster.yaml, by what the cluster publishes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../../lib/failure.ts'
import type { Client } from '../../../../lib/kubernetes/client.ts'
import { findOtherApiServers, formatSilent } from '../../../../tasks/day2/revoked/other-api-servers.ts'
import type { Run } from '../../../../tasks/target.ts'
import { twoNodes } from '../../../support/fakes.ts'

const leaseOf = (hostname: string | undefined, renewTime?: string | null) => ({
  metadata: {
    ...{ name: `apiserver-of-${hostname}`, namespace: 'kube-system' },
    labels: hostname ? { 'kubernetes.io/hostname': hostname } : {},
  },
  spec: { renewTime },
})
const at = new Date('2026-11-26T12:00:00Z')
const [control] = twoNodes.nodes.filter(({ role }) => role === 'control')

/** Answers with these addresses and leases. Nothing answers at any of the addresses. */
async function find(
  leases: ReturnType<typeof leaseOf>[],
  {
    addresses = [],
    names = [],
    isComplete = true,
    list = async (): Promise<object> => ({ items: [{ endpoints: [{ addresses }], ports: [{ port: 6443 }] }] }),
  }: { addresses?: string[]; names?: string[]; isComplete?: boolean; list?: () => Promise<object> } = {},
) {
  const api = {
    readAs: async (_: unknown, __: string, path: string) =>
      path.includes('endpointslices') ? list() : { items: leases },
    time: async () => at,
  } as unknown as Client
  const connect = async () => ({ tunnel: async () => Promise.reject(new Error('no route')) })
  const run = {
    cluster: twoNodes,
    connect,
    auth: { tryBytes: () => undefined, files: { certificate: () => '', key: () => '' } },
  } as unknown as Run
  const hostnames = { names: new Set(names), isComplete }
  return findOtherApiServers({ run }, control ?? assert.fail(), { api, hostnames })
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
  const { found } = await find(leases, { names: ['c0.example.org'] })
  assert.deepEqual(found, ['on c0', 'on c0.example.org.old', 'on an unnamed machine', 'on \uFFFD[2J'])
})

test('an address of a control node is known, one of another node is not; one that does not answer is told and blocks nothing', async () => {
  const worker = twoNodes.nodes.find(({ role }) => role === 'worker') ?? assert.fail()
  const addresses = [...(control?.ips ?? []), worker.ips[0] ?? assert.fail(), '192.0.2.9']
  const { found, silent } = await find([], { addresses })
  assert.deepEqual(found, [])
  assert.deepEqual(silent, [`at ${worker.ips[0]}:6443`, 'at 192.0.2.9:6443'])
  assert.match(formatSilent({ silent }) ?? '', /^the cluster lists API servers at .*, which do not answer/)
  assert.equal(formatSilent({ silent: [] }), undefined)
})

test('where not every machine is known by name, names tell only if the cluster publishes no address', async () => {
  const leases = [leaseOf('ip-10-0-0-1')]
  const addresses = [...(control?.ips ?? [])]
  assert.deepEqual((await find(leases, { addresses, isComplete: false })).found, [])
  assert.deepEqual((await find(leases, { isComplete: false })).found, ['on ip-10-0-0-1'])
  assert.deepEqual((await find(leases, { addresses })).found, ['on ip-10-0-0-1'])
})

test('however many addresses somebody publishes, so many are asked, and how many are not is told', async () => {
  const addresses = Array.from({ length: 1000 }, (_, i) => `192.0.2.${i}`)
  const { silent, unknown } = await find([], { addresses })
  assert.equal(silent.length, 32)
  assert.deepEqual(unknown, ['968 more addresses that the cluster lists were not asked'])
  assert.deepEqual((await find([], { addresses: addresses.slice(0, 32) })).unknown, [])
})

test('where the addresses can not be read, it is not known which API servers there are; where there is no such API, leases tell', async () => {
  const leases = [leaseOf('ip-10-0-0-1')]
  const failing = (code: string) => ({
    list: () => Promise.reject(new Failure(`GET slices answers ${code}`, { code })),
    isComplete: false,
  })
  for (const code of ['http-503', 'http-403', 'not-answered']) {
    const { found, unknown } = await find(leases, failing(code))
    assert.deepEqual(found, [], 'not every machine is known by name')
    assert.deepEqual(unknown, [`the addresses that the cluster lists can't be read: GET slices answers ${code}`])
    assert.deepEqual((await find(leases, { ...failing(code), isComplete: true })).found, ['on ip-10-0-0-1'])
  }
  const { found, unknown } = await find(leases, failing('http-404'))
  assert.deepEqual([found, unknown], [['on ip-10-0-0-1'], []])
})
