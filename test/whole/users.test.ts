/** The people of cluster.yaml: whom TLS servers see, what is told of them, and what remains of those who left. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { nodeFiles } from '../../tasks/layouts/tables.ts'
import { minimal, parsed } from '../support/files.ts'
import { copyPlace, type Edit, exits, madePlace } from '../support/harderway.ts'
import { freePorts, needs, startServer } from '../support/programs.ts'

const run = promisify(execFile)

test("no user's file belongs on a node", () => {
  const cluster = parsed(`${minimal}users: [{ name: jane, groups: [devs] }]\n`)
  assert.deepEqual(
    cluster.nodes.flatMap((node) => nodeFiles(cluster, node)).filter((file) => file.includes('jane')),
    [],
  )
})

const jane = { name: 'jane', groups: ['devs', 'ops'], validity: '90d' }
const edits: Edit[] = [[['users'], [jane, { name: 'joe' }]]]
const place = madePlace(edits, 'certs', 'kubeconfigs', 'encryption-key')

test("etcd's server, in Go, takes a user for its CN, and lets it do what that user may and no more", {
  skip: needs('etcd', 'etcdctl'),
}, async (t) => {
  const { place: its, auth } = copyPlace(t, place, [...edits, [['users'], [jane, { name: 'joe' }, { name: 'root' }]]])
  await exits(0, its, 'user-certs')
  const pair = (name: string) =>
    ['--cert', '--key'].map((word, i) => `${word}=${join(auth, name + ['.pem', '-key.pem'][i])}`)
  const ca = join(auth, 'ca.pem')
  const [client, peer] = (await freePorts(2)).map((port) => `127.0.0.1:${port}`)
  await using _ = await startServer(
    'etcd',
    [
      ...[`--data-dir=${join(its, 'etcd')}`, `--listen-peer-urls=http://${peer}`],
      ...[`--listen-client-urls=https://${client}`, `--advertise-client-urls=https://${client}`],
      ...['--client-cert-auth', `--trusted-ca-file=${ca}`],
      ...[`--cert-file=${join(auth, 'kubernetes.pem')}`, `--key-file=${join(auth, 'kubernetes-key.pem')}`],
    ],
    /"ready to serve client requests"/,
  )
  const as = (name: string, command: string) =>
    run('etcdctl', [`--endpoints=https://${client}`, `--cacert=${ca}`, ...pair(name), ...command.split(' ')])
  for (const command of [
    'put greeting hello',
    'role add readers',
    'role grant-permission readers read greeting',
    ...['root', 'jane', 'joe'].map((user) => `user add ${user} --no-password`),
    'user grant-role root root',
    'user grant-role jane readers',
    'auth enable',
  ])
    await as('root', command)
  assert.match((await as('jane', 'get greeting')).stdout, /^greeting\nhello\n$/)
  await assert.rejects(as('joe', 'get greeting'), /permission denied/)
  await assert.rejects(as('jane', 'put greeting bye'), /permission denied/)
})
