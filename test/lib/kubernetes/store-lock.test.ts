import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { giveBackStoreLock, takeStoreLock } from '../../../lib/kubernetes/stored.ts'
import { scratch } from '../../support/files.ts'
import { freePorts, needs, type Server, startServer } from '../../support/programs.ts'

const key = 'harderway/restart/etcd'
const ours = { key, owner: 'ours', host: 'here', seconds: 600 }
const theirs = { key, owner: 'theirs', host: 'there, far away', seconds: 600 }

describe('a lock that etcd keeps', { skip: needs('etcd', 'etcdctl') }, () => {
  let server: Server
  let url = ''
  const etcd: Parameters<typeof takeStoreLock>[0] = {
    async read(method, path, body) {
      return await (await fetch(url + path, { method, body: JSON.stringify(body) })).json()
    },
  }
  const etcdctl = (...args: string[]) => execFileSync('etcdctl', [`--endpoints=${url}`, ...args], { encoding: 'utf8' })
  const take = async (asked: typeof ours) => {
    const taken = await takeStoreLock(etcd, asked)
    assert.ok('lease' in taken, JSON.stringify(taken))
    return taken.lease
  }

  before(async () => {
    const [client, peer] = await freePorts(2)
    url = `http://127.0.0.1:${client}`
    const peers = `http://127.0.0.1:${peer}`
    const listen = [`--listen-client-urls=${url}`, `--advertise-client-urls=${url}`, `--listen-peer-urls=${peers}`]
    const args = [`--data-dir=${scratch({ after })}`, ...listen, `--initial-advertise-peer-urls=${peers}`]
    server = await startServer(
      'etcd',
      [...args, `--initial-cluster=default=${peers}`],
      /ready to serve client requests/,
    )
  })
  after(() => server?.stop())

  test('is of one at a time, who is told to others, and leaves nothing', async () => {
    const lease = await take(ours)
    assert.deepEqual(await takeStoreLock(etcd, theirs), { host: 'here' })
    await giveBackStoreLock(etcd, lease)
    const next = await take(theirs)
    assert.deepEqual(await takeStoreLock(etcd, ours), { host: 'there, far away' })
    await giveBackStoreLock(etcd, next)
    assert.equal(etcdctl('get', '--prefix', ''), '')
    assert.match(etcdctl('lease', 'list'), /found 0 leases/)
  })

  test('is taken over from a previous run of its owner, whose end does not release it', async () => {
    const lost = await take(ours)
    const lease = await take(ours)
    await giveBackStoreLock(etcd, lost)
    assert.deepEqual(await takeStoreLock(etcd, theirs), { host: 'here' })
    await giveBackStoreLock(etcd, lease)
  })

  test('ends with its lease', async () => {
    const lease = await take(theirs)
    assert.match(etcdctl('lease', 'timetolive', BigInt(lease).toString(16)), /TTL\(600s\)/)
    etcdctl('lease', 'revoke', BigInt(lease).toString(16))
    await giveBackStoreLock(etcd, await take(ours))
  })

  test('of many who want it at once is had by one', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => takeStoreLock(etcd, { ...ours, owner: `${i}` })))
    const leases = all.flatMap((taken) => ('lease' in taken ? [taken.lease] : []))
    assert.equal(leases.length, 1)
    await giveBackStoreLock(etcd, leases[0] ?? '')
    assert.match(etcdctl('lease', 'list'), /found 0 leases/)
  })
})

test("a lock is nobody's where the answer is none", async () => {
  const granted = { ID: '7' }
  for (const answers of [
    [{}],
    [{ error: 'etcdserver: no leader' }],
    [{ ID: 7 }],
    [granted, []],
    [granted, { succeeded: 'yes' }],
    [granted, { succeeded: false, responses: 'none' }],
  ]) {
    const left = [...answers]
    const etcd = { read: async () => left.shift() }
    await assert.rejects(takeStoreLock(etcd, ours), Failure, JSON.stringify(answers))
  }
  // Neither won nor told by whom: it is not ours.
  const left: object[] = [granted, {}, {}]
  assert.deepEqual(await takeStoreLock({ read: async () => left.shift() }, ours), { host: '' })
})
