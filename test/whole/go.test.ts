/** Go's parser of certificates, in kubectl and etcd, reads those that are made here: each is taken for what it is. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { certificateIn } from '../support/certificates.ts'
import { madePlace } from '../support/harderway.ts'
import { kubectl, needs, startServer } from '../support/programs.ts'

for (const kind of ['rsa-2048', 'ecdsa-p256'])
  describe(`with certificates of ${kind}`, { skip: needs('kubectl', 'openssl') }, () => {
    const place = madePlace([[['certificates', 'key'], kind]], 'certs', 'kubeconfigs')
    const auth = join(place, 'auth')

    for (const name of ['kubernetes', 'worker0'])
      test(`kubectl believes ${name} by each of its names, and by no other`, async () => {
        const pair = ['-cert', join(auth, `${name}.pem`), '-key', join(auth, `${name}-key.pem`)]
        const args = ['s_server', '-accept', '127.0.0.1:0', ...pair, '-www']
        await using server = await startServer('openssl', args, /^ACCEPT 127\.0\.0\.1:(\d+)$/m)
        const dial = (as: string) => {
          const at = [`--server=https://127.0.0.1:${server.ready[1]}`, `--tls-server-name=${as}`]
          kubectl(join(place, 'home'), ['get', '--raw=/', `--kubeconfig=${join(auth, 'admin.kubeconfig')}`, ...at])
        }
        const { sans } = certificateIn(auth, name)
        assert.ok(sans.length > 1)
        for (const each of sans) dial(each)
        assert.throws(() => dial('elsewhere.invalid'), /certificate is valid for/)
        assert.throws(() => dial('192.0.2.1'), /certificate is valid for/)
      })
  })
