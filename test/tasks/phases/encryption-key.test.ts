import assert from 'node:assert/strict'
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { addKey, encryptWithNewest, keepKeys, readEncryptionConfig } from '../../../lib/kubernetes/encryption.ts'
import { encryptionConfig } from '../../guide/genauth.ts'
import { scratch } from '../../support/files.ts'
import { type Edit, harderway, type Ran, writeCluster } from '../../support/harderway.ts'

const secret = Buffer.alloc(32, 7).toString('base64')

const guide = encryptionConfig(secret)

interface Place {
  readonly folder: string
  readonly file: string
}

/** A cluster, and the encryption config where there is one already. */
function place(t: Parameters<typeof scratch>[0], text?: string, ...edits: Edit[]): Place {
  const folder = scratch(t)
  const file = join(folder, 'auth/encryption-config.yaml')
  writeCluster(folder, edits)
  mkdirSync(join(folder, 'auth'), { mode: 0o700 })
  if (text !== undefined) writeFileSync(file, text, { mode: 0o600 })
  return { folder, file }
}

/** No run may show a secret, however it is asked to tell what it does. */
async function run({ folder, file }: Place, ...args: string[]): Promise<Ran> {
  const before = secretsIn(file)
  const ran = await harderway(folder, 'encryption-key', ...args)
  for (const each of [...before, ...secretsIn(file)])
    assert.ok(!(ran.stdout + ran.stderr).includes(each), `the output of ${args} shows a key`)
  return ran
}

function secretsIn(file: string): string[] {
  try {
    return [...readFileSync(file, 'utf8').matchAll(/[A-Za-z0-9+/]{40,}={0,2}/g)].map(([word]) => word)
  } catch {
    return []
  }
}

function state(path: string): unknown[] {
  const { ino, mode, mtimeMs, ctimeMs } = lstatSync(path)
  return [readFileSync(path, 'utf8'), ino, mode, mtimeMs, ctimeMs]
}

describe('encryption-key', { concurrency: 2 }, () => {
  test('makes a key where there is none, for its user alone', async (t) => {
    const at = place(t)
    assert.equal((await run(at, '--verbose')).status, 0)
    assert.equal(lstatSync(at.file).mode & 0o7777, 0o600)
    assert.equal(readEncryptionConfig(readFileSync(at.file, 'utf8'))?.provider, 'aescbc')
    assert.deepEqual(readdirSync(join(at.folder, 'auth')), ['.gitignore', 'encryption-config.yaml'])
  })

  test('makes it with the wanted provider and resources', async (t) => {
    const at = place(t, undefined, [['encryption'], { provider: 'secretbox', resources: ['secrets', '*.apps'] }])
    assert.equal((await run(at, '--json')).status, 0)
    const config = readEncryptionConfig(readFileSync(at.file, 'utf8'))
    assert.equal(config?.provider, 'secretbox')
    assert.deepEqual(config.resources, ['secrets', '*.apps'])
  })

  test('a second run keeps it, down to its times', async (t) => {
    const at = place(t)
    await run(at)
    const first = state(at.file)
    const again = await run(at, '--json')
    assert.equal(again.status, 0)
    assert.equal(again.events.find(({ id, type }) => id === 'encryption-key' && type !== 'started')?.type, 'fresh')
    assert.deepEqual(state(at.file), first)
  })

  test("the guide's own file is fresh", async (t) => {
    const at = place(t, guide)
    const first = state(at.file)
    assert.equal((await run(at, '--dry-run')).status, 0)
    assert.equal((await run(at, '--verbose')).status, 0)
    assert.deepEqual(state(at.file), first)
  })

  test('a resource that is added is written into it, and every key stays', async (t) => {
    const text = guide.replace(
      `        secret: ${secret}\n`,
      `        secret: ${secret}\n      - name: key0\n        secret: ${'A'.repeat(43)}=\n`,
    )
    const at = place(t, text, [
      ['encryption', 'resources'],
      ['secrets', 'configmaps'],
    ])
    assert.equal((await run(at, '--dry-run', '--json')).status, 4)
    assert.equal(readFileSync(at.file, 'utf8'), text)
    const ran = await run(at, '--json')
    assert.equal(ran.status, 0)
    assert.match(ran.stdout, /configmaps/)
    assert.equal(readFileSync(at.file, 'utf8'), text.replace('  - secrets\n', '  - secrets\n  - configmaps\n'))
    assert.equal(lstatSync(at.file).mode & 0o7777, 0o600)
    assert.equal((await run(at, '--dry-run')).status, 0)
  })

  test('a mode that is wrong is set right, and the key stays', async (t) => {
    const at = place(t, guide)
    chmodSync(at.file, 0o644)
    const ran = await run(at, '--verbose')
    assert.equal(ran.status, 0)
    assert.match(ran.stdout, /repaired: .*mode 0644, not 0600/)
    assert.equal(lstatSync(at.file).mode & 0o7777, 0o600)
    assert.equal(readFileSync(at.file, 'utf8'), guide)
  })

  describe('refuses to touch', () => {
    const refusals: Readonly<Record<string, readonly [text: string, edits: Edit[], said: RegExp]>> = {
      'a key of another provider': [
        guide,
        [[['encryption', 'provider'], 'secretbox']],
        /encrypts with aescbc, cluster\.yaml has secretbox[\s\S]*encryption\.provider: aescbc[\s\S]*rotate encryption-key[\s\S]*--force/,
      ],
      'a key that no longer is to encrypt something': [
        guide.replace('- secrets', '- secrets\n  - configmaps'),
        [],
        /encrypts configmaps[\s\S]*encryption\.resources/,
      ],
      'a config whose first provider is identity': [
        guide.replace('  - identity: {}\n', '').replace('  - aescbc', '  - identity: {}\n  - aescbc'),
        [],
        /encrypts with identity, cluster\.yaml has aescbc[\s\S]*add a key of aescbc to that file by hand/,
      ],
      'what kube-apiserver would not read': [guide.replace('v1', 'v2'), [], /not a valid EncryptionConfiguration/],
      'what is no YAML': [`{ ${secret}`, [], /not a valid EncryptionConfiguration/],
      'an empty file': ['', [], /not a valid EncryptionConfiguration/],
    }
    for (const [title, [text, edits, said]] of Object.entries(refusals))
      test(title, async (t) => {
        const at = place(t, text, ...edits)
        const first = state(at.file)
        for (const args of [[], ['--json'], ['--verbose'], ['--dry-run']]) {
          const ran = await run(at, ...args)
          assert.equal(ran.status, 3, ran.stdout + ran.stderr)
          assert.match((ran.stdout + ran.stderr).replaceAll('\\n', '\n'), said)
        }
        assert.deepEqual(state(at.file), first)
        assert.deepEqual(readdirSync(join(at.folder, 'auth')), ['encryption-config.yaml'])
      })

    test('what is no plain file', async (t) => {
      const at = place(t)
      writeFileSync(join(at.folder, 'elsewhere'), guide)
      symlinkSync('../elsewhere', at.file)
      assert.equal((await run(at)).status, 3)
      assert.ok(lstatSync(at.file).isSymbolicLink())
    })
  })

  describe('while a rotation changes the provider', () => {
    const added = addKey(guide, Buffer.alloc(32, 8).toString('base64'), 'secretbox')
    for (const [stage, text] of Object.entries({ added, first: encryptWithNewest(added) })) {
      for (const provider of ['aescbc', 'secretbox'])
        test(`stage "${stage}" matches cluster.yaml with ${provider}`, async (t) => {
          const at = place(t, text, [['encryption', 'provider'], provider])
          const ran = await run(at)
          assert.equal(ran.status, 0, ran.stdout + ran.stderr)
          assert.equal(readFileSync(at.file, 'utf8'), text)
        })
      test(`stage "${stage}" does not match cluster.yaml with a third one`, async (t) => {
        const at = place(t, text, [['encryption', 'provider'], 'aesgcm'])
        assert.equal((await run(at)).status, 3)
        assert.equal(readFileSync(at.file, 'utf8'), text)
      })
    }

    test('it is over with one key, and that must be of the provider in cluster.yaml', async (t) => {
      const settled = keepKeys(encryptWithNewest(added), [{ provider: 'secretbox', name: 'key2' }])
      assert.equal((await run(place(t, settled, [['encryption', 'provider'], 'secretbox']))).status, 0)
      assert.equal((await run(place(t, settled, [['encryption', 'provider'], 'aescbc']))).status, 3)
    })
  })

  test('--force makes another key and keeps the old one in a folder of its own, for its user alone', async (t) => {
    const at = place(t, guide, [['encryption', 'provider'], 'secretbox'])
    const ran = await run(at, '--force', '--json')
    assert.equal(ran.status, 0)
    const backup = join(at.folder, 'auth/backup')
    const [time = ''] = readdirSync(backup)
    assert.deepEqual(readdirSync(join(backup, time)), ['encryption-config.yaml'])
    assert.equal(readFileSync(join(backup, time, 'encryption-config.yaml'), 'utf8'), guide)
    assert.deepEqual(
      [backup, join(backup, time), join(backup, time, 'encryption-config.yaml')].map(
        (path) => lstatSync(path).mode & 0o7777,
      ),
      [0o700, 0o700, 0o600],
    )
    assert.ok(ran.stdout.includes(join(backup, time)), 'it says where')
    const config = readEncryptionConfig(readFileSync(at.file, 'utf8'))
    assert.equal(config?.provider, 'secretbox')
    assert.ok(!readFileSync(at.file, 'utf8').includes(secret))
  })

  test('--force keeps also what nothing could read', async (t) => {
    const at = place(t, 'half a fi')
    assert.equal((await run(at, '--force')).status, 0)
    const backup = join(at.folder, 'auth/backup')
    const [time = ''] = readdirSync(backup)
    assert.equal(readFileSync(join(backup, time, 'encryption-config.yaml'), 'utf8'), 'half a fi')
  })
})
