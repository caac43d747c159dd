import assert from 'node:assert/strict'
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { addKey, encryptWithNewest, readEncryptionConfig } from '../../../lib/kubernetes/encryption.ts'
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

  test('while a rotation changes the provider cluster.yaml may have both, and no third one', async (t) => {
    const added = addKey(guide, Buffer.alloc(32, 8).toString('base64'), 'secretbox')
    for (const text of [added, encryptWithNewest(added)])
      for (const [provider, status] of [
        ['aescbc', 0],
        ['secretbox', 0],
        ['aesgcm', 3],
      ] as const) {
        const at = place(t, text, [['encryption', 'provider'], provider])
        await withStatus(status, run(at))
        assert.equal(readFileSync(at.file, 'utf8'), text)
      }
  })
})
