/** `revoked` on three API servers: who is listed is refused by each, without a restart, and is let in only by name. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import { realBinaries } from '../lab/machines/shared.ts'
import { type Edit, messageOf, type Ran } from '../support/harderway.ts'
import { eventually } from '../support/programs.ts'
import {
  mustRun,
  readStarts,
  running,
  setFlags,
  shutdownDelay,
  skip,
  startedSince,
  startRunning,
  statusOf,
  unnoticed,
} from '../support/running.ts'

const controls = ['control0', 'control1', 'control2']
const config = '/var/lib/kubernetes/authorization-config.yaml'
const workers = ['worker0', 'worker1']
const users = ['jane', 'bob']

const { KUBE_BIN_DIR } = process.env
const version = KUBE_BIN_DIR && execFileSync(join(KUBE_BIN_DIR, 'kube-apiserver'), ['--version'], { encoding: 'utf8' })
const isOld = Number(/v1\.(\d+)/.exec(version || '')?.[1] ?? 32) < 32

test('before Kubernetes 1.32 revoked is refused, nothing restarts, and it is taken out again as the refusal says', {
  skip: skip || (!isOld && 'KUBE_BIN_DIR names no older version'),
}, async () => {
  const lab = await startRunning()
  try {
    lab.write(...running())
    await mustRun(lab, 0, 'bootstrap')
    const starts = await readStarts(lab)
    lab.write(...running({}, [['revoked'], ['eve']]))
    const ran = await mustRun(lab, 3, 'bootstrap', '--json')
    for (const name of controls) assert.match(ran.stdout, new RegExp(`${name}.*needs Kubernetes 1.32 or later`))
    lab.write(...running())
    await mustRun(lab, 0, 'bootstrap')
    assert.deepEqual(await startedSince(lab, starts), [])
  } finally {
    await lab.stop()
  }
})

describe('who is revoked', { skip: skip || (isOld && 'KUBE_BIN_DIR names an older version') }, () => {
  let lab: Machines
  /** With the etcd of the guide, which shares its CA, each run ends with 4. */
  const must = (...args: string[]) => mustRun(lab, 4, ...args, '--json')
  const write = (users: readonly string[], revoked: readonly string[] | undefined, workers = ['worker0']) => {
    const nodes = lab.all.filter(({ name, role }) => role !== 'worker' || workers.includes(name))
    const edits: Edit[] = [
      [['nodes'], nodes.map(({ name, role, ip }) => ({ name, role, ip }))],
      [['users'], users.map((name) => ({ name }))],
      [['revoked'], revoked],
    ]
    lab.write(...running({}, ...edits))
  }
  /** What each API server answers to a pair. */
  const answersOf = (pair: string) =>
    Promise.all(controls.map((each) => statusOf(lab, `https://${lab.machine(each).ip}:6443/healthz`, pair)))
  const kubelet = (path: string) => statusOf(lab, `https://${lab.machine('worker0').ip}:10250${path}`, 'first/eve')
  const all = (status: number) => controls.map(() => String(status))
  const starts = () => readStarts(lab)
  const enforcedIn = ({ events }: Ran) =>
    events.flatMap(({ id, note }) => (String(id).startsWith('revoked/') ? [note] : []))

  before(async () => {
    lab = await startRunning(shutdownDelay)
    write([...users, 'eve', 'max'], undefined, workers)
    await mustRun(lab, 0, 'bootstrap')
    await lab.exec('cp -r auth first')
    for (const name of ['eve', 'max']) assert.deepEqual(await answersOf(`first/${name}`), all(200), name)
    // The stand-ins play no RBAC.
    if (!realBinaries) return
    await lab.exec('kubectl create clusterrolebinding eve --clusterrole=cluster-admin --user=eve')
    await eventually(async () => assert.equal(await kubelet('/pods'), '200'))
  })
  after(() => lab?.stop())

  test('its files come first, then the flags that each API server needs; until then nothing is in force, and that is said', async () => {
    write(users, ['eve', 'max'], workers)
    const at = await starts()
    const planned = await must('bootstrap', '--dry-run')
    assert.doesNotMatch(planned.stdout, /kube-apiserver needs/)
    const ran = await must('bootstrap')
    assert.deepEqual(await startedSince(lab, at), [])
    await setFlags(lab, ran, controls)
    const status = await must('status', '--on-nodes')
    assert.deepEqual(enforcedIn(status), Array(3).fill('0 of 2 revoked entries enforced'))
  })

  test('each API server is restarted once, and refuses them on every path; everybody else is let in as before', async () => {
    const at = await starts()
    await unnoticed(lab, async () => void (await must('bootstrap')))
    assert.deepEqual(
      await startedSince(lab, at),
      controls.map((name) => `${name} kube-apiserver`),
    )
    for (const name of ['eve', 'max']) assert.deepEqual(await answersOf(`first/${name}`), all(500), name)
    for (const name of ['admin', 'worker0', 'kube-scheduler'])
      assert.deepEqual(await answersOf(`auth/${name}`), all(200), name)
    // Not what it was asked before: a kubelet remembers a decision.
    if (realBinaries) assert.equal(await kubelet('/metrics'), '403')
    const status = await must('status', '--on-nodes')
    assert.deepEqual(enforcedIn(status), Array(3).fill('2 of 2 revoked entries enforced'))
    assert.ok(!status.events.some(({ type }) => type === 'stale'))
    await mustRun(lab, 0, 'report', '--format', 'prometheus', '--on-nodes')
    assert.match(await lab.exec('cat auth/report.prom'), /^harderway_revoked_in_force\{.*"control2"\} 2$/m)
  })

  test('a change of the list restarts nothing, and five hundred are refused like two', async () => {
    const at = await starts()
    const many = Array.from({ length: 500 }, (_, i) => `gone-${i}`)
    await unnoticed(lab, async () => {
      write(users, ['eve', 'max', ...many], workers)
      await must('bootstrap')
    })
    assert.deepEqual(await answersOf('first/eve'), all(500))
    const status = await must('status', '--on-nodes')
    assert.deepEqual(enforcedIn(status), Array(3).fill('502 of 502 revoked entries enforced'))
    write(users, [], workers)
    await mustRun(lab, 0, 'revoked', 'install')
    await eventually(async () => assert.deepEqual(await answersOf('first/max'), all(200)))
    assert.deepEqual(await startedSince(lab, at), [])
  })

  test('a file that is broken or removed on a node is said, and repaired; the old list stays in force meanwhile', async () => {
    write([], ['jane', 'worker1'])
    await must('bootstrap')
    const at = await starts()
    for (const harm of [`echo x >${config}`, `rm ${config}`]) {
      await lab.machine('control1').exec(harm)
      assert.deepEqual(await answersOf('first/jane'), all(500))
      const planned = await must('install', '--dry-run')
      assert.match(String(messageOf(planned, 'revoked/control1')), /authorization-config\.yaml/)
      await must('install')
      assert.equal(
        await lab.machine('control1').exec(`sha256sum <${config}`),
        await lab.machine('control0').exec(`sha256sum <${config}`),
      )
    }
    assert.deepEqual(await startedSince(lab, at), [])
    assert.deepEqual(await answersOf('first/jane'), all(500))
  })

  test('a stolen laptop and a stolen worker: their owners go on under new names, and no request of anybody else fails', async () => {
    write(['jane'], ['worker1'])
    await mustRun(lab, 3, 'bootstrap')
    write([], ['jane', 'worker1'])
    const at = await starts()
    await unnoticed(lab, async () => {
      write(['jane-2'], ['jane', 'worker1'])
      for (const _ of ['who is revoked', 'nothing more']) await must('bootstrap')
      for (const name of ['jane', 'worker1']) assert.deepEqual(await answersOf(`first/${name}`), all(500), name)
      assert.deepEqual(await answersOf('auth/jane-2'), all(200))
    })
    assert.deepEqual(await startedSince(lab, at), [])
  })
})
