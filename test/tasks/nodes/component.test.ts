import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseLoadedConfig } from '../../../tasks/nodes/component.ts'

const name = 'apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds'
const id = 'apiserver_id_hash="sha256:4b86cfa719a83dd63a4dc6a9831edb2b59240d0f59cf215b2d51aacb3f5c395e"'

test('the last reload of an encryption config that succeeded is read from the metrics of an API server', () => {
  const rows: [string, number | undefined][] = [
    // Kubernetes 1.29 and later; the version before; none since the start; a failure is no reload.
    [`${name}{${id},status="success"} 1.7002567356895502e+09`, 1700256735.6895502],
    [`${name}{status="success"} 1.7002567e+09`, 1700256700],
    [`${name}{${id},status="failure"} 1.7002567e+09`, undefined],
    ['', undefined],
    // Of another controller, of a comment, and what is no time.
    [`${name.replace('encryption', 'authorization')}{status="success"} 1.7e+09`, undefined],
    [`# ${name}{status="success"} 1.7e+09`, undefined],
    [`${name}{status="success"} NaN`, undefined],
    [`${name}{status="success"} +Inf`, undefined],
  ]
  for (const [row, time] of rows) assert.equal(parseLoadedConfig(`# HELP x\n${row}\ny 1\n`).reloaded, time, row)
})

test('the digest of the encryption config that it has loaded is read, unless there are two', () => {
  const info = 'apiserver_encryption_config_controller_last_config_info'
  const [one, other] = ['a', 'b'].map((letter) => letter.repeat(64))
  const row = (hash: string | undefined) => `${info}{${id},hash="sha256:${hash}"} 1\n`
  assert.equal(parseLoadedConfig(row(one)).digest, one)
  assert.equal(parseLoadedConfig(row(one).repeat(2)).digest, one)
  for (const none of ['', row(one) + row(other), row('x'), `${info}{${id}} 1\n`, row(one).replace(info, `x${info}`)])
    assert.equal(parseLoadedConfig(none).digest, undefined, none)
})
