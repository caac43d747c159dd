import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { Client } from '../../../lib/kubernetes/client.ts'
import { countEncrypted, findStored, readEncryptedBy, registry } from '../../../lib/kubernetes/encryption.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')
const header = { cluster_id: '1', revision: '7' }
const kv = (name: string, value = 'k8s:enc:aescbc:v1:key1:\x00\x01') => ({ key: base64(name), value: base64(value) })
/** Gives one answer after the other, the last one for ever; fails the test where it is asked without an end. */
class Etcd extends Client {
  readonly asked: object[] = []
  readonly #answers: readonly unknown[]

  constructor(answers: readonly unknown[]) {
    super({ open: () => assert.fail('dialled'), address: 'etcd', trust: 'anyone' })
    this.#answers = answers
  }

  override async readText(_: string, __: string, body: object): Promise<string> {
    assert.ok(this.asked.push(body) < 100, 'asks for ever')
    return JSON.stringify(this.#answers[Math.min(this.asked.length, this.#answers.length) - 1])
  }
}
const etcd = (...answers: readonly unknown[]) => new Etcd(answers)
const secrets = `${registry}secrets/`
const all = () => true

describe('what is stored', () => {
  test('is listed page by page, each from behind the last key of the one before', async () => {
    const pages = etcd(
      { header, kvs: [kv(`${secrets}a`), kv(`${secrets}b`, 'k8s\0plain')], more: true },
      { header, kvs: [kv(`${secrets}c`)] },
    )
    const found = await findStored(pages, secrets, (prefix) => prefix === 'k8s:enc:aescbc:v1:key1:')
    assert.deepEqual(found, [`${secrets}a`, `${secrets}c`])
    assert.deepEqual(
      pages.asked.map((each) => Buffer.from((each as { key: string }).key, 'base64').toString()),
      [secrets, `${secrets}b\0`],
    )
  })

  test('is counted by the key that encrypted it, over all pages', async () => {
    const pages = etcd(
      { header, kvs: [kv(`${secrets}a`), kv(`${secrets}b`, 'k8s\0plain')], more: true },
      { header, kvs: [kv(`${secrets}c`), kv(`${secrets}d`, 'k8s:enc:aescbc:v1:key2:\x00')] },
    )
    assert.deepEqual(
      await countEncrypted(pages),
      new Map([
        ['k8s:enc:aescbc:v1:key1:', 2],
        ['', 1],
        ['k8s:enc:aescbc:v1:key2:', 1],
      ]),
    )
  })

  test('is nothing where a whole answer has no keys', async () => {
    assert.deepEqual(await findStored(etcd({ header }), secrets, all), [])
  })

  const unproven: Readonly<Record<string, readonly unknown[]>> = {
    'an error in place of an answer': [{ error: 'etcdserver: request timed out', code: 14 }],
    'no header': [{ kvs: [kv(`${secrets}a`)] }],
    'more to come, and no keys': [
      { header, kvs: [kv(`${secrets}a`)], more: true },
      { header, more: true },
    ],
    'the same page again and again': [{ header, kvs: [kv(`${secrets}a`)], more: true }],
    'pages backwards': [
      { header, kvs: [kv(`${secrets}b`)], more: true },
      { header, kvs: [kv(`${secrets}a`)], more: true },
    ],
  }
  for (const [title, answers] of Object.entries(unproven))
    test(`is not known by ${title}`, async () => {
      await assert.rejects(findStored(etcd(...answers), secrets, all), Failure)
      await assert.rejects(countEncrypted(etcd(...answers)), Failure)
    })

  test('is not known where all of etcd is empty, or has nothing under that key', async () => {
    await assert.rejects(countEncrypted(etcd({ header })), Failure)
    await assert.rejects(readEncryptedBy(etcd({ header }), `${secrets}a`), Failure)
    await assert.rejects(readEncryptedBy(etcd({}), `${secrets}a`), Failure)
  })
})
