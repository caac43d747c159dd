/** The people of cluster.yaml: whom TLS servers see, what is told of them, and what remains of those who left. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { nodeFiles } from '../../tasks/layouts/tables.ts'
import { minimal, parsed } from '../support/files.ts'
import { copyPlace, type Edit, exits, harderway, madePlace } from '../support/harderway.ts'
import { freePorts, needs, startServer } from '../support/programs.ts'

const run = promisify(execFile)
const day = 86_400_000

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
const file = (name: string) => join(place, 'auth', name)

/** The page on which openssl's server, as the API server, shows whom it sees. */
async function askOpenssl(ask: (url: string) => readonly [string, ...string[]]): Promise<string> {
  const identity = ['-cert', file('kubernetes.pem'), '-key', file('kubernetes-key.pem'), '-CAfile', file('ca.pem')]
  const asking = ['-Verify', '2', '-verify_return_error', '-www', '-accept', '127.0.0.1:0']
  await using server = await startServer(
    'openssl',
    ['s_server', ...identity, ...asking],
    /^ACCEPT (127\.0\.0\.1:\d+)$/m,
  )
  const [program, ...args] = ask(`https://${server.ready[1]}/`)
  return (await run(program, args, { env: { PATH: process.env.PATH, HOME: join(place, 'home') } })).stdout
}

test("openssl's server sees a user with its groups, by curl with the pair and by kubectl with the kubeconfig", {
  skip: needs('openssl', 'curl', 'kubectl'),
}, async () => {
  const seen = (name: string) => {
    const pair = ['--cert', file(`${name}.pem`), '--key', file(`${name}-key.pem`)]
    return askOpenssl((url) => ['curl', '--disable', '-sS', '--cacert', file('ca.pem'), ...pair, url])
  }
  const subject = /Subject: C=PL, ST=Lesser Poland, L=Krakow, O=devs, O=ops, OU=kubenet, CN=jane$/m
  assert.match(await seen('jane'), subject)
  assert.match(await seen('joe'), /Subject: C=PL, ST=Lesser Poland, L=Krakow, OU=kubenet, CN=joe$/m)
  const kubeconfig = ['--kubeconfig', file('jane.kubeconfig')]
  assert.match(await askOpenssl((url) => ['kubectl', ...kubeconfig, '--server', url, 'get', '--raw', '/']), subject)
})

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

test('verify sees a user as it is, and as of its groups', async () => {
  const ran = await exits(0, place, 'verify', '--json')
  const notes = ran.events.filter(({ type }) => type === 'fresh').map(({ id, note }) => `${id}: ${note}`)
  assert.ok(notes.includes('clients/jane: authenticated as jane (groups devs, ops)'), notes.join('\n'))
  assert.ok(notes.includes('clients/joe: authenticated as joe (no groups)'), notes.join('\n'))
})

test("a user's certificate expires when the user's validity says: in status, the metrics and the report", async () => {
  const ran = await harderway(place, 'status', '--json')
  const notAfter = Date.parse(String(ran.events.find(({ id }) => id === 'user-certs/jane')?.notAfter))
  const left = (notAfter - Date.now()) / day
  assert.ok(left > 89.9 && left <= 90, `${left} days`)
  assert.equal(ran.events.find(({ id }) => id === 'user-certs/jane')?.state, 'fresh')
  for (const format of ['prometheus', 'html']) await exits(0, place, 'report', '--format', format)
  const labels = 'cluster="kubenet",id="user-certs/jane",node="",purpose="user"'
  assert.ok(
    readFileSync(file('report.prom'), 'utf8').includes(
      `harderway_not_after_timestamp_seconds{${labels}} ${notAfter / 1000}\n`,
    ),
  )
  const page = readFileSync(file('report.html'), 'utf8')
  const date = new Date(notAfter).toISOString().slice(0, 10)
  assert.match(page, new RegExp(`User certificates<small>.*jane.*</small></th>\\n<td>${date}<`))
})

test("a group that is Kubernetes' own is a warning, in the run that asks for it and in status", async (t) => {
  const asked: Edit = [['users'], [{ name: 'jane', groups: ['system:nodes'] }]]
  const { place: its } = copyPlace(t, place, [...edits, asked])
  const warning = 'jane has every right of system:nodes, a group for Kubernetes components'
  const warned = async (...args: string[]) => {
    const { stdout } = await harderway(its, ...args)
    return stdout.replaceAll(/\s+/g, ' ').includes(warning)
  }
  assert.ok(await warned('user-certs/jane', '--quiet'))
  assert.ok(await warned('status'))
  // Not in the one of every day.
  assert.ok(!(await warned('user-certs/jane', '--quiet')))
  assert.ok(!(await warned('user-certs/jane', '--dry-run')))
})
