import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { sshFailure } from '../../../lib/node/connection.ts'

function failed(said: string, more: Partial<Parameters<typeof sshFailure>[0]> = {}) {
  const typed = (options: readonly string[]) => ['ssh', ...options, 'ubuntu@worker0.lan', 'true'].join(' ')
  return sshFailure({ node: 'worker0', folder: '/home/me', typed, said, ...more })
}

const saidBySsh: Readonly<Record<string, readonly string[]>> = {
  'host-key-refused': [
    'Host key for worker0.lan has changed and you have requested strict checking.\nHost key verification failed.\r\n',
    'No ED25519 host key is known for worker0.lan and you have requested strict checking.\r\nHost key verification failed.\r\n',
    'Host key verification failed.\r\nscp: Connection closed\r\n',
  ],
  'login-refused': [
    'ubuntu@worker0.lan: Permission denied (publickey).\r\nscp: Connection closed\r\n',
    'Received disconnect from 192.168.1.14 port 22:2: Too many authentication failures\r\nDisconnected from 192.168.1.14 port 22\r\n',
    'Load key "/home/me/.ssh/id_ed25519": incorrect passphrase supplied to decrypt private key\r\n',
  ],
  unreachable: [
    'ssh: Could not resolve hostname worker0.lan: Temporary failure in name resolution\r\nscp: Connection closed\r\n',
    'ssh: connect to host worker0.lan port 22: Connection refused\r\n',
    'ssh: connect to host worker0.lan port 22: Operation timed out\r\n',
    'ssh: connect to host worker0.lan port 22: No route to host\r\n',
    'Connection timed out during banner exchange\r\nConnection to 192.168.1.14 port 22 timed out\r\n',
    'Timeout, server worker0.lan not responding.\r\n',
  ],
  'connection-lost': [
    'kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 192.168.1.14 port 22\r\n',
    'Connection to worker0.lan closed by remote host.\r\n',
    'client_loop: send disconnect: Broken pipe\r\n',
    '',
  ],
  other: ['Warning: something\r\nBad owner or permissions on /home/me/.ssh/config\r\n'],
}

for (const [cause, all] of Object.entries(saidBySsh))
  describe(`${cause} is recognised`, () => {
    for (const said of all)
      test(JSON.stringify(said.slice(0, 90)), () => {
        const { code, kind, message, remedy } = failed(said)
        assert.equal(code, cause)
        assert.equal(kind, 'failed')
        assert.match(message, /^worker0: [^\r\n]+$/)
        assert.ok(remedy)
      })
  })

test('what has one way out for every node is equal for each, so that it is reported once', () => {
  const wordsOf = (said: string, node: string) => {
    const { what, remedy } = failed(said.replaceAll('worker0', node), { node })
    return [what, remedy]
  }
  for (const said of ['login-refused', 'unreachable'].flatMap((cause) => saidBySsh[cause] ?? assert.fail(cause)))
    assert.deepEqual(wordsOf(said, 'worker1'), wordsOf(said, 'worker0'))
})
