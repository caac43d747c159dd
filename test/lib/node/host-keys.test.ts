import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { type ConfigUse, openSshLab, type SshLab } from '../../support/labs.ts'
import { needs } from '../../support/programs.ts'

const skip = needs('sshd', 'ssh', 'ssh-keygen')

function assertFails(result: string | Failure, code: string, message = /^/): Failure {
  assert.ok(result instanceof Failure, `a connection was made: ${result}`)
  assert.equal(result.code, code, result.message)
  assert.match(result.message, message)
  return result
}

let at: SshLab
before(async () => {
  if (!skip) at = await openSshLab({ name: 'node' }, { name: 'hop' }, { name: 'first' })
})
after(() => at?.[Symbol.asyncDispose]())

describe('a node behind a jump host', { skip }, () => {
  test('is reached by the jump hosts of the configuration', async () => {
    const [hop, first] = [at.host('hop'), at.host('first')]
    const ways: readonly ConfigUse[] = [
      { config: at.host('node', 'ProxyJump hop') + hop },
      { config: at.host('node', 'ProxyJump first,hop') + hop + first },
      { config: at.host('node', 'ProxyJump hop') + at.host('hop', 'ProxyJump first') + first },
    ]
    for (const use of ways) assert.equal(await at.run('node', 'echo in', use), 'in\n')
  })

  test('is checked, whatever is said of the jump host and of it', async () => {
    await at.lab.node('node').rotateHostKey()
    const lax = 'StrictHostKeyChecking no'
    const config = at.host('node', 'ProxyJump hop', lax) + at.host('hop', lax)
    assertFails(await at.run('node', 'echo in', { config }), 'host-key-refused', /has changed/)
  })
})

describe('an impostor with another host key is given nothing', { skip }, () => {
  before(async () => {
    const impostor = await at.lab.node('hop').hostKey()
    const port = at.lab.node('node').port
    // known_hosts has another machine's key for the node.
    writeFileSync(at.lab.knownHosts, `[127.0.0.1]:${port} ${impostor}\n`)
  })

  const trusting: Readonly<Record<string, readonly string[]>> = {
    'StrictHostKeyChecking no': ['StrictHostKeyChecking no'],
    'StrictHostKeyChecking no where a command is run': ['Match exec true', 'StrictHostKeyChecking no'],
    'StrictHostKeyChecking accept-new': ['StrictHostKeyChecking accept-new'],
    'NoHostAuthenticationForLocalhost yes': ['NoHostAuthenticationForLocalhost yes'],
  }
  for (const [title, lines] of Object.entries(trusting))
    test(`with ${title}`, async () => {
      assertFails(await at.run('node', 'echo in', { config: at.host('node', ...lines) }), 'host-key-refused')
    })

  test('with an unknown name, whatever StrictHostKeyChecking says', async () => {
    for (const lax of ['no', 'accept-new']) {
      const config = at.host('node', 'HostKeyAlias nobody', `StrictHostKeyChecking ${lax}`)
      assertFails(await at.run('node', 'echo in', { config }), 'host-key-refused')
    }
    const options = { HostKeyAlias: 'nobody', StrictHostKeyChecking: 'no' }
    assertFails(await at.run('node', 'echo in', { config: at.host('node'), options }), 'host-key-refused')
  })

  test('with a KnownHostsCommand that confirms every key', async () => {
    const config = at.host('node', 'HostKeyAlias nobody', 'KnownHostsCommand /bin/echo nobody %t %K')
    assertFails(await at.run('node', 'echo in', { config }), 'host-key-refused')
  })
})

test('nothing is learnt of a node that is known: known_hosts stays as it is', { skip }, async () => {
  const node = at.lab.node('node')
  const known = `[127.0.0.1]:${node.port} ${await node.hostKey()}\n`
  writeFileSync(at.lab.knownHosts, known)
  execFileSync('ssh-keygen', ['-q', '-t', 'ecdsa', '-N', '', '-f', join(at.folder, 'second_key')])
  await node.restart({ config: [`HostKey ${join(at.folder, 'second_key')}`] })
  const config = at.host('node', 'UpdateHostKeys yes')
  assert.equal(await at.run('node', 'echo in', { config }), 'in\n')
  assert.equal(readFileSync(at.lab.knownHosts, 'utf8'), known)
})
