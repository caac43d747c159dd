/**
 * `revoked` on three API servers: who is listed is refused by each, without a restart, and is let in again only by
 * name. Who still uses an old certificate: test/long/counts.test.ts.
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import { realBinaries } from '../lab/machines/shared.ts'
import { inOtherBytes } from '../support/certificates.ts'
import { type Edit, messageOf } from '../support/harderway.ts'
import { eventually } from '../support/programs.ts'
import { revocations } from '../support/recipe.ts'
import {
  fingerprint,
  mustRun,
  readStarts,
  running,
  setFlags,
  shutdownDelay,
  skip,
  startedSince,
  startRunning,
  statusOf,
  toldOf,
  unnoticed,
} from '../support/running.ts'

const controls = ['control0', 'control1', 'control2']
const config = '/var/lib/kubernetes/authorization-config.yaml'
const workers = ['worker0', 'worker1']
const users = ['jane', 'bob']

describe('who is revoked', { skip }, () => {
  let lab: Machines
  /** Entries of keys, as openssl prints them. */
  const keys: string[] = []
  /** With the etcd of the guide, which shares its CA, each run ends with 4. */
  const must = (...args: string[]) => mustRun(lab, 4, ...args, '--json')
  const write = (
    users: readonly string[],
    revoked: readonly string[] | undefined,
    workers = ['worker0'],
    sans: readonly string[] = [],
  ) => {
    const nodes = lab.all.filter(({ name, role }) => role !== 'worker' || workers.includes(name))
    const edits: Edit[] = [
      [['nodes'], nodes.map(({ name, role, ip }) => ({ name, role, ip, ...(name === 'worker0' && { sans }) }))],
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
  const keep = (name: string, as: string) =>
    lab.exec(`mkdir -p old; cp auth/${name}.pem old/${as}.pem; cp auth/${name}-key.pem old/${as}-key.pem`)

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
    const node = status.events.find(({ type, node }) => type === 'node' && node === 'control1')
    assert.deepEqual([node?.state, node?.loaded, node?.revokedInForce], ['stale', false, 0])
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
    for (const { node, state, revokedInForce } of status.events.filter(({ type }) => type === 'node'))
      assert.deepEqual(
        [state, revokedInForce],
        ['fresh', controls.includes(String(node)) ? 2 : undefined],
        String(node),
      )
    await mustRun(lab, 0, 'report', '--format', 'prometheus', '--on-nodes')
    assert.match(await lab.exec('cat auth/report.prom'), /^harderway_revoked_in_force\{.*"control2"\} 2$/m)
  })

  test('a change of the list restarts nothing, and a thousand are refused like two; nobody is let in again unless the list is named', async () => {
    const at = await starts()
    const many = Array.from({ length: 1000 }, (_, i) => `gone-${i}`)
    await unnoticed(lab, async () => {
      write(users, ['eve', 'max', ...many], workers)
      await must('bootstrap')
    })
    assert.deepEqual(await answersOf('first/eve'), all(500))
    const status = await must('status', '--on-nodes')
    const told = status.events.filter(({ type, node }) => type === 'node' && controls.includes(String(node)))
    assert.deepEqual(
      told.map(({ revokedInForce }) => revokedInForce),
      [1002, 1002, 1002],
    )
    write(users, ['eve', ...many], workers)
    assert.match(toldOf(await mustRun(lab, 3, 'bootstrap')), /max would regain access/)
    assert.deepEqual(await answersOf('first/max'), all(500))
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
      assert.match(String(messageOf(planned, 'install/control1')), /authorization-config\.yaml/)
      await must('install')
      assert.equal(
        await lab.machine('control1').exec(`sha256sum <${config}`),
        await lab.machine('control0').exec(`sha256sum <${config}`),
      )
    }
    assert.deepEqual(await startedSince(lab, at), [])
    assert.deepEqual(await answersOf('first/jane'), all(500))
  })

  test('a key: its owner goes on with a new one, and every certificate over the old one is refused; no request fails', async () => {
    const old = { worker0: await fingerprint(lab, 'worker0'), 'kube-proxy': await fingerprint(lab, 'kube-proxy') }
    await keep('worker0', 'worker0')
    await keep('kube-proxy', 'kube-proxy')
    // Another certificate over the same key.
    write([], ['jane', 'worker1'], ['worker0'], ['worker0.example.org'])
    await must('bootstrap')
    await keep('worker0', 'worker0-newer')
    assert.deepEqual(await lab.exec('cat old/worker0-key.pem'), await lab.exec('cat old/worker0-newer-key.pem'))
    for (const [entry, restarted, refused, good] of [
      ['worker0', ['worker0 kubelet'], ['worker0', 'worker0-newer'], 'worker0'],
      ['kube-proxy', [...controls, 'worker0'].map((name) => `${name} kube-proxy`), ['kube-proxy'], 'kube-proxy'],
    ] as const) {
      const at = await starts()
      keys.push(old[entry].trim())
      write([], ['jane', 'worker1', ...keys], ['worker0'], ['worker0.example.org'])
      const planned = await must('bootstrap', '--dry-run')
      const listing = planned.events.find(({ id, type }) => id === 'revoked-keys' && type === 'stale')
      assert.match(JSON.stringify(listing?.reasons), /"added":\["sha256:/)
      // The same certificate in other bytes is let in, until the key is revoked.
      writeFileSync(join(lab.place, 'old/other.pem'), inOtherBytes(await lab.exec(`cat old/${entry}.pem`)))
      await lab.exec(`cp old/${entry}-key.pem old/other-key.pem`)
      assert.deepEqual(await answersOf('old/other'), all(200))
      await unnoticed(lab, async () => void (await must('bootstrap')))
      assert.deepEqual(await startedSince(lab, at), restarted)
      for (const name of [...refused, 'other']) assert.deepEqual(await answersOf(`old/${name}`), all(500), name)
      assert.deepEqual(await answersOf(`auth/${good}`), all(200), good)
    }
    const at = await starts()
    await must('bootstrap')
    assert.deepEqual(await startedSince(lab, at), [])
    const status = await must('status', '--on-nodes')
    const node = status.events.find(({ type, node }) => type === 'node' && node === 'control1')
    assert.deepEqual([node?.state, node?.revokedInForce], ['fresh', 4])
    assert.deepEqual(await answersOf('first/worker1'), all(500))
  })

  /** The commands of docs/bad-day.md: what openssl prints goes into the list as it is. */
  const typed = async (leak: string, list: (entries: readonly string[]) => void) => {
    const commands = revocations.get(leak) ?? []
    assert.equal(commands.at(-1), 'harderway bootstrap')
    const printed: string[] = []
    for (const command of commands.slice(0, -1)) printed.push((await lab.exec(command)).trim())
    list(printed)
    await must('bootstrap')
  }
  /** Of all lines that are printed: each has the list, and whom the line is about. */
  const entriesIn = (told: string) => {
    const lines = Array.from(told.matchAll(/write revoked: \[([^\]]*)\]/g), ([, line = '']) => line.split(', '))
    assert.ok(lines.length > 0, told)
    return [...new Set(lines.flat())]
  }

  test('a stolen laptop, typed from the page: its owner comes back with a new key, and again with another', async () => {
    write(['jane'], ['jane', 'worker1', ...keys], ['worker0'], ['worker0.example.org'])
    let entries = entriesIn(toldOf(await mustRun(lab, 2, 'bootstrap')))
    const list = (more: readonly string[]) => {
      entries = [...entries, ...more]
      write(['jane'], entries, ['worker0'], ['worker0.example.org'])
    }
    list([])
    await must('bootstrap')
    assert.deepEqual(await answersOf('first/jane'), all(500))
    assert.deepEqual(await answersOf('auth/jane'), all(200))
    await keep('jane', 'laptop')
    await typed("A user's key or kubeconfig", list)
    for (const stolen of ['old/laptop', 'first/jane']) assert.deepEqual(await answersOf(stolen), all(500))
    assert.deepEqual(await answersOf('auth/jane'), all(200))
    keys.splice(0, keys.length, ...entries.filter((entry) => entry !== 'worker1'))
  })

  test('a stolen worker, typed from the page: its keys are refused while the others go on, and it comes back under its name', async () => {
    await keep('worker0', 'stolen')
    await keep('kube-proxy', 'stolen-proxy')
    await typed('A worker, or its key', (entries) => {
      keys.push(...entries)
      write(['jane'], ['worker1', ...keys], [])
    })
    const refused = async () => {
      for (const stolen of ['old/stolen', 'old/stolen-proxy']) assert.deepEqual(await answersOf(stolen), all(500))
      assert.deepEqual(await answersOf('auth/kube-proxy'), all(200))
    }
    await refused()
    write(['jane'], ['worker1', ...keys], ['worker0'])
    await must('bootstrap')
    await refused()
    assert.deepEqual(await answersOf('auth/worker0'), all(200))
  })
})
