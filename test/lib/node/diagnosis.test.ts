import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { openSshLab, type SshLab } from '../../support/labs.ts'
import { needs } from '../../support/programs.ts'

const skip = needs('sshd', 'ssh', 'scp', 'ssh-keygen')

async function failureOf(result: Promise<unknown>): Promise<Failure> {
  const found = await result
  assert.ok(found instanceof Failure, `it went well: ${found}`)
  return found
}

let at: SshLab
before(async () => {
  if (!skip) at = await openSshLab({ name: 'node', sftp: false }, { name: 'hop' })
})
after(() => at?.[Symbol.asyncDispose]())

// Which words are ssh's: ssh-failure.test.ts.
test('what a program on a node prints is not what ssh says', { skip }, async () => {
  const command = `echo 'read tcp: Connection reset by peer' >&2; exit 1`
  const { code, message } = await failureOf(at.run('node', command, { config: at.host('node') }))
  assert.deepEqual([code, message], ['other', 'node: read tcp: Connection reset by peer'])
})

describe('advice is typed as it is, in any folder, and works', { skip }, () => {
  for (const [title, lines] of Object.entries({
    'of a name that ssh_config alone knows': [],
    'of a HostKeyAlias': ['HostKeyAlias the.node'],
  }))
    test(title, async () => {
      writeFileSync(at.lab.knownHosts, '')
      const use = { config: at.host('node', ...lines) }
      const unknown = await failureOf(at.run('node', 'echo in', use))
      assert.match(unknown.message, /host key is known/)
      type(lineOf(unknown, 'StrictHostKeyChecking=ask'))
      assert.equal(await at.run('node', 'echo in', use), 'in\n')

      await at.lab.node('node').rotateHostKey()
      const changed = await failureOf(at.run('node', 'echo in', use))
      assert.match(changed.message, /has changed/)
      type(lineOf(changed, 'ssh-keygen -R'))
      assert.match((await failureOf(at.run('node', 'echo in', use))).message, /host key is known/)
    })
})

function lineOf({ remedy = '' }: Failure, word: string): string {
  const line = remedy.split('\n').find((each) => each.includes(word))
  assert.ok(line, remedy)
  return line
}

/** As somebody would who answers yes to what ssh asks. Throws where it ends with another status than 0. */
function type(command: string): void {
  const folder = mkdtempSync(join(tmpdir(), 'harderway-test-'))
  try {
    writeFileSync(join(folder, 'yes'), '#!/bin/sh\necho yes\n', { mode: 0o755 })
    const env = { ...process.env, SSH_ASKPASS: join(folder, 'yes'), SSH_ASKPASS_REQUIRE: 'force' }
    execFileSync('sh', ['-c', command], { cwd: folder, env, stdio: 'pipe' })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
