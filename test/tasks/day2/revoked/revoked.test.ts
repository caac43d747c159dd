/** Phase `revoked`: the list in auth/. What API servers do with it: authorization.test.ts, and on machines. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { AuthDir } from '../../../../lib/files/auth-dir.ts'
import { formatAuthorization, readRevoked } from '../../../../lib/kubernetes/authorization.ts'
import { wantedList } from '../../../../lib/kubernetes/revocation.ts'
import { isOverRevoked } from '../../../../lib/kubernetes/revoked-list.ts'
import { keyIdOf, readCertificate } from '../../../../lib/pki/certificate.ts'
import { makePair, readIssuer } from '../../../../lib/pki/pair.ts'
import { harderWay } from '../../../../tasks/layouts/harder-way.ts'
import { leafProfile } from '../../../support/certificates.ts'
import { hostileNames, scratch } from '../../../support/files.ts'
import { type Edit, exits, harderway, writeCluster } from '../../../support/harderway.ts'

const own: Edit = [['etcd'], { ca: 'own' }]

function place(t: Parameters<typeof scratch>[0]) {
  const folder = scratch(t)
  const file = (name = 'authorization-config.yaml') => join(folder, 'auth', name)
  mkdirSync(join(folder, 'auth'), { mode: 0o700 })
  const write = (revoked: readonly string[] | undefined, ...edits: Edit[]) =>
    writeCluster(folder, [own, [['install'], true], [['revoked'], revoked], ...edits])
  const listed = () => readRevoked(readFileSync(file(), 'utf8'))?.entries
  return { folder, file, write, listed }
}

test('the list is made from cluster.yaml, and made again where it differs', async (t) => {
  const { folder, file, write, listed } = place(t)
  write([])
  await exits(0, folder, 'revoked')
  assert.deepEqual(listed(), [])
  // Older versions refuse to run beside what they would misread.
  for (const name of ['authorization-config.yaml', 'authorization-webhook.yaml', 'needs-harderway-0.5.0'])
    assert.equal(lstatSync(file(name)).mode & 0o7777, 0o600)
  write(['jane', 'worker9'])
  const plan = await exits(4, folder, 'revoked', '--dry-run')
  assert.match(plan.stdout, /~ .*authorization-config\.yaml.* {2}revoked: jane, worker9\n/)
  assert.match(plan.stdout, /auth has no certificate of jane, worker9; check the spelling/)
  await exits(0, folder, 'revoked')
  assert.deepEqual(listed(), ['jane', 'worker9'])
  assert.match((await exits(0, folder, 'revoked', '--verbose')).stdout, /revoked: jane, worker9/)
  writeFileSync(file(), readFileSync(file(), 'utf8').replace('Deny', 'NoOpinion'))
  rmSync(file('authorization-webhook.yaml'))
  await exits(0, folder, 'revoked')
  assert.match(readFileSync(file(), 'utf8'), /failurePolicy: Deny/)
  assert.match(readFileSync(file('authorization-webhook.yaml'), 'utf8'), /current-context: nobody/)
})

test('nobody is let in again unless the list is named, however much is forced; and the plan says who', async (t) => {
  const { folder, file, write, listed } = place(t)
  write(['jane', 'joe'])
  await exits(0, folder, 'revoked')
  write(['joe', 'eve'])
  for (const args of [['bootstrap'], ['certs', 'deploy', '--force'], ['bootstrap', '--dry-run']]) {
    const ran = await exits(3, folder, ...args)
    assert.match(
      ran.stdout + ran.stderr,
      /; jane would regain access\n.*- write revoked: \[joe, eve, jane\] in cluster\.yaml\n.*revoked install/,
    )
  }
  assert.deepEqual(listed(), ['jane', 'joe'])
  const plan = await exits(4, folder, 'revoked', '--dry-run')
  assert.match(plan.stdout, /revoked: eve; no longer revoked: jane/)
  await exits(0, folder, 'revoked')
  assert.deepEqual(listed(), ['eve', 'joe'])
  // One that can't be read may have any.
  writeFileSync(file(), 'half a fi')
  const unread = await exits(3, folder, 'certs', 'deploy')
  assert.match(unread.stdout + unread.stderr, /is not a list that harderway wrote, and may have more/)
  await exits(0, folder, 'revoked')
  assert.deepEqual(listed(), ['eve', 'joe'])
})

test('without the key nothing is made, and what is there stays', async (t) => {
  const { folder, file, write, listed } = place(t)
  write(undefined)
  await exits(2, folder, 'revoked')
  await exits(0, folder, 'encryption-key')
  assert.throws(() => readFileSync(file()))
  write(['jane'])
  await exits(0, folder, 'revoked')
  write(undefined)
  await exits(0, folder, 'encryption-key')
  assert.deepEqual(listed(), ['jane'])
})

test('without the key a node or user whom the list names gets nothing, nor do nodes have to be asked', async (t) => {
  const { folder, file, write, listed } = place(t)
  const joe: Edit = [['users'], [{ name: 'joe' }]]
  write(['joe', 'worker9'])
  await exits(0, folder, 'revoked')
  const nodes: Edit = [['nodes'], [{ name: 'control0', role: 'control', ip: '192.168.1.11' }]]
  const more: Edit = [['nodes', 1], { name: 'worker9', role: 'worker', ip: '192.168.1.19' }]
  write(undefined, joe, nodes, more)
  for (const args of [['certs'], ['certs', '--dry-run'], ['bootstrap', '--dry-run', '--offline'], ['deploy/worker9']]) {
    const { stdout, stderr } = await exits(3, folder, ...args)
    const text = (stdout + stderr).replaceAll(/\s+/g, ' ')
    assert.match(text, /lists joe, worker9 as revoked; cluster\.yaml has these names, but no revoked/)
    assert.match(
      text,
      /- remove joe, worker9 from cluster\.yaml, and add revoked: \[joe, worker9\] - or restore access/,
    )
  }
  assert.throws(() => readFileSync(file('joe.pem')))
  assert.match((await exits(3, folder, 'status')).stdout, /lists joe, worker9 as revoked/)
  // Both ways out.
  write(['worker9'], joe, nodes)
  assert.match((await exits(3, folder, 'bootstrap', '--dry-run', '--offline')).stderr, /joe would regain access/)
  await exits(0, folder, 'revoked')
  await exits(0, folder, 'certs')
  assert.deepEqual(listed(), ['worker9'])
  write(undefined, joe, nodes, more)
  assert.match((await exits(3, folder, 'rotate', 'ca')).stderr, /lists worker9 as revoked/)
})

const fingerprintIn = (pem: Uint8Array) => new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase()

test('a key: its pair is made again with a new one, every certificate over the old one is known, and a run over everything lists it', async (t) => {
  const { folder, file, write, listed } = place(t)
  const users: Edit = [['users'], [{ name: 'jane' }]]
  write([], users)
  await exits(0, folder, 'certs', 'kubeconfigs', 'revoked')
  const first = readFileSync(file('jane.pem'))
  // The same key, in another certificate.
  write([], [['users'], [{ name: 'jane', groups: ['devs'] }]])
  await exits(0, folder, 'certs')
  const second = readFileSync(file('jane.pem'))
  const entry = `sha256:${fingerprintIn(first)}`
  write([entry], [['users'], [{ name: 'jane', groups: ['devs'] }]])
  const plan = await exits(4, folder, 'bootstrap', '--dry-run', '--offline')
  assert.match(plan.stdout, /jane\.pem.* its key is revoked/)
  assert.match(plan.stdout, /revoked: sha256:[0-9a-f]{12}…/)
  // Who reads the new pair is not known by these runs.
  const ran = await exits(4, folder, 'certs', 'kubeconfigs', 'revoked')
  assert.match(ran.stdout, /To do +to revoke sha256:.*… once the new keys are in use, run .*bootstrap/)
  assert.deepEqual(listed(), [])
  const ended = await exits(4, folder, 'certs', 'kubeconfigs', 'revoked', '--dry-run')
  assert.match(ended.stdout, /to revoke sha256:/)
  // Not where a run, or its plan, is refused.
  const list = readFileSync(file(), 'utf8')
  writeFileSync(file(), 'half a fi')
  for (const args of [[], ['--dry-run', '--offline']]) {
    const refused = await exits(3, folder, 'bootstrap', ...args)
    assert.match(refused.stdout + refused.stderr, /is not a list that harderway wrote/)
    assert.doesNotMatch(refused.stdout + refused.stderr, /to revoke/)
  }
  writeFileSync(file(), list)
  const third = readFileSync(file('jane.pem'))
  assert.equal(new X509Certificate(third).publicKey.equals(new X509Certificate(second).publicKey), false)
  const now = new Date()
  const run = { auth: new AuthDir(join(folder, 'auth'), harderWay.files), cluster: { revoked: [entry] }, now }
  const { certificates } = wantedList(run)
  assert.deepEqual(
    new Set(certificates.map(({ fingerprint }) => fingerprint)),
    new Set([first, second, third].map(fingerprintIn)),
  )
  const isRevoked = isOverRevoked(wantedList(run))
  const good = certificates.filter((each) => !isRevoked(each)).map(({ fingerprint }) => fingerprint)
  assert.deepEqual(good, [fingerprintIn(third)])
})

test('somebody whom another tool gave a certificate is revoked by any name, or by the key once auth/ has the certificate', async (t) => {
  const { folder, file, write, listed } = place(t)
  const name = "Bob O'Hara, Jr."
  write([])
  await exits(0, folder, 'certs', 'kubeconfigs', 'revoked')
  const theirs = new AuthDir(join(folder, 'auth'), harderWay.files)
  const profile = leafProfile({ subject: { O: ['devs'], CN: name }, sans: [] })
  const [issuer, now] = [readIssuer(theirs), new Date()]
  await makePair(theirs, 'theirs', { profile, issuer, now, validity: 86_400_000 })
  const pem = readFileSync(file('theirs.pem'))
  for (const each of ['theirs.pem', 'theirs-key.pem']) rmSync(file(each))
  writeFileSync(join(folder, 'theirs.pem'), pem)
  for (const names of [[...hostileNames], [...hostileNames, name]]) {
    write(names)
    await exits(0, folder, 'revoked')
    assert.deepEqual(listed(), names.toSorted())
    await exits(0, folder, 'revoked')
  }
  write([name])
  const fewer = await exits(3, folder, 'bootstrap', '--dry-run', '--offline')
  const [, line = ''] = /- write (revoked: .*) in cluster\.yaml$/m.exec(fewer.stdout + fewer.stderr) ?? []
  assert.deepEqual(parse(line).revoked.toSorted(), [...hostileNames, name].toSorted())
  await exits(0, folder, 'revoked')
  write([name, `sha256:${fingerprintIn(pem)}`])
  const plan = await exits(4, folder, 'revoked', '--dry-run')
  const [, copy = ''] = /or copy the certificate there: (mkdir .*\.pem)$/m.exec(plan.stdout) ?? assert.fail(plan.stdout)
  execFileSync('sh', ['-c', copy.replace('FILE', join(folder, 'theirs.pem'))])
  const known = await exits(4, folder, 'revoked', '--dry-run')
  assert.doesNotMatch(known.stdout, /not revoked/)
  await exits(4, folder, 'revoked')
  const run = { auth: theirs, cluster: { revoked: [`sha256:${fingerprintIn(pem)}`] }, now }
  assert.deepEqual(
    wantedList(run).certificates.map(({ user }) => user),
    [name],
  )
})

test('without revoked in cluster.yaml nobody who is pinned gets a certificate that API servers would refuse', async (t) => {
  const { folder, file, write } = place(t)
  const users = (...groups: string[]): Edit => [['users'], [{ name: 'jane', groups }, { name: 'bob' }]]
  write([], users())
  await exits(0, folder, 'certs')
  const certificate = readCertificate(readFileSync(file('jane.pem'))) ?? assert.fail()
  const fingerprint = fingerprintIn(readFileSync(file('jane.pem')))
  const list = {
    entries: [`sha256:${fingerprint}`],
    certificates: [{ fingerprint, keyId: keyIdOf(certificate), user: 'jane', end: certificate.notAfter }],
  }
  writeFileSync(file(), formatAuthorization(list, '/k'), { mode: 0o600 })
  write(undefined, users())
  chmodSync(file('jane-key.pem'), 0o644)
  await exits(0, folder, 'certs')
  for (const args of [
    ['user-certs', '--force'],
    ['user-certs', '--force', '--dry-run'],
  ])
    assert.match((await exits(3, folder, ...args)).stdout, /jane\.pem is not reissued/)
  assert.equal(fingerprintIn(readFileSync(file('jane.pem'))), fingerprint)
  write(undefined, users('devs'))
  for (const args of [['certs'], ['certs', '--dry-run']]) {
    const { stdout, stderr } = await exits(3, folder, ...args)
    assert.match(
      stdout + stderr,
      /jane\.pem is not reissued; .*\n.*write the list in cluster\.yaml again: revoked: \[sha256:/,
    )
  }
  assert.match(
    (await exits(3, folder, 'rotate', 'ca')).stderr,
    /no rotation begins; .*\n.*write the list in cluster\.yaml again/,
  )
  write(list.entries, users('devs'))
  await exits(4, folder, 'certs', '--dry-run')
  // The other way out.
  write([], users('devs'))
  await exits(0, folder, 'revoked')
  write(undefined, users('devs'))
  await exits(0, folder, 'certs')
})

test('an entry too many is an error at its line, by whichever command comes to it first', async (t) => {
  const { folder, file, write } = place(t)
  write([])
  await exits(0, folder, 'certs', 'revoked')
  const names = Array.from({ length: 3000 }, (_, i) => `gone-${String(i).padStart(4, '0')}`)
  write(names)
  const errorOf = async (...args: string[]) => (await exits(2, folder, ...args)).stderr
  const [, entry = ''] = /: revoked\[(\d+)\] is one entry too many: /.exec(await errorOf('status')) ?? []
  const fit = Number(entry)
  assert.ok(fit > 1000, entry)
  write(names.slice(0, fit))
  await exits(0, folder, 'revoked')
  write([...names.slice(0, fit), `sha256:${fingerprintIn(readFileSync(file('worker0.pem')))}`])
  for (const args of [['revoked', '--dry-run'], ['revoked']])
    assert.match(await errorOf(...args), new RegExp(`revoked\\[${fit}\\] is one entry too many`))
})

test('a key that no list cuts off is an error at its line', async (t) => {
  const { folder, file, write } = place(t)
  write([])
  await exits(0, folder, 'certs', 'kubeconfigs')
  for (const name of ['admin', 'kubernetes', 'kube-scheduler', 'service-account', 'ca']) {
    write(['jane', `sha256:${fingerprintIn(readFileSync(file(`${name}.pem`)))}`])
    for (const args of [['certs'], ['bootstrap', '--dry-run', '--offline'], ['status']]) {
      const { stderr } = await exits(2, folder, ...args)
      assert.match(
        stderr,
        new RegExp(`cluster\\.yaml:\\d+:\\d+: revoked\\[1\\] "sha256:.* of ${name}, whose key can't be revoked`),
      )
    }
  }
  for (const name of ['kube-proxy', 'worker0', 'control0']) {
    write([`sha256:${fingerprintIn(readFileSync(file(`${name}.pem`)))}`])
    await exits(4, folder, 'certs', '--dry-run')
    // Whether a node has failed is not known then.
    assert.doesNotMatch((await exits(4, folder, 'bootstrap', '--dry-run', '--offline')).stdout, /may lose access/)
  }
  // However its file is called.
  for (const part of ['.pem', '-key.pem']) renameSync(file(`admin${part}`), file(`bob${part}`))
  write([`sha256:${fingerprintIn(readFileSync(file('bob.pem')))}`])
  assert.match((await exits(2, folder, 'status')).stderr, /of bob, whose key can't be revoked/)
})

const jane = (...groups: string[]): Edit => [['users'], [{ name: 'jane', groups }]]

/** Two certificates of jane's, over one key; and a list from elsewhere in which that is revoked, by the first. */
/** As the list has it. */
function listed(pem: Buffer) {
  const keyId = keyIdOf(readCertificate(pem) ?? assert.fail())
  return { fingerprint: fingerprintIn(pem), keyId, user: 'jane', end: new Date(Date.now() + 1e9) }
}

async function revokedElsewhere({ folder, file, write }: ReturnType<typeof place>) {
  const pems: Buffer[] = []
  for (const groups of [[], ['devs']]) {
    write([], jane(...groups))
    await exits(0, folder, 'certs')
    pems.push(readFileSync(file('jane.pem')))
  }
  const certificates = pems.map(listed)
  const entries = certificates.map(({ fingerprint }) => `sha256:${fingerprint}`)
  const text = formatAuthorization({ entries: entries.slice(0, 1), certificates }, '/k')
  writeFileSync(file(), text, { mode: 0o600 })
  return entries as [string, string]
}

test('an exchange of two certificates over one key lets nobody in again', async (t) => {
  const at = place(t)
  const [, second] = await revokedElsewhere(at)
  at.write([second], jane('devs'))
  await exits(4, at.folder, 'certs', 'deploy', '--dry-run', '--offline')
  at.write([], jane('devs'))
  await exits(3, at.folder, 'certs', 'deploy')
})

test('a pair of which the list alone knows that its key is cut off is made again with a new one, although auth/backup is lost', async (t) => {
  const at = place(t)
  const { folder, file, write } = at
  const [first] = await revokedElsewhere(at)
  const pem = readFileSync(file('jane.pem'))
  rmSync(file('backup'), { recursive: true })
  write([first], jane('devs'))
  assert.match((await exits(4, folder, 'certs', '--dry-run')).stdout, /jane\.pem.* its key is revoked/)
  await exits(0, folder, 'certs')
  const made = new X509Certificate(readFileSync(file('jane.pem')))
  assert.equal(made.publicKey.equals(new X509Certificate(pem).publicKey), false)
  await exits(0, folder, 'certs', '--dry-run')
})

test('where etcd shares the CA, what is cut off still opens etcd: said with exit status 4, until it has its own', async (t) => {
  const { folder, write } = place(t)
  const shared: Edit = [['etcd'], undefined]
  write(['jane'], shared)
  for (const _ of ['made', 'there'])
    assert.match((await exits(4, folder, 'revoked')).stdout, /certificates of jane still open etcd.*rotate etcd-ca/)
  assert.match((await harderway(folder, 'status')).stdout, /still open etcd/)
})

test('what a CA has issued that was replaced opens no etcd, and is accepted by nobody', async (t) => {
  const { folder, file, write } = place(t)
  const more = [[['etcd'], undefined], jane()] as const
  write([], ...more)
  await exits(0, folder, 'certs')
  const certificates = []
  for (const _ of ['revoked', 'older']) {
    certificates.push(listed(readFileSync(file('jane.pem'))))
    await exits(0, folder, 'user-certs/jane', '--force')
  }
  const entries = certificates.slice(0, 1).map(({ fingerprint }) => `sha256:${fingerprint}`)
  writeFileSync(file(), formatAuthorization({ entries, certificates }, '/k'), { mode: 0o600 })
  write(entries, ...more)
  const told = async () => (await harderway(folder, 'status')).stdout.replaceAll(/\s+/g, ' ')
  assert.match(await told(), /jane's earlier certificate is accepted until .* still open etcd/)
  for (const args of [['ca', '--force', '--yes'], ['certs']]) await exits(0, folder, ...args)
  assert.doesNotMatch(await told(), /accepted until|still open/)
})

test('init and recover read the list back', async (t) => {
  const { folder, write, listed } = place(t)
  write(['jane'])
  await exits(0, folder, 'certs', 'kubeconfigs', 'encryption-key', 'revoked')
  const away = join(folder, 'away')
  mkdirSync(away)
  await exits(0, folder, 'init', away, '--from', join(folder, 'auth'), '--gateway', 'gateway').catch(() => {})
  assert.match(readFileSync(join(away, 'cluster.yaml'), 'utf8'), /^revoked: \[jane\]/m)
  const backup = join(folder, 'backup')
  renameSync(join(folder, 'auth'), backup)
  // A cluster.yaml from before.
  write([])
  await exits(0, folder, 'recover', '--from', backup)
  assert.deepEqual(listed(), ['jane'])
  await exits(3, folder, 'certs', 'deploy')
})
