import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { openSshLab, type SshLab } from '../../support/labs.ts'
import { needs } from '../../support/programs.ts'

const skip = needs('sshd', 'ssh', 'ssh-keygen')

function assertRefused(result: string | Failure): void {
  assert.ok(result instanceof Failure, `a connection was made: ${result}`)
  assert.equal(result.code, 'host-key-refused', result.message)
}

let at: SshLab
before(async () => {
  if (!skip) at = await openSshLab({ name: 'node' }, { name: 'hop' }, { name: 'first' })
})
after(() => at?.[Symbol.asyncDispose]())

describe('a node behind a jump host', { skip }, () => {
  test('is reached by the jump hosts of the configuration', async () => {
    const [hop, first] = [at.host('hop'), at.host('first')]
    const use = { config: at.host('node', 'ProxyJump first,hop') + hop + first }
    assert.equal(await at.run('node', 'echo in', use), 'in\n')
  })

  test('is checked, whatever is said of the jump host and of it', async () => {
    await at.lab.node('node').rotateHostKey()
    const lax = 'StrictHostKeyChecking no'
    const config = at.host('node', 'ProxyJump hop', lax) + at.host('hop', lax)
    assertRefused(await at.run('node', 'echo in', { config }))
  })
})

describe('an impostor with another host key is given nothing', { skip }, () => {
  before(async () => {
    const impostor = await at.lab.node('hop').hostKey()
    const port = at.lab.node('node').port
    // known_hosts has another machine's key for the node.
    writeFileSync(at.lab.knownHosts, `[127.0.0.1]:${port} ${impostor}\n`)
  })

  for (const line of [
    'StrictHostKeyChecking no',
    'StrictHostKeyChecking accept-new',
    'NoHostAuthenticationForLocalhost yes',
  ])
    test(`with ${line}`, async () => {
      assertRefused(await at.run('node', 'echo in', { config: at.host('node', line) }))
    })

  test('with an unknown name, whatever StrictHostKeyChecking says', async () => {
    for (const lax of ['no', 'accept-new']) {
      const config = at.host('node', 'HostKeyAlias nobody', `StrictHostKeyChecking ${lax}`)
      assertRefused(await at.run('node', 'echo in', { config }))
    }
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
