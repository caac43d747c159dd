/** Phase `revoked`: the list in auth/. What API servers do with it: authorization.test.ts, and on machines. */
import assert from 'node:assert/strict'
import { lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readRevoked } from '../../../lib/kubernetes/authorization.ts'
import { scratch } from '../../support/files.ts'
import { type Edit, exits, harderway, writeCluster } from '../../support/harderway.ts'

const own: Edit = [['etcd'], { ca: 'own' }]
const users = (...names: string[]): Edit => [['users'], names.map((name) => ({ name }))]

function place(t: Parameters<typeof scratch>[0]) {
  const folder = scratch(t)
  const file = (name = 'authorization-config.yaml') => join(folder, 'auth', name)
  mkdirSync(join(folder, 'auth'), { mode: 0o700 })
  const write = (revoked: readonly string[] | undefined, ...edits: Edit[]) =>
    writeCluster(folder, [own, [['install'], true], [['revoked'], revoked], ...edits])
  const listed = () => readRevoked(readFileSync(file(), 'utf8'))?.names
  return { folder, file, write, listed }
}

test('the list is made from cluster.yaml, and made again where it differs', async (t) => {
  const { folder, file, write, listed } = place(t)
  write([])
  await exits(0, folder, 'revoked')
  assert.deepEqual(listed(), [])
  for (const name of ['authorization-config.yaml', 'authorization-webhook.yaml'])
    assert.equal(lstatSync(file(name)).mode & 0o7777, 0o600)
  write(['jane', 'worker9'])
  const plan = await exits(4, folder, 'revoked', '--dry-run')
  assert.match(plan.stdout, /~ .*authorization-config\.yaml.* {2}revoked: jane, worker9\n/)
  assert.match(plan.stdout, /auth has no certificate of jane, worker9; check the spelling/)
  await exits(0, folder, 'revoked')
  assert.deepEqual(listed(), ['jane', 'worker9'])
  writeFileSync(file(), readFileSync(file(), 'utf8').replace('Deny', 'NoOpinion'))
  rmSync(file('authorization-webhook.yaml'))
  await exits(0, folder, 'revoked')
  assert.match(readFileSync(file(), 'utf8'), /failurePolicy: Deny/)
  assert.match(readFileSync(file('authorization-webhook.yaml'), 'utf8'), /current-context: nobody/)
})

test('nobody is let in again unless the list is named, however much is forced, with the key or without; and the plan says who', async (t) => {
  const { folder, write, listed } = place(t)
  write(['jane', 'joe'])
  await exits(0, folder, 'revoked')
  for (const [revoked, line] of [
    [['joe', 'eve'], 'joe, eve, jane'],
    [undefined, 'jane, joe'],
  ] as const) {
    write(revoked, users(...(revoked ? [] : ['jane'])))
    for (const args of [['bootstrap'], ['certs', 'deploy', '--force'], ['bootstrap', '--dry-run']]) {
      const { stdout, stderr } = await exits(3, folder, ...args)
      const text = (stdout + stderr).replaceAll(/\s+/g, ' ')
      assert.match(text, /lists .*jane.* as revoked, and cluster\.yaml does not/, args.join(' '))
      assert.ok(text.includes(`write in cluster.yaml: revoked: [${line}]`), text)
    }
    assert.deepEqual(listed(), ['jane', 'joe'])
  }
  write(['joe'])
  await exits(0, folder, 'revoked')
  assert.deepEqual(listed(), ['joe'])
})

test('a list with keys, which 0.5.0 has written, stops whatever writes, before anything is issued, even where revoked is named', async (t) => {
  const { folder, file, write } = place(t)
  write(['jane'])
  await exits(0, folder, 'revoked')
  const key = `sha256:${'1'.repeat(64)}`
  const older = readFileSync(file(), 'utf8').replace('# revoked: jane', `# revoked: jane\n        # revoked: ${key}`)
  writeFileSync(file(), older)
  for (const args of [['bootstrap'], ['bootstrap', '--dry-run'], ['revoked', 'install'], ['certs']]) {
    const { stdout, stderr } = await exits(3, folder, ...args)
    assert.match(stdout + stderr, /revokes keys \(sha256:1{12}…\), and this version revokes names alone.*0\.5\.0/s)
  }
  assert.equal(readFileSync(file(), 'utf8'), older)
  assert.throws(() => readFileSync(file('ca.pem')))
})

test('a list in auth/ that somebody else has written is replaced only if revoked is named', async (t) => {
  const { folder, file, write, listed } = place(t)
  write(['jane'])
  writeFileSync(file(), 'kind: AuthorizationConfiguration\n', { mode: 0o600 })
  assert.match((await exits(3, folder, 'bootstrap')).stderr, /is not a list that harderway wrote/)
  await exits(0, folder, 'revoked')
  assert.deepEqual(listed(), ['jane'])
})

test('where etcd shares the CA, who is revoked still opens etcd: said with exit status 4, until it has its own', async (t) => {
  const { folder, write } = place(t)
  const shared: Edit = [['etcd'], undefined]
  write([], shared, users('jane'))
  await exits(0, folder, 'certs')
  write(['jane'], shared)
  for (const _ of ['made', 'there'])
    assert.match(
      (await exits(4, folder, 'revoked')).stdout,
      /certificates of jane still open etcd[\s\S]*rotate etcd-ca/,
    )
  assert.match((await harderway(folder, 'status')).stdout, /still open etcd/)
})

test('init reads the list back', async (t) => {
  const { folder, write } = place(t)
  write(['jane'])
  await exits(0, folder, 'certs', 'kubeconfigs', 'encryption-key', 'revoked')
  const away = join(folder, 'away')
  mkdirSync(away)
  await exits(0, folder, 'init', away, '--from', join(folder, 'auth'), '--gateway', 'gateway').catch(() => {})
  assert.match(readFileSync(join(away, 'cluster.yaml'), 'utf8'), /^revoked: \[ jane \]/m)
})
