/**
 * An aggregated API on real components: asked before and after its CA is replaced at once; and who may speak for others.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import type { Machines } from '../lab/machines/machines.ts'
import { realBinaries } from '../lab/machines/shared.ts'
import type { Edit } from '../support/harderway.ts'
import {
  assertNothingLeft,
  everywhere,
  mustRun,
  namedBy,
  readStarts,
  running,
  setFlags,
  shutdownDelay,
  skip,
  startedSince,
  startRunning,
  statusOf,
} from '../support/running.ts'

const controls = ['control0', 'control1', 'control2']
const isOfApi = (started: string) => started.endsWith(' kube-apiserver')
/** This computer, as the machines see it. */
const [own, port] = ['192.168.1.1', 4443]
const edits: Edit[] = [
  [['aggregation'], true],
  [['users'], [{ name: 'jane' }]],
]
const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'probe' } }
const objects = [
  { ...service, spec: { type: 'ExternalName', externalName: own, ports: [{ port, protocol: 'TCP' }] } },
  {
    apiVersion: 'apiregistration.k8s.io/v1',
    kind: 'APIService',
    metadata: { name: 'v1.probe.test' },
    spec: {
      ...{ group: 'probe.test', version: 'v1', groupPriorityMinimum: 1000, versionPriority: 1 },
      ...{ insecureSkipTLSVerify: true, service: { name: 'probe', namespace: 'default', port } },
    },
  },
]

describe('an aggregated API', { skip: skip || (!realBinaries && 'the stand-in proxies to no API') }, () => {
  let lab: Machines
  before(async () => {
    lab = await startRunning(shutdownDelay)
    lab.write(...running({}, ...edits))
  })
  after(() => lab?.stop())

  test('comes with flags that are set by the printed commands, and a run that restarts each API server, drained', async () => {
    const starts = await readStarts(lab)
    await setFlags(lab, await mustRun(lab, 4, 'bootstrap'), controls)
    await mustRun(lab, 0, 'bootstrap')
    // On a busy computer a leader may lose its lease while its API server is away.
    const started = await startedSince(lab, starts)
    assert.deepEqual(started.filter(isOfApi), everywhere('kube-apiserver'))
    for (const each of objects) await lab.exec(`echo '${JSON.stringify(each)}' | kubectl create -f -`)
  })

  test('is told who asks by a client that it believes, again within a minute after its CA was replaced', async () => {
    const script = join(import.meta.dirname, '../lab/machines/aggregated.ts')
    const apis = controls.map((name) => `https://${lab.machine(name).ip}:6443`)
    const [first = '', ...args] = [...lab.within, process.execPath, script, own, String(port), ...apis]
    const child = spawn(first, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    const lines = createInterface({ input: child.stdout })
    const closed = once(child, 'close')
    let replaced = ''
    try {
      assert.deepEqual(await Promise.race([once(lines, 'line'), closed]), ['ready'])
      const starts = await readStarts(lab)
      await lab.exec('mkdir old; cp auth/*.pem old')
      await mustRun(lab, 0, 'ca/front-proxy-ca', '--force', '--yes')
      await mustRun(lab, 0, 'bootstrap')
      await wait(60_000)
      replaced = new Date().toISOString()
      await wait(10_000)
      assert.deepEqual((await startedSince(lab, starts)).filter(isOfApi), [])
    } finally {
      child.stdin.end()
    }
    const [text] = await once(lines, 'line')
    await closed
    const { count, failures, named } = JSON.parse(text)
    const late = failures.filter((failure: string) => failure > replaced)
    assert.deepEqual([late, named], [[], ['jane of system:authenticated']])
    assert.ok(count > 100, String(count))
  })

  test('the front proxy is believed, and nobody else; the old one is no longer', async () => {
    for (const name of controls) {
      for (const who of ['admin', 'jane', 'worker0', 'kubernetes'])
        assert.notEqual(await namedBy(lab, name, who), 'somebody', who)
      assert.equal(await namedBy(lab, name, 'front-proxy-client'), 'somebody')
      const url = `https://${lab.machine(name).ip}:6443/readyz`
      assert.equal(await statusOf(lab, `-H 'X-Remote-User: somebody' ${url}`, 'old/front-proxy-client'), '401')
    }
    await mustRun(lab, 0, 'verify')
    await mustRun(lab, 0, 'bootstrap', '--dry-run')
    await assertNothingLeft(lab)
  })
})
