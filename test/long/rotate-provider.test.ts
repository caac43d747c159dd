/**
 * The provider of the encryption key is changed on a live cluster, with and without automatic reload: nothing that is
 * asked fails.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { allWell } from '../lab/machines/components.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { realBinaries } from '../lab/machines/shared.ts'
import type { Edit } from '../support/harderway.ts'
import {
  assertAsked,
  assertNothingLeft,
  getObject,
  mustRun,
  probe,
  readStarts,
  running,
  shutdownDelay,
  skip,
  startedSince,
  startRunning,
  toldOf,
} from '../support/running.ts'

const flag = '--encryption-provider-config-automatic-reload=true'
const provider = (name: string): Edit => [['encryption', 'provider'], name]

describe('another provider of the encryption key', { skip }, () => {
  let lab: Machines
  const ip = (name: string) => lab.machine(name).ip
  /** How many Secrets in etcd begin with which prefix. */
  const prefixes = async () => {
    const etcd = `--endpoints=https://${ip('control0')}:2379 --cacert=auth/ca.pem --cert=auth/kubernetes.pem --key=auth/kubernetes-key.pem`
    const lines = await lab.exec(
      `etcdctl ${etcd} get --prefix /registry/secrets/ --print-value-only | grep -ao '^k8s:enc:[a-z]*:v1:[a-z0-9]*' | sort | uniq -c`,
    )
    return Object.fromEntries(
      lines
        .split('\n')
        .filter(Boolean)
        .map((line) => line.trim().split(' ').reverse()),
    )
  }
  /** While a client reads and writes all the time. */
  const unnoticed = async (work: () => Promise<void>) => {
    await using probing = probe(lab)
    await work()
    const { counts, failures, cut } = await probing.end()
    assert.deepEqual([failures, cut], [[], 0])
    assertAsked(counts)
  }
  const assertReadEverywhere = async () => {
    for (const name of ['control0', 'control1', 'control2']) {
      const { data } = await getObject(lab, name, '/api/v1/namespaces/default/secrets/s7')
      assert.equal(Buffer.from(data.a, 'base64').toString(), 's7', name)
    }
  }
  const onControls = async (command: string) => {
    for (const machine of lab.of('control')) await machine.exec(command)
  }

  before(async () => {
    lab = await startRunning(shutdownDelay)
    const items = Array.from({ length: 60 }, (_, i) => {
      const name = `s${i + 1}`
      return { apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData: { a: name } }
    })
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
    await lab.exec(`echo '${list}' | kubectl create --validate=false -f -`)
  })
  after(() => lab?.stop())

  test('with automatic reload no process is started again, from the first stage to --finish', async (t) => {
    const service = '/etc/systemd/system/kube-apiserver.service'
    const environment = realBinaries
      ? ''
      : `sed -i 's/^\\[Service\\]/&\\nEnvironment=STAND_IN_ENCRYPTION_POLL=2000/' ${service};`
    await onControls(
      `${environment} sed -i 's/--shutdown-delay-duration/${flag} &/' ${service}; systemctl daemon-reload`,
    )
    for (const machine of lab.of('control')) {
      await machine.exec('systemctl restart kube-apiserver')
      await allWell(lab)
    }
    const current = readFileSync(join(lab.place, 'auth/encryption-config.yaml'), 'utf8')
    const next = current.includes('secretbox') ? 'aesgcm' : 'secretbox'
    lab.write(...running({}, provider(next)))
    const ids = () =>
      Promise.all(lab.of('control').map((machine) => machine.exec('systemctl show -p MainPID kube-apiserver')))
    const [before, starts] = [await ids(), await readStarts(lab)]
    const begun = Date.now()
    await unnoticed(async () => {
      const plan = toldOf(await mustRun(lab, 4, 'rotate', 'encryption-key', '--dry-run'))
      assert.doesNotMatch(plan, /restarts on/)
      await mustRun(lab, 0, 'rotate', 'encryption-key')
      await mustRun(lab, 0, 'rotate', 'encryption-key', '--finish')
    })
    t.diagnostic(`${(Date.now() - begun) / 1000} s`)
    assert.deepEqual(await ids(), before)
    assert.deepEqual(await startedSince(lab, starts), [])
    const found = Object.keys(await prefixes())
    assert.equal(found.length, 1)
    assert.match(String(found[0]), new RegExp(`^k8s:enc:${next}:v1:`))
    await assertReadEverywhere()
    await mustRun(lab, 0, 'bootstrap', '--dry-run')
    await assertNothingLeft(lab)
  })
})
