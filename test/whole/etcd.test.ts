/** Real etcd: three members that know each other, and their clients, by the certificates that are made here. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { madePlace } from '../support/harderway.ts'
import { freePorts, needs, type Server, startServer } from '../support/programs.ts'

const run = promisify(execFile)

interface Member {
  readonly name: string
  readonly client: string
  readonly peer: string
}

interface EtcdFiles {
  readonly ca: string
  readonly server: string
  readonly client: string
}
const shared: EtcdFiles = { ca: 'ca', server: 'kubernetes', client: 'kubernetes' }
const own: EtcdFiles = { ca: 'etcd-ca', server: 'etcd', client: 'apiserver-etcd-client' }

for (const [kind, files] of [
  ['rsa-2048', shared],
  ['ecdsa-p256', own],
] as const)
  describe(`three members of etcd with certificates of ${kind}, of ${files.ca}`, {
    skip: needs('etcd', 'etcdctl'),
  }, () => {
    const ca = files === own ? 'own' : 'shared'
    const place = madePlace(
      [
        [['certificates', 'key'], kind],
        [['etcd', 'ca'], ca],
      ],
      'certs',
    )
    const elsewhere = madePlace([], 'certs')
    let members: Member[]
    let servers: Server[] = []

    const file = (name: string) => join(place, 'auth', name)
    const pair = (folder: string, name: string) => [
      `--cert=${join(folder, 'auth', `${name}.pem`)}`,
      `--key=${join(folder, 'auth', `${name}-key.pem`)}`,
    ]
    const endpoints = (...chosen: readonly Member[]) => `--endpoints=${chosen.map(({ client }) => client).join(',')}`
    const etcdctl = async (...args: readonly string[]) => {
      const { stdout } = await run('etcdctl', [`--cacert=${file(`${files.ca}.pem`)}`, ...args], {
        env: { PATH: process.env.PATH, HOME: join(place, 'home'), ETCDCTL_API: '3' },
      })
      return stdout
    }
    const asApiServer = (...args: readonly string[]) => etcdctl(...pair(place, files.client), ...args)

    before(async () => {
      members = await membersOnFreePorts(3)
      const started = await Promise.allSettled(
        members.map((member) =>
          startServer('etcd', memberArgs(member, members, { place, files }), /"ready to serve client requests"/),
        ),
      )
      servers = started.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
      for (const each of started) if (each.status === 'rejected') throw each.reason
    })
    after(() => Promise.all(servers.map((server) => server.stop())))

    test('form one cluster, over TLS, in which each is healthy', async () => {
      const listed = JSON.parse(await asApiServer(endpoints(...members), '--write-out=json', 'member', 'list'))
      assert.deepEqual(
        listed.members
          .map(({ name, clientURLs, peerURLs }: Record<string, string[]>) => [
            name,
            ...(clientURLs ?? []),
            ...(peerURLs ?? []),
          ])
          .toSorted(),
        members.map(({ name, client, peer }) => [name, client, peer]),
      )
      const health = JSON.parse(await asApiServer(endpoints(...members), '--write-out=json', 'endpoint', 'health'))
      assert.deepEqual(
        health.map((each: { health: boolean }) => each.health),
        [true, true, true],
      )
    })

    test("let any certificate of the CA read and write, a worker's too, and none where it is their own: SECURITY.md says so", async () => {
      const [first] = members
      assert.ok(first)
      if (files === own) {
        for (const name of ['worker0', 'admin', 'kubernetes'])
          await assert.rejects(
            etcdctl(...pair(place, name), endpoints(first), '--command-timeout=2s', 'get', 'x'),
            name,
          )
        return
      }
      const asWorker = (...args: readonly string[]) => etcdctl(...pair(place, 'worker0'), endpoints(first), ...args)
      await asApiServer(endpoints(first), 'put', '/registry/secrets/one', 'x')
      assert.equal((await asWorker('get', '--print-value-only', '/registry/secrets/one')).trim(), 'x')
      assert.equal((await asWorker('put', '/registry/secrets/one', 'y')).trim(), 'OK')
    })

    // Each waits out etcdctl, that tries again until its time is over.
    describe('keep strangers out', { concurrency: true }, () => {
      const stranger = () => pair(elsewhere, 'kubernetes')

      for (const [who, endpoint, certificate, said] of [
        ['a client without a certificate', 'client', () => [], /client didn't provide a certificate/],
        ['an API server of another CA', 'client', stranger, /certificate signed by unknown authority/],
        ['a peer of another CA', 'peer', stranger, /certificate signed by unknown authority/],
      ] as const)
        test(`${who} is refused, by the member's own account`, async () => {
          const [first] = members
          const [server] = servers
          assert.ok(first && server)
          const quick = ['--dial-timeout=5s', '--command-timeout=5s']
          await assert.rejects(etcdctl(`--endpoints=${first[endpoint]}`, ...quick, ...certificate(), 'get', 'x'))
          await server.told(new RegExp(`rejected connection on ${endpoint} endpoint.*${said.source}`))
        })

      test('an API server that trusts another CA refuses the members', async () => {
        const [first] = members
        assert.ok(first)
        const trusting = [`--cacert=${join(elsewhere, 'auth/ca.pem')}`, ...pair(place, files.client)]
        await assert.rejects(
          etcdctl(...trusting, endpoints(first), '--command-timeout=5s', 'get', 'x'),
          /certificate signed by unknown authority/,
        )
      })
    })
  })

async function membersOnFreePorts(count: number): Promise<Member[]> {
  const ports = await freePorts(2 * count)
  const url = (i: number) => `https://127.0.0.1:${ports[i]}`
  return Array.from({ length: count }, (_, i) => ({ name: `control${i}`, client: url(2 * i), peer: url(2 * i + 1) }))
}

/** As the guide's etcd.service has them, but for the addresses. */
function memberArgs(
  { name, client, peer }: Member,
  members: readonly Member[],
  { place, files }: { readonly place: string; readonly files: EtcdFiles },
): string[] {
  const file = (each: string) => join(place, 'auth', each)
  return [
    `--name=${name}`,
    `--data-dir=${join(place, `etcd-${name}`)}`,
    ...['', 'peer-'].flatMap((prefix) => [
      `--${prefix}cert-file=${file(`${files.server}.pem`)}`,
      `--${prefix}key-file=${file(`${files.server}-key.pem`)}`,
      `--${prefix}trusted-ca-file=${file(`${files.ca}.pem`)}`,
      `--${prefix}client-cert-auth`,
    ]),
    ...[`--listen-client-urls=${client}`, `--advertise-client-urls=${client}`],
    ...[`--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`],
    `--initial-cluster=${members.map((each) => `${each.name}=${each.peer}`).join(',')}`,
    ...['--initial-cluster-token=lab', '--initial-cluster-state=new'],
    // What is written here need not outlive a power cut.
    '--unsafe-no-fsync',
  ]
}
