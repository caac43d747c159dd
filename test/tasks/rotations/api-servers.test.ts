/** Which API servers a rotation does not reach, from what etcd and the API servers themselves report. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findStrangers } from '../../../tasks/rotations/api-servers.ts'
import { foreignMembers } from '../../../tasks/units/quorum.ts'

type Lease = Parameters<typeof findStrangers>[0]['leases'][number]

const now = new Date('2026-11-26T12:00:00Z')
const control0 = { name: 'control0', ips: ['192.168.1.11', 'fd00::11'] }
const control1 = { name: 'control1', ips: ['192.168.1.12'] }
const lease = (hostname: string | undefined, renewTime?: string | null): Lease => ({
  metadata: {
    ...{ name: `apiserver-of-${hostname}`, namespace: 'kube-system' },
    labels: hostname ? { 'kubernetes.io/hostname': hostname } : {},
  },
  spec: { renewTime },
})
const member = (name: string, ...peerURLs: string[]) => ({ ID: '10501334649042878790', name, peerURLs })

test('an API server is live for a minute after its last renewal, by the clock of the one that answers', async () => {
  const isLiveAt = async (renewTime: string | null | undefined) =>
    (await findStrangers({ leases: [lease('control0', renewTime)], now }, [], async () => [])).length === 1
  assert.equal(await isLiveAt('2026-11-26T11:59:55.000000Z'), true)
  assert.equal(await isLiveAt('2026-11-26T11:59:00.000000Z'), true)
  assert.equal(await isLiveAt('2026-11-26T11:58:59.000000Z'), false)
  assert.equal(await isLiveAt('2026-11-26T12:00:30.000000Z'), true, 'a clock that is ahead')
  for (const unread of ['soon', '', null, undefined])
    assert.equal(await isLiveAt(unread), true, 'what can not be read proves nothing')
})

const running = [{ node: control0, hostname: 'c0.example.org' }]
const unread = () => assert.fail('the leases were read again')

test('a lease belongs to the machine that it names; a unit of another name is a stranger', async () => {
  const seen = (...leases: Lease[]) => ({ leases, now })
  assert.deepEqual(await findStrangers(seen(lease('c0.example.org')), running, unread), [])
  const both = seen(lease('c0.example.org'), lease('control1'), lease(undefined))
  const [one, other, ...more] = await findStrangers(both, running, unread)
  assert.match(one ?? '', /^an API server on control1 \(lease apiserver-of-control1\)/)
  assert.match(other ?? '', /^an API server on an unnamed machine/)
  assert.deepEqual(more, [])
})

test("a stranger is live if it renews its lease, whatever its machine's clock is", async () => {
  const [behind, later, old] = ['2026-11-26T11:50:00.000000Z', '2026-11-26T11:50:10.000000Z', '2026-11-26T10:59:59Z']
  const strangers = (renewTime: string, ...again: Lease[]) =>
    findStrangers(
      { leases: [lease('c0.example.org', old), lease('lagging', renewTime)], now },
      running,
      async () => again,
    )
  const [found = '', ...more] = await strangers(behind, lease('lagging', later))
  assert.match(found, /^an API server on lagging /)
  assert.deepEqual(more, [])
  assert.deepEqual(await strangers(behind, lease('lagging', behind)), [], 'it has stopped')
  assert.deepEqual(await strangers(behind), [], 'its lease is gone')
  const stopped = { leases: [lease('lagging', old), lease('c0.example.org', behind)], now }
  assert.deepEqual(await findStrangers(stopped, running, unread), [], 'nobody waits for one that stopped an hour ago')
})

test('a name that a cluster reports moves no cursor', async () => {
  const [text = ''] = await findStrangers({ leases: [lease('\u001b[2J')], now }, [], unread)
  assert.ok(!text.includes('\u001b'))
})

test('a member of etcd is a control node by an address or a name of its peer URLs, or by its name if they have none', () => {
  for (const [name, url] of [
    ['control0', 'https://etcd-0.example.org:2380'],
    ['', 'https://192.168.1.12:2380'],
    ['infra0', 'https://[fd00::11]:2380'],
    ['infra1', 'https://control1:2380'],
    ['default', 'https://control1.kubernetes.local:2380'],
    ['default', 'http://localhost:2380'],
    // As Kubernetes The Hard Way has it.
    ['controller', 'http://127.0.0.1:2380'],
  ] as const)
    assert.deepEqual(foreignMembers([member(name, url)], [control0, control1]), [], url)
  for (const [name, url] of [
    ['', 'no address'],
    ['control0', 'https://10.9.9.9:2380'],
    ['default', 'https://control10.kubernetes.local:2380'],
    ['default', 'https://kubernetes.local:2380'],
  ] as const)
    assert.equal(foreignMembers([member(name, url)], [control0, control1]).length, 1, url)
  const both = [member('control0', 'https://192.168.1.11:2380'), member('control2', 'https://192.168.1.13:2380')]
  const [text = '', ...more] = foreignMembers(both, [control0, control1])
  const told = /^the etcd member control2 \(https:\/\/192\.168\.1\.13:2380\).* etcdctl member remove 91bc3c398fb3c146$/
  assert.match(text, told)
  assert.deepEqual(more, [])
})
