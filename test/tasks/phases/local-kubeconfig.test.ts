import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse, stringify } from 'yaml'
import type { KubeconfigAccess } from '../../../lib/kubernetes/kubeconfig.ts'
import { quote } from '../../../lib/wording.ts'
import { scratch, stateOfFile } from '../../support/files.ts'
import { type Edit, harderway, withStatus, writeCluster } from '../../support/harderway.ts'
import { kubectl, kubectlConfig, needs } from '../../support/programs.ts'

const foreign = `# mine
apiVersion: v1
clusters:
- cluster:
    server: https://one.example:6443 # behind the VPN
  name: one
contexts:
- context: {cluster: one, user: one}
  name: one
current-context: one
kind: Config
users:
- name: one
  user: {token: abc}
`

interface Place {
  readonly folder: string
  /** The user's kubeconfig where $KUBECONFIG names none. */
  readonly config: string
  readonly access: KubeconfigAccess
}

describe('local-kubeconfig', { concurrency: 4 }, () => {
  let made: string
  /** The certificate of a CA that is not the place's. */
  let otherCa: Buffer

  before(async () => {
    made = mkdtempSync(join(tmpdir(), 'harderway-test-'))
    writeCluster(made)
    await withStatus(0, run(made, 'component-certs/admin'))
    const other = mkdtempSync(join(made, 'other-'))
    writeCluster(other)
    await withStatus(0, run(other, 'ca'))
    otherCa = readFileSync(join(other, 'auth/ca.pem'))
  })
  after(() => rmSync(made, { recursive: true, force: true }))

  /** The admin's certificate is there already. */
  const place = (t: Parameters<typeof scratch>[0], ...edits: Edit[]): Place => {
    const folder = scratch(t)
    mkdirSync(join(folder, 'home'))
    cpSync(join(made, 'auth'), join(folder, 'auth'), { recursive: true })
    writeCluster(folder, [...edits])
    const bytes = (name: string) => readFileSync(join(folder, 'auth', name))
    const access = {
      cluster: 'kubenet',
      server: 'https://kubernetes:6443',
      user: 'admin',
      context: 'kubenet',
      ca: bytes('ca.pem'),
      certificate: bytes('admin.pem'),
      key: bytes('admin-key.pem'),
    }
    return { folder, config: join(folder, 'home/.kube/config'), access }
  }

  describe('where there is no kubeconfig', () => {
    test('makes ~/.kube/config, for its user alone, after a dry run that makes nothing', async (t) => {
      const { folder, config } = place(t)
      const dry = await withStatus(4, run(folder, 'local-kubeconfig', '--dry-run'))
      assert.ok(dry.output.includes(`${config} missing`), dry.output)
      assert.deepEqual(readdirSync(join(folder, 'home')), [])
      await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.equal(lstatSync(config).mode & 0o7777, 0o600)
      assert.equal(lstatSync(dirname(config)).mode & 0o7777, 0o700)
      assert.deepEqual(readdirSync(dirname(config)), ['config'])
    })

    test('localKubeconfig.path wins over $KUBECONFIG, and is relative to cluster.yaml', async (t) => {
      const { folder, config } = place(t, [['localKubeconfig', 'path'], './mine/kubeconfig'])
      await withStatus(0, runIn(folder, { KUBECONFIG: join(folder, 'not-this') }, 'local-kubeconfig'))
      assert.ok(existsSync(join(folder, 'mine/kubeconfig')))
      assert.ok(!existsSync(join(folder, 'not-this')) && !existsSync(config))
    })
  })

  test('names the context of an earlier name of the cluster, with what deletes it, once', {
    skip: needs('kubectl'),
  }, async (t) => {
    const { folder, config } = place(t)
    const contexts = () => parse(readFileSync(config, 'utf8')).contexts.map(({ name }: { name: string }) => name)
    await withStatus(0, run(folder, 'local-kubeconfig'))
    // Of the user's own, for this cluster, under the present name of its entry; and of another cluster.
    for (const [name, cluster] of [
      ['mine', 'newnet'],
      ['else', 'elsewhere'],
    ])
      spawnSync('kubectl', [
        'config',
        'set-context',
        `${name}`,
        `--cluster=${cluster}`,
        '--user=admin',
        `--kubeconfig=${config}`,
      ])
    const renamed: Edit[] = [
      [['name'], 'newnet'],
      [['domain'], 'kubenet'],
    ]
    writeCluster(folder, [...renamed])
    for (const [status, ...args] of [[4, '--dry-run'], [0]] as const) {
      const { output } = await withStatus(status, run(folder, 'local-kubeconfig', ...args))
      const [, context, command = ''] =
        /context (\S+) in \S+ is of this cluster under an earlier name; delete it: (kubectl [^"\\]*)/.exec(output) ?? []
      assert.equal(context, 'kubenet', output)
      assert.doesNotMatch(output, /context (mine|else) /)
      if (status === 4) continue
      assert.equal(spawnSync('sh', ['-c', command]).status, 0, command)
    }
    assert.deepEqual(contexts().toSorted(), ['else', 'mine', 'newnet'])
    const again = await withStatus(0, run(folder, 'local-kubeconfig'))
    assert.doesNotMatch(again.output, /earlier name/)
  })

  describe('of one of users', () => {
    const jane: readonly Edit[] = [
      [['users'], [{ name: 'jane', groups: ['devs'] }]],
      [['localKubeconfig', 'as'], 'jane'],
    ]

    test("takes the admin's place, key and all; of a file that has our entry no copy is made", async (t) => {
      const { folder, config } = place(t)
      await withStatus(0, run(folder, 'local-kubeconfig'))
      const has = (name: string) => {
        const bytes = readFileSync(join(folder, 'auth', `${name}-key.pem`))
        return readFileSync(config, 'utf8').includes(bytes.toString('base64'))
      }
      assert.ok(has('admin'))
      writeCluster(folder, [...jane])
      await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.deepEqual([has('admin'), has('jane')], [false, true])
      await withStatus(0, run(folder, 'user-certs/jane', '--force'))
      await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.deepEqual(readdirSync(dirname(config)), ['config'])
      writeCluster(folder)
      await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.ok(has('admin'))
    })

    test('a renewed admin and another name of the entry are no first entry: no copy is made', async (t) => {
      const { folder, config } = place(t)
      await withStatus(0, run(folder, 'local-kubeconfig'))
      await withStatus(0, run(folder, 'component-certs/admin', '--force'))
      await withStatus(0, run(folder, 'local-kubeconfig'))
      writeCluster(folder, [[['localKubeconfig'], { user: 'root', context: 'other' }]])
      await withStatus(0, run(folder, 'local-kubeconfig'))
      await withStatus(0, run(folder, 'ca', '--force', '--yes'))
      await withStatus(0, run(folder, 'local-kubeconfig', '--replace-identity', '--yes'))
      assert.deepEqual(readdirSync(dirname(config)), ['config'])
    })

    test('a copy with a key of ours, of an earlier version, is named with its rm until it is gone', async (t) => {
      const { folder, config } = place(t)
      const copy = `${config}.before-harderway`
      const named = `${copy} has the key of admin too; remove it: rm ${copy}`
      await withStatus(0, run(folder, 'local-kubeconfig'))
      cpSync(config, copy)
      // Now over another key: the CA has signed the one in the copy for all that.
      await withStatus(0, run(folder, 'component-certs/admin', '--force'))
      for (const args of [['local-kubeconfig', '--dry-run'], ['local-kubeconfig'], ['local-kubeconfig'], ['status']])
        assert.ok((await run(folder, ...args)).output.includes(named), args.join(' '))
      const { events } = await run(folder, 'status')
      assert.equal(events.find(({ id }) => id === 'local-kubeconfig')?.warning, named)
      assert.ok((await harderway(folder, 'status')).stdout.includes(named))
      rmSync(copy)
      writeFileSync(copy, foreign)
      for (const args of [['local-kubeconfig', '--dry-run'], ['status']])
        assert.ok(!(await run(folder, ...args)).output.includes(copy), args.join(' '))
    })
  })

  describe("an entry with the admin's key, besides the one that a run makes,", () => {
    const users: Edit = [['users'], [{ name: 'jane', groups: ['devs'] }]]
    const beside: readonly Edit[] = [users, [['localKubeconfig'], { as: 'jane', user: 'jane' }]]
    /** Of the named entries: the commands that remove them. */
    const removals = ({ events }: Awaited<ReturnType<typeof run>>) =>
      events.flatMap(({ type, message }) =>
        type === 'note' ? (/: (kubectl config delete-user .*)$/.exec(String(message))?.[1] ?? []) : [],
      )

    test('is named in run, plan, status and report until it is removed as printed; no run touches it', {
      skip: needs('kubectl'),
    }, async (t) => {
      const { folder, config } = place(t)
      await withStatus(0, run(folder, 'local-kubeconfig'))
      const entry = () =>
        parse(readFileSync(config, 'utf8')).users.find(({ name }: { name: string }) => name === 'admin')
      const first = entry()
      assert.ok(first)
      writeCluster(folder, [...beside])
      const command = `kubectl config delete-user admin --kubeconfig ${config}`
      for (const args of [['local-kubeconfig', '--dry-run'], ['local-kubeconfig'], ['local-kubeconfig'], ['status']]) {
        assert.deepEqual(removals(await run(folder, ...args)), [command], args.join(' '))
        const { stdout } = await harderway(folder, ...args)
        assert.ok(stdout.replaceAll(/\n +/g, ' ').includes(command), stdout)
      }
      await withStatus(0, run(folder, 'report'))
      assert.ok(readFileSync(join(folder, 'auth/report.html'), 'utf8').includes(command))
      assert.deepEqual(entry(), first)
      type(folder, command)
      assert.equal(entry(), undefined)
      for (const args of [['local-kubeconfig', '--dry-run'], ['local-kubeconfig'], ['status']])
        assert.deepEqual(removals(await run(folder, ...args)), [], args.join(' '))
    })

    test('is named where it was made before another path or none was wanted, also of a list and in a path with a blank', {
      skip: needs('kubectl'),
    }, async (t) => {
      const { folder, config } = place(t)
      const listed = join(folder, 'a list/of two')
      const env = { KUBECONFIG: [join(folder, 'none'), listed].join(delimiter) }
      await withStatus(0, run(folder, 'certs', 'kubeconfigs', 'encryption-key', 'local-kubeconfig'))
      await withStatus(0, runIn(folder, env, 'local-kubeconfig'))
      const [usual, other] = [config, listed].map(
        (file) => `kubectl config delete-user admin --kubeconfig ${quote(file)}`,
      )
      for (const wanted of [{ path: './its own', as: 'jane' }, false]) {
        writeCluster(folder, [users, [['localKubeconfig'], wanted]])
        await run(folder, 'local-kubeconfig')
        for (const args of [['status'], ['bootstrap', '--dry-run'], ['bootstrap']])
          assert.deepEqual(removals(await runIn(folder, env, ...args)), [other, usual], args.join(' '))
        assert.deepEqual(removals(await run(folder, 'bootstrap', '--dry-run')), [usual])
        // What a run makes in auth/ is not the user's own.
        const emergency = { KUBECONFIG: join(folder, 'auth/admin.kubeconfig') }
        assert.deepEqual(removals(await runIn(folder, emergency, 'status')), [usual])
        assert.deepEqual(removals(await runIn(folder, env, 'bootstrap', '--dry-run', '--offline')), [])
      }
      for (const command of [usual, other]) type(folder, String(command))
      assert.deepEqual(removals(await runIn(folder, env, 'status')), [])
    })

    test('is told by its key: whatever its name, embedded or in a file, of an earlier certificate too', async (t) => {
      const { folder, config, access } = place(t, users)
      await withStatus(0, run(folder, 'user-certs/jane'))
      await withStatus(0, run(folder, 'component-certs/admin', '--force'))
      const auth = join(folder, 'auth')
      const data = (name: string) => readFileSync(join(auth, name)).toString('base64')
      const other = scratch(t)
      writeCluster(other)
      await withStatus(0, run(other, 'component-certs/admin'))
      cpSync(join(auth, 'admin-key.pem'), join(folder, 'key.pem'))
      const embedded = (certificate: string | Buffer, key: string | Buffer) => ({
        'client-certificate-data': certificate.toString('base64'),
        'client-key-data': key.toString('base64'),
      })
      const pairOf = (at: string, name: string) =>
        embedded(readFileSync(join(at, 'auth', `${name}.pem`)), readFileSync(join(at, 'auth', `${name}-key.pem`)))
      const entries = {
        earlier: embedded(access.certificate, access.key),
        named: { 'client-certificate': join(auth, 'admin.pem'), 'client-key': '../../key.pem' },
        both: {
          'client-certificate': 'gone.pem',
          'client-certificate-data': data('admin.pem'),
          'client-key-data': data('admin-key.pem'),
        },
        'key alone': { 'client-key-data': data('admin-key.pem') },
        // These are none.
        jane: pairOf(folder, 'jane'),
        other: pairOf(other, 'admin'),
        'no key': { 'client-certificate-data': data('admin.pem') },
        gone: { 'client-certificate-data': data('admin.pem'), 'client-key': 'gone.pem' },
        token: { token: 'abc' },
      }
      write(config, stringify({ users: Object.entries(entries).map(([name, user]) => ({ name, user })) }))
      const named = removals(await run(folder, 'status')).map((each) => /delete-user (.*) --/.exec(each)?.[1])
      assert.deepEqual(named, ['earlier', 'named', 'both', "'key alone'"])
      // An expired one of an earlier key lets nobody in.
      const late = { place: folder, now: new Date(Date.now() + 3660 * 86_400_000) }
      const { stdout } = await harderway(late, 'status', '--json')
      assert.deepEqual(stdout.match(/delete-user \S+/g), ['delete-user named', 'delete-user both', "delete-user 'key"])
    })

    test('may be in a file that is no kubeconfig, and so a run says that it was not read', async (t) => {
      const { folder, config } = place(t, users, [['localKubeconfig'], false])
      write(config, 'kind: List\n')
      const notes = (await run(folder, 'status')).events.map(({ message }) => message)
      assert.ok(notes.includes(`can't read ${config}, which may hold a key of this cluster`), notes.join('\n'))
    })
  })

  describe('in a kubeconfig with other clusters', () => {
    test('the second run writes nothing, and what the file was first stays beside it', async (t) => {
      const { folder, config } = place(t)
      write(config, foreign, 0o644)
      await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.match(readFileSync(config, 'utf8'), /^# mine\n[\s\S]*example:6443 # behind the VPN$[\s\S]*name: kubenet$/m)
      const copy = `${config}.before-harderway`
      assert.equal(readFileSync(copy, 'utf8'), foreign)
      for (const file of [config, copy]) assert.equal(lstatSync(file).mode & 0o7777, 0o600)
      const first = [stateOfFile(config), stateOfFile(copy)]
      const second = await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.equal(second.events.find(({ id, type }) => id === 'local-kubeconfig' && type !== 'started')?.type, 'fresh')
      assert.deepEqual([stateOfFile(config), stateOfFile(copy)], first)
      writeCluster(folder, [[['api', 'port'], 7443]])
      await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.match(readFileSync(config, 'utf8'), /server: https:\/\/kubernetes:7443/)
      assert.deepEqual(stateOfFile(copy), first[1])
      assert.deepEqual(readdirSync(dirname(config)).toSorted(), ['config', 'config.before-harderway'])
    })

    test('by itself it leaves the current context, and says how to switch: a command that kubectl takes', {
      skip: needs('kubectl'),
    }, async (t) => {
      const { folder, config } = place(t)
      write(config, foreign)
      const planned = await withStatus(4, run(folder, 'local-kubeconfig', '--dry-run'))
      assert.doesNotMatch(planned.output, /current-context/)
      const { output } = await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.match(readFileSync(config, 'utf8'), /^current-context: one$/m)
      const [, typed = ''] =
        /current context of kubectl is still one; switch to kubenet: (kubectl [^"]*)"/.exec(output) ?? []
      assert.equal(typed, 'kubectl config use-context kubenet')
      // What its user chose stays, whoever is renewed.
      await withStatus(0, run(folder, 'component-certs/admin', '--force'))
      assert.doesNotMatch((await withStatus(0, run(folder, 'local-kubeconfig'))).output, /current context/)
      type(folder, typed)
      assert.match(readFileSync(config, 'utf8'), /^current-context: kubenet$/m)
      await withStatus(0, run(folder, 'local-kubeconfig', '--dry-run'))
    })

    test('a mode that lets others read our key is reported and repaired, and nothing else changes', async (t) => {
      const { folder, config } = place(t)
      write(config, foreign)
      await run(folder, 'local-kubeconfig')
      const text = `${readFileSync(config, 'utf8')}x-spaces:    kept\n`
      write(config, text)
      chmodSync(config, 0o644)
      const ran = await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.match(ran.output, /has mode 0644, not 0600/)
      assert.equal(lstatSync(config).mode & 0o7777, 0o600)
      assert.equal(readFileSync(config, 'utf8'), text)
    })

    test('links that lead to no file yet are followed, and the file is made', async (t) => {
      const { folder, config } = place(t)
      mkdirSync(join(dirname(config), 'more'), { recursive: true })
      symlinkSync('more/link', config)
      symlinkSync('../made', join(dirname(config), 'more/link'))
      await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.equal(readlinkSync(config), 'more/link')
      assert.equal(lstatSync(join(dirname(config), 'made')).mode & 0o7777, 0o600)
      assert.deepEqual(readdirSync(dirname(config)).toSorted(), ['config', 'made', 'more'])
    })

    test('a link into a folder that does not exist, or round in a circle, is reported and left', async (t) => {
      for (const [to, status] of [
        ['gone/config', 1],
        ['config', 3],
      ] as const) {
        const { folder, config } = place(t)
        mkdirSync(dirname(config), { recursive: true })
        symlinkSync(to, config)
        const ran = await run(folder, 'local-kubeconfig')
        assert.equal(ran.status, status, ran.output)
        assert.deepEqual(readdirSync(dirname(config)), ['config'])
      }
    })

    test('temporary files of a run that was killed are removed, those of others are not', async (t) => {
      const { folder, config } = place(t)
      write(config, foreign)
      write(join(dirname(config), '.tmp-config~'), 'half')
      write(join(dirname(config), '.tmp-other'), 'half')
      await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.deepEqual(readdirSync(dirname(config)).toSorted(), ['.tmp-other', 'config', 'config.before-harderway'])
    })
  })

  describe('in a list of kubeconfigs', () => {
    const ours = `clusters:\n- {name: kubenet, cluster: {server: "https://old:1"}}\ncurrent-context: one\n`

    test('each file means what it does after kubectl', { skip: needs('kubectl') }, async (t) => {
      const { folder, access } = place(t)
      const [mine, theirs] = [scratch(t), scratch(t)]
      const list = (root: string) => {
        write(join(root, 'b'), foreign)
        write(join(root, 'c'), ours)
        return ['a', 'b', 'c'].map((name) => join(root, name)).join(delimiter)
      }
      kubectlConfig(scratch(t), access, { list: list(theirs) })
      const env = { KUBECONFIG: list(mine) }
      const { output } = await withStatus(0, runIn(folder, env, 'local-kubeconfig'))
      type(folder, /kubectl config use-context kubenet/.exec(output)?.[0] ?? 'false', env)
      const kept = (name: string) => !name.endsWith('.before-harderway')
      assert.deepEqual(readdirSync(mine).filter(kept).toSorted(), readdirSync(theirs).toSorted())
      for (const name of readdirSync(theirs))
        assert.equal(view(folder, join(mine, name)), view(folder, join(theirs, name)))
    })

    test('one without an entry of ours stays as it is, open to others too', async (t) => {
      const { folder, config } = place(t)
      const shared = join(folder, 'shared')
      write(config, foreign, 0o644)
      write(shared, 'apiVersion: v1\nkind: Config\n', 0o644)
      const first = stateOfFile(shared)
      await withStatus(0, runIn(folder, { KUBECONFIG: `${config}${delimiter}${shared}` }, 'local-kubeconfig'))
      assert.deepEqual(stateOfFile(shared), first)
    })

    test('a path in it is relative to where the user stands', async (t) => {
      const { folder } = place(t)
      const stands = scratch(t)
      await withStatus(0, runIn(folder, { KUBECONFIG: 'mine', INIT_CWD: stands }, 'local-kubeconfig'))
      assert.ok(existsSync(join(stands, 'mine')))
    })
  })

  describe('is refused, and the file stays as it is,', () => {
    const refusals: Readonly<Record<string, readonly [text: string, message: RegExp]>> = {
      'where another context uses a user admin': [
        foreign.replace('users:\n- name: one', 'users:\n- name: admin').replace('user: one}', 'user: admin}'),
        /user admin, used by context one[\s\S]*localKubeconfig\.user/,
      ],
      'where a context of our name leads to another cluster': [
        foreign.replaceAll('name: one\ncurrent', 'name: kubenet\ncurrent'),
        /context kubenet for the cluster one[\s\S]*localKubeconfig\.context/,
      ],
      'where a cluster of our name is used by another context': [
        foreign
          .replace('  name: one\ncontexts', '  name: kubenet\ncontexts')
          .replace('cluster: one,', 'cluster: kubenet,'),
        /cluster kubenet, used by context one[\s\S]*name in cluster\.yaml/,
      ],
      'where two contexts have one name': [
        foreign.replace('contexts:', 'contexts:\n- {name: one, context: {cluster: two}}'),
        /not a valid kubeconfig/,
      ],
      'where an entry of ours is an alias': [
        'clusters:\n- {name: one, cluster: &all {server: "https://x:1"}}\n- {name: kubenet, cluster: *all}\n',
        /can't be changed without touching the entries of others[\s\S]*anchors/,
      ],
    }
    for (const [title, [text, message]] of Object.entries(refusals))
      test(title, async (t) => {
        const { folder, config } = place(t)
        write(config, text, 0o640)
        const first = stateOfFile(config)
        for (const args of [['--dry-run'], []]) {
          const ran = await withStatus(3, run(folder, 'local-kubeconfig', ...args))
          assert.match(ran.output.replaceAll('\\n', '\n'), message)
        }
        assert.deepEqual(stateOfFile(config), first)
        assert.deepEqual(readdirSync(dirname(config)), ['config'])
      })

    for (const [file, by] of Object.entries({ 'ca-key.pem': 'auth', 'admin.kubeconfig': 'link', new: 'auth' }))
      test(`where it is auth/${file}`, async (t) => {
        const { folder } = place(t)
        symlinkSync('auth', join(folder, 'link'))
        symlinkSync(join(by, file), join(folder, 'alias'))
        const snapshot = () =>
          readdirSync(join(folder, 'auth')).map((name) => [name, readFileSync(join(folder, 'auth', name), 'utf8')])
        const first = snapshot()
        const ran = await withStatus(3, runIn(folder, { KUBECONFIG: 'alias' }, 'local-kubeconfig'))
        assert.match(ran.output, /is in \S+auth, where no entry is written[\s\S]*localKubeconfig\.path/)
        assert.deepEqual(snapshot(), first)
      })

    const users = foreign.replace('users:\n- name: one', 'users:\n- name: admin').replace('user: one}', 'user: admin}')
    const alias = 'users:\n- {name: one, user: &all {token: abc}}\n- {name: admin, user: *all}\n'
    for (const [what, text, message] of [
      [
        'our context is for another cluster',
        'contexts:\n- {name: kubenet, context: {cluster: another, user: me}}\n',
        /has a context kubenet for the cluster another/,
      ],
      ['a user admin is of another cluster', users, /user admin, used by context one/],
      ['an entry of ours is an alias', alias, /can't be changed without touching the entries of others/],
    ] as const)
      test(`before anything is made, where ${what}`, async (t) => {
        const { folder, config } = place(t)
        rmSync(join(folder, 'auth'), { recursive: true })
        write(config, text)
        const first = stateOfFile(config)
        for (const args of [
          ['bootstrap', '--dry-run'],
          ['certs', 'local-kubeconfig', '--dry-run'],
        ]) {
          assert.match((await withStatus(3, run(folder, ...args))).output, message)
          assert.ok(!existsSync(join(folder, 'auth')))
        }
        for (const args of [['bootstrap'], ['certs', 'local-kubeconfig']]) {
          assert.match((await withStatus(3, run(folder, ...args))).output, message)
          assert.deepEqual(readdirSync(join(folder, 'auth')), [])
        }
        assert.deepEqual(stateOfFile(config), first)
      })

    test('until the entry has another name, as printed: then the run goes on, and the other cluster keeps its own', async (t) => {
      const { folder, config } = place(t)
      write(config, users)
      const { output } = await withStatus(3, run(folder, 'local-kubeconfig'))
      assert.match(output, /- set localKubeconfig\.user in cluster\.yaml to another name/)
      writeCluster(folder, [[['localKubeconfig', 'user'], 'kubenet-admin']])
      await withStatus(0, run(folder, 'local-kubeconfig'))
      const { users: entries } = parse(readFileSync(config, 'utf8'))
      assert.deepEqual(entries.find(({ name }: { name: string }) => name === 'admin').user, { token: 'abc' })
    })

    test('where it is wanted by itself and there is no CA: none is made for it', async (t) => {
      const { folder, config } = place(t)
      rmSync(join(folder, 'auth'), { recursive: true })
      write(config, foreign)
      const first = stateOfFile(config)
      for (const more of [['--dry-run'], [], ['--force'], ['--replace-identity', '--yes']]) {
        const { output } = await withStatus(3, run(folder, 'local-kubeconfig', ...more))
        assert.match(output, /auth has no CA; nothing was created/)
        assert.match(output, /recover --node control0 [^"]*\\n[^"]* bootstrap [^"]*"/)
      }
      assert.deepEqual(readdirSync(join(folder, 'auth')), [])
      assert.deepEqual(stateOfFile(config), first)
      // Of a new cluster it is to be made, as status says.
      await withStatus(4, run(folder, 'status'))
    })

    describe('where its cluster of our name trusts another CA', () => {
      const message = /cluster kubenet in your kubeconfig trusts a(nother)? CA/
      const entry = (ca: string) => `clusters:\n- name: kubenet\n  cluster: {server: "https://x:1", ${ca}}\n`
      const dataOf = (pem: Buffer) => `certificate-authority-data: ${pem.toString('base64')}`

      const assertRefused = async (folder: string, config: string, ...ways: RegExp[]) => {
        const first = stateOfFile(config)
        const names = () =>
          readdirSync(folder, { recursive: true })
            .map(String)
            .filter((name) => name.endsWith('.pem'))
        const before = names()
        for (const args of [['--dry-run'], ['--force'], []]) {
          const ran = await withStatus(3, run(folder, 'local-kubeconfig', ...args))
          assert.match(ran.output, message)
          for (const way of ways) assert.match(ran.output, way)
          assert.equal(/--replace-identity/.test(ran.output), existsSync(join(folder, 'auth/ca.pem')))
        }
        assert.deepEqual(stateOfFile(config), first)
        assert.deepEqual(names(), before)
      }

      // No node of this cluster.yaml is there: with nodes, test/whole/recover.test.ts.
      const compares = /compare auth\/ with the nodes: npm run task -- status --on-nodes/
      for (const [what, users] of [
        ['', ''],
        [
          ', and has the only key of an admin',
          'users: [{name: admin, user: {client-key-data: a2V5}}]\ncontexts: [{name: kubenet, context: {cluster: kubenet, user: admin}}]\n',
        ],
      ] as const)
        test(`than the one in auth/${what}: with --replace-identity it is overwritten, and auth/backup has a copy`, async (t) => {
          const { folder, config, access } = place(t)
          const text = entry(dataOf(otherCa)) + users
          write(config, text)
          // Status advises nothing that it has just done.
          for (const args of [[], ['--on-nodes']])
            assert.equal(compares.test((await harderway(folder, 'status', ...args)).stdout), args.length === 0)
          await assertRefused(folder, config, compares, /if they have another, recover the cluster: .*recover --node/)
          const keeps = 'auth/backup keeps a copy of your kubeconfig, whose entry trusts another CA'
          const replace = ['local-kubeconfig', '--replace-identity'] as const
          assert.ok((await withStatus(4, run(folder, ...replace, '--dry-run'))).output.includes(keeps))
          assert.ok((await withStatus(0, run(folder, ...replace, '--yes'))).output.includes(keeps))
          assert.ok(readFileSync(config, 'utf8').includes(access.ca.toString('base64')))
          const [kept = '', ...more] = readdirSync(join(folder, 'auth/backup'))
          assert.deepEqual(more, [])
          const copy = join(folder, 'auth/backup', kept, config.slice(1).replaceAll('/', '%2F'))
          assert.equal(readFileSync(copy, 'utf8'), text)
          assert.equal(lstatSync(copy).mode & 0o7777, 0o600)
          assert.ok(!(await withStatus(0, run(folder, ...replace, '--yes'))).output.includes(keeps))
        })

      test('and auth/ is empty: no CA is made, nor offered; it is said from where the CA of that cluster comes', async (t) => {
        const { folder, config, access } = place(t)
        rmSync(join(folder, 'auth'), { recursive: true })
        write(config, entry(dataOf(access.ca)))
        await assertRefused(folder, config, /recover the cluster: npm run task -- recover --node control0/)
        await withStatus(3, run(folder, 'bootstrap'))
        assert.deepEqual(readdirSync(join(folder, 'auth')), [])
        writeCluster(folder, [[['certificates', 'caKeyOnNodes'], false]])
        await assertRefused(folder, config, /recover the cluster: npm run task -- recover --from DIR/)
      })

      for (const [what, ca] of [
        ['the same CA beside another', (access: KubeconfigAccess) => dataOf(Buffer.concat([otherCa, access.ca]))],
        [
          'a file that does not exist: kubectl reports it only when it connects, and overwrites it',
          () => 'certificate-authority: gone.pem',
        ],
        ['what is no certificate', () => dataOf(Buffer.from('nothing'))],
      ] as const)
        test(`but not where it names ${what}`, async (t) => {
          const { folder, config, access } = place(t)
          write(config, entry(ca(access)))
          await withStatus(0, run(folder, 'local-kubeconfig'))
        })

      test('but not where the CA was reissued, over the same key', async (t) => {
        const { folder, config, access } = place(t)
        write(config, entry(dataOf(access.ca)))
        await withStatus(0, run(folder, 'ca', '--renew'))
        assert.notDeepEqual(readFileSync(join(folder, 'auth/ca.pem')), access.ca)
        await withStatus(0, run(folder, 'local-kubeconfig'))
      })
    })
  })

  test('a user admin that only contexts of our cluster use is no conflict', async (t) => {
    const { folder, config } = place(t)
    write(
      config,
      'users:\n- {name: admin, user: {token: old}}\ncontexts:\n- {name: dev, context: {cluster: kubenet, user: admin}}\n',
    )
    await withStatus(0, run(folder, 'local-kubeconfig'))
    assert.match(readFileSync(config, 'utf8'), /client-key-data/)
  })

  test('our user is renewed where a context by another way to our cluster uses it too', async (t) => {
    const { folder, config } = place(t)
    const tunnel = `clusters:\n- {name: tunnel, cluster: {server: "https://localhost:1"}}
contexts:\n- {name: tunnel, context: {cluster: tunnel, user: admin}}\n`
    await withStatus(0, run(folder, 'local-kubeconfig'))
    const made = parse(readFileSync(config, 'utf8'))
    for (const list of ['clusters', 'contexts']) made[list].push(...parse(tunnel)[list])
    write(config, stringify(made))
    await withStatus(0, run(folder, 'component-certs/admin', '--force'))
    await withStatus(4, run(folder, 'local-kubeconfig', '--dry-run'))
    await withStatus(0, run(folder, 'local-kubeconfig'))
  })

  describe('a lock beside the kubeconfig', () => {
    test('that kubectl left is named after ten seconds, and nothing is changed', async (t) => {
      const { folder, config } = place(t)
      write(config, foreign)
      write(`${config}.lock`, '')
      const ran = await withStatus(1, run(folder, 'local-kubeconfig'))
      assert.ok(ran.output.includes(`${config}.lock is held by another program`), ran.output)
      assert.ok(ran.output.includes(`if you are sure that it has ended: rm ${config}.lock`), ran.output)
      assert.equal(readFileSync(config, 'utf8'), foreign)
      assert.deepEqual(readdirSync(dirname(config)).toSorted(), ['config', 'config.lock'])
    })

    test('is none where nothing has to be changed', async (t) => {
      const { folder, config } = place(t)
      await run(folder, 'local-kubeconfig')
      write(`${config}.lock`, '')
      await withStatus(0, run(folder, 'local-kubeconfig'))
    })
  })
})

const run = (folder: string, ...args: string[]) => runIn(folder, {}, ...args)

async function runIn(folder: string, env: Readonly<Record<string, string>>, ...args: string[]) {
  const isJson = !args.includes('--verbose')
  const more = isJson && !args.includes('--json') ? ['--json'] : []
  const call = [...args, ...more, '--config', join(folder, 'cluster.yaml')]
  const ran = await harderway({ place: folder, env }, ...call)
  return { ...ran, output: ran.stdout + ran.stderr }
}

function write(path: string, text: string, mode = 0o600): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text, { mode })
}

/** A printed command, in the user's own shell. */
function type(folder: string, command: string, env: Readonly<Record<string, string>> = {}): void {
  const home = { PATH: process.env.PATH, HOME: join(folder, 'home') }
  const { status, stderr } = spawnSync('sh', ['-c', command], { env: { ...home, ...env }, encoding: 'utf8' })
  assert.equal(status, 0, `${command}\n${stderr}`)
}

/** What kubectl reads in the file. */
function view(home: string, file: string): string {
  return kubectl(home, ['config', 'view', '--raw', '-o', 'json', `--kubeconfig=${file}`])
}
