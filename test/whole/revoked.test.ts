/**
 * A key that is revoked, from the run that makes a new one to the list: on nodes where no unit runs. test/machines has
 * API servers.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, beforeEach, describe, test } from 'node:test'
import { parse, stringify } from 'yaml'
import { formatAuthorization, readRevoked } from '../../lib/kubernetes/authorization.ts'
import { stateOf } from '../support/files.ts'
import { type Edit, exits, labEdits, oneOfEach, type Ran, writeCluster } from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { start } from '../support/process.ts'

describe('a key that is revoked', () => {
  const suite = localPlace('control0', 'control1', 'worker0', 'gateway')
  const { place } = suite
  const auth = join(place, 'auth')
  const certificateOf = (name: string) => new X509Certificate(readFileSync(join(auth, `${name}.pem`)))
  const entryOf = (name: string) => `sha256:${certificateOf(name).fingerprint256.replaceAll(':', '').toLowerCase()}`
  const listAt = (folder: string) =>
    readRevoked(readFileSync(join(folder, 'authorization-config.yaml'), 'utf8')) ?? assert.fail('no list')
  const onControl = () => listAt(suite.lab.node('control0').home).entries
  const write = (revoked: readonly string[], ...more: Edit[]) =>
    writeCluster(place, [
      ...oneOfEach,
      ...labEdits(suite.lab),
      [['install'], true],
      [['etcd'], { ca: 'own' }],
      [['users'], [{ name: 'jane' }]],
      [['revoked'], revoked],
      ...more,
    ])
  const listed: string[] = []

  test('is listed after all that can be reached has the new pair, and the next run has nothing to do', async () => {
    write([])
    await exits(0, place, 'bootstrap')
    const old = certificateOf('worker0')
    listed.push(entryOf('worker0'), entryOf('jane'))
    write(listed)
    const plan = await exits(4, place, 'bootstrap', '--dry-run')
    assert.match(plan.stdout, /Revoked keys\n.*revoked: sha256:/)
    // Of phases alone, or of one node, the run can't know.
    for (const args of [
      ['revoked', 'install'],
      ['bootstrap', '--node', 'worker0'],
    ]) {
      const ran = await exits(4, place, ...args)
      assert.match(ran.stdout, /to revoke sha256:.* once the new keys are in use/)
      assert.deepEqual(onControl(), [])
    }
    await exits(4, place, 'bootstrap')
    assert.deepEqual(onControl(), listed.toSorted())
    assert.ok(!certificateOf('worker0').publicKey.equals(old.publicKey))
    const key = readFileSync(join(suite.lab.node('worker0').home, 'worker0-key.pem'))
    assert.deepEqual(key, readFileSync(join(auth, 'worker0-key.pem')))
    const again = await exits(4, place, 'bootstrap')
    assert.match(again.stdout, / 0 changed/)
    // No API server is there yet.
    assert.match(again.stdout, /To do +revoked is enforced on 0 of 1 control node; not on control0/)
  })

  test('is listed although a node is down, and who is cut off with it is named', async () => {
    listed.push(entryOf('kube-proxy'))
    write(listed)
    await suite.lab.node('worker0').stop()
    const plan = await exits(1, place, 'bootstrap', '--dry-run')
    const ran = await exits(1, place, 'bootstrap')
    for (const { stdout } of [plan, ran])
      assert.match(stdout, /worker0 may lose access with the old key \(not reached\).*bootstrap -- --node worker0/)
    assert.deepEqual(onControl(), listed.toSorted())
    await suite.lab.node('worker0').start()
    await exits(4, place, 'bootstrap')
  })

  test('of a unit that install leaves out it is named; and what is wrong with a node that reads none holds nothing', async () => {
    const leftOut: Edit = [['install'], { units: { 'kube-proxy': false } }]
    write([...listed, entryOf('kube-proxy')], leftOut)
    const plan = await exits(4, place, 'bootstrap', '--dry-run')
    assert.match(
      plan.stdout,
      /worker0 may lose access with the old key \(kube-proxy, which install\.units leaves out\)/,
    )
    listed.push(entryOf('jane'))
    write(listed, leftOut)
    await suite.lab.node('worker0').restart({ env: { PATH: '/nowhere' } })
    await exits(1, place, 'bootstrap')
    assert.deepEqual(onControl(), listed.toSorted())
    await suite.lab.node('worker0').restart({ env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } })
  })

  test('is listed by nobody while no control node can be reached', async () => {
    write([...listed, entryOf('jane')], [['localKubeconfig'], false])
    await suite.lab.node('control0').stop()
    assert.match((await exits(1, place, 'bootstrap')).stdout, /to revoke sha256:/)
    assert.deepEqual(listAt(auth).entries, listed.toSorted())
    await suite.lab.node('control0').start()
  })

  test('holds a plan to its hash, in the run that lists it too', async () => {
    listed.push(entryOf('jane'))
    write(listed)
    const { stdout } = await exits(4, place, 'bootstrap', '--dry-run')
    const [, hash = ''] = /Plan hash: ([0-9a-f]{64})/.exec(stdout) ?? []
    await exits(4, place, 'bootstrap', '--expect-plan', hash)
    assert.deepEqual(onControl(), listed.toSorted())
  })

  test('a worker that fails does not decide when; a control node that fails holds it, and that is said', async () => {
    const broken = { env: { PATH: '/nowhere' } }
    const whole = { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } }
    listed.push(entryOf('kube-proxy'))
    write(listed)
    await suite.lab.node('worker0').restart(broken)
    const ran = await exits(1, place, 'bootstrap')
    assert.match(ran.stdout, /worker0 may lose access with the old key \(failed\).*bootstrap -- --node worker0/)
    assert.deepEqual(onControl(), listed.toSorted())
    await suite.lab.node('worker0').restart(whole)
    listed.push(entryOf('kube-proxy'))
    write(listed)
    await suite.lab.node('control0').restart(broken)
    const held = await exits(1, place, 'bootstrap')
    assert.match(held.stdout, /To do +to revoke sha256:/)
    assert.match(
      held.stdout,
      /until a run reaches control0, its API server may deny new certificates of .*system:node:worker0/,
    )
    assert.deepEqual(listAt(auth).entries, listed.slice(0, -1).toSorted())
    await suite.lab.node('control0').restart(whole)
    await exits(4, place, 'bootstrap')
    assert.deepEqual(onControl(), listed.toSorted())
  })

  test('of one node: its new certificate is said to be refused until a run over everything, and other nodes are not judged', async () => {
    const nodes = (...sans: string[]): Edit => [
      ['nodes'],
      [
        { name: 'control0', role: 'control', ip: '192.168.1.11' },
        { name: 'control1', role: 'control', ip: '192.168.1.12' },
        { name: 'worker0', role: 'worker', ip: '192.168.1.14', sans },
        { name: 'gateway', role: 'gateway', ip: '192.168.1.10' },
      ],
    ]
    write(listed, nodes())
    await exits(4, place, 'bootstrap')
    const first = await exits(4, place, 'bootstrap', '--node', 'control0')
    assert.match(
      first.stdout,
      /To do +revoked is enforced on 0 of 2 control nodes; not on control0; control1 not inspected\n/,
    )
    await exits(0, place, 'bootstrap', '--node', 'worker0')
    write(listed, nodes('worker0.example.org'))
    const { stdout } = await exits(4, place, 'bootstrap', '--node', 'worker0')
    assert.match(
      stdout,
      /To do +API servers deny the new certificate of system:node:worker0 until you run npm run bootstrap\n/,
    )
    assert.doesNotMatch((await exits(4, place, 'bootstrap')).stdout, /API servers deny the new certificate/)
    await exits(0, place, 'bootstrap', '--node', 'worker0')
  })

  test('stays listed with each certificate over it, even if auth/backup and the list are gone', async () => {
    const before = listAt(auth)
    for (const folder of readdirSync(join(auth, 'backup'))) rmSync(join(auth, 'backup', folder), { recursive: true })
    await exits(4, place, 'bootstrap')
    assert.deepEqual(listAt(auth), before)
    rmSync(join(auth, 'authorization-config.yaml'))
    const { stderr, stdout } = await exits(3, place, 'bootstrap')
    assert.match(stderr + stdout, /would regain access.*\n.*- restore the list: /)
    assert.deepEqual(listAt(suite.lab.node('control0').home), before)
  })
})

const file = 'authorization-config.yaml'

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
  const entriesAt = (path: string) => readRevoked(readFileSync(path, 'utf8'))?.entries
  const everywhere = () => [join(auth, file), listOn('control0'), listOn('control1')].map(entriesAt)
  const textOf = (...entries: string[]) => formatAuthorization({ entries, certificates: [] }, '/k')
  /** As another admin, or an older run, has left it. */
  const leave = (on: string, ...entries: string[]) => writeFileSync(listOn(on), textOf(...entries))
  /** A command that was printed, word by word. */
  const type = async (line: string, status: number) => {
    const parts = line.split(' && ')
    for (const [i, part] of parts.entries()) {
      const [, task] = /^npm run task -- (.*)$/.exec(part) ?? []
      if (task === undefined) execFileSync('sh', ['-c', part])
      else await exits(i === parts.length - 1 ? status : 0, place, ...task.split(' '))
    }
  }
  const commandIn = (ran: Ran, pattern: RegExp) => pattern.exec(told(ran))?.[1] ?? assert.fail(told(ran))
  /** The line for cluster.yaml that was printed. */
  const writeLine = (ran: Ran) => write(parse(commandIn(ran, /(revoked: \[[^\]]*\])/)).revoked)

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

  test('without the key the run, its plan and status say whom nodes list, with the line to paste, which leads back', async () => {
    rmSync(join(auth, file))
    leave('control0', 'bob', 'jane')
    leave('control1', 'bob', 'jane')
    write(undefined)
    const status = ['status', '--on-nodes']
    const ran = await exits(4, place, 'bootstrap')
    for (const each of [ran, await exits(4, place, 'bootstrap', '--dry-run'), await exits(4, place, ...status)])
      assert.match(told(each), /control0.* revoked: \[bob, jane\]/)
    assert.ok(!existsSync(join(auth, file)))
    write(undefined, [['install'], undefined])
    assert.match(told(await exits(4, place, ...status)), /control1.* revoked: \[bob, jane\]/)
    writeLine(ran)
    await exits(4, place, 'bootstrap')
    assert.deepEqual(everywhere(), Array(3).fill(['bob', 'jane']))
  })

  test('whom a list denies, and cluster.yaml has again without the key, gets nothing; and no line that is printed lets them in', async () => {
    const users = (...names: string[]): Edit => [['users'], names.map((name) => ({ name }))]
    write([], users('eve', 'max'))
    await exits(0, place, 'bootstrap')
    write(['max'], users('eve'))
    await exits(4, place, 'bootstrap')
    const assertRefused = async (revoked: readonly string[] | undefined, ...args: string[]) => {
      write(revoked, users('eve', 'max'))
      const before = stateOf(auth)
      const ran = await exits(3, place, ...args)
      assert.match(
        told(ran),
        revoked ? /; max would regain access/ : /lists max as revoked; cluster\.yaml has this name/,
      )
      assert.match(told(ran), / revoked: \[max\]/)
      assert.deepEqual(stateOf(auth), before)
      return ran
    }
    for (const args of [['bootstrap'], ['user-certs/max', '--force']]) await assertRefused(undefined, ...args)
    await assertRefused([], 'bootstrap')
    // As where auth/ is of before.
    rmSync(join(auth, file))
    for (const revoked of [[], undefined]) await assertRefused(revoked, 'bootstrap', '--dry-run')
    const refused = await assertRefused(undefined, 'bootstrap')
    const { revoked } = parse(commandIn(refused, /(revoked: \[[^\]]*\])/))
    write(revoked, users('eve', 'max'))
    assert.match(told(await exits(2, place, 'bootstrap')), /"max" is still a node or user; remove that first/)
    write(revoked, users('eve'))
    await exits(4, place, 'bootstrap')
    assert.deepEqual(everywhere(), Array(3).fill(['max']))
  })

  test('recover brings back what the lists of all control nodes have, whatever cluster.yaml has, and prints the line', async () => {
    for (const revoked of [undefined, ['jane']]) {
      write(revoked)
      leave('control0', 'jane')
      leave('control1', 'bob')
      rmSync(auth, { recursive: true })
      const ran = await exits(0, place, 'recover', '--node', 'control0')
      assert.deepEqual(entriesAt(join(auth, file)), ['bob', 'jane'])
      assert.ok(existsSync(join(auth, 'needs-harderway-0.5.0')))
      writeLine(ran)
    }
    await exits(4, place, 'bootstrap')
    assert.deepEqual(everywhere(), Array(3).fill(['bob', 'jane']))
    renameSync(auth, join(place, 'backup'))
    write(undefined)
    writeLine(await exits(0, place, 'recover', '--from', 'backup'))
    await exits(4, place, 'bootstrap')
    rmSync(auth, { recursive: true })
    assert.doesNotMatch(told(await exits(0, place, 'recover', '--from', 'backup')), /revoked: \[/)
    rmSync(join(place, 'backup'), { recursive: true })
  })

  test('verify --from names whom nodes list and the backup does not, and what to do after recover', async () => {
    leave('control0', 'bob')
    leave('control1', 'bob')
    for (const revoked of [undefined, []]) {
      write(revoked)
      const ran = await exits(0, place, 'verify', '--from', 'made')
      assert.match(told(ran), /control1.*bob.*after recover.*revoked: \[bob\]/)
      if (revoked) continue
      rmSync(auth, { recursive: true })
      await exits(0, place, 'recover', '--from', 'made')
      writeLine(ran)
      await exits(4, place, 'bootstrap')
    }
  })

  test('an auth/ that is older than a list of a node is refused before anything is made, in the plan too', async () => {
    leave('control1', 'bob')
    write(['jane'], [['users'], [{ name: 'eve' }, { name: 'max' }]])
    const assertRefused = async (...args: string[]) => {
      const before = stateOf(auth)
      const ran = await exits(3, place, ...args)
      assert.match(told(ran), /(revoked|deploy)\/control1: .*; bob would regain access/)
      assert.deepEqual(stateOf(auth), before, args.join(' '))
      return ran
    }
    await assertRefused('bootstrap')
    rmSync(join(auth, file))
    for (const more of [['--dry-run'], ['--expect-plan', 'a'.repeat(64)]]) await assertRefused('bootstrap', ...more)
    const refused = await assertRefused('bootstrap')
    assert.match(told(refused), /- write revoked: \[jane, bob\] in cluster\.yaml$/m)
    write(['jane', 'bob'])
    await exits(4, place, 'bootstrap')
    assert.deepEqual(everywhere(), Array(3).fill(['bob', 'jane']))
  })

  test('a key that a node alone lists: what is printed revokes it here too', async () => {
    const entry = `sha256:${'1'.repeat(64)}`
    const eve = { fingerprint: '1'.repeat(64), keyId: '2'.repeat(64), user: 'eve', end: new Date('2036-01-01') }
    writeFileSync(listOn('control0'), formatAuthorization({ entries: [entry], certificates: [eve] }, '/k'))
    write([], [['users'], [{ name: 'eve', groups: ['devs'] }]])
    await exits(0, place, 'certs')
    write(['jane'])
    const refused = await exits(3, place, 'bootstrap')
    assert.match(told(refused), /or restore access.*recover --node control0 && npm run task -- revoked install$/m)
    writeLine(refused)
    await type(commandIn(await exits(3, place, 'bootstrap'), /restore the list: (.*); then run/), 0)
    await exits(4, place, 'bootstrap')
    assert.deepEqual(everywhere(), Array(3).fill(['jane', entry]))
    // Issued elsewhere since.
    const good = { ...eve, fingerprint: '3'.repeat(64), keyId: '4'.repeat(64) }
    const { certificates = [] } = readRevoked(readFileSync(listOn('control1'), 'utf8')) ?? {}
    const more = { entries: ['jane', entry], certificates: [...certificates, good] }
    writeFileSync(listOn('control1'), formatAuthorization(more, '/k'))
    const lacking = await exits(3, place, 'bootstrap')
    for (const each of [lacking, await exits(3, place, 'revoked', 'install')])
      assert.match(told(each), /accepts a certificate of eve that .* lacks/)
    await type(commandIn(lacking, /restore the list: (.*); then run/), 0)
    await exits(4, place, 'bootstrap')
    for (const path of [join(auth, file), listOn('control0')])
      assert.match(readFileSync(path, 'utf8'), new RegExp(good.fingerprint))
    assert.doesNotMatch(told(await exits(4, place, 'bootstrap')), /reading who is revoked/)
  })

  test('whoever lets someone in has to know of them: whom a node alone lists stays out although revoked is named', async () => {
    write(['jane'])
    await exits(4, place, 'bootstrap')
    leave('control1', 'bob', 'jane')
    write([])
    const named = ['revoked', 'install']
    const before = stateOf(auth)
    assert.match(told(await exits(3, place, ...named)), /revoked\/control1: .*; bob would regain access/)
    assert.deepEqual([entriesAt(listOn('control1')), stateOf(auth)], [['bob', 'jane'], before])
    // To keep bob out, and to let jane in.
    write(['bob'])
    await exits(4, place, ...named)
    assert.deepEqual(everywhere(), Array(3).fill(['bob']))
    // To let in both.
    leave('control0', 'bob', 'joe')
    write([])
    await type(commandIn(await exits(3, place, ...named), /restore access.*: (mkdir .*)$/m), 0)
    assert.deepEqual(everywhere(), Array(3).fill([]))
  })

  test('a kill between auth/ and the nodes lets nobody in by accident, and whoever was meant to be is let in by what is printed', async () => {
    write(['jane'])
    await exits(4, place, 'bootstrap')
    write([])
    const named = ['revoked', 'install']
    for (const [event, listed] of [
      [`rename ${file}#2`, ['jane']],
      ['write files.tar#1', []],
    ] as const) {
      const killed = await start(place, named, { at: { event, do: 'kill' }, env: { PATH: process.env.PATH } }).ended
      assert.equal(killed.signal, 'SIGKILL', told(killed))
      assert.deepEqual(everywhere(), [listed, ['jane'], ['jane']])
    }
    // Meanwhile another admin revokes bob.
    leave('control0', 'bob', 'jane')
    leave('control1', 'bob', 'jane')
    for (const args of [['bootstrap'], named]) {
      const refused = await exits(3, place, ...args)
      for (const name of ['control0', 'control1'])
        assert.match(told(refused), new RegExp(`/${name}: .*; bob, jane would regain access$`, 'm'))
      assert.deepEqual(everywhere(), [[], ['bob', 'jane'], ['bob', 'jane']])
    }
    write(['bob'])
    const refused = await exits(3, place, ...named)
    await type(commandIn(refused, /restore access.*: (mkdir .*)$/m), 4)
    assert.deepEqual(everywhere(), Array(3).fill(['bob']))
  })

  test('a name that is listed is let in by no list that has only an older key of it: not here, nor by another admin', async () => {
    const users = (...names: string[]): Edit => [['users'], names.map((name) => ({ name }))]
    write([], users('eve', 'jane'))
    await exits(0, place, 'bootstrap')
    const fingerprint = () =>
      new X509Certificate(readFileSync(join(auth, 'jane.pem'))).fingerprint256.replaceAll(':', '').toLowerCase()
    const older = `sha256:${fingerprint()}`
    write([older], users('eve', 'jane'))
    await exits(4, place, 'bootstrap')
    cpSync(auth, join(place, 'theirs'), { recursive: true })
    // The name has all that a key had.
    write(['jane'], users('eve'))
    await exits(4, place, 'bootstrap')
    assert.deepEqual(everywhere(), Array(3).fill(['jane']))
    const regains = async (...args: string[]) =>
      assert.match(told(await exits(3, place, ...args)), /jane would regain access/)
    for (const entries of [['jane'], ['jane', older]]) {
      write(entries, users('eve'))
      await exits(4, place, 'bootstrap')
      for (const names of [['eve'], ['eve', 'jane']]) {
        write([older], users(...names))
        const before = stateOf(auth)
        await regains('bootstrap')
        assert.deepEqual([everywhere(), stateOf(auth)], [Array(3).fill(entries), before])
      }
      renameSync(auth, join(place, 'mine'))
      cpSync(join(place, 'theirs'), auth, { recursive: true })
      for (const args of [
        ['bootstrap', '--dry-run'],
        ['revoked', 'install'],
      ])
        await regains(...args)
      assert.deepEqual(everywhere().slice(1), Array(2).fill(entries))
      rmSync(auth, { recursive: true })
      renameSync(join(place, 'mine'), auth)
    }
    rmSync(join(place, 'theirs'), { recursive: true })
    // Both of them take its place, once the new pair is there; the list knows them without auth/backup.
    rmSync(join(auth, 'backup'), { recursive: true })
    write(['jane', older], users('eve', 'jane'))
    const line = commandIn(await exits(2, place, 'status'), /keep it with a new key and write revoked: \[(.*)\]/)
    write(line.split(', '), users('eve', 'jane'))
    await exits(4, place, 'certs', 'revoked', 'install')
    assert.deepEqual(everywhere(), Array(3).fill(['jane', older]))
    await exits(4, place, 'bootstrap')
    assert.deepEqual(everywhere(), Array(3).fill(line.split(', ').toSorted()))
    assert.ok(readFileSync(listOn('control0'), 'utf8').includes(`'X509SHA256=${fingerprint()}'`))
  })

  test('a list that a YAML tool has rewritten is not overwritten, unless revoked is named; what no API server loads is repaired', async () => {
    write(['jane'])
    await exits(4, place, 'bootstrap')
    const rewritten = stringify(parse(readFileSync(listOn('control0'), 'utf8')), { lineWidth: 60 })
    writeFileSync(listOn('control0'), rewritten)
    const foreign = await exits(3, place, 'bootstrap')
    for (const each of [foreign, await exits(3, place, 'bootstrap', '--dry-run')])
      assert.match(told(each), /(revoked|deploy)\/control0: .* is not a list that harderway wrote/)
    assert.equal(readFileSync(listOn('control0'), 'utf8'), rewritten)
    await type(commandIn(foreign, /overwrite .*: (npm .*)$/m), 4)
    writeFileSync(join(auth, file), rewritten)
    await type(commandIn(await exits(3, place, 'bootstrap'), /restore it from .*: (mkdir .*)$/m), 0)
    await exits(4, place, 'bootstrap')
    const whole = readFileSync(listOn('control1'), 'utf8')
    // What else is no list: test/lib/kubernetes/authorization.test.ts, test/tasks/deploy/guards.test.ts.
    for (const broken of ['[', whole.slice(0, whole.indexOf('expression') + 40)]) {
      writeFileSync(listOn('control0'), broken)
      await exits(4, place, 'bootstrap')
      assert.equal(readFileSync(listOn('control0'), 'utf8'), whole)
    }
  })
})
