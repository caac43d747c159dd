import assert from 'node:assert/strict'
import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { generatePrivateKey, privateKeyPem } from '../../../lib/pki/x509.ts'
import { scratch, stateOf } from '../../support/files.ts'
import { copyPlace, type Edit, exits, harderway, madePlace, oneOfEach, writeCluster } from '../../support/harderway.ts'

const edits: Edit[] = [[['install'], true]]

const origin = madePlace(edits, 'certs', 'kubeconfigs', 'encryption-key')
/** For what is the same however many nodes there are: each of them is tried. */
const few: Edit[] = [...edits, ...oneOfEach]
const small = madePlace(few, 'certs', 'kubeconfigs', 'encryption-key')

test('the plan of a rotation names what each stage changes, and each stage was tried; nothing is written', async () => {
  const seen = stateOf(origin)
  const { stdout } = await harderway(origin, 'rotate', 'ca', '--dry-run')
  const lines = stdout.split('\n')
  assert.match(stdout, /^To do {6}after each stage, back up \S+\/auth \(docs\/everyday\.md\)$/m)
  const changed = lines.filter((line) => line.startsWith('  changes '))
  assert.match(
    changed.join('\n'),
    /^ {2}changes kubernetes\.pem, .* and \d+ more\n {2}changes ca\.pem, ca-key\.pem, .* and \d+ more$/,
  )
  assert.equal(
    lines.filter((line) => /^ {2}tried \d+ connections in \d+ distinct states, 0 refused$/.test(line)).length,
    2,
  )
  assert.match(stdout, /^not tried: what docs\/rotation\.md lists/m)
  assert.deepEqual(stateOf(origin), seen)
})

test('the plan of a rotation that rewrites what etcd has begins with a snapshot', async () => {
  const { stdout } = await exits(4, origin, 'rotate', 'encryption-key', '--dry-run')
  assert.match(stdout, /^To do {6}take a snapshot of etcd first, [\s\S]*etcdctl snapshot save FILE/m)
})

test('while a stage is under way the plan is to complete it, and what completes the rotation is left to do: 4', async (t) => {
  const { place, auth } = copyPlace(t, small, few)
  const key = await generatePrivateKey('ecdsa-p256')
  writeFileSync(join(auth, 'ca-next-key.pem'), privateKeyPem(key), { mode: 0o600 })
  const { stdout } = await exits(4, place, 'rotate', 'ca', '--dry-run')
  assert.match(stdout, /^Stage 1 of 2 \(in progress\).*^Stage 2 of 2 \(with --finish\)/ms)
  const [, ...typed] =
    /^To do {6}complete the rotation:\s+npm run task -- (rotate) (ca) (--finish)$/m.exec(stdout) ?? []
  // No node is reached, and nothing is refused: it goes on with that stage.
  const ran = await exits(1, place, ...typed)
  assert.match(ran.stdout, /^the CA, stage 1 of 2: /m)
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

test('--finish of a rotation that never was is refused; of one that is over, it checks the last stage again', async (t) => {
  const { place, auth } = copyPlace(t, small, few)
  for (const name of ['ca', 'service-account', 'encryption-key'])
    assert.match(
      (await exits(2, place, 'rotate', name, '--finish')).stderr,
      /no rotation of .* is in progress\n.*begin one/,
    )
  cpSync(join(auth, 'encryption-config.yaml'), join(auth, 'backup/2026-11-24T12-00-00-000Z/encryption-config.yaml'))
  const { stdout } = await exits(4, place, 'rotate', 'encryption-key', '--finish', '--dry-run')
  assert.match(
    stdout,
    /no rotation of the encryption key is in progress, .* checked again; to begin one:\n {4}.*rotate/,
  )
  assert.match(stdout, /Stage 1 of 3 \(done\)[\s\S]*Stage 3 of 3 \(in progress\)/)
})
