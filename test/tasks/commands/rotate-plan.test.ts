import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { parse, stringify } from 'yaml'
import { AuthDir, backUp } from '../../../lib/files/auth-dir.ts'
import { addKey, encryptWithNewest, keepKeys, readEncryptionKeys } from '../../../lib/kubernetes/encryption.ts'
import { generatePrivateKey, privateKeyPem } from '../../../lib/pki/x509.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { fakeTool, scratch, stateOf } from '../../support/files.ts'
import { copyPlace, type Edit, exits, harderway, madePlace, oneOfEach, writeCluster } from '../../support/harderway.ts'

const edits: Edit[] = [[['install'], true]]

const origin = madePlace(edits, 'certs', 'kubeconfigs', 'encryption-key')
/** For what is the same however many nodes there are: each of them is tried. */
const few: Edit[] = [...edits, ...oneOfEach]
const small = madePlace(few, 'certs', 'kubeconfigs', 'encryption-key')

/** Nothing listens there. */
function unreached(t: TestContext): string {
  const { place } = copyPlace(t, origin, [...edits, [['ssh'], { configFile: './ssh_config' }]])
  writeFileSync(join(place, 'ssh_config'), 'Host *\n  HostName 127.0.0.1\n  Port 1\n')
  return place
}

test('the plan of a rotation names what each stage restarts, by role, and each stage was tried', async () => {
  const seen = stateOf(origin)
  const { stdout } = await harderway(origin, 'rotate', 'ca', '--dry-run')
  const lines = stdout.split('\n')
  assert.match(stdout, /^To do {6}after each stage, back up \S+\/auth \(docs\/everyday\.md\)$/m)
  assert.deepEqual(
    lines.filter((line) => line.startsWith('  restarts on ')),
    ['control', 'control'].flatMap((role, i) => [
      `  restarts on ${role} nodes: ${i === 0 ? '' : 'etcd, kube-apiserver, '}kube-controller-manager, kube-scheduler, kubelet, kube-proxy`,
      '  restarts on worker nodes: kubelet, kube-proxy',
    ]),
  )
  assert.equal(
    lines.filter((line) => /^ {2}tried \d+ connections in \d+ distinct states, 0 refused$/.test(line)).length,
    2,
  )
  assert.match(stdout, /^not tried: certificates and kubeconfigs not created by harderway/m)
  assert.deepEqual(stateOf(origin), seen)
})

test('the plan of a rotation that rewrites what etcd has begins with a snapshot', async () => {
  const { stdout } = await exits(4, origin, 'rotate', 'encryption-key', '--dry-run')
  assert.match(stdout, /^To do {6}take a snapshot of etcd first, .*etcdctl snapshot save FILE/m)
})

test('a rotation of the CA leaves an etcd with a CA of its own alone', async (t) => {
  const place = scratch(t)
  writeCluster(place, [...few, [['etcd', 'ca'], 'own']])
  await exits(0, place, 'certs', 'kubeconfigs', 'encryption-key')
  const { stdout } = await harderway(place, 'rotate', 'ca', '--dry-run')
  assert.match(stdout, /^ +restarts on control nodes: kube-apiserver/m)
  assert.doesNotMatch(stdout, /^ +restarts .*etcd/m)
})

test('the plan of a rotation says which nodes could not be inspected, of all that the run needs: 4', async (t) => {
  const place = unreached(t)
  const { stdout, stderr } = await exits(4, place, 'rotate', 'service-account', '--dry-run')
  assert.match(stderr, /^connection refused on 6 nodes: control0, control1, control2, worker0, worker1, worker2$/m)
  assert.match(stdout, /^Stage 1 of 3 \(to do\)/m)
  const { events } = await exits(4, place, 'rotate', 'service-account', '--dry-run', '--json')
  const [failed] = events.filter(({ type }) => type === 'failed')
  assert.deepEqual([failed?.cause, events.filter(({ type }) => type === 'stage').length], ['connection-refused', 3])
})

test('while a stage is under way the plan is to complete it, and what completes the rotation is left to do: 4', async (t) => {
  const { place, auth } = copyPlace(t, small, few)
  const key = await generatePrivateKey('ecdsa-p256')
  writeFileSync(join(auth, 'ca-next-key.pem'), privateKeyPem(key), { mode: 0o600 })
  const { stdout } = await exits(4, place, 'rotate', 'ca', '--dry-run')
  assert.match(stdout, /^Stage 1 of 2 \(in progress\).*^Stage 2 of 2 \(with --finish\)/ms)
  const [, ...typed] = /^To do {6}complete the rotation: npm run task -- (rotate) (ca) (--finish)$/m.exec(stdout) ?? []
  // No node is reached, and nothing is refused: it goes on with that stage.
  const ran = await exits(1, place, ...typed)
  assert.match(ran.stdout, /^the CA, stage 1 of 2: /m)
})

test('the plan of a rotation looks at no more nodes at once than ssh.concurrency', async (t) => {
  const place = unreached(t)
  const log = join(place, 'log')
  const isLook = `case "$*" in *'sh -s') ;; *) real "$@"; exit ;; esac`
  const tool = fakeTool(t, 'ssh', `${isLook}\necho + >>${log}; real "$@"; status=$?; echo - >>${log}; exit $status`)
  const call = { place, env: { PATH: `${tool}:${process.env.PATH}` } }
  await harderway(call, 'rotate', 'ca', '--dry-run', '--concurrency', '2')
  const steps = readFileSync(log, 'utf8').trim().split('\n')
  const open = steps.map((_, i) => steps.slice(0, i + 1).reduce((sum, step) => sum + (step === '+' ? 1 : -1), 0))
  assert.ok(steps.length >= 12, 'each node was asked')
  assert.ok(Math.max(...open) <= 2, steps.join(''))
})

test('a rotation is refused where it can not be', async (t) => {
  const place = scratch(t)
  writeCluster(place)
  for (const [words, message] of [
    ['', /rotate needs one of/],
    ['ca service-account', /rotate needs one of/],
    ['service-acount', /rotate needs one of/],
    ['ca --finish --undo', /--undo and --finish can't be combined/],
    ['ca', /needs install in cluster\.yaml/],
  ] as const)
    assert.match((await exits(2, place, 'rotate', ...words.split(' ').filter(Boolean))).stderr, message)
})

test('--finish with nothing under way is refused, in the run and in the plan, and names what begins a rotation', async (t) => {
  const place = scratch(t)
  writeCluster(place, [...few, [['etcd', 'ca'], 'own'], [['aggregation'], true]])
  await exits(0, place, 'certs', 'kubeconfigs', 'encryption-key')
  for (const name of ['ca', 'etcd-ca', 'front-proxy-ca', 'service-account', 'encryption-key'])
    for (const more of [[], ['--dry-run'], ['--force', '--json']]) {
      const { stdout, stderr } = await exits(3, place, 'rotate', name, '--finish', ...more)
      assert.match(
        stdout + stderr,
        new RegExp(`no rotation of .* is in progress.*begin one: npm .* rotate ${name}\\b`, 's'),
      )
    }
})

test('--finish proves the last stage again for a week, and the plan says so', async (t) => {
  const { place } = copyPlace(t, small, few)
  const auth = new AuthDir(join(place, 'auth'), harderWay.files)
  const file = 'encryption-config.yaml'
  const key2 = Buffer.alloc(32, 7).toString('base64')
  const first = encryptWithNewest(addKey(auth.bytes(file).toString(), key2, 'aescbc', []))
  auth.write(file, first, 0o600)
  backUp(auth, [file], new Date())
  auth.write(file, keepKeys(first, readEncryptionKeys(Buffer.from(first))?.keys.slice(0, 1) ?? []), 0o600)
  const after = (days: number) => ({ place, now: new Date(Date.now() + days * 86_400_000) })
  const finish = ['rotate', 'encryption-key', '--finish', '--dry-run']
  const { stdout } = await exits(4, after(6), ...finish)
  assert.match(stdout, /no rotation of the encryption key is in progress; .* checked again\n\nStage 1 of 3 \(done\)/)
  assert.match(stdout, /Stage 3 of 3 \(in progress\)/)
  const { stderr } = await exits(3, after(8), ...finish)
  assert.match(stderr, /no rotation of the encryption key is in progress; the last one finished on \d{4}-\d\d-\d\d$/m)
})

test('with --json the plan is a line for each stage, and status has one for a rotation under way', async (t) => {
  const { place } = copyPlace(t, small, few)
  const { events } = await harderway(place, 'rotate', 'ca', '--dry-run', '--json')
  const stages = events.filter(({ type }) => type === 'stage')
  assert.deepEqual(
    stages.map(({ number, of, state }) => [number, of, state]),
    [
      [1, 2, 'to do'],
      [2, 2, 'with --finish'],
    ],
  )
  const [control0] = (stages[0]?.nodes ?? []) as { units: { unit: string; restarts: boolean }[] }[]
  const reloading = control0?.units.filter(({ restarts }) => !restarts).map(({ unit }) => unit)
  assert.deepEqual(reloading, ['etcd', 'kube-apiserver'])
  const file = join(place, 'auth/encryption-config.yaml')
  const config = parse(readFileSync(file, 'utf8'))
  config.resources[0].providers[0].aescbc.keys.push({ name: 'key2', secret: Buffer.alloc(32, 7).toString('base64') })
  writeFileSync(file, stringify(config))
  const status = await harderway(place, 'status', '--json')
  const rotation = status.events.find(({ type }) => type === 'rotation')
  assert.deepEqual([rotation?.name, rotation?.stage, rotation?.of], ['encryption-key', 1, 3])
})
