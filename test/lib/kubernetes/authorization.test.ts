import assert from 'node:assert/strict'
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  formatAuthorization,
  isOwnAuthorization,
  readRevoked,
  reviewsOf,
  webhookKubeconfig,
} from '../../../lib/kubernetes/authorization.ts'
import { Authorization } from '../../lab/component/authorization.ts'
import { parseFlags } from '../../lab/component/flags.ts'
import { scratch } from '../../support/files.ts'

test('an API server starts with the list, and denies by it users and nodes of these names, and nobody else', (t) => {
  const folder = scratch(t)
  const [webhook, config] = [join(folder, 'webhook.yaml'), join(folder, 'config.yaml')]
  writeFileSync(webhook, webhookKubeconfig)
  const started = (...revoked: string[]) => {
    writeFileSync(`${config}.new`, formatAuthorization(revoked, webhook))
    renameSync(`${config}.new`, config)
    return new Authorization(parseFlags('kube-apiserver', [`--authorization-config=${config}`]))
  }
  const denied = (server: Authorization, ...names: string[]) =>
    names.filter((username) => server.denial({ username, groups: ['system:authenticated'] }) !== undefined)
  const users = ['jane', 'system:node:jane', 'system:node:worker2', 'bob', 'system:node:worker1', 'kubernetes']
  assert.deepEqual(denied(started(), ...users), [])
  assert.deepEqual(denied(started('jane', 'worker2'), ...users), ['jane', 'system:node:jane', 'system:node:worker2'])
  assert.deepEqual(
    reviewsOf('jane').map((spec) => 'user' in spec && spec.user),
    ['jane', 'system:node:jane'],
  )
})

test('the list is read back, and what somebody else has written is told apart, even from what is cut off', () => {
  for (const revoked of [[], ['jane'], ['worker2', 'j.doe@example.org']]) {
    const text = formatAuthorization(revoked, '/k/webhook.yaml')
    assert.deepEqual(readRevoked(text), revoked)
    for (const each of [text, text.slice(0, 200), '', 'half a fi']) assert.equal(isOwnAuthorization(each), false)
    assert.equal(isOwnAuthorization(text.replace(/^#.*\n/, '')), true)
  }
  for (const text of ['', 'x', formatAuthorization(['jane'], '/k').slice(0, 300)])
    assert.equal(readRevoked(text), undefined)
})
