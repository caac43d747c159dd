/**
 * `revoked` on three API servers: who is listed is refused by each, without a restart, and is let in again only by
 * name.
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import { realBinaries } from '../lab/machines/shared.ts'
import { inOtherBytes } from '../support/certificates.ts'
import { type Edit, messageOf, type Ran } from '../support/harderway.ts'
import { eventually } from '../support/programs.ts'
import { revocations } from '../support/recipe.ts'
import {
  fingerprint,
  mustRun,
  probe,
  readStarts,
  running,
  setFlags,
  skip,
  startedSince,
  startRunning,
  statusOf,
  toldOf,
  unnoticed,
} from '../support/running.ts'

/** Who leaves: their first certificates are kept in a folder of the test's. */
const leavers = ['jane', 'bob', 'worker1']
const controls = ['control0', 'control1', 'control2']
const config = '/var/lib/kubernetes/authorization-config.yaml'

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
  const warningOf = ({ events }: Ran, id: string) =>
    String(events.find((event) => event.id === id && 'warning' in event)?.warning)
  /** What each API server answers them. */
  const answersOf = (pair: string) =>
    Promise.all(controls.map((each) => statusOf(lab, `https://${lab.machine(each).ip}:6443/healthz`, pair)))
  const answers = (name: string) => answersOf(`${leavers.includes(name) ? 'first' : 'auth'}/${name}`)
  const kubelet = (path: string) => statusOf(lab, `https://${lab.machine('worker0').ip}:10250${path}`, 'first/jane')
  const all = (status: number) => controls.map(() => String(status))
  const starts = () => readStarts(lab)
  const keep = (name: string, as: string) =>
    lab.exec(`mkdir -p old; cp auth/${name}.pem old/${as}.pem; cp auth/${name}-key.pem old/${as}-key.pem`)

  before(async () => {
    lab = await startRunning()
    write(['jane', 'bob'], undefined, ['worker0', 'worker1'])
    await mustRun(lab, 0, 'bootstrap')
    await lab.exec('cp -r auth first')
    for (const name of ['jane', 'worker1', 'bob']) assert.deepEqual(await answers(name), all(200), name)
    // The stand-ins play no RBAC.
    if (!realBinaries) return
    await lab.exec('kubectl create clusterrolebinding jane --clusterrole=cluster-admin --user=jane')
    await eventually(async () => assert.equal(await kubelet('/pods'), '200'))
  })
  after(() => lab?.stop())

  test('its files come first, then the flags that each API server needs; until then nothing is in force, and that is said', async () => {
    write(['bob'], ['jane', 'worker1'])
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
    for (const name of ['jane', 'worker1']) assert.deepEqual(await answers(name), all(500), name)
    for (const name of ['bob', 'admin', 'worker0', 'kube-scheduler'])
      assert.deepEqual(await answers(name), all(200), name)
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

  test('a change of the list restarts nothing; nobody is let in again unless the list is named', async () => {
    const at = await starts()
    write([], ['jane', 'worker1', 'bob'])
    await must('bootstrap')
    assert.deepEqual(await answers('bob'), all(500))
    write([], ['jane', 'worker1'])
    assert.match(toldOf(await mustRun(lab, 3, 'bootstrap')), /bob would regain access/)
    assert.deepEqual(await answers('bob'), all(500))
    await must('revoked', 'install')
    await eventually(async () => assert.deepEqual(await answers('bob'), all(200)))
    assert.deepEqual(await answers('jane'), all(500))
    assert.deepEqual(await startedSince(lab, at), [])
  })

  test('into a folder that others may change no list is installed, which is said with the command; closed, nobody can replace the list', async () => {
    const machine = lab.machine('control1')
    const asNobody = 'setpriv --reuid=nobody --regid=nogroup --clear-groups'
    await machine.exec('chmod 777 /var/lib/kubernetes')
    await unnoticed(lab, async () => {
      const named = (await must('status', '--on-nodes')).stdout
      assert.match(
        named,
        /may not be enforced by kube-apiserver, as users other than root can replace files below \/var\/lib\/kubernetes; run/,
      )
      write([], ['jane', 'worker1', 'bob'])
      const failed = await mustRun(lab, 1, 'bootstrap', '--json')
      assert.match(toldOf(failed), /so no list of the revoked is installed there/)
      assert.deepEqual([await answers('bob'), await answers('jane')], [['500', '200', '500'], all(500)])
      const [, typed = ''] = /run as root on the node: (chmod go-w [\w/]+)/.exec(named) ?? []
      await machine.exec(typed)
      await must('bootstrap')
    })
    assert.equal(await machine.exec(`${asNobody} mv ${config} ${config}.gone 2>/dev/null || echo kept`), 'kept\n')
    for (const name of ['bob', 'jane']) assert.deepEqual(await answers(name), all(500), name)
    write([], ['jane', 'worker1'])
    await must('revoked', 'install')
    await eventually(async () => assert.deepEqual(await answers('bob'), all(200)))
  })

  test('a user who swaps a pipe for a file that root reads holds up no look, and nothing of root is left', async () => {
    const machine = lab.machine('control1')
    const swaps = 'while :; do mv ca.pem was; mv pipe ca.pem; mv ca.pem pipe; mv was ca.pem; done'
    await machine.exec(
      `chown nobody /etc/etcd && cd /etc/etcd && mkfifo -m 600 pipe && systemd-run -q --uid=nobody --unit=swaps --working-directory=/etc/etcd sh -c '${swaps}'`,
    )
    for (let looks = 0; looks < 3; looks++) await lab.run('status', '--on-nodes')
    assert.equal(await machine.exec('pgrep -x "sha256sum|dd|od|sed|tr" || echo none'), 'none\n')
    await machine.exec(
      'systemctl stop swaps; cd /etc/etcd; [ ! -f was ] || mv -f was ca.pem; rm -f pipe; [ -f ca.pem ] && chown root .',
    )
    const ran = await must('bootstrap')
    assert.doesNotMatch(ran.stdout, /users other than root/)
  })

  test('a thousand are refused like two, and no request of others fails', async () => {
    const at = await starts()
    const many = Array.from({ length: 1000 }, (_, i) => `gone-${i}`)
    await unnoticed(lab, async () => {
      write([], [...many, 'jane', 'worker1'])
      await must('bootstrap')
    })
    assert.deepEqual(await answers('jane'), all(500))
    const status = await must('status', '--on-nodes')
    const told = status.events.filter(({ type, node }) => type === 'node' && controls.includes(String(node)))
    assert.deepEqual(
      told.map(({ revokedInForce }) => revokedInForce),
      [1002, 1002, 1002],
    )
    write([], ['jane', 'worker1'])
    await must('revoked', 'install')
    assert.deepEqual(await startedSince(lab, at), [])
  })

  test('a file that is broken or removed on a node is said, and repaired; the old list stays in force meanwhile', async () => {
    const at = await starts()
    for (const harm of [`echo x >${config}`, `rm ${config}`]) {
      await lab.machine('control1').exec(harm)
      assert.deepEqual(await answers('jane'), all(500))
      const planned = await must('install', '--dry-run')
      assert.match(String(messageOf(planned, 'install/control1')), /authorization-config\.yaml/)
      await must('install')
      assert.equal(
        await lab.machine('control1').exec(`sha256sum <${config}`),
        await lab.machine('control0').exec(`sha256sum <${config}`),
      )
    }
    assert.deepEqual(await startedSince(lab, at), [])
    assert.deepEqual(await answers('jane'), all(500))
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
      assert.deepEqual(await answers(good), all(200), good)
    }
    const at = await starts()
    await must('bootstrap')
    assert.deepEqual(await startedSince(lab, at), [])
    const status = await must('status', '--on-nodes')
    const node = status.events.find(({ type, node }) => type === 'node' && node === 'control1')
    assert.deepEqual([node?.state, node?.revokedInForce], ['fresh', 4])
  })

  test('a node that is down does not hold a key back: it is named, and goes on once a run reaches it', async () => {
    await lab.exec('cp auth/kube-proxy.pem old/again.pem; cp auth/kube-proxy-key.pem old/again-key.pem')
    keys.push((await fingerprint(lab, 'kube-proxy')).trim())
    write([], ['jane', 'worker1', ...keys], ['worker0'], ['worker0.example.org'])
    await lab.machine('worker0').stop()
    const ran = await mustRun(lab, 1, 'bootstrap', '--json')
    assert.match(ran.stdout, /worker0 may lose access with the old key \(not reached\).*bootstrap -- --node worker0/)
    assert.deepEqual(await answersOf('old/again'), all(500))
    await lab.machine('worker0').start()
    await eventually(() => must('bootstrap'))
    assert.deepEqual(await answers('kube-proxy'), all(200))
  })

  /** The commands of docs/bad-day.md: what openssl prints goes into the list as it is. */
  const typed = async (leak: string, list: (entries: readonly string[]) => void) => {
    const commands = revocations.get(leak) ?? []
    assert.equal(commands.at(-1), 'harderway bootstrap')
    const printed: string[] = []
    for (const command of commands.slice(0, -1)) printed.push((await lab.exec(command)).trim())
    list(printed)
    return toldOf(await must('bootstrap'))
  }
  /** Of all lines that are printed: each has the list, and whom the line is about. */
  const entriesIn = (told: string) => {
    const lines = Array.from(told.matchAll(/write revoked: \[([^\]]*)\]/g), ([, line = '']) => line.split(', '))
    assert.ok(lines.length > 0, told)
    return [...new Set(lines.flat())]
  }

  test('a stolen laptop, typed from the page: its owner comes back with a new key, and the line that a run prints ends the older one', async () => {
    write(['jane'], ['jane', 'worker1', ...keys], ['worker0'], ['worker0.example.org'])
    let entries = entriesIn(toldOf(await mustRun(lab, 2, 'bootstrap')))
    const list = (more: readonly string[]) => {
      entries = [...entries, ...more]
      write(['jane'], entries, ['worker0'], ['worker0.example.org'])
    }
    list([])
    await must('bootstrap')
    assert.deepEqual(await answers('jane'), all(500))
    assert.deepEqual(await answersOf('auth/jane'), all(200))
    await keep('jane', 'laptop')
    await mustRun(lab, 0, 'user-certs/jane', '--force')
    await must('bootstrap')
    await keep('jane', 'shown')
    const told = await typed("A user's key or kubeconfig", list)
    assert.deepEqual(await answersOf('old/shown'), all(500))
    assert.deepEqual(await answersOf('old/laptop'), all(200))
    assert.match(
      told,
      /jane's earlier certificate is accepted until .*: give jane .*if the old one was stolen, write revoked: /,
    )
    entries = entriesIn(told)
    list([])
    await must('bootstrap')
    for (const stolen of ['old/shown', 'old/laptop', 'first/jane']) assert.deepEqual(await answersOf(stolen), all(500))
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
      assert.deepEqual(await answers('kube-proxy'), all(200))
    }
    await refused()
    write(['jane'], ['worker1', ...keys], ['worker0'])
    await must('bootstrap')
    await refused()
    assert.deepEqual(await answers('worker0'), all(200))
  })

  test('without the key the list stays in force, and the run prints the way back', async () => {
    write(['jane'], undefined)
    const ran = await must('bootstrap')
    assert.match(
      warningOf(ran, 'install/control0'),
      /still denies bob, sha256:.* set --authorization-mode=Node,RBAC instead of --authorization-config/s,
    )
    assert.deepEqual(await answers('jane'), all(500))
  })

  test('an old cluster.yaml, without the key and with a revoked worker and user, is refused; the line that is printed lets nobody in', async () => {
    const at = await starts()
    const files = () => lab.exec('ls -R auth; cat auth/*.kubeconfig auth/authorization-config.yaml | sha256sum')
    const before = await files()
    await using probing = probe(lab)
    write(['jane', 'bob'], undefined, ['worker0', 'worker1'])
    for (const args of [['bootstrap', '--dry-run'], ['bootstrap'], ['bootstrap', '--node', 'worker1']])
      assert.match(
        toldOf(await mustRun(lab, 3, ...args)),
        /lists bob, worker1 as revoked; cluster\.yaml has these names, but no revoked/,
      )
    const printed = toldOf(await mustRun(lab, 3, 'bootstrap'))
    const entries = /add revoked: \[([^\]]*)\]/.exec(printed)?.[1]?.split(', ') ?? assert.fail(printed)
    assert.equal(await files(), before)
    // The line alone, then without the names as well, as is printed.
    write(['jane', 'bob'], entries, ['worker0', 'worker1'])
    assert.match(toldOf(await mustRun(lab, 2, 'bootstrap')), /is still a node or user; remove that first/)
    write(['jane'], entries)
    await must('bootstrap')
    assert.deepEqual(await startedSince(lab, at), [])
    for (const stolen of ['first/bob', 'first/worker1', 'first/kube-proxy', 'first/jane', 'old/stolen'])
      assert.deepEqual(await answersOf(stolen), all(500), stolen)
    for (const name of ['auth/jane', 'auth/worker0', 'auth/kube-proxy', 'auth/admin'])
      assert.deepEqual(await answersOf(name), all(200), name)
    const { counts, failures } = await probing.end()
    assert.deepEqual(failures, [])
    assert.ok(
      counts.every((count) => count > 0),
      counts.join(),
    )
  })
})
