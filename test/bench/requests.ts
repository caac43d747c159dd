/** What a request to a real API server costs where it counts who uses a certificate that was replaced. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent, get } from 'node:https'
import { join } from 'node:path'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { formatAuthorization, webhookKubeconfig } from '../../lib/kubernetes/authorization.ts'
import { nobody } from '../../lib/kubernetes/revoked-list.ts'
import { harderWay } from '../../tasks/layouts/harder-way.ts'
import { makeEverything, year } from '../support/certificates.ts'
import { and, parsed } from '../support/files.ts'
import { eventually, freePorts, startServer } from '../support/programs.ts'
import { type Group, inSeconds } from './groups.ts'
import { timed } from './process.ts'

const requests = 1000
const none = 'beside one that counts none'

export const requestGroup: Group = {
  pairs: 9,
  parts: ['etcd', 'kube-apiserver'],
  rows: [
    inSeconds(
      `1,000 requests, an API server that counts 1,000 certificates in 5 groups, ${none}`,
      'five',
      'none',
      1.25,
    ),
    inSeconds(`1,000 requests, an API server that counts 1,000 certificates in 32 groups, ${none}`, 'most', 'none', 2),
  ],
  async prepare(place, cleanUp) {
    const file = (name: string) => join(place, name)
    await makeEverything(
      new AuthDir(place, harderWay.files),
      parsed(and('users: [{ name: bob }]\ncertificates: { key: ecdsa-p256 }')),
      new Date(),
    )
    writeFileSync(file('webhook.yaml'), webhookKubeconfig)
    const [etcdPort, peerPort] = await freePorts(2)
    const etcdUrl = `http://127.0.0.1:${etcdPort}`
    const etcd = await startServer(
      'etcd',
      [
        ...[`--data-dir=${file('etcd')}`, `--listen-peer-urls=http://127.0.0.1:${peerPort}`],
        ...[`--listen-client-urls=${etcdUrl}`, `--advertise-client-urls=${etcdUrl}`],
      ],
      /"ready to serve client requests"/,
    )
    cleanUp.defer(() => etcd.stop())
    const start = async (groups: number) => {
      const config = file(`${groups}.yaml`)
      writeFileSync(config, formatAuthorization({ ...nobody, counted: countedIn(groups) }, file('webhook.yaml')))
      const [port] = await freePorts(1)
      const accounts = [file('service-account.pem'), file('service-account-key.pem')]
      const api = await startServer(
        'kube-apiserver',
        [
          ...['--bind-address=127.0.0.1', '--advertise-address=192.0.2.1', `--secure-port=${port}`],
          ...[
            '--endpoint-reconciler-type=none',
            '--service-cluster-ip-range=10.32.0.0/24',
            `--etcd-servers=${etcdUrl}`,
          ],
          ...[`--client-ca-file=${file('ca.pem')}`, `--authorization-config=${config}`],
          ...[`--tls-cert-file=${file('kubernetes.pem')}`, `--tls-private-key-file=${file('kubernetes-key.pem')}`],
          ...['--service-account-issuer=https://127.0.0.1', `--service-account-key-file=${accounts[0]}`],
          `--service-account-signing-key-file=${accounts[1]}`,
        ],
        /Serving securely/,
      )
      cleanUp.defer(() => api.stop())
      const read = (name: string) => readFileSync(file(name))
      const agent = new Agent({
        ...{ keepAlive: true, maxSockets: 1 },
        ...{ ca: read('ca.pem'), cert: read('bob.pem'), key: read('bob-key.pem') },
      })
      cleanUp.defer(() => agent.destroy())
      const ask = async () => {
        const [response] = await once(get(`https://127.0.0.1:${port}/version`, { agent }), 'response')
        response.resume()
        await once(response, 'end')
        return response.statusCode
      }
      await eventually(async () => assert.equal(await ask(), 200))
      return () =>
        timed(async () => {
          for (let i = 0; i < requests; i++) assert.equal(await ask(), 200)
        })
    }
    return { none: await start(0), five: await start(5), most: await start(32) }
  },
}

/** Of so many users; none of them is the one that asks. */
function countedIn(users: number) {
  const fingerprint = () => createHash('sha256').update(randomBytes(8)).digest('hex')
  return Array.from({ length: users === 0 ? 0 : 1000 }, (_, i) => ({
    ...{ fingerprint: fingerprint(), user: `user-${i % users}` },
    end: new Date(Date.now() + year),
  }))
}
