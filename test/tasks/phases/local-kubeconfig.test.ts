import assert from 'node:assert/strict'
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { scratch, stateOfFile } from '../../support/files.ts'
import { type Edit, harderway, withStatus, writeCluster } from '../../support/harderway.ts'

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
  const place = (t: Parameters<typeof scratch>[0], ...edits: Edit[]) => {
    const folder = scratch(t)
    mkdirSync(join(folder, 'home'))
    cpSync(join(made, 'auth'), join(folder, 'auth'), { recursive: true })
    writeCluster(folder, [...edits])
    /** `config`: the user's kubeconfig where $KUBECONFIG names none. */
    return { folder, config: join(folder, 'home/.kube/config'), ca: readFileSync(join(folder, 'auth/ca.pem')) }
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

  test("of one of users takes the admin's place, key and all; of a file that has our entry no copy is made", async (t) => {
    const { folder, config } = place(t)
    await withStatus(0, run(folder, 'local-kubeconfig'))
    const has = (name: string) => {
      const bytes = readFileSync(join(folder, 'auth', `${name}-key.pem`))
      return readFileSync(config, 'utf8').includes(bytes.toString('base64'))
    }
    assert.ok(has('admin'))
    writeCluster(folder, [
      [['users'], [{ name: 'jane', groups: ['devs'] }]],
      [['localKubeconfig', 'as'], 'jane'],
    ])
    await withStatus(0, run(folder, 'local-kubeconfig'))
    assert.deepEqual([has('admin'), has('jane')], [false, true])
    await withStatus(0, run(folder, 'user-certs/jane', '--force'))
    await withStatus(0, run(folder, 'local-kubeconfig'))
    assert.deepEqual(readdirSync(dirname(config)), ['config'])
    writeCluster(folder)
    await withStatus(0, run(folder, 'local-kubeconfig'))
    assert.ok(has('admin'))
  })

  describe('in a kubeconfig with other clusters', () => {
    test('the second run writes nothing', async (t) => {
      const { folder, config } = place(t)
      write(config, foreign, 0o644)
      await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.match(readFileSync(config, 'utf8'), /^# mine\n[\s\S]*example:6443 # behind the VPN$[\s\S]*name: kubenet$/m)
      assert.equal(lstatSync(config).mode & 0o7777, 0o600)
      const first = stateOfFile(config)
      const second = await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.equal(second.events.find(({ id, type }) => id === 'local-kubeconfig' && type !== 'started')?.type, 'fresh')
      assert.deepEqual(stateOfFile(config), first)
      writeCluster(folder, [[['api', 'port'], 7443]])
      await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.match(readFileSync(config, 'utf8'), /server: https:\/\/kubernetes:7443/)
      assert.deepEqual(readdirSync(dirname(config)), ['config'])
    })

    test('a mode that lets others read our key is reported and repaired, and nothing else changes', async (t) => {
      const { folder, config } = place(t)
      write(config, foreign)
      await run(folder, 'local-kubeconfig')
      const text = `${readFileSync(config, 'utf8')}x-spaces:    kept\n`
      write(config, text)
      chmodSync(config, 0o644)
      const ran = await withStatus(0, run(folder, 'local-kubeconfig'))
      assert.match(ran.output, /config can be read by others/)
      assert.equal(lstatSync(config).mode & 0o7777, 0o600)
      assert.equal(readFileSync(config, 'utf8'), text)
    })
  })

  test('of a list of kubeconfigs the first that exists gets our entries, and the others stay as they are', async (t) => {
    const { folder } = place(t)
    const [gone, first, other] = [join(folder, 'gone'), join(folder, 'first'), join(folder, 'other')]
    for (const path of [first, other]) write(path, foreign, 0o644)
    const before = stateOfFile(other)
    const env = { KUBECONFIG: [gone, first, other].join(delimiter) }
    await withStatus(0, runIn(folder, env, 'local-kubeconfig'))
    assert.match(readFileSync(first, 'utf8'), /name: kubenet/)
    assert.deepEqual(stateOfFile(other), before)
    assert.ok(!existsSync(gone))
  })

  describe('is refused, and the file stays as it is,', () => {
    const users = foreign.replace('users:\n- name: one', 'users:\n- name: admin').replace('user: one}', 'user: admin}')
    for (const [what, text, message] of [
      ['another context uses a user admin', users, /user admin, used by context one[\s\S]*localKubeconfig\.user/],
      [
        'our context is for another cluster',
        'contexts:\n- {name: kubenet, context: {cluster: another, user: me}}\n',
        /context kubenet for the cluster another[\s\S]*localKubeconfig\.context/,
      ],
      [
        'an entry of ours is an alias',
        'users:\n- {name: one, user: &all {token: abc}}\n- {name: admin, user: *all}\n',
        /is not a valid kubeconfig, or has YAML aliases/,
      ],
    ] as const)
      test(`before anything is made, where ${what}`, async (t) => {
        const { folder, config } = place(t)
        rmSync(join(folder, 'auth'), { recursive: true })
        write(config, text, 0o640)
        const first = stateOfFile(config)
        for (const args of [
          ['bootstrap', '--dry-run'],
          ['certs', 'local-kubeconfig', '--dry-run'],
          ['bootstrap'],
          ['certs', 'local-kubeconfig'],
        ]) {
          const { output } = await withStatus(3, run(folder, ...args))
          assert.match(output.replaceAll('\\n', '\n'), message)
          assert.equal(existsSync(join(folder, 'auth')), !args.includes('--dry-run'))
        }
        assert.deepEqual(readdirSync(join(folder, 'auth')), [])
        assert.deepEqual([stateOfFile(config), readdirSync(dirname(config))], [first, ['config']])
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

    describe('where its cluster of our name trusts another CA', () => {
      const message = /cluster kubenet in your kubeconfig trusts a CA that \S+auth does not have/
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
      test('than the one in auth/, and has the only key of an admin: with --replace-identity it is overwritten, and auth/backup has a copy', async (t) => {
        const { folder, config, ca } = place(t)
        const text = `${entry(dataOf(otherCa))}users: [{name: admin, user: {client-key-data: a2V5}}]
contexts: [{name: kubenet, context: {cluster: kubenet, user: admin}}]
`
        write(config, text)
        await assertRefused(folder, config, /recover the cluster:\\n +.*recover --node/)
        await withStatus(4, run(folder, 'local-kubeconfig', '--replace-identity', '--dry-run'))
        await withStatus(0, run(folder, 'local-kubeconfig', '--replace-identity', '--yes'))
        assert.ok(readFileSync(config, 'utf8').includes(ca.toString('base64')))
        const [kept = '', ...more] = readdirSync(join(folder, 'auth/backup'))
        assert.deepEqual(more, [])
        const copy = join(folder, 'auth/backup', kept, config.slice(1).replaceAll('/', '%2F'))
        assert.equal(readFileSync(copy, 'utf8'), text)
        assert.equal(lstatSync(copy).mode & 0o7777, 0o600)
      })

      test('and auth/ is empty: no CA is made, nor offered; it is said from where the CA of that cluster comes', async (t) => {
        const { folder, config, ca } = place(t)
        rmSync(join(folder, 'auth'), { recursive: true })
        write(config, entry(dataOf(ca)))
        await assertRefused(folder, config, /recover the cluster:\\n +npm run task -- recover --node control0/)
        await withStatus(3, run(folder, 'bootstrap'))
        assert.deepEqual(readdirSync(join(folder, 'auth')), [])
        writeCluster(folder, [[['certificates', 'caKeyOnNodes'], false]])
        await assertRefused(folder, config, /recover the cluster:\\n +npm run task -- recover --from DIR/)
      })

      test('but not where it names the same CA beside another', async (t) => {
        const { folder, config, ca } = place(t)
        write(config, entry(dataOf(Buffer.concat([otherCa, ca]))))
        await withStatus(0, run(folder, 'local-kubeconfig'))
      })

      test('but not where the CA was reissued, over the same key', async (t) => {
        const { folder, config, ca } = place(t)
        write(config, entry(dataOf(ca)))
        await withStatus(0, run(folder, 'ca', '--renew'))
        assert.notDeepEqual(readFileSync(join(folder, 'auth/ca.pem')), ca)
        await withStatus(0, run(folder, 'local-kubeconfig'))
      })
    })
  })
})

const run = (folder: string, ...args: string[]) => runIn(folder, {}, ...args)

async function runIn(folder: string, env: Readonly<Record<string, string>>, ...args: string[]) {
  const ran = await harderway({ place: folder, env }, ...args, '--json', '--config', join(folder, 'cluster.yaml'))
  return { ...ran, output: ran.stdout + ran.stderr }
}

function write(path: string, text: string, mode = 0o600): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text, { mode })
}
