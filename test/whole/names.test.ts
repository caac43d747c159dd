/** Names that bite: what is asked for in cluster.yaml is refused with a clear message, or carried through exactly. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { parseCluster } from '../../lib/cluster/cluster.ts'
import { known } from '../../tasks/tables/files.ts'
import { type Lab, startLab } from '../lab/lab.ts'
import { openssl } from '../support/certificates.ts'
import { scratch } from '../support/files.ts'
import { type Edit, harderway, idsOf, labEdits, makePlace, type Ran, writeCluster } from '../support/harderway.ts'
import { kubectl, needs } from '../support/programs.ts'

const control = { name: 'control0', role: 'control', ip: '192.168.1.11' }
const edits: Edit[] = [
  [['certificates', 'key'], 'ecdsa-p256'],
  [['nodes'], [control]],
]

const run = (t: TestContext, more: readonly Edit[], ...args: string[]): Promise<Ran & { place: string }> => {
  const place = scratch(t)
  mkdirSync(join(place, 'home'))
  writeCluster(place, [...edits, ...more])
  return harderway(place, ...args).then((ran) => ({ ...ran, place }))
}

const node = (key: string, value: string): Edit => [['nodes'], [{ ...control, [key]: value }]]
const at =
  (...path: string[]) =>
  (value: string): Edit => [path, value]
const injected = '-oProxyCommand=touch x'
const refused: readonly (readonly [key: string, edit: (value: string) => Edit, values: readonly string[]])[] = [
  [
    'nodes[0].name',
    (name) => node('name', name),
    [
      ...['-x', 'x-', 'a b', 'a;touch x', '$(touch x)', '../x', 'a/b', '.', 'a.b', 'żaba', 'a\nb', '', '`x`', "a'b"],
      ...['Control0', 'a'.repeat(53), 'a'.repeat(10_000), 'admin', 'admin-key'],
    ],
  ],
  [
    'nodes[0].host',
    (host) => node('host', host),
    [injected, '-x', '', 'a b', '$(touch x)', 'a;b', 'a/b', 'a@b', '[::1]', 'a\tb', 'a'.repeat(300)],
  ],
  ['ssh.user', at('ssh', 'user'), [injected, '-l', '', 'a b', '$(id)', 'a;b', 'a\nb', 'é', 'a'.repeat(80)]],
  [
    'ssh.directory',
    at('ssh', 'directory'),
    [injected, 'x', '', '../x', '~user/x', '~/../x', '/a/../b', '~/a\nb', '/a\u0000b', '-x', '~/a\u2028b'],
  ],
  ['name', at('name'), ['-x', 'a b', 'x;y', 'é', '', '$(x)', 'a'.repeat(300), '"', '{}', injected]],
  [
    'domain',
    at('domain'),
    ['Kubenet', 'a b', 'a..b', 'a.', '.a', 'a_b', 'é', `${'a'.repeat(64)}.b`, `${'a.'.repeat(127)}a`, '0.0.1'],
  ],
  [
    'subject.organization',
    at('subject', 'organization'),
    ['', ' x', 'x ', 'a\nb', 'a\u0007b', 'a'.repeat(65), 'a\u2028b', 'x\u00a0'],
  ],
  ['subject.country', at('subject', 'country'), ['pl', 'POL', 'P', '12', 'ŁĄ', '../']],
  [
    'api.extraSANs[0]',
    (san) => [['api', 'extraSANs'], [san]],
    ['a_b', 'a b', '*', '*.*.a', 'a.*', '1.2.3', '300.1.1.1', '::g', 'é'],
  ],
  [
    'ssh.options.Compression',
    (value) => [['ssh', 'options'], { Compression: value }],
    ['yes\nProxyCommand touch x', 'a\u0000b'],
  ],
]
for (const [key, edit, values] of refused)
  test(`${key} is refused where it is no name, with its place: ${JSON.stringify(values).slice(0, 60)}`, (t) => {
    const place = scratch(t)
    for (const value of values) {
      writeCluster(place, [...edits, edit(value)])
      const parsed = parseCluster(readFileSync(join(place, 'cluster.yaml')), known)
      assert.ok('problems' in parsed, `${value} is taken`)
      for (const { line, message } of parsed.problems) {
        assert.ok(line >= (key === 'name' ? 1 : 2) && message.startsWith(`${key} `), message)
        assert.ok(message.length < 300, 'a long value is shown short')
        assert.doesNotMatch(message, /\p{Cc}/u)
      }
    }
  })

test('all of them are refused at once, before anything is made', async (t) => {
  const all: Edit[] = [
    [['nodes'], [{ ...control, name: '-x', host: injected, directory: 'x' }]],
    [['ssh'], { user: injected, options: { '-oProxyCommand': 'touch x' } }],
    [['name'], injected],
  ]
  const { status, stderr, place } = await run(t, all, 'bootstrap')
  assert.equal(status, 2)
  const lines = stderr.trimEnd().split('\n')
  for (const line of lines) assert.match(line, /cluster\.yaml:\d+:\d+: |^ {4}/)
  for (const key of ['nodes[0].name', 'nodes[0].host', 'nodes[0].directory', 'ssh.user', 'ssh.options', ': name '])
    assert.ok(
      lines.some((line) => line.includes(key)),
      key,
    )
  assert.deepEqual(readdirSync(place).toSorted(), ['cluster.yaml', 'home'])
})

describe('what is carried through to certificates', { skip: needs('openssl'), concurrency: 2 }, () => {
  for (const [organization, unit] of [
    ['Małopolska', '日本'],
    ['"quoted"', "it's"],
    ['a, b', 'a+b=c'],
    ['#1', 'CN=x'],
    ['a\\,b', '<x>;'],
    ['/C=PL/O=x', '-x'],
    ['$(touch x)', '%s'],
    ['🔐', 'e\u0301'],
    ['null', 'ż'.repeat(64)],
  ] as const)
    test(`the organization ${organization} with the unit ${unit.slice(0, 30)}`, async (t) => {
      const subject: Edit = [['subject'], { organization, organizationalUnit: unit }]
      const { status, stdout, stderr, place } = await run(t, [subject], 'ca', 'cluster-cert')
      assert.equal(status, 0, stdout + stderr)
      for (const name of ['ca', 'kubernetes']) {
        const subject = subjectOf(join(place, 'auth', `${name}.pem`))
        assert.deepEqual([subject.get('O'), subject.get('OU')], [organization, unit])
      }
      openssl('verify', '-x509_strict', '-CAfile', join(place, 'auth/ca.pem'), join(place, 'auth/kubernetes.pem'))
      const again = await harderway(place, 'cluster-cert', '--json')
      assert.deepEqual([again.status, idsOf(again, 'built')], [0, []])
    })

  for (const [name, ...sans] of [
    ['a'.repeat(52)],
    ['007'],
    ['a--b'],
    ['true'],
    ['control0', '*.example.org', 'fd00:0::1', 'xn--bcher-kva.example'],
  ] as const)
    test(`the node name ${name.slice(0, 10)} with the SANs ${JSON.stringify(sans)}`, async (t) => {
      const nodes: Edit = [['nodes'], [{ ...control, name, sans }]]
      const { status, stdout, stderr, place } = await run(t, [nodes], 'node-certs', 'kubeconfigs')
      assert.equal(status, 0, stdout + stderr)
      const file = join(place, 'auth', `${name}.pem`)
      assert.equal(subjectOf(file).get('CN'), `system:node:${name}`)
      const text = openssl('x509', '-in', file, '-noout', '-ext', 'subjectAltName')
      const names = [...text.matchAll(/(?:DNS|IP Address):([^,\n]+)/g)].map(([, san = '']) => san.trim().toLowerCase())
      const expected = sans.map((san) => (san.startsWith('fd00') ? 'fd00:0:0:0:0:0:0:1' : san))
      assert.deepEqual(names.toSorted(), [name, `${name}.kubenet`, ...expected, '192.168.1.11'].toSorted())
    })
})

describe('what is carried through to kubeconfigs', { skip: needs('kubectl'), concurrency: 2 }, () => {
  const words = [
    ...['null', 'yes', 'off', '1', '007', '1e3', '0x1f', '1_000', '1:30', '2026-01-01', 'a:', 'a:b'],
    ...['user@host/x', 'x'.repeat(253), 'default'],
  ]
  for (let i = 0; i < words.length; i += 3) {
    const [cluster = '', context = '', user = ''] = words.slice(i, i + 3)
    test(`${[cluster, context, user].map((word) => JSON.stringify(word.slice(0, 30))).join(', ')}: a cluster, a context, a user`, async (t) => {
      const more: Edit[] = [
        [['name'], cluster],
        [['domain'], 'kubenet'],
        [['localKubeconfig'], { context, user }],
      ]
      const { status, stdout, stderr, place } = await run(t, more, 'kubeconfigs', 'local-kubeconfig')
      assert.equal(status, 0, stdout + stderr)
      const seen = (file: string) =>
        JSON.parse(kubectl(place, ['config', 'view', '--raw', '-o', 'json', `--kubeconfig=${file}`]))
      const local = seen(join(place, 'home/.kube/config'))
      assert.deepEqual(
        [local['current-context'], local.clusters[0].name, local.users[0].name, local.contexts[0].name],
        [context, cluster, user, context],
      )
      assert.deepEqual(local.contexts[0].context, { cluster, user })
      const admin = seen(join(place, 'auth/admin.kubeconfig'))
      assert.deepEqual([admin.clusters[0].name, admin.contexts[0].context], [cluster, { cluster, user: 'admin' }])
      assert.equal((await harderway(place, 'kubeconfigs', 'local-kubeconfig', '--dry-run')).status, 0)
    })
  }
})

describe('what is carried through to nodes', { skip: needs('sshd', 'ssh', 'scp') }, () => {
  let place: string
  let lab: Lab

  before(async () => {
    place = makePlace()
    const silent = { name: 'control0' }
    lab = await startLab({ dir: join(place, 'lab'), nodes: [silent, { name: 'talking' }] })
    const talk = '[ "$SHLVL" -gt 1 ] || { cd; echo Welcome; }\n'
    for (const file of ['.bashrc', '.zshenv']) writeFileSync(join(lab.node('talking').home, file), talk)
  })
  after(async () => {
    await lab.stop()
    rmSync(place, { recursive: true, force: true })
  })

  const deploy = (node: Record<string, unknown>, ...more: Edit[]) => {
    writeCluster(place, [...edits, ...labEdits(lab), [['nodes'], [{ ...control, ...node }]], ...more])
    return harderway(place, 'deploy', '--json')
  }

  const directories = [
    ...['a b', "it's", '"quoted"', '$HOME', '$(touch x)', '`touch x`', 'a;touch x', 'a&b|c', 'back\\slash', 'żółć'],
    ...['日本', '-leading', '--', 'x y/z w', 'a*b?[c]', '{a,b}', '#1', '!x', '~', 'a:b', "a'\\''b", '%h%d'],
    ...['x'.repeat(200), '.hidden', '(x)', '<x>', ' leading', 'a\u202eb', 'x/', 'a b ', 'x\u00a0'],
  ]

  test('directories of one node each, all on one machine: each gets its files, and nothing else is made', async () => {
    const nodes = directories.map((name, i) => ({
      ...{ name: `n${i}`, role: i === 0 ? 'control' : 'worker', ip: `192.168.2.${i + 1}`, host: 'control0' },
      directory: `~/${name}`,
    }))
    writeCluster(place, [...edits, ...labEdits(lab), [['nodes'], nodes], [['ssh', 'concurrency'], 4]])
    const deployed = async (type: string) =>
      idsOf(await harderway(place, 'deploy', '--json'), type).filter((id) => id.startsWith('deploy/'))
    const ids = nodes.map(({ name }) => `deploy/${name}`).toSorted()
    assert.deepEqual((await deployed('built')).toSorted(), ids)
    assert.deepEqual((await deployed('fresh')).toSorted(), ids)
    const { home } = lab.node('control0')
    for (const [i, name] of directories.entries())
      for (const file of ['ca.pem', `n${i}-key.pem`, `n${i}.kubeconfig`])
        assert.ok(readFileSync(join(home, name, file)).equals(readFileSync(join(place, 'auth', file))), name + file)
    const made = directories.map((name) => name.split('/')[0] ?? '')
    assert.deepEqual(readdirSync(home).toSorted(), ['.bashrc', '.zshenv', ...made].toSorted())
    for (const folder of [place, process.cwd()]) assert.ok(!existsSync(join(folder, 'x')))
  })

  test('an absolute directory with blanks and quotes', async () => {
    const directory = join(place, `abs "o'lute" $x`)
    const ran = await deploy({ directory })
    assert.equal(ran.status, 0, ran.stdout)
    assertHolds(directory)
  })

  test('a directory on a node whose login prints something, to be made or there', async () => {
    mkdirSync(join(lab.node('talking').home, 'there'), { recursive: true })
    for (const name of ['new', 'there']) {
      const ran = await deploy({ name: 'talking', directory: `~/${name}` })
      assert.equal(ran.status, 0, ran.stdout)
      assertHolds(join(lab.node('talking').home, name), 'talking')
    }
  })

  test('an ssh option is one value, whatever is in it: nothing in it is run', async () => {
    const option = (value: string) => [['ssh', 'options'], { ConnectTimeout: value }] as Edit
    for (const value of [
      '-oProxyCommand=touch x',
      '5 -oProxyCommand=touch x',
      "5' -oProxyCommand='touch x",
      '$(touch x)',
      '`touch x`',
      '5; touch x',
      '5"',
    ])
      assert.equal((await deploy({}, option(value))).status, 1, value)
    for (const folder of [place, lab.node('talking').home, process.cwd()]) assert.ok(!existsSync(join(folder, 'x')))
  })

  test('a host, a user and an option that are odd but legal reach ssh as they are', async () => {
    const wrapper = join(place, 'proxy with blank')
    writeFileSync(wrapper, `#!/bin/sh\nprintf '%s\\n' "$@" > '${join(place, 'asked')}'\nexit 1\n`, { mode: 0o755 })
    const options: Edit = [['ssh', 'options'], { ProxyCommand: `"${wrapper}" %h %r` }]
    writeFileSync(join(place, 'none'), '')
    for (const [host, user] of [
      ['a.b-c_d', 'DOMAIN_x@corp.example'],
      ['fe80::1%eth0', '0x'],
      ['_x', 'a.b-c'],
    ] as const) {
      const ran = await deploy({ host }, options, [['ssh', 'configFile'], 'none'], [['ssh', 'user'], user])
      assert.equal(ran.status, 1)
      assert.equal(readFileSync(join(place, 'asked'), 'utf8').split('\n')[1], user)
      assert.match(readFileSync(join(place, 'asked'), 'utf8'), new RegExp(`^${host.replace(/%.*/, '')}`))
    }
  })

  function assertHolds(folder: string, name = 'control0'): void {
    for (const file of ['ca.pem', 'ca-key.pem', `${name}.kubeconfig`, 'encryption-config.yaml'])
      assert.ok(readFileSync(join(folder, file)).equals(readFileSync(join(place, 'auth', file))), file)
    assert.equal(readdirSync(folder).length, 14)
  }
})

/** By its short names, as openssl reads it; nothing is escaped. */
function subjectOf(file: string): Map<string, string> {
  const text = openssl('x509', '-in', file, '-noout', '-subject', '-nameopt', 'sep_multiline,sname,utf8')
  return new Map(
    text
      .split('\n')
      .slice(1)
      .filter(Boolean)
      .map((line) => {
        const [, name = '', value = ''] = /^ *([A-Z]+)=(.*)$/.exec(line) ?? []
        return [name, value]
      }),
  )
}
