/** What can't be made again without breaking a running cluster: the CA, the service-account key, the encryption key. */
import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { cpSync, lstatSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, before, beforeEach, describe, type TestContext, test } from 'node:test'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { selfSign } from '../../lib/pki/x509.ts'
import { isOtherIdentity } from '../../tasks/deploy/owner.ts'
import { harderWay } from '../../tasks/layouts/harder-way.ts'
import { certificateIn, openssl } from '../support/certificates.ts'
import { secretsIn, stateOf } from '../support/files.ts'
import {
  assertShowsNone,
  assertStatus,
  copyPlace,
  type Edit,
  oneOfEach as edits,
  exits,
  harderway,
  idsOf,
  labEdits,
  madePlace,
  makePlace,
  type Ran,
  writeCluster,
} from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { start } from '../support/process.ts'
import { needs } from '../support/programs.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const day = 86_400_000
const config = 'encryption-config.yaml'

/**
 * What is wrong with auth/, or with cluster.yaml, and what may be typed, or done by hand, instead of the row's usual
 * ways out.
 */
type Row = readonly [
  spoil: (auth: string) => void,
  differs?: { readonly edits?: readonly Edit[]; readonly way?: string; readonly byHand?: RegExp },
]

const on = (name: string, spoil: (path: string, auth: string) => void) => (auth: string) =>
  spoil(join(auth, name), auth)
const garbage = (path: string) => writeFileSync(path, 'garbage\n')
const truncated = (path: string) => writeFileSync(path, readFileSync(path).subarray(0, lstatSync(path).size / 2))
const foreign = (path: string, auth: string) => cpSync(join(auth, 'worker0-key.pem'), path)
const linked = (path: string) => {
  renameSync(path, `${path}.behind`)
  symlinkSync(`${path}.behind`, path)
}
const removed = (path: string) => rmSync(path)
const unchanged = () => {}
const all = (...spoils: readonly ((auth: string) => void)[]) => {
  return (auth: string) => {
    for (const spoil of spoils) spoil(auth)
  }
}
const noCa = all(on('ca.pem', removed), on('ca-key.pem', removed))
const noKubeconfigs = (auth: string) => {
  for (const name of readdirSync(auth)) if (name.endsWith('.kubeconfig')) rmSync(join(auth, name))
}
const otherAccount = all(
  on('service-account-key.pem', (path) => openssl('ecparam', '-name', 'secp384r1', '-genkey', '-noout', '-out', path)),
  on('service-account.pem', removed),
)

/** It needs a node: recover.test.ts follows it. */
const recover = 'npm run task -- recover --node control0'
/** Run with machines: test/long/rotations.test.ts. */
const rotate = 'npm run task -- rotate encryption-key'
const renew = { way: 'npm run task -- ca --renew', byHand: /reissue the CA certificate with the same key/ }

const refused: readonly { id: string; byHand: RegExp; rows: Readonly<Record<string, Row>> }[] = [
  {
    id: 'ca',
    byHand: /restore ca\.pem and ca-key\.pem from a backup/,
    rows: {
      'a CA that is missing while certificates made under it are there': [noCa],
      'a CA that is missing while one certificate is there': [(auth) => keepOnly(auth, 'control0.pem')],
      'a CA that is missing while one kubeconfig is there': [(auth) => keepOnly(auth, 'kube-proxy.kubeconfig')],
      'a CA without its certificate and kubeconfigs': [all(on('ca.pem', removed), noKubeconfigs)],
      'a CA without its certificate': [on('ca.pem', removed)],
      'a lone certificate of the CA': [on('ca-key.pem', removed)],
      'a CA certificate that is truncated': [on('ca.pem', truncated)],
      'a CA certificate that is a symbolic link': [on('ca.pem', linked)],
      'a CA key that is another': [on('ca-key.pem', foreign)],
      'a CA with another subject': [
        unchanged,
        { edits: [[['subject', 'organization'], 'Elsewhere']], byHand: /change cluster\.yaml to match the CA/ },
      ],
      'a CA with another kind of key': [
        // The service-account key is of the kind that is asked for.
        otherAccount,
        { edits: [[['certificates', 'key'], 'ecdsa-p384']], byHand: /change cluster\.yaml to match the CA/ },
      ],
      'a certificate of the CA that may not sign': [
        (auth) => certifyCa(auth, 'basicConstraints=critical,CA:FALSE'),
        renew,
      ],
      'a CA that has expired': [(auth) => recertify(auth, -400, -1), renew],
    },
  },
  {
    id: 'component-certs/service-account',
    byHand: /restore service-account-key\.pem (and service-account\.pem )?from a backup/,
    rows: {
      'a service-account key that is missing while its certificate is there': [on('service-account-key.pem', removed)],
      'a service-account key that is another': [on('service-account-key.pem', foreign)],
      'a service-account key that is unreadable and alone': [
        all(on('service-account-key.pem', garbage), on('service-account.pem', removed)),
      ],
      'a service-account key of another kind': [otherAccount, { byHand: /change certificates\.key in cluster\.yaml/ }],
    },
  },
  {
    id: 'encryption-key',
    byHand: /restore it from a backup/,
    rows: {
      'an encryption config that is truncated': [on(config, truncated)],
      'an encryption config with another provider': [
        unchanged,
        { edits: [[['encryption', 'provider'], 'secretbox']], byHand: /to keep it, set encryption\.provider: aescbc/ },
      ],
      'an encryption config that encrypts more than is asked for': [
        on(config, (path) =>
          writeFileSync(path, readFileSync(path, 'utf8').replace('- secrets\n', '$&  - configmaps\n')),
        ),
        {
          way: '',
          byHand: /to keep that, add configmaps to encryption\.resources[\s\S]*make identity the first provider/,
        },
      ],
    },
  },
]

describe('what can not be made again', { skip: needs('openssl'), concurrency: 2 }, () => {
  const origin = madePlace(edits, ...phases)

  /** A place where all was made, and where a node's kubeconfig waits to be made again. */
  const spoiled = (t: TestContext, spoil: (auth: string) => void = () => {}, more: readonly Edit[] = []) => {
    const { place, auth } = copyPlace(t, origin, [...edits, ...more])
    rmSync(join(auth, 'worker0.kubeconfig'))
    spoil(auth)
    return { place, auth }
  }

  for (const { id, byHand, rows } of refused)
    for (const [title, [spoil, differs]] of Object.entries(rows))
      test(`${title} is refused before anything is built, nothing is touched, and the printed command is a way out`, async (t) => {
        const { place, auth } = spoiled(t, spoil, differs?.edits)
        const state = stateOf(auth)
        const damaged = id === 'encryption-key' && filesIn(auth, [config])
        const secrets = [...secretsIn(origin), ...secretsIn(place)]
        const way = differs?.way ?? `npm run task -- ${id} --force`
        for (const args of [[], ['--dry-run']]) {
          const ran = await exits(3, place, ...phases, ...args, '--json')
          const told = refusalsOf(ran)
          assert.deepEqual([...told.keys()], [id])
          const remedy = String(told.get(id)?.remedy)
          assert.match(remedy, differs?.byHand ?? byHand)
          const commands = commandsIn(remedy)
          const others = commands.filter((command) => ![recover, rotate].includes(command))
          assert.deepEqual(others, way === '' ? [] : [way])
          if (args.length === 0) assert.deepEqual(typesOf(ran), [], 'it began to work')
          assertShowsNone(ran, secrets)
        }
        assert.deepEqual(stateOf(auth), state)
        if (way === '') return
        const followed = await follow(place, way)
        assertStatus(followed, 0)
        assert.deepEqual(idsOf(followed, 'failed'), [])
        assert.ok(!refusalsOf(await harderway(place, id, '--dry-run', '--json')).has(id))
        if (id === 'ca') assertCaSigns(auth)
        if (damaged) assert.deepEqual(backupIn(auth).files, damaged, 'what nothing could read is kept')
      })

  test('a CA that has replaced another is refused without its certificate, too', async (t) => {
    const { place, auth } = spoiled(t)
    await exits(0, place, 'ca', '--force', '--yes')
    await exits(0, place, ...phases)
    rmSync(join(auth, 'ca.pem'))
    noKubeconfigs(auth)
    const state = stateOf(auth)
    await exits(3, place, ...phases)
    assert.deepEqual(stateOf(auth), state)
  })

  describe('--force', () => {
    // The first is the copy in backup/.
    for (const event of ['rename ca-key.pem#1', 'rename ca.pem#1', 'rename ca-key.pem#2', 'rename ca.pem#2'])
      test(`of the CA, killed before ${event}, is completed by the next run`, async (t) => {
        const { place, auth } = spoiled(t)
        const { signal } = await start(place, ['ca', '--force', '--yes'], { at: { event, do: 'kill' } }).ended
        assert.equal(signal, 'SIGKILL')
        await exits(0, place, ...phases)
        assertVerify(auth)
      })

    test('of a group or of a phase replaces none of the three, and gives every leaf a new key', async (t) => {
      const { place, auth } = spoiled(t)
      const kept = () => [
        publicKeyIn(auth, 'ca'),
        publicKeyIn(auth, 'service-account'),
        readFileSync(join(auth, config), 'utf8'),
      ]
      const leaves = ['kubernetes', 'admin', 'kube-proxy', 'control0', 'worker0']
      for (const names of [['certs'], ['component-certs', 'cluster-cert', 'node-certs', 'kubeconfigs']]) {
        const [three, keys] = [kept(), leaves.map((name) => publicKeyIn(auth, name))]
        const account = readFileSync(join(auth, 'service-account.pem'), 'utf8')
        const caState = stateOf(auth, (name) => name.startsWith('ca'))
        await exits(0, place, ...names, '--force', '--yes')
        assert.deepEqual(kept(), three)
        assert.deepEqual(
          stateOf(auth, (name) => name.startsWith('ca')),
          caState,
        )
        for (const [i, name] of leaves.entries()) assert.notEqual(publicKeyIn(auth, name), keys[i], name)
        assert.notEqual(readFileSync(join(auth, 'service-account.pem'), 'utf8'), account, 'issued again over its key')
        const copies = readdirSync(join(auth, 'backup'), { recursive: true, encoding: 'utf8' }).map((each) =>
          basename(each),
        )
        assert.ok(!copies.some((file) => /-key|^ca|^service-account|^encryption/.test(file)), copies.join())
        assertVerify(auth)
      }
    })

    for (const [id, ...files] of [
      ['ca', 'ca.pem', 'ca-key.pem'],
      ['component-certs/service-account', 'service-account.pem', 'service-account-key.pem'],
      ['encryption-key', config],
    ] as const)
      test(`of ${id} replaces it alone, keeps the old one for its user alone, and says what must follow`, async (t) => {
        const { place, auth } = spoiled(t)
        const old = filesIn(auth, files)
        const others = stateOf(auth, (name) => !files.some((file) => file === name))
        const ran = await exits(0, place, id, '--force', '--yes', '--json')
        assert.deepEqual(idsOf(ran, 'built'), [id])
        const { folder, files: kept } = backupIn(auth)
        assert.deepEqual(kept, old)
        const now = stateOf(auth, (name) => !files.some((file) => file === name) && !name.startsWith('backup'))
        assert.deepEqual(now, others)
        const warning = String(ran.events.find(({ type }) => type === 'built')?.warn)
        assert.match(
          warning,
          /npm run bootstrap -- --replace-identity\nthen restart (every kube-apiserver|.* (everywhere|on every node))/,
        )
        assert.ok(warning.includes(folder))
        const secret = files.at(-1) ?? ''
        assert.ok(isOtherIdentity(secret, new AuthDir(auth, harderWay.files), Buffer.from(old[secret] ?? '')))
        const next = await exits(0, place, ...phases, '--json')
        assertVerify(auth)
        if (id !== 'ca') return
        assert.ok(idsOf(next, 'built').includes('component-certs/service-account'))
        assert.equal(publicKeyIn(auth, 'service-account'), publicKeyIn(join(origin, 'auth'), 'service-account'))
      })
  })

  describe('ca --renew', () => {
    test('certifies the same key and subject again; what was issued before stays valid, kubeconfigs follow', async (t) => {
      const { place, auth } = spoiled(t, (folder) => recertify(folder, -4000, 20))
      const [old, subject] = [readFileSync(join(auth, 'ca.pem'), 'utf8'), certificateIn(auth, 'ca').subject]
      const others = stateOf(auth, (name) => name !== 'ca.pem')
      const ran = await exits(0, place, 'ca', '--renew', '--json')
      assert.deepEqual(
        stateOf(auth, (name) => name !== 'ca.pem' && !name.startsWith('backup')),
        others,
      )
      assert.equal(backupIn(auth).files['ca.pem'], old)
      assert.match(
        String(ran.events.find(({ type }) => type === 'built')?.warn),
        /then run what lists what to restart:\n +npm run bootstrap/,
      )
      const renewed = certificateIn(auth, 'ca')
      assert.deepEqual(renewed.subject, subject)
      assert.ok(renewed.notAfter.getTime() > Date.now() + 3649 * day)
      assertVerify(auth)
      const next = await exits(0, place, ...phases, '--json')
      assert.deepEqual(
        idsOf(next, 'built'),
        ['admin', 'control0', 'kube-controller-manager', 'kube-proxy', 'kube-scheduler', 'worker0'].map(
          (name) => `kubeconfigs/${name}`,
        ),
      )
    })

    for (const [title, spoil] of Object.entries({
      'with a key that is another': on('ca-key.pem', foreign),
      'without its key': on('ca-key.pem', removed),
      'that is unreadable': on('ca.pem', garbage),
      'that is gone, while certificates are there,': noCa,
    }))
      test(`of a CA ${title} is refused, and nothing is touched`, async (t) => {
        const { place, auth } = spoiled(t, spoil)
        const state = stateOf(auth)
        for (const args of [[], ['--dry-run']]) await exits(3, place, 'ca', '--renew', ...args)
        assert.deepEqual(stateOf(auth), state)
      })
  })
})

describe('a node', { skip: needs('ssh', 'openssl') }, () => {
  const suite = localPlace('control0', 'worker0', 'gateway')
  const { place } = suite
  let other: string
  const home = () => suite.lab.node('control0').home
  const auth = () => join(place, 'auth')
  const others = () => join(other, 'auth')
  const stateOfHome = () => stateOf(home(), (name) => !name.startsWith('.'))

  before(async () => {
    other = makePlace()
    writeCluster(place, [...edits, ...labEdits(suite.lab)])
    writeCluster(other, edits)
    await exits(0, other, ...phases)
    await exits(0, place, 'bootstrap')
  })
  after(() => rmSync(other, { recursive: true, force: true }))

  beforeEach(async () => await exits(0, place, 'deploy', '--replace-identity', '--yes'))

  test('that holds another identity is left alone, the others are finished; --replace-identity goes over it', async () => {
    for (const name of ['ca.pem', 'service-account.pem', config]) cpSync(join(others(), name), join(home(), name))
    rmSync(join(home(), 'admin.kubeconfig'))
    rmSync(join(suite.lab.node('worker0').home, 'worker0.pem'))
    const state = stateOfHome()
    const belong = readdirSync(auth()).filter((name) => name === 'admin.kubeconfig' || name in state)
    const secrets = [...secretsIn(home()), ...secretsIn(auth()), ...secretsIn(others())]
    const dry = await exits(3, place, 'bootstrap', '--dry-run', '--json')
    assertShowsNone(dry, secrets)
    // Refused or not by force: only the one option goes over it.
    const ran = await exits(3, place, 'deploy', '--force', '--json')
    assertShowsNone(ran, secrets)
    assert.deepEqual(stateOfHome(), state)
    assert.deepEqual(idsOf(ran, 'built'), ['deploy/gateway', 'deploy/worker0'])
    const failed = ran.events.find(({ type }) => type === 'failed')
    assert.equal(failed?.refused, true)
    assert.deepEqual(commandsIn(String(failed?.remedy)), [
      recover,
      'npm run task -- deploy --node control0 --replace-identity',
    ])
    const over = await follow(place, commandsIn(String(failed?.remedy))[1] ?? '')
    assertStatus(over, 0)
    assertShowsNone(over, secrets)
    for (const name of belong)
      assert.ok(readFileSync(join(home(), name)).equals(readFileSync(join(auth(), name))), name)
    await exits(0, place, 'bootstrap', '--dry-run')
  })
})

/** Types of the events of targets that were begun. */
function typesOf(ran: Ran): unknown[] {
  return ran.events
    .map(({ type }) => type)
    .filter((type) => !['cluster', 'refused', 'note', 'summary'].includes(String(type)))
}

/** A real run tells them before it begins; a dry run as failed targets. */
function refusalsOf(ran: Ran): Map<string, { message?: unknown; remedy?: unknown }> {
  return new Map(
    ran.events.filter(({ type, refused }) => type === 'refused' || refused).map((event) => [String(event.id), event]),
  )
}

function commandsIn(remedy: string): string[] {
  return remedy.match(/npm run (task|bootstrap)( -- [^\n;)]+)?/g) ?? []
}

/** Does what the user is told to do. */
function follow(place: string, command: string): Promise<Ran> {
  const yes = /--(force|replace-identity)/.test(command) ? ['--yes'] : []
  return harderway(place, ...command.replace('npm run task -- ', '').split(' '), ...yes)
}

/** Every leaf hangs on the CA, as openssl sees it, and has the key beside it. */
function assertVerify(auth: string): void {
  const leaves = readdirSync(auth).filter(
    (name) => name.endsWith('.pem') && !name.endsWith('-key.pem') && name !== 'ca.pem',
  )
  openssl('verify', '-x509_strict', '-CAfile', join(auth, 'ca.pem'), ...leaves.map((name) => join(auth, name)))
  for (const name of leaves) assertPair(auth, name.slice(0, -4))
}

/** ca.pem is its key's own. */
function assertCaSigns(auth: string): void {
  assertPair(auth, 'ca')
  openssl('verify', '-x509_strict', '-CAfile', join(auth, 'ca.pem'), join(auth, 'ca.pem'))
}

function assertPair(auth: string, name: string): void {
  const key = createPrivateKey(readFileSync(join(auth, `${name}-key.pem`)))
  assert.ok(certificateIn(auth, name).x509.checkPrivateKey(key), name)
}

function publicKeyIn(auth: string, name: string): string {
  return String(createPublicKey(readFileSync(join(auth, `${name}-key.pem`))).export({ type: 'spki', format: 'pem' }))
}

function filesIn(auth: string, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(auth, name), 'utf8')]))
}

/** The one folder under auth/backup, which is for its user alone. */
function backupIn(auth: string): { folder: string; files: Record<string, string> } {
  const [time, ...more] = readdirSync(join(auth, 'backup'))
  assert.ok(time)
  assert.deepEqual(more, [])
  const folder = join(auth, 'backup', time)
  const mode = (path: string) => lstatSync(path).mode & 0o7777
  assert.deepEqual([mode(join(auth, 'backup')), mode(folder)], [0o700, 0o700])
  for (const name of readdirSync(folder)) assert.equal(mode(join(folder, name)), 0o600, name)
  return { folder, files: filesIn(folder, readdirSync(folder)) }
}

/** The CA's key certified anew, from and to so many days from now. */
function recertify(auth: string, from: number, to: number): void {
  const key = createPrivateKey(readFileSync(join(auth, 'ca-key.pem')))
  const subject = { C: 'PL', ST: 'Lesser Poland', L: 'Krakow', O: 'Kubernetes', OU: 'kubenet', CN: 'Kubernetes' }
  const period = { notBefore: new Date(Date.now() + from * day), notAfter: new Date(Date.now() + to * day) }
  const profile = { subject, sans: [], isCa: true, key: 'ecdsa-p256' as const }
  writeFileSync(join(auth, 'ca.pem'), selfSign({ profile, ...period }, key))
}

/** The CA's key certified by openssl, whose subject has other string types, with one more extension. */
function certifyCa(auth: string, extension: string): void {
  const [key, out] = [join(auth, 'ca-key.pem'), join(auth, 'ca.pem')]
  const subject = '/C=PL/ST=Lesser Poland/L=Krakow/O=Kubernetes/OU=kubenet/CN=Kubernetes'
  openssl('req', '-x509', '-new', '-key', key, '-out', out, '-subj', subject, '-days', '90', '-addext', extension)
}

function keepOnly(auth: string, ...names: string[]): void {
  for (const name of readdirSync(auth)) if (!names.includes(name)) rmSync(join(auth, name))
}
