import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  formatAuthorization,
  isForeignAuthorization,
  readRevoked,
  reviewOf,
  webhookKubeconfig,
} from '../../../lib/kubernetes/authorization.ts'
import { Authorization } from '../../lab/component/authorization.ts'
import { parseFlags } from '../../lab/component/flags.ts'
import { oddNames, scratch } from '../../support/files.ts'

/** An API server that starts with the list. */
function serverOf(t: TestContext, names: readonly string[]): Authorization {
  const folder = scratch(t)
  const [webhook, config] = [join(folder, 'webhook.yaml'), join(folder, 'config.yaml')]
  writeFileSync(webhook, webhookKubeconfig)
  writeFileSync(config, formatAuthorization(names, webhook))
  return new Authorization(parseFlags('kube-apiserver', [`--authorization-config=${config}`]))
}

const isDenied = (server: Authorization, username: string) =>
  server.denial({ username, groups: ['system:authenticated'] }) !== undefined

test('an API server starts with the list, and denies by it users and nodes of these names, and nobody else', (t) => {
  const users = ['jane', 'system:node:jane', 'system:node:worker2', 'bob', 'system:node:worker1', 'kubernetes']
  const denied = (...revoked: string[]) => {
    const server = serverOf(t, revoked)
    return users.filter((user) => isDenied(server, user))
  }
  assert.deepEqual(denied(), [])
  assert.deepEqual(denied('jane', 'worker2'), ['jane', 'system:node:jane', 'system:node:worker2'])
})

test('each name is denied alone, whatever YAML would make of it, and read back', (t) => {
  const names = [...oddNames].toSorted()
  const text = formatAuthorization(names, '/k/a')
  assert.deepEqual(readRevoked(text), { names, keys: [] })
  // No character of a name stands in the file as what it is there.
  for (const line of text.split('\n')) assert.match(line, /^[ -~]*$/)
  const server = serverOf(t, names)
  for (const name of names) {
    assert.equal(isDenied(server, name), true, name)
    assert.equal(isDenied(server, `system:node:${name}`), true, name)
    assert.equal(isDenied(server, `${name}x`), false, name)
    assert.equal(isDenied(server, name.toUpperCase()), names.includes(name.toUpperCase()), name)
  }
  for (const user of ['jane', 'admin', 'system:node:worker0', '']) assert.equal(isDenied(server, user), false, user)
})

test('a review shows that exactly a list is in force', (t) => {
  const server = serverOf(t, ['bob', 'jane'])
  const isInForce = (names: readonly string[]) => isDenied(server, (reviewOf(names) as { user: string }).user)
  assert.equal(isInForce(['jane', 'bob']), true)
  for (const another of [[], ['bob'], ['bob', 'jane', 'joe'], ['bob,jane']]) assert.equal(isInForce(another), false)
})

test('a list of 0.5.0 is read, with its keys; what somebody else has written is not', () => {
  const [header = ''] = formatAuthorization([], '/k').split('\n')
  const key = `sha256:${'1'.repeat(64)}`
  const older = `${header}\n        # revoked: bob\n        # revoked: ${key}\n        # certificate: ${'2'.repeat(64)} key x`
  assert.deepEqual(readRevoked(older), { names: ['bob'], keys: [key] })
  for (const text of ['', '[', 'kind: AuthorizationConfiguration\n        # revoked: bob\n'])
    assert.equal(readRevoked(text), undefined, text)
  assert.deepEqual(['kind: AuthorizationConfiguration', older, '['].map(isForeignAuthorization), [true, false, false])
})
