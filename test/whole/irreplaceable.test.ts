/** What can't be made again without breaking a running cluster: the CA, the service-account key, the encryption key. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import {
  cpSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, describe, type TestContext, test } from 'node:test'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { otherIdentity } from '../../lib/kubernetes/identity.ts'
import { type Certificate, readCertificate } from '../../lib/pki/certificate.ts'
import { selfSign } from '../../lib/pki/x509.ts'
import { harderWay } from '../../tasks/layouts/harder-way.ts'
import { type Lab, startLab } from '../lab/lab.ts'
import {
  type Edit,
  gateway,
  harderway,
  idsOf,
  labEdits,
  makePlace,
  type Ran,
  writeCluster,
} from '../support/harderway.ts'
import { openssl } from '../support/openssl.ts'
import { needs } from '../support/parts.ts'
import { start } from '../support/process.ts'
import { scratch } from '../support/scratch.ts'
import { digest, secretsIn, stateOf } from '../support/state.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const quick: Edit = [['certificates', 'key'], 'ecdsa-p256']
/** One node of each role. */
const small: Edit = [
  ['nodes'],
  [
    { name: 'control0', role: 'control', ip: '192.168.1.11' },
    { name: 'worker0', role: 'worker', ip: '192.168.1.14' },
    gateway[1],
  ],
]
const edits = [quick, small]
const day = 86_400_000
const config = 'encryption-config.yaml'
const giveUp = {
  ca: 'npm run task -- ca --force',
  account: 'npm run task -- component-certs/service-account --force',
  encryption: 'npm run task -- encryption-key --force',
  renew: 'npm run task -- ca --renew',
}

interface Row {
  readonly title: string
  readonly spoil: (auth: string) => void
  readonly edits?: readonly Edit[]
  readonly id: string
  readonly said: RegExp
  /** Every npm command in the ways out. */
  readonly ways: readonly string[]
  /** What its user may do instead of a command. */
  readonly byHand: RegExp
}

const spoilFile = (name: string, spoil: (path: string, auth: string) => void) => (auth: string) =>
  spoil(join(auth, name), auth)
const garbage = (path: string) => writeFileSync(path, 'garbage\n')
const empty = (path: string) => writeFileSync(path, '')
const truncated = (path: string) => writeFileSync(path, readFileSync(path).subarray(0, lstatSync(path).size / 2))
const foreign = (path: string, auth: string) => cpSync(join(auth, 'worker0-key.pem'), path)
const linked = (path: string) => {
  renameSync(path, `${path}.behind`)
  symlinkSync(`${path}.behind`, path)
}
const removed = (path: string) => rmSync(path)

/** It needs a node: recover.test.ts follows it. */
const recover = 'npm run task -- recover --node control0'
/** Run with machines: test/long/rotate-provider.test.ts. */
const rotate = 'npm run task -- rotate encryption-key'
const ca = { id: 'ca', ways: [giveUp.ca], byHand: /restore ca\.pem and ca-key\.pem from a backup/ }
const account = {
  id: 'component-certs/service-account',
  ways: [giveUp.account],
  byHand: /restore service-account-key\.pem and service-account\.pem from a backup/,
}
const encryption = { id: 'encryption-key', ways: [giveUp.encryption], byHand: /restore it from a backup/ }

const rows: readonly Row[] = [
  {
    ...ca,
    title: 'a CA that is missing while certificates made under it are there',
    spoil: (auth) => ['ca.pem', 'ca-key.pem'].map((name) => rmSync(join(auth, name))),
    said: /has no ca\.pem and ca-key\.pem, but admin\.kubeconfig, admin\.pem, .* and \d+ more, issued by a previous CA$/,
  },
  {
    ...ca,
    title: 'a CA that is missing while one certificate is there',
    spoil: (auth) => keepOnly(auth, 'control0.pem'),
    said: /has no ca\.pem and ca-key\.pem, but control0\.pem, issued by a previous CA$/,
  },
  {
    ...ca,
    title: 'a CA that is missing while one kubeconfig is there',
    spoil: (auth) => keepOnly(auth, 'kube-proxy.kubeconfig'),
    said: /has no ca\.pem and ca-key\.pem, but kube-proxy\.kubeconfig, issued by a previous CA$/,
  },
  {
    ...ca,
    title: 'a CA without its certificate',
    spoil: spoilFile('ca.pem', removed),
    said: /has no ca\.pem, but admin\.kubeconfig, admin\.pem, .* and \d+ more, issued by a previous CA$/,
  },
  {
    ...ca,
    title: 'a CA of which only a foreign key is left',
    spoil: (auth) => {
      foreign(join(auth, 'ca-key.pem'), auth)
      rmSync(join(auth, 'ca.pem'))
    },
    said: /has no ca\.pem, but admin\.kubeconfig, /,
  },
  { ...ca, title: 'a CA without its key', spoil: spoilFile('ca-key.pem', removed), said: /: ca-key\.pem missing$/ },
  {
    ...ca,
    title: 'a CA certificate that is unreadable',
    spoil: spoilFile('ca.pem', garbage),
    said: /: ca\.pem is not a valid certificate$/,
  },
  {
    ...ca,
    title: 'a CA certificate that is truncated',
    spoil: spoilFile('ca.pem', truncated),
    said: /: ca\.pem is not a valid certificate$/,
  },
  {
    ...ca,
    title: 'a CA certificate that is empty',
    spoil: spoilFile('ca.pem', empty),
    said: /ca\.pem is not a valid certificate$/,
  },
  {
    ...ca,
    title: 'a CA certificate that is a symbolic link',
    spoil: spoilFile('ca.pem', linked),
    said: /: ca\.pem is not a plain file$/,
  },
  {
    ...ca,
    title: 'a CA key that is unreadable',
    spoil: spoilFile('ca-key.pem', garbage),
    said: /: ca-key\.pem is not an unencrypted private key$/,
  },
  {
    ...ca,
    title: 'a CA key that is truncated',
    spoil: spoilFile('ca-key.pem', truncated),
    said: /: ca-key\.pem is not an unencrypted private key$/,
  },
  {
    ...ca,
    title: 'a CA key that is empty',
    spoil: spoilFile('ca-key.pem', empty),
    said: /ca-key\.pem is not an unencrypted private key/,
  },
  {
    ...ca,
    title: 'a CA key that is another',
    spoil: spoilFile('ca-key.pem', foreign),
    said: /: ca-key\.pem is not the certificate's key$/,
  },
  {
    ...ca,
    title: 'a CA with another subject',
    spoil: () => {},
    edits: [[['subject', 'organization'], 'Elsewhere']],
    said: /differs from cluster\.yaml: subject added: O=Elsewhere; subject removed: O=Kubernetes$/,
    byHand: /change cluster\.yaml to match the CA/,
  },
  {
    ...ca,
    title: 'a CA with another kind of key',
    spoil: (auth) => {
      // The service-account key is of the kind that is asked for.
      openssl('ecparam', '-name', 'secp384r1', '-genkey', '-noout', '-out', join(auth, 'service-account-key.pem'))
      rmSync(join(auth, 'service-account.pem'))
    },
    edits: [[['certificates', 'key'], 'ecdsa-p384']],
    said: /differs from cluster\.yaml: key is ecdsa-p256, not ecdsa-p384$/,
    byHand: /change cluster\.yaml to match the CA/,
  },
  {
    id: 'ca',
    title: 'a certificate of the CA that may not sign',
    spoil: (auth) => {
      const [key, out] = [join(auth, 'ca-key.pem'), join(auth, 'ca.pem')]
      const subject = '/C=PL/ST=Lesser Poland/L=Krakow/O=Kubernetes/OU=kubenet/CN=Kubernetes'
      const extension = 'basicConstraints=critical,CA:FALSE'
      openssl('req', '-x509', '-new', '-key', key, '-out', out, '-subj', subject, '-days', '90', '-addext', extension)
    },
    said: /auth: usages are not the wanted ones$/,
    ways: [giveUp.renew],
    byHand: /reissue the CA certificate over the same key/,
  },
  {
    id: 'ca',
    title: 'a CA that has expired',
    spoil: (auth) => recertify(auth, -400, -1),
    // A day later where midnight is between this line and the test.
    said: new RegExp(`expired on (${daysFromNow(-1)}|${daysFromNow(0)})$`),
    ways: [giveUp.renew],
    byHand: /reissue the CA certificate over the same key/,
  },
  {
    ...account,
    title: 'a service-account key that is missing while its certificate is there',
    spoil: spoilFile('service-account-key.pem', removed),
    said: /service-account key in .*: service-account-key\.pem missing$/,
  },
  {
    ...account,
    title: 'a service-account key that is unreadable',
    spoil: spoilFile('service-account-key.pem', garbage),
    said: /: service-account-key\.pem is not an unencrypted private key/,
  },
  {
    ...account,
    title: 'a service-account key that is truncated',
    spoil: spoilFile('service-account-key.pem', truncated),
    said: /: service-account-key\.pem is not an unencrypted private key/,
  },
  {
    ...account,
    title: 'a service-account key that is another',
    spoil: spoilFile('service-account-key.pem', foreign),
    said: /: service-account-key\.pem is not the certificate's key$/,
  },
  {
    ...account,
    title: 'a service-account key that is unreadable and alone',
    spoil: (auth) => {
      garbage(join(auth, 'service-account-key.pem'))
      rmSync(join(auth, 'service-account.pem'))
    },
    said: /: service-account-key\.pem is not an unencrypted private key/,
  },
  {
    ...account,
    title: 'a service-account key that is a symbolic link',
    spoil: spoilFile('service-account-key.pem', linked),
    said: /: service-account-key\.pem is not a plain file$/,
  },
  {
    ...account,
    title: 'a service-account key of another kind',
    spoil: (auth) => {
      openssl('ecparam', '-name', 'secp384r1', '-genkey', '-noout', '-out', join(auth, 'service-account-key.pem'))
      rmSync(join(auth, 'service-account.pem'))
    },
    said: /: key is ecdsa-p384, not ecdsa-p256$/,
    byHand: /change certificates\.key in cluster\.yaml to match the key/,
  },
  {
    ...encryption,
    title: 'an encryption config that is unreadable',
    spoil: spoilFile(config, garbage),
    said: /is not a valid EncryptionConfiguration, but may hold the key of stored Secrets$/,
  },
  {
    ...encryption,
    title: 'an encryption config that is truncated',
    spoil: spoilFile(config, truncated),
    said: /is not a valid EncryptionConfiguration/,
  },
  {
    ...encryption,
    title: 'an encryption config with a field that kube-apiserver does not know',
    spoil: spoilFile(config, (path) => writeFileSync(path, `${readFileSync(path, 'utf8')}more: 1\n`)),
    said: /is not a valid EncryptionConfiguration/,
  },
  {
    ...encryption,
    title: 'an encryption config that is a symbolic link',
    spoil: spoilFile(config, linked),
    said: /is not a valid EncryptionConfiguration/,
  },
  {
    ...encryption,
    title: 'an encryption config with another provider',
    spoil: () => {},
    edits: [[['encryption', 'provider'], 'secretbox']],
    said: /encrypts with aescbc, cluster\.yaml has secretbox$/,
    byHand:
      /keep it: encryption\.provider: aescbc[\s\S]*without losing a Secret: set install: true in cluster\.yaml, then: .*rotate encryption-key/,
  },
  {
    id: 'encryption-key',
    title: 'an encryption config that encrypts more than is asked for',
    spoil: spoilFile(config, (path) => replaceIn(path, '- secrets\n', '- secrets\n  - configmaps\n')),
    said: /encrypts configmaps, which cluster\.yaml no longer asks for$/,
    ways: [],
    byHand:
      /keep it: add configmaps to encryption\.resources[\s\S]*make identity the first provider .*deploy, restart .*rewrite/,
  },
]

describe('what can not be made again', { skip: needs('openssl'), concurrency: 2 }, () => {
  let origin: string

  before(async () => {
    origin = makePlace()
    writeCluster(origin, edits)
    assertStatus(await harderway(origin, ...phases), 0)
  })
  after(() => rmSync(origin, { recursive: true, force: true }))

  /** A place where all was made, and where a node's kubeconfig waits to be made again. */
  const spoiled = (t: TestContext, spoil: (auth: string) => void = () => {}, more: readonly Edit[] = []) => {
    const place = scratch(t)
    cpSync(origin, place, { recursive: true, preserveTimestamps: true })
    writeCluster(place, [...edits, ...more])
    const auth = join(place, 'auth')
    rmSync(join(auth, 'worker0.kubeconfig'))
    spoil(auth)
    return { place, auth }
  }

  for (const row of rows) {
    test(`${row.title} is refused before anything is built, and nothing is touched`, async (t) => {
      const { place, auth } = spoiled(t, row.spoil, row.edits)
      const state = stateOf(auth)
      const secrets = [...secretsIn(origin), ...secretsIn(place)]
      for (const args of [[], ['--dry-run']]) {
        const ran = await harderway(place, ...phases, ...args, '--json')
        assertStatus(ran, 3)
        const told = refusalsOf(ran)
        assert.deepEqual([...told.keys()], [row.id])
        const { message, remedy } = told.get(row.id) ?? {}
        assert.match(String(message), row.said)
        assert.match(String(remedy), row.byHand)
        const commands = commandsIn(String(remedy))
        assert.deepEqual(
          commands.filter((command) => ![recover, rotate].includes(command)),
          row.ways,
        )
        if (!args.includes('--dry-run')) {
          assert.deepEqual(typesOf(ran), [], 'it began to work')
          assert.ok(
            ran.events.some(({ type, message }) => type === 'note' && message === 'no file was made or changed'),
          )
        }
        assertShowsNone(ran, secrets)
      }
      assert.deepEqual(stateOf(auth), state)
    })

    for (const way of row.ways)
      test(`${row.title}: "${way}" is a way out`, {}, async (t) => {
        const { place, auth } = spoiled(t, row.spoil, row.edits)
        const followed = await follow(place, way)
        assertStatus(followed, 0)
        assert.deepEqual(idsOf(followed, 'failed'), [])
        assert.ok(!refusalsOf(await harderway(place, row.id, '--dry-run', '--json')).has(row.id))
        if (row.id === 'ca') assertCaSigns(auth)
      })
  }

  test('a CA put back after it was refused is fresh', async (t) => {
    const { place, auth } = spoiled(t, (folder) => ['ca.pem', 'ca-key.pem'].map((name) => rmSync(join(folder, name))))
    assertStatus(await harderway(place, ...phases), 3)
    for (const name of ['ca.pem', 'ca-key.pem']) cpSync(join(origin, 'auth', name), join(auth, name))
    const ran = await harderway(place, ...phases, '--json')
    assertStatus(ran, 0)
    assert.deepEqual(idsOf(ran, 'built'), ['kubeconfigs/worker0'])
  })

  test('several refusals are reported at once', async (t) => {
    const { place, auth } = spoiled(t, (folder) => {
      for (const name of ['ca-key.pem', 'service-account-key.pem', config]) garbage(join(folder, name))
    })
    const state = stateOf(auth)
    const ran = await harderway(place, ...phases, '--json')
    assertStatus(ran, 3)
    assert.deepEqual([...refusalsOf(ran).keys()].toSorted(), [
      'ca',
      'component-certs/service-account',
      'encryption-key',
    ])
    assert.deepEqual(stateOf(auth), state)
  })

  test('a CA that has replaced another is refused without its certificate, too', async (t) => {
    const { place, auth } = spoiled(t)
    assertStatus(await harderway(place, 'ca', '--force'), 0)
    assertStatus(await harderway(place, ...phases), 0)
    rmSync(join(auth, 'ca.pem'))
    const state = stateOf(auth)
    assertStatus(await harderway(place, ...phases), 3)
    assert.deepEqual(stateOf(auth), state)
  })

  test('a way out says which cluster.yaml it is for', {}, async (t) => {
    const { place } = spoiled(t, spoilFile('ca-key.pem', garbage))
    const elsewhere = scratch(t)
    const ran = await harderway(elsewhere, ...phases, '--config', join(place, 'cluster.yaml'), '--json')
    assertStatus(ran, 3)
    assert.match(
      String(refusalsOf(ran).get('ca')?.remedy),
      /--force --config .*cluster\.yaml|--config .*cluster\.yaml .*--force/,
    )
  })

  describe('is made', () => {
    test('where nothing is', async (t) => {
      const place = scratch(t)
      mkdirSync(join(place, 'home'))
      writeCluster(place, edits)
      const ran = await harderway(place, ...phases, '--json')
      assertStatus(ran, 0)
      for (const id of ['ca', 'component-certs/service-account', 'encryption-key'])
        assert.ok(idsOf(ran, 'built').includes(id), id)
    })

    test('where only auth/backup, a report and an encryption config are', async (t) => {
      const { place, auth } = spoiled(t, (folder) => {
        mkdirSync(join(folder, 'backup/then'), { recursive: true })
        for (const name of readdirSync(folder).filter((each) => each.includes('.')))
          renameSync(join(folder, name), join(folder, name === config ? name : join('backup/then', name)))
        writeFileSync(join(folder, 'report.html'), '')
      })
      const backup = stateOf(join(auth, 'backup'))
      const ran = await harderway(place, ...phases, '--json')
      assertStatus(ran, 0)
      assert.ok(idsOf(ran, 'built').includes('ca') && idsOf(ran, 'fresh').includes('encryption-key'))
      assert.deepEqual(stateOf(join(auth, 'backup')), backup)
    })

    test('the service-account key, where neither it nor its certificate is', async (t) => {
      const { place, auth } = spoiled(t, (folder) => {
        for (const name of ['service-account.pem', 'service-account-key.pem']) rmSync(join(folder, name))
      })
      const identity = publicKeyIn(auth, 'ca')
      const ran = await harderway(place, ...phases, '--json')
      assertStatus(ran, 0)
      assert.deepEqual(idsOf(ran, 'built'), ['component-certs/service-account', 'kubeconfigs/worker0'])
      assert.equal(publicKeyIn(auth, 'ca'), identity)
    })

    test('the encryption key, where there is none, for the certificates tell nothing of one', async (t) => {
      const { place } = spoiled(t, spoilFile(config, removed))
      const ran = await harderway(place, ...phases, '--json')
      assertStatus(ran, 0)
      assert.deepEqual(idsOf(ran, 'built'), ['encryption-key', 'kubeconfigs/worker0'])
    })
  })

  describe('--force', () => {
    // The first is the copy in backup/.
    for (const event of ['rename ca-key.pem#1', 'rename ca.pem#1', 'rename ca-key.pem#2', 'rename ca.pem#2'])
      test(`of the CA, killed before ${event}, is completed by the next run`, async (t) => {
        const { place, auth } = spoiled(t)
        const { signal } = await start(place, ['ca', '--force'], { at: { event, do: 'kill' } }).ended
        assert.equal(signal, 'SIGKILL')
        assertStatus(await harderway(place, ...phases), 0)
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
        assertStatus(await harderway(place, ...names, '--force'), 0)
        assert.deepEqual(kept(), three)
        assert.deepEqual(
          stateOf(auth, (name) => name.startsWith('ca')),
          caState,
        )
        for (const [i, name] of leaves.entries()) assert.notEqual(publicKeyIn(auth, name), keys[i], name)
        assert.notEqual(readFileSync(join(auth, 'service-account.pem'), 'utf8'), account, 'issued again over its key')
        assert.ok(!readdirSync(auth).includes('backup'))
        assertVerify(auth)
      }
    })

    test('of the CA by its name replaces it, keeps the old one for its user alone, and says what must follow', async (t) => {
      const { place, auth } = spoiled(t)
      const old = filesIn(auth, ['ca.pem', 'ca-key.pem'])
      const others = stateOf(auth, (name) => !name.startsWith('ca'))
      const ran = await harderway(place, 'ca', '--force', '--json')
      assertStatus(ran, 0)
      const { folder, files } = backupIn(auth)
      assert.deepEqual(files, old)
      assert.deepEqual(
        stateOf(auth, (name) => !/^(ca|backup)/.test(name)),
        others,
      )
      const [built] = ran.events.filter(({ type }) => type === 'built')
      assert.match(
        String(built?.warning),
        /npm run bootstrap -- --replace-identity, then restart every component on every node/,
      )
      assert.ok(String(built?.warning).includes(folder))
      assert.notEqual(publicKeyIn(auth, 'ca'), createPublicKeyText(old['ca-key.pem']))
      const next = await harderway(place, ...phases, '--json')
      assertStatus(next, 0)
      assert.ok(idsOf(next, 'built').includes('component-certs/service-account'))
      assert.equal(publicKeyIn(auth, 'service-account'), publicKeyIn(join(origin, 'auth'), 'service-account'))
      assertVerify(auth)
    })

    test('of the service-account key by its name replaces it alone', async (t) => {
      const { place, auth } = spoiled(t)
      const old = filesIn(auth, ['service-account.pem', 'service-account-key.pem'])
      const others = stateOf(auth, (name) => !name.startsWith('service-account'))
      const ran = await harderway(place, 'component-certs/service-account', '--force', '--json')
      assertStatus(ran, 0)
      assert.deepEqual(idsOf(ran, 'built'), ['component-certs/service-account'])
      assert.deepEqual(
        stateOf(auth, (name) => !/^(service-account|backup)/.test(name)),
        others,
      )
      const { folder, files } = backupIn(auth)
      assert.deepEqual(files, old)
      const warning = String(ran.events.find(({ type }) => type === 'built')?.warning)
      assert.match(
        warning,
        /npm run bootstrap -- --replace-identity, then restart kube-apiserver, kube-controller-manager everywhere/,
      )
      assert.ok(warning.includes(folder))
      assert.notEqual(publicKeyIn(auth, 'service-account'), createPublicKeyText(old['service-account-key.pem']))
      assertVerify(auth)
    })

    test('of the encryption key by its name replaces it alone', async (t) => {
      const { place, auth } = spoiled(t)
      const old = filesIn(auth, [config])
      const others = stateOf(auth, (name) => name !== config)
      const ran = await harderway(place, 'encryption-key', '--force')
      assertStatus(ran, 0)
      assert.deepEqual(
        stateOf(auth, (name) => name !== config && !name.startsWith('backup')),
        others,
      )
      const { folder, files } = backupIn(auth)
      assert.deepEqual(files, old)
      assert.match(
        ran.stdout,
        /Secrets encrypted with it can't be read.*npm run bootstrap -- --replace-identity, then restart kube-apiserver everywhere/,
      )
      assert.ok(ran.stdout.includes(folder))
      assert.ok(otherIdentity(config, new AuthDir(auth, harderWay.files), Buffer.from(old[config] ?? '')))
    })

    test('of one of the three does not replace another that is damaged', async (t) => {
      const { place, auth } = spoiled(t, spoilFile('ca-key.pem', garbage))
      const state = stateOf(auth)
      assertStatus(await harderway(place, 'component-certs/service-account', '--force'), 3)
      assertStatus(await harderway(place, 'certs', 'encryption-key', '--force'), 3)
      assert.deepEqual(stateOf(auth), state)
    })

    test('with --dry-run replaces nothing', async (t) => {
      const { place, auth } = spoiled(t)
      const state = stateOf(auth)
      for (const id of ['ca', 'component-certs/service-account', 'encryption-key'])
        assertStatus(await harderway(place, id, '--force', '--dry-run'), 4)
      assert.deepEqual(stateOf(auth), state)
    })
  })

  describe('a certificate issued again', () => {
    test('gets a new key, and the kubeconfig with it', async (t) => {
      const { place, auth } = spoiled(t, spoilFile('admin.pem', removed))
      const key = publicKeyIn(join(origin, 'auth'), 'admin')
      const ran = await harderway(place, ...phases, '--json')
      assert.deepEqual(idsOf(ran, 'built'), ['component-certs/admin', 'kubeconfigs/admin', 'kubeconfigs/worker0'])
      assert.notEqual(publicKeyIn(auth, 'admin'), key)
      assertVerify(auth)
    })

    for (const [title, spoil] of Object.entries({ missing: removed, unreadable: garbage }))
      test(`keeps the service-account key where its certificate is ${title}`, async (t) => {
        const { place, auth } = spoiled(t, spoilFile('service-account.pem', spoil))
        const key = stateOf(auth, (name) => name === 'service-account-key.pem')
        const ran = await harderway(place, ...phases, '--json')
        assert.deepEqual(idsOf(ran, 'built'), ['component-certs/service-account', 'kubeconfigs/worker0'])
        assert.deepEqual(
          stateOf(auth, (name) => name === 'service-account-key.pem'),
          key,
        )
        assertVerify(auth)
      })

    test('keeps the service-account key where the subject changes with the CA named', async (t) => {
      const { place, auth } = spoiled(t, () => {}, [[['subject', 'organization'], 'Elsewhere']])
      assertStatus(await harderway(place, 'ca', '--force'), 0)
      assertStatus(await harderway(place, ...phases), 0)
      assert.equal(publicKeyIn(auth, 'service-account'), publicKeyIn(join(origin, 'auth'), 'service-account'))
      assert.match(openssl('x509', '-in', join(auth, 'service-account.pem'), '-noout', '-subject'), /O ?= ?Elsewhere/)
    })
  })

  describe('ca --renew', () => {
    test('certifies the same key and subject again; what was issued before stays valid, kubeconfigs follow', async (t) => {
      const { place, auth } = spoiled(t, (folder) => recertify(folder, -4000, 20))
      const [old, subject] = [filesIn(auth, ['ca.pem', 'ca-key.pem']), certificateIn(auth, 'ca').subject]
      const others = stateOf(auth, (name) => name !== 'ca.pem')
      const ran = await harderway(place, 'ca', '--renew', '--json')
      assertStatus(ran, 0)
      assert.deepEqual(
        stateOf(auth, (name) => name !== 'ca.pem' && !name.startsWith('backup')),
        others,
      )
      assert.equal(backupIn(auth).files['ca.pem'], old['ca.pem'])
      assert.match(
        String(ran.events.find(({ type }) => type === 'built')?.warning),
        /npm run bootstrap, which lists what to restart/,
      )
      const renewed = certificateIn(auth, 'ca')
      assert.deepEqual(renewed.subject, subject)
      assert.equal(publicKeyIn(auth, 'ca'), createPublicKeyText(old['ca-key.pem']))
      assert.ok(renewed.notAfter.getTime() > Date.now() + 3649 * day)
      assertVerify(auth)
      const next = await harderway(place, ...phases, '--json')
      assertStatus(next, 0)
      assert.deepEqual(
        idsOf(next, 'built'),
        ['admin', 'control0', 'kube-controller-manager', 'kube-proxy', 'kube-scheduler', 'worker0'].map(
          (name) => `kubeconfigs/${name}`,
        ),
      )
    })

    test('keeps the bytes of a subject that another tool wrote', async (t) => {
      const { place, auth } = spoiled(t, (folder) => {
        const [key, out] = [join(folder, 'ca-key.pem'), join(folder, 'ca.pem')]
        const subject = '/C=PL/ST=Lesser Poland/L=Krakow/O=Kubernetes/OU=kubenet/CN=Kubernetes'
        openssl(
          'req',
          '-x509',
          '-new',
          '-key',
          key,
          '-out',
          out,
          '-subj',
          subject,
          '-days',
          '90',
          '-addext',
          'keyUsage=critical,keyCertSign,cRLSign',
        )
        assert.notDeepEqual(certificateIn(folder, 'ca').subject, certificateIn(join(origin, 'auth'), 'ca').subject)
      })
      const subject = certificateIn(auth, 'ca').subject
      assertStatus(await harderway(place, ...phases), 0)
      const leaves = Object.entries(
        filesIn(
          auth,
          readdirSync(auth).filter((name) => /^(?!ca)[^-]*\.pem$/.test(name)),
        ),
      )
      assertStatus(await harderway(place, 'ca', '--renew'), 0)
      assert.deepEqual(certificateIn(auth, 'ca').subject, subject)
      assertVerify(auth)
      assertStatus(await harderway(place, ...phases), 0)
      for (const [name, text] of leaves) assert.equal(readFileSync(join(auth, name), 'utf8'), text, name)
    })

    for (const args of [
      'certs --renew',
      'ca node-certs --renew',
      'ca ca --renew',
      'ca --renew --force',
      'bootstrap --renew',
      '--renew',
      'ca --renew --node worker0',
    ])
      test(`"${args}" is bad usage`, async (t) => {
        const { place, auth } = spoiled(t)
        const state = stateOf(auth)
        assertStatus(await harderway(place, ...args.split(' ')), 2)
        assert.deepEqual(stateOf(auth), state)
      })

    for (const [title, spoil] of Object.entries({
      'with a key that is another': spoilFile('ca-key.pem', foreign),
      'without its key': spoilFile('ca-key.pem', removed),
      'that is unreadable': spoilFile('ca.pem', garbage),
    }))
      test(`of a CA ${title} is refused, and nothing is touched`, async (t) => {
        const { place, auth } = spoiled(t, spoil)
        const state = stateOf(auth)
        const ran = await harderway(place, 'ca', '--renew')
        assertStatus(ran, 3)
        assert.deepEqual(stateOf(auth), state)
      })

    test('of a CA that is refused is refused in a dry run too', async (t) => {
      const { place } = spoiled(t, spoilFile('ca-key.pem', garbage))
      assertStatus(await harderway(place, 'ca', '--renew', '--dry-run'), 3)
    })

    test('of a CA that is gone, while certificates are there, gives a way out that works', {}, async (t) => {
      const { place } = spoiled(t, (folder) => ['ca.pem', 'ca-key.pem'].map((name) => rmSync(join(folder, name))))
      const ran = await harderway(place, 'ca', '--renew')
      assertStatus(ran, 3)
    })

    test('of a CA that never was makes nothing', async (t) => {
      const place = scratch(t)
      writeCluster(place, edits)
      assertStatus(await harderway(place, 'ca', '--renew'), 1)
      assert.deepEqual(readdirSync(join(place, 'auth')), ['.gitignore'])
    })
  })

  describe('a CA near its end', () => {
    test('is warned about, and leaves are cut to it, but not issued again and again', async (t) => {
      const earlier = daysFromNow(20)
      const { place, auth } = spoiled(t, (folder) => {
        recertify(folder, -4000, 20)
        rmSync(join(folder, 'admin.pem'))
      })
      const first = await harderway(place, ...phases, '--json')
      assertStatus(first, 4)
      const { expires, commands } = [first.events.at(-1)?.advice].flat()[0] as Record<string, unknown>
      assert.ok([earlier, daysFromNow(20)].includes(String(expires).slice(0, 10)), String(expires))
      assert.deepEqual(commands, ['npm run task -- ca --renew', 'npm run bootstrap'])
      assert.deepEqual(certificateIn(auth, 'admin').notAfter, certificateIn(auth, 'ca').notAfter)
      const state = stateOf(auth)
      for (const args of [[], ['--dry-run']]) {
        const again = await harderway(place, ...phases, ...args, '--json')
        assertStatus(again, 4)
        assert.deepEqual(idsOf(again, 'built'), [])
      }
      assert.deepEqual(stateOf(auth), state)
    })

    test('that has expired is renewed, and everything is issued again over it', async (t) => {
      const { place, auth } = spoiled(t, (folder) => recertify(folder, -4000, -1))
      assertStatus(await harderway(place, ...phases), 3)
      assertStatus(await harderway(place, 'ca', '--renew'), 0)
      assertStatus(await harderway(place, ...phases), 0)
      assertVerify(auth)
      assert.equal(publicKeyIn(auth, 'ca'), publicKeyIn(join(origin, 'auth'), 'ca'))
    })
  })

  test('an encryption config to which resources are added keeps every key', async (t) => {
    const { place, auth } = spoiled(
      t,
      spoilFile(config, (path) => {
        const second = `      - name: key0\n        secret: ${Buffer.alloc(32, 9).toString('base64')}\n`
        replaceIn(path, /( +secret: \S+\n)/, `$1${second}`)
      }),
      [
        [
          ['encryption', 'resources'],
          ['secrets', 'configmaps'],
        ],
      ],
    )
    const before = secretsIn(auth).toSorted()
    const ran = await harderway(place, ...phases, '--json')
    assertStatus(ran, 0)
    assert.deepEqual(idsOf(ran, 'built'), ['encryption-key', 'kubeconfigs/worker0'])
    const after = secretsIn(auth)
    for (const secret of before) assert.ok(after.includes(secret))
    assert.match(readFileSync(join(auth, config), 'utf8'), /- configmaps\n/)
  })
})

describe('a node', { skip: needs('sshd', 'ssh', 'scp', 'openssl') }, () => {
  let place: string
  let other: string
  let lab: Lab
  const home = () => lab.node('control0').home
  const auth = () => join(place, 'auth')
  const others = () => join(other, 'auth')
  const stateOfHome = () => stateOf(home(), (name) => !name.startsWith('.'))

  before(async () => {
    place = makePlace()
    other = makePlace()
    lab = await startLab({
      dir: join(place, 'lab'),
      nodes: ['control0', 'worker0', 'gateway'].map((name) => ({ name })),
    })
    writeCluster(place, [...edits, ...labEdits(lab)])
    writeCluster(other, edits)
    assertStatus(await harderway(other, ...phases), 0)
    assertStatus(await harderway(place, 'bootstrap'), 0)
  })
  after(async () => {
    await lab.stop()
    for (const folder of [place, other]) rmSync(folder, { recursive: true, force: true })
  })

  beforeEach(async () => assertStatus(await harderway(place, 'deploy', '--replace-identity'), 0))

  const strangers: readonly { title: string; node?: string; spoil: () => void; said: RegExp }[] = [
    {
      title: 'another CA',
      spoil: () => cpSync(join(others(), 'ca.pem'), join(home(), 'ca.pem')),
      said: /^control0 holds another CA \(ca\.pem\) than /,
    },
    {
      title: 'another service-account key',
      spoil: () => cpSync(join(others(), 'service-account.pem'), join(home(), 'service-account.pem')),
      said: /^control0 holds another service-account (key|certificate) \(service-account\.pem\) than /,
    },
    {
      title: 'another encryption key',
      spoil: () => cpSync(join(others(), config), join(home(), config)),
      said: /^control0 holds another encryption key \(encryption-config\.yaml\) than /,
    },
    {
      title: 'another of all three',
      spoil: () => {
        for (const name of ['ca.pem', 'service-account.pem', config]) cpSync(join(others(), name), join(home(), name))
      },
      said: /^control0 holds another CA \(ca\.pem\), service-account \w+ \(.*\), encryption key \(.*\) than /,
    },
    {
      title: 'an encryption config that no one can read',
      spoil: () => writeFileSync(join(home(), config), `secret: ${Buffer.alloc(32, 3).toString('base64')}\n`),
      said: /^control0 holds another encryption key/,
    },
    {
      title: 'a CA behind a symbolic link',
      spoil: () => {
        rmSync(join(home(), 'ca.pem'))
        symlinkSync(join(others(), 'ca.pem'), join(home(), 'ca.pem'))
      },
      said: /^control0 holds another CA/,
    },
  ]

  for (const { title, spoil, said } of strangers)
    test(`that holds ${title} is left alone, the others are finished; --replace-identity goes over it`, async () => {
      spoil()
      rmSync(join(home(), 'admin.kubeconfig'))
      rmSync(join(lab.node('worker0').home, 'worker0.pem'))
      const state = stateOfHome()
      const belong = readdirSync(auth()).filter((name) => name === 'admin.kubeconfig' || name in state)
      const secrets = [...secretsIn(home()), ...secretsIn(auth()), ...secretsIn(others())]
      const dry = await harderway(place, 'bootstrap', '--dry-run', '--json')
      assertStatus(dry, 3)
      assertShowsNone(dry, secrets)
      // Refused or not by force: only the one option goes over it.
      const ran = await harderway(place, 'deploy', '--force', '--json')
      assertStatus(ran, 3)
      assertShowsNone(ran, secrets)
      assert.deepEqual(stateOfHome(), state)
      assert.deepEqual(idsOf(ran, 'built'), ['deploy/gateway', 'deploy/worker0'])
      const failed = ran.events.find(({ type }) => type === 'failed')
      assert.equal(failed?.refused, true)
      assert.match(String(failed?.message), said)
      assert.deepEqual(commandsIn(String(failed?.remedy)), [
        recover,
        'npm run task -- deploy --node control0 --replace-identity',
      ])
      const over = await follow(place, commandsIn(String(failed?.remedy))[1] ?? '')
      assertStatus(over, 0)
      assertShowsNone(over, secrets)
      for (const name of belong)
        assert.equal(digest(readFileSync(join(home(), name))), digest(readFileSync(join(auth(), name))), name)
      assertStatus(await harderway(place, 'bootstrap', '--dry-run'), 0)
    })

  test('that holds another identity gives the command that fetches it', {}, async () => {
    cpSync(join(others(), 'ca.pem'), join(home(), 'ca.pem'))
    const ran = await harderway(place, 'deploy', '--json')
    await harderway(place, 'deploy', '--replace-identity')
    const remedy = String(ran.events.find(({ type }) => type === 'failed')?.remedy)
    const [, move = ''] = /: (mv \S+ \S+) && npm run task -- recover --node control0$/m.exec(remedy) ?? []
    execFileSync('sh', ['-c', `cp -a ${auth()} ${auth()}-kept && ${move}`])
    const recovered = await harderway(place, 'recover', '--node', 'control0')
    const names = readdirSync(auth())
    for (const folder of readdirSync(place).filter((name) => /^auth-\d/.test(name)))
      rmSync(join(place, folder), { recursive: true })
    execFileSync('sh', ['-c', `rm -r ${auth()} && mv ${auth()}-kept ${auth()}`])
    assertStatus(recovered, 0)
    assert.ok(names.includes('ca-key.pem'))
  })

  test('that is a worker or a gateway is checked only for the CA', async () => {
    const homes = ['worker0', 'gateway'].map((name) => lab.node(name).home)
    for (const folder of homes) cpSync(join(others(), 'ca.pem'), join(folder, 'ca.pem'))
    const state = homes.map((folder) => stateOf(folder))
    const ran = await harderway(place, 'deploy', '--json')
    assertStatus(ran, 3)
    assert.deepEqual(idsOf(ran, 'failed'), ['deploy/gateway', 'deploy/worker0'])
    assert.deepEqual(
      idsOf(ran, 'fresh').filter((id) => id.startsWith('deploy')),
      ['deploy/control0'],
    )
    assert.deepEqual(
      homes.map((folder) => stateOf(folder)),
      state,
    )
    assertStatus(await harderway(place, 'deploy', '--replace-identity'), 0)
  })

  test('that is one of several with another identity is reported with them, once, with each way out for all', async () => {
    for (const { home: folder } of lab.nodes) cpSync(join(others(), 'ca.pem'), join(folder, 'ca.pem'))
    const ran = await harderway(place, 'deploy', '--quiet')
    assertStatus(ran, 3)
    const lines = (ran.stdout + ran.stderr).trim().split('\n')
    assert.equal(lines.length, 3, lines.join('\n'))
    assert.match(lines[0] ?? '', /^3 nodes, another CA than \S+: control0, worker0, gateway$/)
    assert.match(
      lines[1] ?? '',
      /move ours away and take it over: mv \S+ \S+ && npm run task -- recover --node control0$/,
    )
    const [, command = '', ...more] = commandsIn(lines.slice(1).join('\n'))
    assert.deepEqual(more, [])
    assert.match(command, /deploy --node control0 --node worker0 --node gateway --replace-identity$/)
    assertStatus(await follow(place, command), 0)
    assertStatus(await harderway(place, 'bootstrap', '--dry-run'), 0)
  })

  test('that holds an identity where there is none of ours tells nobody to move ours away', async (t) => {
    const empty = scratch(t)
    writeCluster(empty, [...edits, ...labEdits(lab)])
    const ran = await harderway(empty, 'deploy', '--dry-run', '--quiet')
    assertStatus(ran, 3)
    const said = ran.stdout + ran.stderr
    assert.match(said, /take it over: npm run task -- recover --node control0/)
    assert.doesNotMatch(said, /move ours/)
  })

  test('that has the renewed or the old certificate of the same CA has the same identity', async () => {
    assertStatus(await harderway(place, 'ca', '--renew'), 0)
    const ran = await harderway(place, 'bootstrap', '--json')
    assertStatus(ran, 0)
    assert.equal(idsOf(ran, 'built').filter((id) => id.startsWith('deploy')).length, 3)
    rmSync(join(auth(), 'backup'), { recursive: true })
  })

  test('whose encryption config means the same as ours has the same identity', async () => {
    const ours = readFileSync(join(home(), config), 'utf8')
    writeFileSync(join(home(), config), `# by hand\n${ours}`)
    const ran = await harderway(place, 'deploy', '--json')
    assertStatus(ran, 0)
    assert.deepEqual(idsOf(ran, 'built'), ['deploy/control0'])
    assert.equal(readFileSync(join(home(), config), 'utf8'), ours)
  })

  test('whose encryption config has one more key, to decrypt alone, has another identity', async () => {
    const ours = readFileSync(join(home(), config), 'utf8')
    const second = `      - name: key0\n        secret: ${Buffer.alloc(32, 9).toString('base64')}\n`
    const theirs = ours.replace(/( +secret: \S+\n)/, `$1${second}`)
    writeFileSync(join(home(), config), theirs)
    assertStatus(await harderway(place, 'deploy'), 3)
    assert.equal(readFileSync(join(home(), config), 'utf8'), theirs)
    assertStatus(await harderway(place, 'deploy', '--replace-identity'), 0)
    assert.equal(readFileSync(join(home(), config), 'utf8'), ours)
  })

  test('whose encryption config encrypts with another key first has another identity', async () => {
    const ours = readFileSync(join(home(), config), 'utf8')
    const first = `      - name: key0\n        secret: ${Buffer.alloc(32, 9).toString('base64')}\n`
    writeFileSync(join(home(), config), ours.replace(/( +- name: key1\n)/, `${first}$1`))
    assertStatus(await harderway(place, 'deploy'), 3)
    writeFileSync(join(home(), config), ours)
  })

  test('whose service-account key is another, without its certificate, has another identity', async () => {
    rmSync(join(home(), 'service-account.pem'))
    cpSync(join(others(), 'service-account-key.pem'), join(home(), 'service-account-key.pem'))
    const ran = await harderway(place, 'deploy')
    await harderway(place, 'deploy', '--replace-identity')
    assertStatus(ran, 3)
  })

  test('whose CA key is another, without its certificate, has another identity', async () => {
    rmSync(join(home(), 'ca.pem'))
    cpSync(join(others(), 'ca-key.pem'), join(home(), 'ca-key.pem'))
    const ran = await harderway(place, 'deploy')
    await harderway(place, 'deploy', '--replace-identity')
    assertStatus(ran, 3)
  })

  test('keeps the encryption key that auth/ has lost: no new one is made', async () => {
    const kept = readFileSync(join(auth(), config))
    rmSync(join(auth(), config))
    const state = stateOfHome()
    const ran = await harderway(place, 'bootstrap', '--json')
    assertStatus(ran, 3)
    assert.match(
      JSON.stringify(ran.events),
      /control0 holds encryption-config\.yaml, and \S+ has none: nothing was made/,
    )
    assert.ok(!readdirSync(auth()).includes(config))
    // Made by itself, it is not put over that of the node.
    assertStatus(await harderway(place, 'encryption-key'), 0)
    assert.deepEqual(idsOf(await harderway(place, 'bootstrap', '--json'), 'failed'), ['deploy/control0'])
    assert.deepEqual(stateOfHome(), state)
    writeFileSync(join(auth(), config), kept, { mode: 0o600 })
    assertStatus(await harderway(place, 'bootstrap', '--dry-run'), 0)
  })

  test('bootstrap --force replaces none of the three, here or on a node', async () => {
    const identity = () => [
      publicKeyIn(auth(), 'ca'),
      publicKeyIn(auth(), 'service-account'),
      readFileSync(join(auth(), config), 'utf8'),
    ]
    // Of nodes that were overwritten on purpose before.
    const kept = () => readdirSync(join(auth(), 'backup'))
    const [three, admin, before] = [identity(), publicKeyIn(auth(), 'admin'), kept()]
    assertStatus(await harderway(place, 'bootstrap', '--force'), 0)
    assert.deepEqual(identity(), three)
    assert.notEqual(publicKeyIn(auth(), 'admin'), admin)
    assert.deepEqual(kept(), before)
  })

  describe('that was a control node and is a worker', () => {
    const asWorker: Edit = [
      ['nodes'],
      [
        { name: 'control0', role: 'worker', ip: '192.168.1.11' },
        { name: 'worker0', role: 'control', ip: '192.168.1.14' },
        gateway[1],
      ],
    ]
    const left = [
      'admin.kubeconfig',
      'ca-key.pem',
      config,
      'kube-controller-manager.kubeconfig',
      'kube-scheduler.kubeconfig',
      'kubernetes-key.pem',
      'kubernetes.pem',
      'service-account-key.pem',
      'service-account.pem',
    ]

    test('keeps what does not belong there, and is warned about, until --prune removes it, and only that', async () => {
      const theirs = ['mine.pem', 'mine-key.pem', 'mine.kubeconfig', 'notes.txt']
      for (const name of theirs) writeFileSync(join(home(), name), name)
      writeCluster(place, [...edits, ...labEdits(lab), asWorker])
      const ran = await harderway(place, 'bootstrap', '--json')
      assertStatus(ran, 0)
      for (const name of left) assert.ok(readdirSync(home()).includes(name), name)
      const warning = ran.events.find(({ id, warning }) => id === 'deploy/control0' && warning)?.warning
      assert.match(String(warning), /^control0 holds .*ca-key\.pem.*--prune removes it from that folder$/)
      assertStatus(await harderway(place, 'bootstrap', '--prune', '--dry-run'), 4)
      const pruned = await harderway(place, 'bootstrap', '--prune', '--json')
      assertStatus(pruned, 0)
      assert.deepEqual(idsOf(pruned, 'built'), ['deploy/control0'])
      assert.deepEqual(
        readdirSync(home())
          .filter((name) => !name.startsWith('.'))
          .toSorted(),
        [
          'ca.pem',
          'kube-proxy.kubeconfig',
          'control0.pem',
          'control0-key.pem',
          'control0.kubeconfig',
          ...theirs,
        ].toSorted(),
      )
      for (const name of theirs) assert.equal(readFileSync(join(home(), name), 'utf8'), name)
      assertStatus(await harderway(place, 'bootstrap', '--prune', '--dry-run'), 0)
    })
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
  const [, script = '', rest = ''] = /^npm run (task|bootstrap)(?: -- (.*))?$/.exec(command) ?? []
  return harderway(place, ...(script === 'bootstrap' ? ['bootstrap'] : []), ...rest.split(' ').filter(Boolean))
}

function assertStatus(ran: Ran, status: number): void {
  assert.equal(ran.status, status, ran.stdout + ran.stderr)
}

function assertShowsNone(ran: Ran, secrets: readonly string[]): void {
  const output = ran.stdout + ran.stderr
  for (const secret of secrets) assert.ok(!output.includes(secret), 'the output shows a secret')
}

/** Every leaf hangs on the CA, as openssl sees it, and has the key beside it. */
function assertVerify(auth: string): void {
  const leaves = readdirSync(auth).filter(
    (name) => name.endsWith('.pem') && !name.endsWith('-key.pem') && name !== 'ca.pem',
  )
  openssl('verify', '-x509_strict', '-CAfile', join(auth, 'ca.pem'), ...leaves.map((name) => join(auth, name)))
  for (const name of leaves)
    assert.equal(
      createPublicKeyText(readFileSync(join(auth, name.replace('.pem', '-key.pem')), 'utf8')),
      certificateKeyText(auth, name.slice(0, -4)),
      name,
    )
}

/** ca.pem is its key's own. */
function assertCaSigns(auth: string): void {
  assert.equal(certificateKeyText(auth, 'ca'), publicKeyIn(auth, 'ca'))
  openssl('verify', '-x509_strict', '-CAfile', join(auth, 'ca.pem'), join(auth, 'ca.pem'))
}

function certificateIn(auth: string, name: string): Certificate {
  const certificate = readCertificate(readFileSync(join(auth, `${name}.pem`)))
  assert.ok(certificate, name)
  return certificate
}

function certificateKeyText(auth: string, name: string): string {
  return String(certificateIn(auth, name).publicKey.export({ type: 'spki', format: 'pem' }))
}

function publicKeyIn(auth: string, name: string): string {
  return createPublicKeyText(readFileSync(join(auth, `${name}-key.pem`), 'utf8'))
}

function createPublicKeyText(key = ''): string {
  return String(createPublicKey(createPrivateKey(key)).export({ type: 'spki', format: 'pem' }))
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

function keepOnly(auth: string, ...names: string[]): void {
  for (const name of readdirSync(auth)) if (!names.includes(name)) rmSync(join(auth, name))
}

function replaceIn(path: string, from: string | RegExp, to: string): void {
  writeFileSync(path, readFileSync(path, 'utf8').replace(from, to))
}

function daysFromNow(days: number): string {
  return new Date(Date.now() + days * day).toISOString().slice(0, 10)
}
