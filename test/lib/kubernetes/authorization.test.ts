import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  formatAuthorization,
  isOwnAuthorization,
  type RevokedList,
  readRevoked,
  reviewOfAll,
  reviewsOf,
  webhookKubeconfig,
} from '../../../lib/kubernetes/authorization.ts'
import { Authorization } from '../../lab/component/authorization.ts'
import { parseFlags } from '../../lab/component/flags.ts'
import { scratch } from '../../support/files.ts'

const listOf = (...names: string[]): RevokedList => new Map(names.map((name) => [name, []]))

/** An API server that starts with the list. */
function serverOf(t: TestContext, list: RevokedList, name = 'webhook.yaml'): Authorization {
  const folder = scratch(t)
  const [webhook, config] = [join(folder, name), join(folder, 'config.yaml')]
  writeFileSync(webhook, webhookKubeconfig)
  writeFileSync(config, formatAuthorization(list, webhook))
  return new Authorization(parseFlags('kube-apiserver', [`--authorization-config=${config}`]))
}

test('an API server starts with the list, and denies by it users and nodes of these names, and nobody else', (t) => {
  const users = ['jane', 'system:node:jane', 'system:node:worker2', 'bob', 'system:node:worker1', 'kubernetes']
  const denied = (...revoked: string[]) => {
    const server = serverOf(t, listOf(...revoked))
    return users.filter((username) => server.denial({ username, groups: ['system:authenticated'] }) !== undefined)
  }
  assert.deepEqual(denied(), [])
  assert.deepEqual(denied('jane', 'worker2'), ['jane', 'system:node:jane', 'system:node:worker2'])
  assert.deepEqual(
    reviewsOf(['jane', []]).map((spec) => 'user' in spec && spec.user),
    ['jane', 'system:node:jane'],
  )
})

test('whatever plain path its kubeconfig has: one that ends like a key of YAML, too', (t) => {
  for (const name of ['a:', 'b=', 'c,d', '@%+']) {
    const server = serverOf(t, listOf('jane'), name)
    assert.notEqual(server.denial({ username: 'jane', groups: [] }), undefined, name)
  }
})

test('a key is denied by each certificate over it, and one review shows that exactly a list is in force', (t) => {
  const [one, other, third] = ['a', 'b', 'c'].map((digit) => digit.repeat(64)) as [string, string, string]
  const list: RevokedList = new Map([
    ['jane', []],
    [`sha256:${one}`, [one, other]],
  ])
  const server = serverOf(t, list)
  const isDenied = (spec: object) => {
    const { user: username, extra } = spec as { user: string; extra?: Record<string, string[]> }
    return server.denial({ username, groups: [], ...(extra && { extra }) }) !== undefined
  }
  const key = (fingerprint: string) => reviewsOf([`sha256:${fingerprint}`, [fingerprint]]).map(isDenied)
  assert.deepEqual([one, other, third].flatMap(key), [true, true, false])
  assert.equal(isDenied(reviewOfAll(list)), true)
  for (const another of [
    listOf(),
    listOf('jane'),
    new Map([...list, ['joe', []]]),
    new Map([...list, [`sha256:${one}`, [one]]]),
  ])
    assert.equal(isDenied(reviewOfAll(another)), false)
})

test('a list that is longer than an expression may be is refused', () => {
  const many = Array.from({ length: 3000 }, (_, i) => `gone-${i}`)
  assert.throws(() => formatAuthorization(listOf(...many), '/k'), /revoked is too long: an API server takes 100000/)
})

test('the list is read back, and what somebody else has written is told apart, even from what is cut off', () => {
  const [one, other, third] = ['1', '2', '3'].map((digit) => digit.repeat(64)) as [string, string, string]
  const lists: RevokedList[] = [
    listOf(),
    listOf('jane'),
    listOf('worker2', 'j.doe@example.org'),
    new Map([
      ['jane', []],
      [`sha256:${one}`, [one, other]],
      [`sha256:${third}`, [third]],
    ]),
    // Both certificates of a key are listed.
    new Map([
      [`sha256:${one}`, [one, other]],
      [`sha256:${other}`, [other, one]],
    ]),
  ]
  for (const list of lists) {
    const text = formatAuthorization(list, '/k/webhook.yaml')
    assert.deepEqual(readRevoked(text), list)
    for (const each of [text, text.slice(0, 200), '', 'half a fi']) assert.equal(isOwnAuthorization(each), false)
    assert.equal(isOwnAuthorization(text.replace(/^#.*\n/, '')), true)
  }
  for (const text of ['', 'x', formatAuthorization(listOf('jane'), '/k').slice(0, 300)])
    assert.equal(readRevoked(text), undefined)
})
