/**
 * Nobody who is revoked is let in again by accident, on three API servers: an old backup, an older cluster.yaml, two
 * admins, who left.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import { realBinaries } from '../lab/machines/shared.ts'
import type { Edit } from '../support/harderway.ts'
import { eventually } from '../support/programs.ts'
import {
  mustRun,
  readStarts,
  running,
  setFlags,
  skip,
  startedSince,
  startRunning,
  statusOf,
  toldOf,
} from '../support/running.ts'

const controls = ['control0', 'control1', 'control2']

describe('nobody who is revoked is let in again by accident', { skip }, () => {
  let lab: Machines
  /** etcd shares the CA, which each run with entries says. */
  const must = (...args: string[]) => mustRun(lab, 4, ...args)
  const write = (users: readonly string[], revoked: readonly string[] | undefined, gone: readonly string[] = []) => {
    const nodes = lab.all.filter(({ name }) => !gone.includes(name))
    const edits: Edit[] = [
      [['nodes'], nodes.map(({ name, role, ip }) => ({ name, role, ip }))],
      [['users'], users.map((name) => ({ name }))],
      [['revoked'], revoked],
    ]
    lab.write(...running({}, ...edits))
  }
  /** What each API server answers to their first certificates. */
  const answers = (name: string, servers = controls) =>
    Promise.all(servers.map((each) => statusOf(lab, `https://${lab.machine(each).ip}:6443/healthz`, `first/${name}`)))
  const all = (status: number) => controls.map(() => String(status))
  const assertAnswers = async (expected: Readonly<Record<string, number>>) => {
    for (const [name, status] of Object.entries(expected)) assert.deepEqual(await answers(name), all(status), name)
  }

  before(async () => {
    lab = await startRunning()
    write(['jane', 'bob'], [])
    await setFlags(lab, await mustRun(lab, 4, 'bootstrap'), controls)
    await mustRun(lab, 0, 'bootstrap')
    await lab.exec('cp -r auth first')
  })
  after(() => lab?.stop())

  test('an auth/ and a cluster.yaml of before are refused before anything is made; read back, everybody stays out', async () => {
    await lab.exec('cp -r auth before; cp cluster.yaml before.yaml')
    write(['bob'], ['jane'])
    await must('bootstrap')
    await assertAnswers({ jane: 500, bob: 200 })
    await lab.exec('mv auth newest; cp cluster.yaml newest.yaml; cp -r before auth; cp before.yaml cluster.yaml')
    const refused = await mustRun(lab, 3, 'bootstrap')
    assert.match(toldOf(refused), /jane would regain access/)
    await mustRun(lab, 3, 'revoked', 'install')
    // Without the key the list stays as well, and jane gets nothing.
    write(['jane', 'bob'], undefined)
    assert.match(toldOf(await mustRun(lab, 3, 'bootstrap')), /lists jane as revoked; .*add revoked: \[jane\]/s)
    write(['bob'], undefined)
    assert.match(toldOf(await must('bootstrap')), /still denies jane .*add revoked: \[jane\]/s)
    await assertAnswers({ jane: 500, bob: 200 })
    await lab.exec('rm -r auth; mv newest auth; cp newest.yaml cluster.yaml')
    await must('bootstrap')
    await assertAnswers({ jane: 500, bob: 200 })
  })

  test('two admins: whoever lets jane in does not let in bob, of whom the other alone knows', async () => {
    await lab.exec('cp -r auth theirs')
    write([], ['jane', 'bob'])
    await must('bootstrap')
    await assertAnswers({ jane: 500, bob: 500 })
    await lab.exec('mv auth mine; mv theirs auth')
    write(['jane'], [])
    const [refused] = [await mustRun(lab, 3, 'revoked', 'install')]
    assert.match(toldOf(refused), /bob/)
    await assertAnswers({ jane: 500, bob: 500 })
    write(['jane'], ['bob'])
    await must('revoked', 'install')
    await eventually(() => assertAnswers({ jane: 200, bob: 500 }))
    await lab.exec('rm -r auth; mv mine auth')
    write([], ['jane', 'bob'])
    await must('bootstrap')
    await assertAnswers({ jane: 500, bob: 500 })
  })

  test('a control node that became a worker and goes on, and a clone with the name of another, are named: no stage begins', {
    skip: realBinaries === undefined && 'a stand-in publishes no address',
  }, async () => {
    const { ip } = lab.machine('control2')
    const other = `the API server at ${ip}:6443, which is no control node's of cluster\\.yaml`
    const told = async () => toldOf(await lab.run('status', '--on-nodes', '--node', 'control0'))
    const on2 = (command: string) => lab.machine('control2').exec(command)
    const isNamed = new RegExp(`may not be enforced by ${other}`)
    write([], ['jane', 'bob'])
    await must('bootstrap')
    const nodes = lab.all.map(({ name, role, ip: at }) => ({
      name,
      role: name === 'control2' ? 'worker' : role,
      ip: at,
    }))
    lab.write(...running({}, [['nodes'], nodes], [['users'], []], [['revoked'], ['jane', 'bob']]))
    assert.match(await told(), isNamed)
    write([], ['jane', 'bob'], ['control2'])
    await on2('hostname control0; systemctl restart kube-apiserver')
    await eventually(async () => assert.match(await told(), isNamed))
    assert.match(
      toldOf(await mustRun(lab, 3, 'rotate', 'ca')),
      new RegExp(`can't reach all that need the change: .*${other}`),
    )
    // One that has stopped is no longer listed, and blocks nothing.
    await on2('systemctl stop kube-apiserver')
    await eventually(async () => assert.doesNotMatch(await told(), /may not be enforced by the API server/))
    await on2('hostname control2; systemctl start kube-apiserver')
    await eventually(() => assertAnswers({ jane: 500, bob: 500 }))
  })

  test('a control node that left is named with what no list takes from it; its name is refused where the list is', async () => {
    write([], ['jane', 'bob'], ['control2'])
    const at = await readStarts(lab)
    const { stdout } = await mustRun(lab, 4, 'bootstrap')
    assert.match(stdout, /control2 still has CA, /)
    assert.match(stdout, /may not be enforced by the API server on control2/)
    assert.deepEqual(await answers('control2'), all(200))
    write([], ['jane', 'bob', 'control2'], ['control2'])
    await mustRun(lab, 4, 'bootstrap')
    // On its own API server no run has changed the list.
    assert.deepEqual(await answers('control2'), ['500', '500', '200'])
    // With the CA's key it is whoever it wants to be.
    await lab.exec(
      `openssl req -newkey rsa:2048 -nodes -subj /O=system:masters/CN=anybody -keyout first/forged-key.pem -out forged.csr 2>/dev/null
      openssl x509 -req -in forged.csr -CA first/ca.pem -CAkey first/ca-key.pem -days 1 -out first/forged.pem 2>/dev/null`,
    )
    assert.deepEqual(await answers('forged', ['control0', 'control1']), ['200', '200'])
    assert.deepEqual(
      (await startedSince(lab, at)).filter((started) => started.startsWith('control2')),
      [],
    )
  })
})
