/**
 * auth/ is lost: no run makes another cluster's over the nodes', and recover brings it back from them, or from a
 * backup.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, before, beforeEach, describe, test } from 'node:test'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { harderWay } from '../../tasks/layouts/harder-way.ts'
import { encryptionKeyRotation } from '../../tasks/rotations/encryption-key-rotation.ts'
import type { Rotating } from '../../tasks/rotations/rotations.ts'
import { serviceAccountRotation } from '../../tasks/rotations/service-account-rotation.ts'
import { openssl } from '../support/certificates.ts'
import { secretsIn, stateOf } from '../support/files.ts'
import {
  type Edit,
  exits,
  harderway,
  idsOf,
  labEdits,
  type Ran,
  readCluster,
  withStatus,
  writeCluster,
} from '../support/harderway.ts'
import { localPlace, setClocks } from '../support/labs.ts'
import { start } from '../support/process.ts'
import { needs } from '../support/programs.ts'

const roles = { control0: 'control', control1: 'control', worker0: 'worker' }
const nodes = Object.entries(roles).map(([name, role], i) => ({ name, role, ip: `192.168.1.${11 + i}` }))

/** What a run told in words. */
const told = ({ stdout, stderr }: Ran) => stdout + stderr

describe('auth/ is lost', { skip: needs('ssh', 'openssl') }, () => {
  const suite = localPlace(...nodes.map(({ name }) => name))
  const { place } = suite
  let auth: string
  let made: string
  let homes: string
  let edits: readonly Edit[]
  /** The auth/ of another cluster, with certificates alone. */
  let other: string

  before(async () => {
    auth = join(place, 'auth')
    made = join(place, 'made')
    homes = join(place, 'homes')
    edits = [...labEdits(suite.lab), [['nodes'], nodes]]
    writeCluster(place, edits)
    await exits(0, place, 'bootstrap')
    cpSync(auth, made, { recursive: true })
    for (const { name, home } of suite.lab.nodes)
      cpSync(home, join(homes, name), { recursive: true, preserveTimestamps: true })
    cpSync(join(place, 'home'), join(homes, 'own'), { recursive: true, preserveTimestamps: true })
    const otherPlace = mkdtempSync(join(place, 'other-'))
    mkdirSync(join(otherPlace, 'home'))
    writeCluster(otherPlace, edits)
    await exits(0, otherPlace, 'certs')
    other = join(otherPlace, 'auth')
  })
  beforeEach(() => {
    rmSync(auth, { recursive: true, force: true })
    writeCluster(place, edits)
  })
  afterEach(() => {
    for (const { name, home } of suite.lab.nodes)
      cpSync(join(homes, name), home, { recursive: true, preserveTimestamps: true })
    cpSync(join(homes, 'own'), join(place, 'home'), { recursive: true, preserveTimestamps: true })
  })

  const recover = (...args: string[]) => harderway(place, 'recover', ...args)
  const onNodes = () => suite.lab.nodes.map(({ home }) => stateOf(home))
  const kubeconfig = () => stateOf(join(place, 'home/.kube'))
  const names = () => readdirSync(auth).toSorted()

  const identity = ['ca', 'service-account'].flatMap((name) => [`${name}.pem`, `${name}-key.pem`])
  const irreplaceable = [...identity, 'encryption-config.yaml']

  /** These are as they were, and nothing else is there. */
  function assertBack(files: readonly string[] = irreplaceable): void {
    assert.deepEqual(names(), ['.gitignore', ...files].toSorted())
    for (const file of files) {
      assert.ok(readFileSync(join(auth, file)).equals(readFileSync(join(made, file))), file)
      assert.equal(lstatSync(join(auth, file)).mode, lstatSync(join(made, file)).mode, file)
    }
  }

  function assertRefused(ran: Ran, ...patterns: readonly RegExp[]): void {
    assert.equal(ran.status, 3, told(ran))
    for (const pattern of patterns) assert.match(told(ran), pattern)
    assert.deepEqual(names(), [])
  }

  test("where no node has the CA's key, it comes from a backup alone: recover --node says so, and brings back the rest", async () => {
    writeCluster(place, [...edits, [['certificates', 'caKeyOnNodes'], false]])
    const refused = await exits(3, place, 'bootstrap')
    assert.match(told(refused), /- recover the cluster:\s+npm run task -- recover --from DIR$/m)
    assert.doesNotMatch(told(refused), /recover --node/)
    const ran = await recover('--node', 'control0')
    assert.equal(ran.status, 3, told(ran))
    assert.match(told(ran), /ca-key\.pem is on no node; restore it from a/)
    assert.match(told(ran), /- recover from .* a backup .*\n.*recover --from DIR/)
    assert.doesNotMatch(told(ran), /recover --node/)
    assertBack(['service-account.pem', 'service-account-key.pem', 'encryption-config.yaml'])
    const lost = await exits(3, place, 'bootstrap')
    assert.match(told(lost), /restore ca\.pem and ca-key\.pem from a backup:\s+npm run task -- recover --from DIR/)
    await exits(0, place, 'recover', '--from', made)
    const assertWhole = () => {
      for (const file of irreplaceable) assert.ok(readFileSync(join(auth, file)).equals(readFileSync(join(made, file))))
    }
    assertWhole()
    rmSync(join(auth, 'ca.pem'))
    const certificateLost = await exits(3, place, 'bootstrap')
    assert.match(told(certificateLost), /or from a control node:\s+npm run task -- recover --node control0/)
    await exits(0, place, 'recover', '--node', 'control0')
    assertWhole()
  })

  test('nor is another service-account key made where the nodes have it: recover brings it back', async () => {
    const lost = ['service-account.pem', 'service-account-key.pem']
    cpSync(made, auth, { recursive: true })
    for (const file of lost) rmSync(join(auth, file))
    const before = [onNodes(), kubeconfig(), names()]
    for (const args of [['bootstrap'], ['bootstrap', '--dry-run']]) {
      const ran = await exits(3, place, ...args)
      assert.ok(
        told(ran).includes(`${lost.join(', ')} on control0, control1, but ${auth} has no service-account key; nothing`),
      )
      assert.match(told(ran), /- recover the cluster:\s+npm run task -- recover --node control0$/m)
    }
    assert.deepEqual([onNodes(), kubeconfig(), names()], before)
    await withStatus(0, recover('--node', 'control0'))
    assertBack(readdirSync(made).filter((name) => name !== '.gitignore'))
    await exits(0, place, 'bootstrap', '--dry-run')
  })

  test('recover restores from a control node what cannot be made again, and bootstrap issues the rest for every node', async () => {
    const before = onNodes()
    const ran = await withStatus(0, recover('--node', 'control0'))
    assertBack()
    assert.deepEqual(onNodes(), before)
    for (const secret of secretsIn(made)) assert.ok(!told(ran).includes(secret))
    const next = await exits(0, place, 'bootstrap', '--json')
    for (const id of ['node-certs/worker0', 'component-certs/admin', 'deploy/control0', 'local-kubeconfig'])
      assert.ok(idsOf(next, 'built').includes(id), id)
    for (const file of irreplaceable)
      assert.ok(readFileSync(join(auth, file)).equals(readFileSync(join(made, file))), file)
    await exits(0, place, 'bootstrap', '--dry-run')
  })

  describe('recover --dry-run', () => {
    const tryOut = (from: string) => harderway(place, 'recover', '--from', from, '--dry-run')
    const copy = () => {
      const backup = mkdtempSync(join(place, 'backup-'))
      cpSync(made, backup, { recursive: true })
      return backup
    }

    test('says what would be restored, and that control nodes have the same identity; it changes nothing anywhere', async () => {
      const before = [onNodes(), stateOf(made), kubeconfig()]
      for (const ran of [
        await withStatus(0, tryOut(made)),
        await exits(0, place, 'recover', '--node', 'control1', '--dry-run'),
      ]) {
        assert.match(told(ran), /would restore ca-key\.pem, ca\.pem, /)
        for (const secret of secretsIn(made)) assert.ok(!told(ran).includes(secret))
      }
      for (const node of ['control0', 'control1'])
        assert.match(
          told(await tryOut(made)),
          new RegExp(`${node} has the same CA, service-account key, encryption key`),
        )
      assert.deepEqual([onNodes(), stateOf(made), kubeconfig()], before)
      assert.ok(!existsSync(auth))
      // What auth/ has does not complete a backup.
      cpSync(made, auth, { recursive: true })
      const backup = copy()
      rmSync(join(backup, 'ca-key.pem'))
      await withStatus(1, tryOut(backup))
    })

    const broken: Readonly<Record<string, readonly [spoil: (backup: string) => void, why: RegExp]>> = {
      'a CA without its key': [(backup) => rmSync(join(backup, 'ca-key.pem')), /ca-key\.pem missing/],
      'no encryption config': [
        (backup) => rmSync(join(backup, 'encryption-config.yaml')),
        /backup-\w+\/encryption-config\.yaml missing/,
      ],
      'a key of another pair': [
        (backup) => cpSync(join(backup, 'admin-key.pem'), join(backup, 'service-account-key.pem')),
        /service-account-key\.pem is not the key of its certificate/,
      ],
    }
    for (const [what, [spoil, why]] of Object.entries(broken))
      test(`names ${what}`, async () => {
        const backup = copy()
        spoil(backup)
        assert.match(told(await withStatus(1, tryOut(backup))), why)
      })

    test('half of a rotation is refused, and what bootstrap issues again is no fault', async () => {
      const backup = copy()
      rmSync(join(backup, 'worker0.pem'))
      await withStatus(0, tryOut(backup))
      cpSync(join(backup, 'admin.pem'), join(backup, 'ca-next.pem'))
      assert.match(told(await withStatus(3, tryOut(backup))), /ca-next-key\.pem is missing, but ca-next\.pem exists/)
    })

    test('refuses a node that holds another identity, and fails where one could not be looked at', async () => {
      assert.match(told(await withStatus(3, tryOut(other))), /control0 has another CA, service-account key than /)
      const [first, ...others] = nodes
      writeCluster(place, [...edits, [['nodes'], [{ ...first, host: 'nowhere.invalid' }, ...others]]])
      const lost = await withStatus(1, tryOut(made))
      assert.match(told(lost), /control1 has the same CA, [\s\S]*control0: unreachable/)
    })
  })

  /** The commands that are printed after these words. */
  const chainIn = (ran: Ran, words: string) =>
    new RegExp(`${words}:((?:\\n +npm run .*)+)`).exec(told(ran))?.[1]?.trim().split(/\n +/).join(', then ') ??
    told(ran)

  for (const renewal of ['certs --force', 'ca --renew, then certs --force'])
    test(`a backup older than ${renewal} brings the cluster back as recover --dry-run, recover and the refused run say`, async () => {
      const type = async (chain: string) => {
        for (const command of chain.split(', then '))
          await must(...command.replace(/^npm run (task -- )?/, '').split(' '))
      }
      const chainAfter = (tasks: string) =>
        [...tasks.split(', then ').map((task) => `npm run task -- ${task}`), 'npm run bootstrap'].join(', then ')
      cpSync(made, auth, { recursive: true })
      await type(chainAfter(renewal))
      const verified = await exits(0, place, 'recover', '--from', made, '--dry-run')
      assert.match(told(verified), /control0 has newer certificates than .*made \(.*; after/)
      assert.equal(chainIn(verified, 'after recover'), chainAfter(renewal))
      rmSync(auth, { recursive: true })
      const recovered = await exits(0, place, 'recover', '--from', made)
      assert.equal(chainIn(recovered, 'if the backup is older than the nodes, then'), chainAfter('certs --force'))
      const refused = await exits(1, place, 'bootstrap')
      assert.doesNotMatch(told(refused), /recover|mv /)
      const chain = chainIn(refused, 'if that auth/ is lost, issue newer certificates')
      assert.equal(chain, chainAfter(renewal))
      if (renewal.includes('--renew')) await type(chain)
    })

  test('an auth/ that a newer harderway has written is refused by every command, with the version to update to', async () => {
    cpSync(made, auth, { recursive: true })
    const backup = mkdtempSync(join(place, 'backup-'))
    cpSync(made, backup, { recursive: true })
    const marker = (folder: string, version: string) => join(folder, `needs-harderway-${version}`)
    const needed =
      /needs a newer harderway \(needs-harderway-(\S+)\); this is 0\.\d+\.\d+[\s\S]*update to harderway \1 or later/
    for (const [version, ...tasks] of [
      ['99.0.0', 'bootstrap', 'bootstrap --dry-run', 'verify', 'report', 'rotate ca', 'recover --node control0'],
      ['0.99.0', 'status'],
    ] as const) {
      writeFileSync(marker(auth, version), '')
      const before = stateOf(auth)
      for (const task of tasks) assert.match(told(await exits(3, place, ...task.split(' '))), needed, task)
      assert.deepEqual(stateOf(auth), before)
      rmSync(marker(auth, version))
      writeFileSync(marker(backup, version), '')
      assert.match(told(await exits(3, place, 'recover', '--from', backup)), needed)
      rmSync(marker(backup, version))
    }
    writeFileSync(marker(auth, '0.1.9'), '')
    await exits(0, place, 'bootstrap')
  })

  test('recover takes a rotation over: from a backup as it stands, from a node as far as the node has it', async () => {
    const built = async () => idsOf(await must('bootstrap', '--json'), 'built')
    writeCluster(place, [...edits, [['install'], true]])
    cpSync(made, auth, { recursive: true })
    await must('rotate', 'ca', '--force')
    const backup = join(place, 'backup')
    cpSync(auth, backup, { recursive: true })
    for (const file of ['ca-next-key.pem', 'ca-next.pem', 'ca-cross.pem']) {
      rmSync(join(auth, file))
      if (file === 'ca-next-key.pem')
        assert.match(told(await harderway(place, 'bootstrap')), /restore ca-next-key\.pem .*:\n.* recover --from DIR/)
      await must('recover', '--from', backup)
    }
    rmSync(auth, { recursive: true })
    await must('recover', '--from', backup)
    assert.deepEqual(await built(), [])
    const midway = suite.lab.nodes.map(({ name, home }) => [home, join(place, `midway-${name}`)] as const)
    for (const [home, kept] of midway) cpSync(home, kept, { recursive: true, preserveTimestamps: true })
    await must('rotate', 'ca', '--finish', '--force')
    rmSync(auth, { recursive: true })
    await must('recover', '--node', 'control0')
    assert.ok(names().includes('ca-cross.pem'))
    await must('bootstrap')
    rmSync(auth, { recursive: true })
    for (const [home, kept] of midway) cpSync(kept, home, { recursive: true, preserveTimestamps: true })
    cpSync(join(homes, 'own'), join(place, 'home'), { recursive: true, preserveTimestamps: true })
    // The key of the next CA was in the auth/ that is lost: the present CA signs again.
    await must('recover', '--node', 'control1')
    await must('bootstrap')
    openssl('verify', '-CAfile', join(auth, 'ca.pem'), join(auth, 'admin.pem'))
  })

  for (const [file, spoil, what] of [
    ['encryption-config.yaml', () => 'kind: EncryptionConfiguration\n', /is no EncryptionConfiguration of /],
    [
      'ca-key.pem',
      () => readFileSync(join(made, 'admin-key.pem'), 'utf8'),
      /ca-key\.pem is not the key of its certificate/,
    ],
    ['service-account.pem', () => '', /service-account\.pem is not a .*certificate/],
  ] as const)
    test(`a spoilt ${file} is named by its path, the others are taken, and another control node has it`, async () => {
      const path = join(suite.lab.node('control0').home, file)
      writeFileSync(path, spoil())
      const ran = await recover('--node', 'control0')
      assert.equal(ran.status, 3, told(ran))
      assert.match(told(ran), what)
      assert.ok(told(ran).includes(path), told(ran))
      const part = file.replace(/(-key)?\.(pem|yaml)$/, '')
      assertBack(irreplaceable.filter((name) => !name.startsWith(part)))
      cpSync(join(homes, 'control0', file), path)
      await withStatus(0, recover('--node', 'control1'))
      assertBack()
    })

  test('a CA that was made in its place is moved aside by the commands that the next deploy and recover print', async () => {
    await exits(0, place, 'certs')
    const refused = await exits(3, place, 'bootstrap')
    const [, ...args] = /recover the cluster:\s+npm run task -- (recover) (--node) (\S+)$/m.exec(told(refused)) ?? []
    const before = stateOf(auth)
    const inTheWay = await exits(3, place, ...args)
    assert.deepEqual(stateOf(auth), before)
    const [, move = ''] = /move it aside:\n +(mv .*) && npm run task -- recover --node \S+$/m.exec(told(inTheWay)) ?? []
    execFileSync('sh', ['-c', move])
    await exits(0, place, ...args)
    assertBack()
  })

  test('a CA that was replaced comes back from the backup of that run: the printed command moves nothing else', async () => {
    cpSync(made, auth, { recursive: true })
    await exits(0, place, 'ca', '--force', '--yes')
    const [folder = ''] = readdirSync(join(auth, 'backup'))
    const refused = told(await exits(3, place, 'recover', '--from', `auth/backup/${folder}`))
    const [, move = '', ...args] =
      /:\n +(mkdir -m 700 .*) && npm run task -- (recover) (--from) (\S+)$/m.exec(refused) ?? []
    execFileSync('sh', ['-c', move])
    await exits(0, place, ...args)
    for (const file of irreplaceable)
      assert.ok(readFileSync(join(auth, file)).equals(readFileSync(join(made, file))), file)
  })

  for (const file of ['service-account-key.pem', 'ca.pem', 'ca-key.pem'])
    test(`after a recover that was killed before ${file}, bootstrap makes nothing, and recover brings the rest`, async () => {
      const killed = await start(place, ['recover', '--node', 'control0'], {
        at: { event: `rename ${file}#1`, do: 'kill' },
      }).ended
      assert.equal(killed.signal, 'SIGKILL', killed.stdout + killed.stderr)
      const half = names().filter((name) => !name.startsWith('.'))
      assert.ok(half.length > 0 && !half.includes(file), String(half))
      const between = await exits(3, place, 'bootstrap')
      assert.match(told(between), file === 'ca-key.pem' ? /ca-key\.pem missing/ : /recover --node control0/)
      assert.deepEqual(
        names().filter((name) => !name.startsWith('.')),
        half,
      )
      await withStatus(0, recover('--node', 'control0'))
      assertBack()
    })

  test('recover --from restores what is right in a backup, and contacts no node', async () => {
    const backup = join(place, 'mixed')
    cpSync(made, backup, { recursive: true })
    // Its program would run whenever somebody uses it.
    const kubeconfig = join(backup, 'admin.kubeconfig')
    writeFileSync(
      kubeconfig,
      readFileSync(kubeconfig, 'utf8').replace(/client-certificate-data/, 'exec: {command: x}\n    $&'),
    )
    for (const file of ['worker0.pem', 'worker0-key.pem']) cpSync(join(other, file), join(backup, file))
    await Promise.all(suite.lab.nodes.map((node) => node.stop()))
    assert.match(told(await withStatus(1, recover('--from', 'nowhere'))), /directory .*nowhere does not exist/)
    assert.match(told(await withStatus(3, recover('--from', 'home'))), /restored nothing from .*home\/ca\.pem/)
    await withStatus(0, recover('--from', 'mixed'))
    assertBack(readdirSync(made).filter((file) => !/^\.|^worker0|^admin\.kubeconfig/.test(file)))
    await Promise.all(suite.lab.nodes.map((node) => node.start()))
  })

  const must = (...args: string[]) => exits(0, place, ...args)

  test('recover --from takes what the backup has kept, and the version that it needs, and overwrites nothing', async () => {
    cpSync(made, auth, { recursive: true })
    await must('encryption-key', '--force', '--yes')
    const backup = join(place, 'kept-before')
    renameSync(auth, backup)
    const [time = ''] = readdirSync(join(backup, 'backup'))
    const ofNode = join('backup', `worker0-${time}`)
    mkdirSync(join(backup, ofNode))
    for (const name of ['a', 'b', '.tmp-c~']) writeFileSync(join(backup, ofNode, name), name, { mode: 0o644 })
    writeFileSync(join(backup, 'needs-harderway-0.5.0'), '')
    // As a killed run leaves it.
    mkdirSync(join(auth, ofNode), { recursive: true, mode: 0o700 })
    writeFileSync(join(auth, ofNode, 'a'), 'it was here')
    await must('recover', '--from', backup)
    rmSync(backup, { recursive: true })
    const taken = (name: string) => readFileSync(join(auth, name), 'utf8')
    assert.deepEqual(readdirSync(join(auth, ofNode)), ['a', 'b'])
    assert.deepEqual([taken(join(ofNode, 'a')), taken(join(ofNode, 'b'))], ['it was here', 'b'])
    const old = join('backup', time, 'encryption-config.yaml')
    assert.equal(taken(old), readFileSync(join(made, 'encryption-config.yaml'), 'utf8'))
    for (const [name, mode] of [
      [old, 0o600],
      [join(ofNode, 'b'), 0o600],
      ['backup', 0o700],
    ] as const)
      assert.equal(lstatSync(join(auth, name)).mode & 0o777, mode, name)
    assert.equal(taken('needs-harderway-0.5.0'), '')
  })

  test('after recover a run has nothing to refuse, in each stage of rotate service-account and encryption-key', async () => {
    cpSync(made, auth, { recursive: true })
    const cluster = readCluster(readFileSync(join(place, 'cluster.yaml')))
    const kept = join(place, 'kept')
    // After its last stage each of them has one key, as it had before. They share no file.
    const [tokens, sealing] = [serviceAccountRotation, encryptionKeyRotation].map(({ stages }) => stages.slice(0, -1))
    assert.equal(tokens?.length, sealing?.length)
    for (const [i, stage] of tokens?.entries() ?? []) {
      const run = { auth: new AuthDir(auth, harderWay.files), cluster, now: new Date() } as Rotating['run']
      for (const each of [stage, sealing?.[i]]) await each?.begin({ run } as Rotating)
      await must('bootstrap')
      rmSync(kept, { recursive: true, force: true })
      renameSync(auth, kept)
      await must('recover', '--node', 'control1')
      const plan = await harderway(place, 'bootstrap', '--dry-run', '--json')
      assert.deepEqual([plan.status, idsOf(plan, 'failed')], [4, []], stage.name)
      for (const file of irreplaceable.filter((each) => each !== 'service-account.pem'))
        assert.ok(readFileSync(join(auth, file)).equals(readFileSync(join(kept, file))), `${stage.name}: ${file}`)
      rmSync(auth, { recursive: true })
      cpSync(kept, auth, { recursive: true })
    }
  })

  /** Types what is printed. */
  const follow = async (ran: Ran) => {
    const [, moved, command = ''] = /:\n +(mkdir .* && )?npm run task -- (recover --\S+ [^\s,]+)/.exec(told(ran)) ?? []
    if (moved) execFileSync('sh', ['-c', `${moved}true`])
    await must(...command.split(' '))
    return moved ?? ''
  }

  describe('a lost file alone comes back as it was, by the run or by the command that it prints:', () => {
    /** Of it the nodes have another certificate. */
    let newer: string
    before(async () => {
      newer = join(place, 'newer')
      rmSync(auth, { recursive: true, force: true })
      cpSync(made, auth, { recursive: true })
      await must('certs', '--force')
      renameSync(auth, newer)
    })

    for (const file of irreplaceable)
      test(file, async () => {
        cpSync(newer, auth, { recursive: true })
        const before = stateOf(auth, (name) => name !== file)
        const bytes = readFileSync(join(auth, file))
        rmSync(join(auth, file))
        if (file === 'service-account.pem') await must('bootstrap')
        else {
          await exits(3, place, 'bootstrap', '--dry-run')
          const refused = await exits(3, place, 'certs', 'kubeconfigs', 'encryption-key', 'deploy')
          if (file === 'encryption-config.yaml')
            assert.match(
              told(refused),
              /encryption-config\.yaml on control0, control1, but .*auth has no encryption key; nothing was/,
            )
          assert.equal(await follow(refused), '')
          assert.deepEqual(
            stateOf(auth, (name) => name !== file),
            before,
          )
        }
        if (file !== 'service-account.pem') assert.ok(readFileSync(join(auth, file)).equals(bytes))
      })
  })

  test('recover takes a cluster that expired while it was down, and what it says to type repairs it', async (t) => {
    const ahead = 11 * 365 * 86_400
    const late = { place, now: new Date(Date.now() + ahead * 1000) }
    await setClocks(suite.lab, place, ahead)
    t.after(() => setClocks(suite.lab, place, 0))
    await exits(0, late, 'recover', '--node', 'control0')
    assertBack()
    assert.match(
      told(await exits(3, late, 'bootstrap')),
      /the CA in .* expired on .*\n.*\n +npm run task -- ca --renew$/m,
    )
    await exits(0, late, 'ca', '--renew')
    await exits(0, late, 'bootstrap')
    await exits(0, late, 'bootstrap', '--dry-run')
    assert.ok(readFileSync(join(auth, 'ca-key.pem')).equals(readFileSync(join(made, 'ca-key.pem'))))
  })

  test('recover refuses the files of a cluster that cluster.yaml does not describe', async () => {
    writeCluster(place, [...edits, [['subject', 'locality'], 'Gdansk']])
    assertRefused(
      await recover('--from', 'made'),
      /if cluster\.yaml is wrong, correct it/,
      /the CA in .* differs from cluster\.yaml, which needs another CA \(adds L=Gdansk to the subject/,
    )
    writeCluster(place, [...edits, [['encryption', 'provider'], 'secretbox']])
    const ran = await withStatus(3, recover('--from', 'made'))
    assert.match(told(ran), /encrypts with aescbc, but cluster\.yaml has secretbox/)
    assert.ok(!names().includes('encryption-config.yaml'))
  })
})
