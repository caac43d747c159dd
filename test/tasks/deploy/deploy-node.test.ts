import assert from 'node:assert/strict'
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { type Lab, startLab } from '../../lab/lab.ts'
import { stateOf } from '../../support/files.ts'
import { type Edit, exits, idsOf, labEdits, makePlace, messageOf, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

const names = ['control0', 'control1', 'worker0', 'worker1', 'gateway', 'late']
const machine = (name: string, role: string, i: number) => ({ name, role, ip: `192.168.1.${11 + i}` })
const roles = ['control', 'control', 'worker', 'worker', 'gateway']
const five = roles.map((role, i) => machine(names[i] ?? '', role, i))
const whole = { recursive: true, preserveTimestamps: true }

describe('deploy', { skip: needs('sshd', 'ssh', 'scp', 'openssl') }, () => {
  let place: string
  let lab: Lab
  const auth = () => join(place, 'auth')
  const home = (name: string) => lab.node(name).home
  const folders = () => [['auth', auth()], ...names.map((name) => [name, home(name)])] as const
  const homes = () => Object.fromEntries(names.map((name) => [name, stateOf(home(name))]))
  const write = (nodes: readonly unknown[] = five, ...more: Edit[]) =>
    writeCluster(place, [...labEdits(lab), [['nodes'], nodes], ...more])

  before(async () => {
    place = makePlace()
    lab = await startLab({ dir: join(place, 'lab'), nodes: names.map((name) => ({ name })) })
    write()
    await exits(0, place, 'bootstrap')
    for (const [name, folder] of folders()) cpSync(folder, join(place, 'kept', name), whole)
  })
  beforeEach(() => {
    write()
    for (const [name, folder] of folders()) {
      for (const file of readdirSync(folder)) rmSync(join(folder, file), { recursive: true })
      cpSync(join(place, 'kept', name), folder, whole)
    }
  })
  after(async () => {
    await lab.stop()
    rmSync(place, { recursive: true, force: true })
  })

  /** The nodes of which something has changed, with the files whose state is not what it was. */
  const changes = (before: ReturnType<typeof homes>): Record<string, string[]> =>
    Object.fromEntries(
      Object.entries(homes()).flatMap(([name, now]) => {
        const was = before[name] ?? {}
        const changed = [...new Set([...Object.keys(was), ...Object.keys(now)])].filter(
          (file) => was[file] !== now[file],
        )
        return changed.length === 0 ? [] : [[name, changed.toSorted()]]
      }),
    )

  const counts = () => Promise.all(lab.nodes.map(async (node) => (await node.counts()).connections))

  test('and install use one connection to a node', async () => {
    write(five, [['install'], true])
    for (const name of names) rmSync(join(home(name), 'ca.pem'), { force: true })
    const before = await counts()
    const ran = await exits(0, place, 'deploy', 'install', '--json')
    assert.equal(idsOf(ran, 'built').length, five.length)
    assert.deepEqual(
      await counts(),
      before.map((each, i) => each + (i < five.length ? 1 : 0)),
    )
  })

  test('of a worker that is added touches that worker alone, here and there, and taken out of cluster.yaml none', async () => {
    const [before, files] = [homes(), stateOf(auth())]
    write([...five, machine('late', 'worker', 5)])
    const ran = await exits(0, place, 'bootstrap', '--json')
    assert.deepEqual(idsOf(ran, 'built'), ['deploy/late', 'kubeconfigs/late', 'node-certs/late'])
    assert.deepEqual(changes(before), {
      late: ['ca.pem', 'kube-proxy.kubeconfig', 'late-key.pem', 'late.kubeconfig', 'late.pem'],
    })
    assert.deepEqual(
      stateOf(auth(), (name) => !name.startsWith('late')),
      files,
    )
    assert.equal(messageOf(ran, 'deploy/late'), 'ca.pem, kube-proxy.kubeconfig, late.pem and 2 more deployed')
    const added = homes()
    write()
    assert.deepEqual(idsOf(await exits(0, place, 'bootstrap', '--prune', '--json'), 'built'), [])
    assert.deepEqual(changes(added), {})
  })

  test('of a control node that is added brings the new API certificate to the control nodes, and nothing to others', async () => {
    const before = homes()
    const late = machine('late', 'control', 5)
    for (const name of readdirSync(home('late')).filter((each) => !each.startsWith('.')))
      rmSync(join(home('late'), name))
    write([...five, late])
    const ran = await exits(0, place, 'bootstrap', '--json')
    assert.match(String(messageOf(ran, 'cluster-cert')), /; adds SAN late, late\.kubenet, 192\.168\.1\.16$/)
    assert.deepEqual(
      idsOf(ran, 'built').filter((id) => id.startsWith('deploy')),
      ['deploy/control0', 'deploy/control1', 'deploy/late'],
    )
    const { late: added, ...others } = changes(before)
    assert.ok(added?.includes('ca-key.pem') && added.includes('late.kubeconfig'))
    assert.deepEqual(others, {
      control0: ['kubernetes.pem'],
      control1: ['kubernetes.pem'],
    })
    assert.equal(messageOf(ran, 'deploy/control0'), 'kubernetes.pem deployed')
    for (const file of ['kubernetes.pem', 'kubernetes-key.pem'])
      assert.ok(readFileSync(join(home('control1'), file)).equals(readFileSync(join(auth(), file))))
  })

  test("the CA's key goes to no node where cluster.yaml keeps it off, and --prune removes it", async () => {
    const off: Edit = [['certificates', 'caKeyOnNodes'], false]
    write(five, off)
    const before = homes()
    const ran = await exits(0, place, 'bootstrap')
    assert.deepEqual(changes(before), {})
    assert.match(ran.stdout, /control0 has ca-key\.pem, which does not belong on it; remove with --prune/)
    await exits(0, place, 'bootstrap', '--prune')
    assert.deepEqual(changes(before), { control0: ['ca-key.pem'], control1: ['ca-key.pem'] })
    for (const node of ['control0', 'control1']) assert.ok(!existsSync(join(home(node), 'ca-key.pem')))
    write([...five, machine('late', 'control', 5)], off)
    await exits(0, place, 'bootstrap')
    assert.deepEqual(
      readdirSync(home('late')).filter((file) => /^(ca|late)/.test(file)),
      ['ca.pem', 'late-key.pem', 'late.kubeconfig', 'late.pem'],
    )
  })

  test('what is wrong on a node is all told, and repaired in one go, and nothing else is touched', async () => {
    const sound = homes()
    const folder = home('worker0')
    rmSync(join(folder, 'worker0.pem'))
    appendFileSync(join(folder, 'kube-proxy.kubeconfig'), '# changed\n')
    writeFileSync(join(folder, 'ca.pem'), '')
    chmodSync(join(folder, 'worker0.kubeconfig'), 0o644)
    const spoiled = homes()
    const message = 'worker0.pem missing; ca.pem, kube-proxy.kubeconfig differ; worker0.kubeconfig with a wrong mode'
    const dry = await exits(4, place, 'deploy', '--dry-run', '--json')
    assert.equal(messageOf(dry, 'deploy/worker0'), `to change; ${message}`)
    assert.deepEqual(homes(), spoiled)
    const ran = await exits(0, place, 'deploy', '--json')
    assert.deepEqual(idsOf(ran, 'built'), ['deploy/worker0'])
    assert.equal(messageOf(ran, 'deploy/worker0'), 'worker0.pem, ca.pem, kube-proxy.kubeconfig deployed')
    assert.deepEqual(changes(sound), {
      worker0: ['ca.pem', 'kube-proxy.kubeconfig', 'worker0.kubeconfig', 'worker0.pem'],
    })
    const content = (states: Record<string, string> = {}) =>
      Object.entries(states).map(
        ([name, state]) => `${name} ${state.split(' ').slice(1, 3)} ${state.split(' ').at(-1)}`,
      )
    assert.deepEqual(content(homes().worker0), content(sound.worker0))
    await exits(0, place, 'deploy', '--dry-run')
  })

  test('--node inspects that node alone, and repairs it', async () => {
    for (const name of ['control0', 'worker0', 'worker1']) rmSync(join(home(name), 'ca.pem'))
    const before = homes()
    const connections = await counts()
    const ran = await exits(0, place, 'deploy', '--node', 'worker0', '--json')
    assert.deepEqual(idsOf(ran, 'built'), ['deploy/worker0'])
    assert.deepEqual(changes(before), { worker0: ['ca.pem'] })
    assert.deepEqual(
      await counts(),
      connections.map((count, i) => count + (names[i] === 'worker0' ? 1 : 0)),
    )
  })
})
