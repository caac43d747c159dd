/** Who is revoked stays so: the list on nodes where no unit runs. test/machines has API servers. */
import assert from 'node:assert/strict'
import { cpSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, beforeEach, describe, test } from 'node:test'
import { parse } from 'yaml'
import { formatAuthorization, readRevoked } from '../../lib/kubernetes/authorization.ts'
import { stateOf } from '../support/files.ts'
import { type Edit, exits, labEdits, type Ran, writeCluster } from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { start } from '../support/process.ts'

const file = 'authorization-config.yaml'
const key = `sha256:${'1'.repeat(64)}`

describe('nobody who is revoked is let in again by accident', () => {
  const suite = localPlace('control0', 'control1')
  const { place } = suite
  const auth = join(place, 'auth')
  const copies = () => [
    [auth, join(place, 'made')] as const,
    ...suite.lab.nodes.map(({ name, home }) => [home, join(place, `made-${name}`)] as const),
  ]
  const told = ({ stdout, stderr }: Ran) => stdout + stderr
  const write = (revoked: readonly string[] | undefined, ...more: Edit[]) =>
    writeCluster(place, [
      ...labEdits(suite.lab),
      [['nodes'], ['control0', 'control1'].map((name, i) => ({ name, role: 'control', ip: `192.168.1.${11 + i}` }))],
      [['install'], true],
      [['etcd'], { ca: 'own' }],
      [['users'], [{ name: 'eve' }]],
      [['revoked'], revoked],
      ...more,
    ])
  const listOn = (name: string) => join(suite.lab.node(name).home, file)
  const namesAt = (path: string) => readRevoked(readFileSync(path, 'utf8'))?.names
  const everywhere = () => [join(auth, file), listOn('control0'), listOn('control1')].map(namesAt)
  /** As another admin, or an older run, has left it. */
  const leave = (on: string, ...names: string[]) => writeFileSync(listOn(on), formatAuthorization(names, '/k'))
  /** Writes the line for cluster.yaml that was printed. */
  const writeLine = (ran: Ran) => {
    const [, line = ''] = /(revoked: \[[^\]]+\])/.exec(told(ran)) ?? []
    write(parse(line || assert.fail(told(ran))).revoked)
  }

  before(async () => {
    write([])
    await exits(0, place, 'bootstrap')
    for (const [from, to] of copies()) cpSync(from, to, { recursive: true })
  })
  beforeEach(() => {
    for (const [to, from] of copies()) {
      rmSync(to, { recursive: true })
      cpSync(from, to, { recursive: true })
    }
    write([])
  })

  test('the list is on each control node, and that no API server enforces it is to do', async () => {
    write(['jane'])
    const { stdout } = await exits(4, place, 'bootstrap')
    assert.match(stdout, /To do +on control0, control1, revoked is not enforced/)
    assert.deepEqual(everywhere(), Array(3).fill(['jane']))
    assert.match((await exits(4, place, 'bootstrap')).stdout, / 0 changed/)
  })

  test('whom a node lists, and cluster.yaml does not, stops what is done there, with the line that leads back', async () => {
    for (const revoked of [undefined, []]) {
      rmSync(join(auth, file), { force: true })
      leave('control1', 'bob', 'jane')
      write(revoked)
      const before = stateOf(suite.lab.node('control1').home)
      for (const args of [['bootstrap'], ['bootstrap', '--dry-run'], ['status', '--on-nodes']])
        assert.match(told(await exits(3, place, ...args)), /control1.* lists bob, jane as revoked, and cluster\.yaml/)
      assert.deepEqual(stateOf(suite.lab.node('control1').home), before)
      assert.deepEqual(namesAt(listOn('control0')), [])
    }
    writeLine(await exits(3, place, 'bootstrap'))
    await exits(4, place, 'bootstrap')
    assert.deepEqual(everywhere(), Array(3).fill(['bob', 'jane']))
  })

  test('a list with keys on a node stops that node, even where revoked is named', async () => {
    writeFileSync(listOn('control1'), formatAuthorization([key], '/k'))
    for (const args of [['bootstrap'], ['revoked', 'install']]) {
      const ran = await exits(3, place, ...args)
      assert.match(told(ran), /control1: .*revokes keys .*0\.5\.0/s)
      assert.doesNotMatch(told(ran), /control0: .*revokes/)
    }
    assert.match(readFileSync(listOn('control1'), 'utf8'), new RegExp(key))
  })

  test('recover brings back the list of its node, and the next runs print the line with the others', async () => {
    write(undefined)
    leave('control0', 'jane')
    leave('control1', 'bob')
    rmSync(auth, { recursive: true })
    await exits(0, place, 'recover', '--node', 'control0')
    assert.deepEqual(namesAt(join(auth, file)), ['jane'])
    writeLine(await exits(3, place, 'bootstrap'))
    writeLine(await exits(3, place, 'bootstrap'))
    await exits(4, place, 'bootstrap')
    assert.deepEqual(everywhere(), Array(3).fill(['bob', 'jane']))
    renameSync(auth, join(place, 'backup'))
    write(undefined)
    await exits(0, place, 'recover', '--from', 'backup')
    writeLine(await exits(3, place, 'bootstrap'))
    await exits(4, place, 'bootstrap')
    rmSync(join(place, 'backup'), { recursive: true })
  })

  test('a kill between auth/ and the nodes lets nobody in by accident, and the next run that names revoked ends it', async () => {
    write(['jane'])
    await exits(4, place, 'bootstrap')
    write([])
    const named = ['revoked', 'install']
    for (const [event, listed] of [
      [`rename ${file}#1`, ['jane']],
      ['write files.tar#1', []],
    ] as const) {
      const killed = await start(place, named, { at: { event, do: 'kill' }, env: { PATH: process.env.PATH } }).ended
      assert.equal(killed.signal, 'SIGKILL', told(killed))
      assert.deepEqual(everywhere(), [listed, ['jane'], ['jane']])
    }
    await exits(3, place, 'bootstrap')
    await exits(0, place, ...named)
    assert.deepEqual(everywhere(), Array(3).fill([]))
  })
})
