/**
 * Who is let in by a certificate that cluster.yaml has no use for: said in run, plan, status, --json and metrics, with
 * the line that ends it.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, cpSync, lstatSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { readRevoked } from '../../lib/kubernetes/authorization.ts'
import { formatKubeconfig } from '../../lib/kubernetes/kubeconfig.ts'
import { day } from '../../lib/wording.ts'
import { copyPlace, type Edit, exits, harderway, madePlace, type Ran, writeCluster } from '../support/harderway.ts'

const empty = Buffer.alloc(0)
const all = [
  { name: 'control0', role: 'control', ip: '192.168.1.11' },
  { name: 'control1', role: 'control', ip: '192.168.1.12' },
  { name: 'worker0', role: 'worker', ip: '192.168.1.14' },
  { name: 'worker1', role: 'worker', ip: '192.168.1.15' },
]
const base: Edit[] = [
  [['etcd'], { ca: 'own' }],
  [['install'], true],
  [['nodes'], all],
]
const users = (...names: string[]): Edit => [['users'], names.map((name) => ({ name, groups: ['devs'] }))]
const without = (...names: string[]): Edit => [['nodes'], all.filter(({ name }) => !names.includes(name))]
const revoked = (...entries: string[]): Edit => [['revoked'], entries]
const made = madePlace([...base, users('jane', 'joe')], 'certs', 'kubeconfigs', 'encryption-key')

function copy(t: TestContext) {
  const { place, auth } = copyPlace(t, made, [...base, users('jane', 'joe')])
  const entryOf = (file: string) => {
    const { fingerprint256 } = new X509Certificate(readFileSync(join(auth, file)))
    return `sha256:${fingerprint256.replaceAll(':', '').toLowerCase()}`
  }
  return { place, auth, entryOf, write: (...edits: Edit[]) => writeCluster(place, [...base, ...edits]) }
}

const notesIn = ({ events }: Ran) => events.flatMap(({ type, message }) => (type === 'note' ? [String(message)] : []))

/**
 * What status, its JSON and a plan say of certificates that let somebody in, each the same; and the names in the
 * metrics.
 */
async function told(place: string): Promise<{ notes: string[]; metrics: string[] }> {
  const ofHolders = (notes: readonly string[]) =>
    notes.filter((note) => / accepted until | still accepted, |; only rotations revoke that /.test(note))
  const [status, plan] = [
    await harderway(place, 'status', '--json'),
    await harderway(place, 'bootstrap', '--dry-run', '--offline', '--json'),
  ]
  const notes = ofHolders(notesIn(status))
  assert.deepEqual(ofHolders(notesIn(plan)), notes)
  const text = notes.length === 0 ? '' : (await harderway(place, 'status')).stdout
  for (const note of notes) assert.ok(text.includes(note), text)
  await exits(0, place, 'report', '--format', 'prometheus')
  const lines = readFileSync(join(place, 'auth/report.prom'), 'utf8').matchAll(
    /^harderway_(?:unneeded|earlier)_certificate_end_timestamp_seconds\{.*name="(.*)"\} \d+$/gm,
  )
  return { notes, metrics: Array.from(lines, ([, name = '']) => name).toSorted() }
}

test('who left is named until revoked or expired, with the line; and gets a new key if the name comes back', async (t) => {
  const { place, auth, entryOf, write } = copy(t)
  const old = entryOf('jane.pem')
  const key = readFileSync(join(auth, 'jane-key.pem'))
  write(users('joe'))
  const first = await told(place)
  assert.match(
    first.notes.join('\n'),
    /^certificates of jane \(until \d{4}-\d\d-\d\d\) are still accepted, although cluster\.yaml no longer has that name; to revoke them now, write revoked: \[jane\] in cluster\.yaml \(/,
  )
  assert.deepEqual(first.metrics, ['jane'])
  assert.match(
    (await harderway(place, 'certs', '--dry-run')).stdout,
    /a run moves jane-key\.pem, jane\.pem, jane\.kubeconfig to auth\/backup/,
  )
  assert.match(
    (await exits(0, place, 'certs')).stdout,
    /moved jane-key\.pem, jane\.pem, jane\.kubeconfig to .*auth\/backup\//,
  )
  assert.deepEqual(
    readdirSync(auth).filter((name) => name.startsWith('jane')),
    [],
  )
  const [folder = ''] = readdirSync(join(auth, 'backup'))
  assert.deepEqual(readFileSync(join(auth, 'backup', folder, 'jane-key.pem')), key)
  assert.equal(lstatSync(join(auth, 'backup', folder, 'jane-key.pem')).mode & 0o777, 0o600)
  assert.deepEqual(await told(place), first)
  write(users('joe'), revoked('jane'))
  assert.deepEqual(await told(place), { notes: [], metrics: [] })
  write(users('jane', 'joe'))
  const back = await exits(0, place, 'certs')
  assert.notDeepEqual(readFileSync(join(auth, 'jane-key.pem')), key)
  const line = `jane's earlier certificate is accepted until .*: give jane the new jane\\.kubeconfig, once a run has made it; if the old one was stolen, write revoked: \\[${old}\\] in cluster\\.yaml`
  assert.match(back.stdout.replaceAll(/\s+/g, ' '), new RegExp(line))
  const { notes, metrics } = await told(place)
  assert.match(notes.join('\n'), new RegExp(`^${line}`))
  assert.deepEqual(metrics, ['jane'])
  write(users('jane', 'joe'), revoked(old))
  assert.deepEqual(await told(place), { notes: [], metrics: [] })
})

test('without the key who is on the list in auth/ is not said to be accepted: API servers deny that name still', async (t) => {
  const { place, write } = copy(t)
  write(users('joe'), revoked('jane'))
  await exits(0, place, 'certs', 'revoked')
  write(users('joe'))
  assert.deepEqual(await told(place), { notes: [], metrics: [] })
  // Whoever leaves then is added to those.
  write(users())
  assert.match((await told(place)).notes.join('\n'), /^certificates of joe \(.* write revoked: \[jane, joe\] in/)
})

test('a move that was interrupted is finished: no key of the old name is left to be used again', async (t) => {
  const { place, auth, write } = copy(t)
  write(users('joe'))
  const key = readFileSync(join(auth, 'jane-key.pem'))
  for (const file of ['jane-key.pem', 'jane.pem']) {
    rmSync(join(auth, file))
    cpSync(auth, join(place, 'killed'), { recursive: true })
    await exits(0, place, 'certs')
    assert.deepEqual(
      readdirSync(auth).filter((name) => name.startsWith('jane')),
      [],
    )
    rmSync(auth, { recursive: true })
    renameSync(join(place, 'killed'), auth)
  }
  await exits(0, place, 'certs')
  write(users('jane', 'joe'))
  await exits(0, place, 'certs')
  assert.notDeepEqual(readFileSync(join(auth, 'jane-key.pem')), key)
})

test('what nothing shows to be made for a node or user stays where it is, and is named', async (t) => {
  const { place, auth, write } = copy(t)
  write(users('jane', 'joe', 'kept', 'served'))
  await exits(0, place, 'certs', 'kubeconfigs')
  // As signed by hand, and for a guide, which has a kubeconfig of its own for it.
  const theirs = (name: string) => readdirSync(auth).filter((file) => file.startsWith(name))
  rmSync(join(auth, 'kept.kubeconfig'))
  const kubeconfig = join(auth, 'served.kubeconfig')
  writeFileSync(kubeconfig, readFileSync(kubeconfig, 'utf8').replaceAll(/default$/gm, 'metrics'))
  const both = `subjectAltName=DNS:ours\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature`
  for (const [name, subject] of [
    ['etcd-backup', '/O=backups/CN=etcd-backup'],
    ['signed', '/O=devs/CN=signed'],
  ]) {
    const at = join(auth, `${name}`)
    execFileSync(
      'openssl',
      ['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'].concat([
        '-keyout',
        `${at}-key.pem`,
        '-out',
        join(place, 'csr'),
        '-subj',
        `${subject}`,
      ]),
      { stdio: 'ignore' },
    )
    writeFileSync(join(place, 'extensions'), both)
    execFileSync(
      'openssl',
      ['x509', '-req', '-in', join(place, 'csr'), '-CA', join(auth, 'ca.pem'), '-days', '9'].concat([
        '-CAkey',
        join(auth, 'ca-key.pem'),
        '-out',
        `${at}.pem`,
        '-extfile',
        join(place, 'extensions'),
      ]),
      { stdio: 'ignore' },
    )
    const [ca, certificate, key] = ['ca.pem', `${name}.pem`, `${name}-key.pem`].map((file) =>
      readFileSync(join(auth, file)),
    )
    const access = { cluster: 'kubenet', server: 'https://api:6443', user: `${name}`, context: 'default' }
    const text = formatKubeconfig({ ...access, ca: ca ?? empty, certificate: certificate ?? empty, key: key ?? empty })
    if (name === 'signed') writeFileSync(`${at}.kubeconfig`, text)
  }
  const names = ['etcd-backup', 'kept', 'served', 'signed']
  const before = names.map(theirs)
  write(users('joe'))
  const said =
    /no node or user of cluster\.yaml has the names of etcd-backup\.pem, kept\.pem, served\.pem, signed\.pem in auth\/;/
  for (const args of [['certs', '--dry-run'], ['certs'], ['certs'], ['status']]) {
    const { stdout } = await harderway(place, ...args)
    const text = stdout.replaceAll(/\s+/g, ' ')
    if (args.length > 1 || args[0] === 'status') assert.match(text, said)
    assert.doesNotMatch(text, /moved? .*(etcd-backup|kept|served|signed)-key/)
  }
  assert.deepEqual(names.map(theirs), before)
  assert.deepEqual(theirs('jane'), [])
})

test('a worker that left has the key of kube-proxy too: the line has both, and what is listed is not said again', async (t) => {
  const { place, auth, entryOf, write } = copy(t)
  const proxy = entryOf('kube-proxy.pem')
  write(without('worker1'), users('jane', 'joe'))
  const both =
    /^certificates of worker1 \(also as system:kube-proxy, until .*\) are still accepted, .*; to revoke them now, write revoked: \[worker1, (sha256:.*)\] in cluster\.yaml/
  assert.equal(both.exec((await told(place)).notes.join('\n'))?.[1], proxy)
  await exits(0, place, 'certs')
  assert.equal(both.exec((await told(place)).notes.join('\n'))?.[1], proxy)
  write(without('worker1'), users('jane', 'joe'), revoked('worker1'))
  assert.match(
    (await told(place)).notes.join('\n'),
    new RegExp(
      `certificates of worker1 \\(as system:kube-proxy, .* write revoked: \\[worker1, ${proxy}\\] in cluster\\.yaml`,
    ),
  )
  write(without('worker1'), users('jane', 'joe'), revoked('worker1', proxy))
  assert.deepEqual((await told(place)).notes, [])
  // The new one it never had.
  await harderway(place, 'certs')
  assert.notEqual(entryOf('kube-proxy.pem'), proxy)
  assert.deepEqual((await told(place)).notes, [])
  assert.ok(readdirSync(join(auth, 'backup')).length > 0)
})

test('a control node that left has what only rotations end: no line of revoked is offered', async (t) => {
  const { place, write } = copy(t)
  write(without('control1'), users('jane', 'joe'))
  const said =
    /^control1 still has CA, .*service-account key.*; only rotations revoke that \(docs\/bad-day\.md, "A control node, auth\/, or a backup of it"\)$/
  for (const _ of ['in auth/', 'moved']) {
    const { notes } = await told(place)
    assert.match(notes.join('\n'), said)
    await exits(0, place, 'certs')
  }
  write(without('control1'), users('jane', 'joe'), revoked('control1'))
  assert.match((await told(place)).notes.join('\n'), said)
})

test('the fingerprint that status shows is of the new key: an older one of its owner is named, with its line, before and after', async (t) => {
  const { place, entryOf, write } = copy(t)
  const stolen = entryOf('worker0.pem')
  await exits(0, place, 'node-certs/worker0', '--force')
  assert.deepEqual((await told(place)).notes, [])
  const shown = entryOf('worker0.pem')
  write(users('jane', 'joe'), revoked(shown))
  const named = new RegExp(
    `worker0's earlier certificate is accepted until .*; to revoke it now, write revoked: \\[${shown}, ${stolen}\\] in cluster\\.yaml`,
  )
  assert.match((await told(place)).notes.join('\n'), named)
  const ran = await harderway(place, 'certs')
  assert.match(ran.stdout.replaceAll(/\s+/g, ' '), named)
  assert.match((await told(place)).notes.join('\n'), named)
  write(users('jane', 'joe'), revoked(shown, stolen))
  assert.deepEqual((await told(place)).notes, [])
})

test('a group that was taken away is said in the plan, and as long as a certificate has it', async (t) => {
  const { place, entryOf, write } = copy(t)
  const old = entryOf('jane.pem')
  const fewer: Edit = [['users'], [{ name: 'jane' }, { name: 'joe', groups: ['devs'] }]]
  write(fewer)
  const said = new RegExp(
    `jane's certificate in devs is accepted until .*; to revoke it now, write revoked: \\[${old}\\] in cluster\\.yaml`,
  )
  for (const _ of ['before', 'after']) {
    assert.match((await told(place)).notes.join('\n'), said)
    await exits(0, place, 'certs')
  }
  write(fewer, revoked(old))
  await harderway(place, 'certs')
  assert.deepEqual((await told(place)).notes, [])
})

test('a node has no key of a user of its name, nor the other way round; who had it is named, with the line', async (t) => {
  const { place, auth, entryOf, write } = copy(t)
  const node: Edit = [['nodes'], [...all, { name: 'jane', role: 'worker', ip: '192.168.1.16' }]]
  for (const to of [
    [node, users('joe')],
    [without(), users('jane', 'joe')],
  ]) {
    const [key, old] = [readFileSync(join(auth, 'jane-key.pem')), entryOf('jane.pem')]
    write(...to)
    const before = await told(place)
    assert.match(before.notes.join('\n'), new RegExp(`certificates of .*jane \\(.*write revoked: \\[.*${old}`))
    const plan = (await exits(4, place, 'certs', '--dry-run', '--json')).events
    await exits(0, place, 'certs')
    assert.notDeepEqual(readFileSync(join(auth, 'jane-key.pem')), key)
    assert.match(JSON.stringify(plan), /jane-key\.pem/)
    assert.deepEqual(await told(place), before)
  }
})

test('the line can be pasted, whatever the name', async (t) => {
  const { place, auth, write } = copy(t)
  const names = ['10042', 'null', 'on', '1e3', '0x1f']
  write(users(...names))
  await exits(0, place, 'certs')
  // Made by hand.
  const [key, request] = [join(auth, 'Jane-key.pem'), join(place, 'request')]
  const subject = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=Jane']
  execFileSync('openssl', ['req', ...subject, '-keyout', key, '-out', request], { stdio: 'ignore' })
  const ca = ['-CA', join(auth, 'ca.pem'), '-CAkey', join(auth, 'ca-key.pem')]
  execFileSync('openssl', ['x509', '-req', '-in', request, ...ca, '-out', join(auth, 'Jane.pem')], { stdio: 'ignore' })
  write(users())
  const [, line = ''] = /write (revoked: \[.*\]) in cluster\.yaml/.exec((await told(place)).notes.join('\n')) ?? []
  writeFileSync(join(place, 'cluster.yaml'), `${readFileSync(join(place, 'cluster.yaml'), 'utf8')}${line}\n`)
  assert.deepEqual(await told(place), { notes: [], metrics: [] })
})

test('a move is said by the plan of a rotation too; a renewal says in one note that the user has an earlier certificate', async (t) => {
  const { place, write } = copy(t)
  write([
    ['users'],
    [
      { name: 'joe', groups: ['devs'] },
      { name: 'max', validity: '60d' },
    ],
  ])
  const rotation = await harderway(place, 'rotate', 'service-account', '--dry-run')
  assert.match(rotation.stdout, /a run moves jane-key\.pem, jane\.pem, jane\.kubeconfig to auth\/backup/)
  await exits(0, place, 'certs')
  const later = { place, now: new Date(Date.now() + 40 * day) }
  const said = notesIn(await exits(0, later, 'user-certs/max', '--json')).filter((note) => note.includes('max'))
  assert.equal(said.length, 1)
  assert.match(
    said.join(),
    /^max's earlier certificate is accepted until .*: give max the new max\.kubeconfig, once a run has made it; if the old/,
  )
})

test('a name in use, or of the cluster, is an error at its line, with the line that revokes its key', async (t) => {
  const { place, entryOf, write } = copy(t)
  const errorOf = async (...entries: string[]) => {
    write(users('jane', 'joe'), revoked(...entries))
    return (await exits(2, place, 'status')).stderr.replaceAll(/\s+/g, ' ')
  }
  const jane = entryOf('jane.pem')
  assert.match(
    await errorOf('bob', 'jane'),
    new RegExp(
      `cluster\\.yaml:\\d+:\\d+: revoked\\[1\\] "jane" is still a node or user; remove that first; or keep it with a new key and write revoked: \\[bob, ${jane}\\]`,
    ),
  )
  const proxy = entryOf('kube-proxy.pem')
  assert.match(
    await errorOf('kube-proxy'),
    new RegExp(`"kube-proxy" can't be revoked by name; to revoke its key, write revoked: \\[${proxy}\\]`),
  )
  assert.match(
    await errorOf('kube-scheduler'),
    /"kube-scheduler" can't be revoked by name; see docs\/bad-day\.md, "A key that may have leaked"/,
  )
  // The CN of one of the cluster's own certificates, which is no name of its file.
  assert.match(await errorOf('service-accounts'), /"service-accounts" can't be revoked; see docs/)
  assert.match(await errorOf('system:node:worker0'), /is how Kubernetes names a node; write worker0/)
  for (const bare of [jane.slice(7), new X509Certificate(readFileSync(join(place, 'auth/jane.pem'))).fingerprint256])
    assert.match(await errorOf(bare), /revoked\[0\] [0-9a-fA-F:]{12}… is a fingerprint alone; write sha256: before it/)
})

test('a name that comes back with its keys in its place is let in with its new key alone, and never meanwhile with an old one', async (t) => {
  const { place, auth, entryOf, write } = copy(t)
  const old = entryOf('jane.pem')
  const list = () =>
    readRevoked(readFileSync(join(auth, 'authorization-config.yaml'), 'utf8')) ?? assert.fail('no list')
  await exits(0, place, 'user-certs/jane', '--force')
  const newer = entryOf('jane.pem')
  write(users('joe'), revoked('jane'))
  await exits(0, place, 'certs', 'revoked')
  write(users('jane', 'joe'), revoked('jane'))
  const { stderr } = await exits(2, place, 'status')
  const [, line = ''] = /keep it with a new key and write revoked: \[(.*)\]/.exec(stderr) ?? []
  assert.deepEqual(line.split(', ').toSorted(), [newer, old].toSorted())
  write(users('jane', 'joe'), revoked(...line.split(', ')))
  // Of phases alone: the keys are not revoked yet, so the name still is.
  await exits(4, place, 'certs', 'kubeconfigs', 'revoked')
  assert.deepEqual(list().entries, ['jane'])
  const plan = await harderway(place, 'bootstrap', '--dry-run', '--offline')
  assert.doesNotMatch(plan.stdout + plan.stderr, /regain|let in again/)
  // One of two keys: the other would be let in again.
  write(users('jane', 'joe'), revoked(newer))
  await exits(4, place, 'certs')
  const refused = await exits(3, place, 'bootstrap', '--dry-run', '--offline')
  assert.match(refused.stderr + refused.stdout, /; jane would regain access/)
})

test('without install a user who has an earlier kubeconfig is named once, with no line that the next run refuses', async (t) => {
  const { place, write } = copy(t)
  write(users('jane', 'joe'), [['install'], false])
  const notes = async (...args: string[]) => notesIn(await harderway(place, ...args, '--json')).join('\n')
  assert.doesNotMatch(await notes('status'), /earlier/)
  await exits(0, place, 'user-certs/jane', 'node-certs/worker0', 'kubeconfigs/jane', '--force')
  const status = await notes('status')
  assert.match(
    status,
    /^jane's earlier certificate is accepted until \d{4}-\d\d-\d\d: give jane the new jane\.kubeconfig$/m,
  )
  assert.doesNotMatch(status, /joe|worker0|revoked/)
  // A repair of its mode makes no new one.
  chmodSync(join(place, 'auth', 'jane.kubeconfig'), 0o644)
  assert.doesNotMatch((await exits(0, place, 'kubeconfigs', '--json')).stdout, /"give jane/)
  await exits(0, place, 'report', '--format', 'prometheus')
  assert.match(
    readFileSync(join(place, 'auth/report.prom'), 'utf8'),
    /^harderway_earlier_certificate_end_timestamp_seconds\{.*name="jane"\} \d+$/m,
  )
  write(users('joe'), [['install'], false])
  const left = await notes('status')
  assert.match(
    left,
    /certificates of jane \(until .*\) are still accepted, although cluster\.yaml no longer has that name$/m,
  )
})

test("the admin's certificate that was replaced by hand is named: only a rotation ends it", async (t) => {
  const { place, write } = copy(t)
  write(users('jane', 'joe'))
  await exits(0, place, 'component-certs/admin', '--force')
  assert.match(
    (await told(place)).notes.join('\n'),
    /^admin's earlier certificate is in system:masters and accepted until .*: only rotate ca ends that/,
  )
})

test('a control node that became a worker has had what only rotations end', async (t) => {
  const { place, write } = copy(t)
  const demoted = all.map((node) => (node.name === 'control1' ? { ...node, role: 'worker' } : node))
  write([['nodes'], demoted], users('jane', 'joe'))
  await exits(0, place, 'cluster-cert')
  assert.match(
    (await told(place)).notes.join('\n'),
    /^control1 still has CA, .*service-account key.*; only rotations revoke that/,
  )
})

test('many renewals at once are one note', async (t) => {
  const { place, write } = copy(t)
  write(users('jane', 'joe', 'max', 'eve'))
  await exits(0, place, 'certs')
  await exits(0, place, ...['jane', 'joe', 'max', 'eve'].map((name) => `user-certs/${name}`), '--force')
  assert.deepEqual(
    (await told(place)).notes.map((note) => note.replace(/until \S+:/, 'until D:')),
    ['earlier certificates of jane, joe, max, eve are accepted until D: give each the new kubeconfig'],
  )
})
