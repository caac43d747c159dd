import assert from 'node:assert/strict'
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { addKey, encryptWithNewest, keepKeys, readEncryptionConfig } from '../../../lib/kubernetes/encryption.ts'
import { encryptionConfig } from '../../guide/genauth.ts'
import { scratch, secretsIn, stateOfFile } from '../../support/files.ts'
import { type Edit, harderway, type Ran, withStatus, writeCluster } from '../../support/harderway.ts'

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

test('what replaces a key says what has to be restarted', async (t) => {
  const { stdout } = await withStatus(0, run(place(t, guide), '--force', '--yes'))
  assert.match(stdout, /then restart every kube-apiserver$/m)
})

/** No run may show a secret, however it is asked to tell what it does. */
async function run({ folder }: Place, ...args: string[]): Promise<Ran> {
  const secrets = () => secretsIn(join(folder, 'auth'))
  const before = secrets()
  const ran = await harderway(folder, 'encryption-key', ...args)
  for (const each of [...before, ...secrets()])
    assert.ok(!(ran.stdout + ran.stderr).includes(each), `the output of ${args} shows a key`)
  return ran
}

describe('encryption-key', { concurrency: 2 }, () => {
  test('makes a key where there is none, for its user alone', async (t) => {
    const at = place(t)
    await withStatus(0, run(at, '--verbose'))
    assert.equal(lstatSync(at.file).mode & 0o7777, 0o600)
    assert.equal(readEncryptionConfig(readFileSync(at.file))?.provider, 'aescbc')
    assert.deepEqual(readdirSync(join(at.folder, 'auth')), ['.gitignore', 'encryption-config.yaml'])
  })

  test('makes it with the desired provider and resources', async (t) => {
    const at = place(t, undefined, [['encryption'], { provider: 'secretbox', resources: ['secrets', '*.apps'] }])
    await withStatus(0, run(at, '--json'))
    const config = readEncryptionConfig(readFileSync(at.file))
    assert.equal(config?.provider, 'secretbox')
    assert.deepEqual(config.resources, ['secrets', '*.apps'])
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
    await withStatus(4, run(at, '--dry-run', '--json'))
    assert.equal(readFileSync(at.file, 'utf8'), text)
    const ran = await withStatus(0, run(at, '--json'))
    assert.match(ran.stdout, /configmaps/)
    assert.equal(readFileSync(at.file, 'utf8'), text.replace('  - secrets\n', '  - secrets\n  - configmaps\n'))
    assert.equal(lstatSync(at.file).mode & 0o7777, 0o600)
    await withStatus(0, run(at, '--dry-run'))
  })

  test('a config whose first provider is identity is refused, and stays as it is', async (t) => {
    const text = guide.replace('  - identity: {}\n', '').replace('  - aescbc', '  - identity: {}\n  - aescbc')
    const at = place(t, text)
    const first = stateOfFile(at.file)
    for (const args of [[], ['--json'], ['--verbose'], ['--dry-run']]) {
      const ran = await withStatus(3, run(at, ...args))
      const said = /encrypts with identity, but cluster\.yaml has aescbc[\s\S]*add a key to that file by hand/
      assert.match((ran.stdout + ran.stderr).replaceAll('\\n', '\n'), said)
    }
    assert.deepEqual(stateOfFile(at.file), first)
    assert.deepEqual(readdirSync(join(at.folder, 'auth')), ['encryption-config.yaml'])
  })

  describe('while a rotation changes the provider', () => {
    const added = addKey(guide, Buffer.alloc(32, 8).toString('base64'), 'secretbox')
    for (const [stage, text] of Object.entries({ added, first: encryptWithNewest(added) })) {
      for (const provider of ['aescbc', 'secretbox'])
        test(`stage "${stage}" matches cluster.yaml with ${provider}`, async (t) => {
          const at = place(t, text, [['encryption', 'provider'], provider])
          await withStatus(0, run(at))
          assert.equal(readFileSync(at.file, 'utf8'), text)
        })
      test(`stage "${stage}" does not match cluster.yaml with a third one`, async (t) => {
        const at = place(t, text, [['encryption', 'provider'], 'aesgcm'])
        await withStatus(3, run(at))
        assert.equal(readFileSync(at.file, 'utf8'), text)
      })
    }

    test('it is over with one key', async (t) => {
      const settled = keepKeys(encryptWithNewest(added), [{ provider: 'secretbox', name: 'key2' }])
      await withStatus(0, run(place(t, settled, [['encryption', 'provider'], 'secretbox'])))
    })
  })
})
