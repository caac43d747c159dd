/** Names that bite: what is asked for in cluster.yaml is refused with a clear message, or carried through exactly. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { parseCluster } from '../../lib/cluster/cluster.ts'
import { readCertificate } from '../../lib/pki/certificate.ts'
import { formatExplained } from '../../lib/wording.ts'
import { known } from '../../tasks/tables/files.ts'
import { type Lab, startLab } from '../lab/lab.ts'
import { type Edit, harderway, labEdits, makePlace, type Ran, writeCluster } from '../support/harderway.ts'
import { kubectl } from '../support/kubectl.ts'
import { openssl } from '../support/openssl.ts'
import { needs } from '../support/parts.ts'
import { scratch } from '../support/scratch.ts'

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

describe('what is refused, with its place and what would be right', { concurrency: 2 }, () => {
  const label = /is not a node name: one DNS label of lower-case letters, digits and hyphens/
  const node = (key: string, value: unknown): Edit => [['nodes'], [{ ...control, [key]: value }]]
  const injected = '-oProxyCommand=touch x'
  const rows: readonly (readonly [what: string, edit: Edit, said: RegExp])[] = [
    ...['-x', 'x-', 'a b', 'a;touch x', '$(touch x)', '../x', 'a/b', '.', 'a.b', 'żaba', 'a\nb', '', '`x`', "a'b"].map(
      (name) => [`the node name ${JSON.stringify(name)}`, node('name', name), label] as const,
    ),
    ['a node name in capitals', node('name', 'Control0'), /has capitals, .*: write control0/],
    ['a node name of 53 letters', node('name', 'a'.repeat(53)), /longer than 52 characters/],
    ['a node name of 10,000 letters', node('name', 'a'.repeat(10_000)), label],
    ['a node name of the cluster’s own', node('name', 'admin'), /would collide with the cluster's own/],
    ['a node name that ends in -key', node('name', 'admin-key'), /would collide/],
    ...[injected, '-x', '', 'a b', '$(touch x)', 'a;b', 'a/b', 'a@b', '[::1]', 'a\tb', `a${'b'.repeat(300)}`].map(
      (host) =>
        [`the host ${JSON.stringify(host).slice(0, 40)}`, node('host', host), /host .* is not a host for ssh/] as const,
    ),
    ...[injected, '-l', '', 'a b', '$(id)', 'a;b', 'a\nb', 'é', 'a'.repeat(80)].map(
      (user) =>
        [
          `the user ${JSON.stringify(user).slice(0, 40)}`,
          [['ssh', 'user'], user],
          /ssh\.user .* is not a user name/,
        ] as const,
    ),
    ...[injected, 'x', '', '../x', '~user/x', '~/../x', '/a/../b', '~/a\nb', '/a\u0000b', '-x'].map(
      (directory) =>
        [
          `the directory ${JSON.stringify(directory)}`,
          [['ssh', 'directory'], directory],
          /directory .* is not a folder on the node/,
        ] as const,
    ),
    ...['-x', 'a b', 'x;y', 'é', '', '$(x)', 'a'.repeat(300), '"', '{}'].map(
      (name) =>
        [
          `the cluster name ${JSON.stringify(name).slice(0, 40)}`,
          [['name'], name],
          /name .* is not a kubeconfig name/,
        ] as const,
    ),
    ...['Kubenet', 'a b', 'a..b', 'a.', '.a', 'a_b', 'é', `${'a'.repeat(64)}.b`, `${'a.'.repeat(127)}a`].map(
      (domain) =>
        [
          `the domain ${JSON.stringify(domain).slice(0, 40)}`,
          [['domain'], domain],
          /domain .* is not a DNS name/,
        ] as const,
    ),
    ...['', ' x', 'x ', 'a\nb', 'a\u0007b', 'a'.repeat(65), 'a\u2028b', 'x\u00a0'].map(
      (value) =>
        [
          `the organization ${JSON.stringify(value).slice(0, 40)}`,
          [['subject', 'organization'], value],
          /organization [\s\S]* is not 1 to 64 characters/,
        ] as const,
    ),
    ...['pl', 'POL', 'P', '12', 'ŁĄ', '../'].map(
      (value) =>
        [
          `the country ${JSON.stringify(value)}`,
          [['subject', 'country'], value],
          /country .* is not a country/,
        ] as const,
    ),
    ['an ssh option that is none', [['ssh', 'options'], { '-oProxyCommand': 'touch x' }], /can't be set here/],
    [
      'an ssh option with a line break',
      [['ssh', 'options'], { Compression: 'yes\nProxyCommand touch x' }],
      /has a control character/,
    ],
    [
      'an ssh option of harderway’s own',
      [['ssh', 'options'], { localcommand: 'touch x', permitlocalcommand: 'yes' }],
      /can't be set here/,
    ],
    ...['a_b', 'a b', '*', '*.*.a', 'a.*', '1.2.3', '300.1.1.1', '::g', 'é'].map(
      (san) =>
        [
          `the SAN ${JSON.stringify(san)}`,
          [['api', 'extraSANs'], [san]],
          /is not a DNS name, .* or an IP address/,
        ] as const,
    ),
  ]
  for (const [what, edit, said] of rows)
    test(`${what}`, (t) => {
      const place = scratch(t)
      writeCluster(place, [...edits, edit])
      const parsed = parseCluster(readFileSync(join(place, 'cluster.yaml')), known)
      assert.ok('problems' in parsed, 'it is taken')
      for (const { line, message } of parsed.problems) {
        assert.ok(line > 1)
        assert.ok(message.length < 300, 'a long value is shown short')
        assert.doesNotMatch(message, /\p{Cc}/u)
      }
      assert.ok(
        parsed.problems.some((problem) => said.test(formatExplained(problem))),
        JSON.stringify(parsed),
      )
    })

  test('all at once, before anything is made', async (t) => {
    const { status, stderr, place } = await run(
      t,
      [
        [['nodes'], [{ ...control, name: '-x', host: injected, directory: 'x' }]],
        [['ssh'], { user: injected, options: { '-oProxyCommand': 'touch x' } }],
        [['name'], injected],
      ],
      'bootstrap',
    )
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
})

describe('what is carried through to certificates', { skip: needs('openssl'), concurrency: 2 }, () => {
  for (const value of [
    'Małopolska',
    '日本',
    '"quoted"',
    "it's",
    'a, b',
    'a+b=c',
    '#1',
    'CN=x',
    '\\',
    'a\\,b',
    '<x>;',
    '/C=PL/O=x',
    'a_b*c@d',
    '$(touch x)',
    '%s',
    '🔐',
    'e\u0301',
    '-x',
    'null',
    'ż'.repeat(64),
  ])
    test(`the organization ${JSON.stringify(value).slice(0, 30)}`, async (t) => {
      const { status, stdout, stderr, place } = await run(
        t,
        [
          [['subject', 'organization'], value],
          [['subject', 'organizationalUnit'], value],
        ],
        'ca',
        'cluster-cert',
      )
      assert.equal(status, 0, stdout + stderr)
      for (const name of ['ca', 'kubernetes']) {
        const subject = subjectOf(join(place, 'auth', `${name}.pem`))
        assert.deepEqual([subject.get('O'), subject.get('OU')], [value, value])
      }
      openssl('verify', '-x509_strict', '-CAfile', join(place, 'auth/ca.pem'), join(place, 'auth/kubernetes.pem'))
      assert.equal(
        (await harderway(place, 'certs', '--dry-run', '--json')).events.find(
          ({ id, type }) => id === 'cluster-cert' && type === 'fresh',
        )?.type,
        'fresh',
      )
    })

  for (const [what, more, cn, sans] of [
    [
      'a node name of 52 letters',
      [[['nodes'], [{ ...control, name: 'a'.repeat(52) }]]],
      `system:node:${'a'.repeat(52)}`,
      ['a'.repeat(52), `${'a'.repeat(52)}.kubenet`],
    ],
    ['a node name of digits', [[['nodes'], [{ ...control, name: '007' }]]], 'system:node:007', ['007', '007.kubenet']],
    [
      'a node name with hyphens',
      [[['nodes'], [{ ...control, name: 'a--b' }]]],
      'system:node:a--b',
      ['a--b', 'a--b.kubenet'],
    ],
    [
      'a node name like a command',
      [[['nodes'], [{ ...control, name: 'true' }]]],
      'system:node:true',
      ['true', 'true.kubenet'],
    ],
    [
      'SANs of every kind',
      [[['nodes'], [{ ...control, sans: ['*.example.org', 'fd00:0::1', 'xn--bcher-kva.example'] }]]],
      'system:node:control0',
      ['control0', 'control0.kubenet', '*.example.org', 'xn--bcher-kva.example', 'fd00::1'],
    ],
  ] as const)
    test(what, async (t) => {
      const { status, stdout, stderr, place } = await run(t, more as unknown as Edit[], 'node-certs', 'kubeconfigs')
      assert.equal(status, 0, stdout + stderr)
      const name = cn.slice('system:node:'.length)
      const file = join(place, 'auth', `${name}.pem`)
      assert.equal(subjectOf(file).get('CN'), cn)
      const text = openssl('x509', '-in', file, '-noout', '-ext', 'subjectAltName')
      const names = [...text.matchAll(/(?:DNS|IP Address):([^,\n]+)/g)].map(([, san = '']) => san.trim().toLowerCase())
      const expected = sans.map((san) => (san === 'fd00::1' ? 'fd00:0:0:0:0:0:0:1' : san))
      assert.deepEqual(names.toSorted(), [...expected, '192.168.1.11'].toSorted())
      assert.equal(readCertificate(readFileSync(file))?.attributes.at(-1), `CN=${cn}`)
    })

  for (const key of ['domain', 'name'])
    test(`a node and a ${key} that together are an address are refused: it may be another machine's`, {}, async (t) => {
      const edits: Edit[] = [
        [['nodes'], [{ ...control, name: '10' }]],
        [['domain'], undefined],
        [[key], '0.0.1'],
      ]
      const { status, stderr } = await run(t, edits, 'node-certs')
      assert.equal(status, 2, stderr)
      assert.match(stderr, /"0\.0\.1" is .*not a DNS name/)
    })
})

describe('what is carried through to kubeconfigs', { skip: needs('kubectl'), concurrency: 2 }, () => {
  const words = [
    ...[
      'null',
      'true',
      'yes',
      'y',
      'off',
      '1',
      '007',
      '1e3',
      '0x1f',
      '1_000',
      '1:30',
      '2026-01-01',
      '1.5',
      'a:',
      'a:b',
    ],
    ...['user@host/x', 'A.b_c-d', 'inf', 'x'.repeat(253), 'default', '0o7'],
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
    ...['x'.repeat(200), '.hidden', '(x)', '<x>', ' leading', 'a\u202eb', 'x/'],
  ]

  describe('directories of one node each, all on one machine', () => {
    let first: Ran
    let second: Ran

    before(async () => {
      const nodes = directories.map((name, i) => ({
        ...{ name: `n${i}`, role: i === 0 ? 'control' : 'worker', ip: `192.168.2.${i + 1}`, host: 'control0' },
        directory: `~/${name}`,
      }))
      writeCluster(place, [...edits, ...labEdits(lab), [['nodes'], nodes], [['ssh', 'concurrency'], 4]])
      first = await harderway(place, 'deploy', '--json')
      second = await harderway(place, 'deploy', '--json')
    })

    for (const [i, name] of directories.entries())
      test(`~/${name.slice(0, 30)}`, () => {
        assert.equal(first.events.find(({ type, id }) => type === 'built' && id === `deploy/n${i}`)?.type, 'built')
        assert.equal(second.events.find(({ type, id }) => type === 'fresh' && id === `deploy/n${i}`)?.type, 'fresh')
        const folder = join(lab.node('control0').home, name)
        for (const file of ['ca.pem', `n${i}-key.pem`, `n${i}.kubeconfig`])
          assert.ok(readFileSync(join(folder, file)).equals(readFileSync(join(place, 'auth', file))), file)
      })

    test('none of them made more than itself', () => {
      const { home } = lab.node('control0')
      assert.deepEqual(
        readdirSync(home).toSorted(),
        ['.bashrc', '.zshenv', ...directories.map((name) => name.split('/')[0] ?? '')].toSorted(),
      )
      for (const folder of [place, process.cwd()]) assert.ok(!existsSync(join(folder, 'x')))
    })
  })

  test('a directory with a line separator, which is no line break, is refused or made', {}, async () => {
    const ran = await deploy({ directory: '~/a\u2028b' })
    rmSync(join(lab.node('control0').home, 'a\u2028b'), { recursive: true, force: true })
    assert.ok(ran.status === 0 || ran.status === 2, ran.stdout)
  })

  test('an absolute directory with blanks and quotes', async () => {
    const directory = join(place, `abs "o'lute" $x`)
    const ran = await deploy({ directory })
    assert.equal(ran.status, 0, ran.stdout)
    assertHolds(directory)
  })

  for (const name of ['trailing ', 'trailing\u00a0'])
    test(`a directory that ends in a blank (${JSON.stringify(name)})`, async () => {
      const ran = await deploy({ directory: `~/${name}` })
      const there = existsSync(join(lab.node('control0').home, name, 'ca.pem'))
      rmSync(join(lab.node('control0').home, name), { recursive: true, force: true })
      assert.equal(ran.status, 0, ran.stdout)
      assert.ok(there)
    })

  test('a directory in front of which another of the same name without the blank stands is not mistaken for it', async () => {
    const { home } = lab.node('control0')
    mkdirSync(join(home, 'other'))
    await deploy({ directory: '~/other ' })
    const left = readdirSync(join(home, 'other'))
    for (const name of ['other', 'other ']) rmSync(join(home, name), { recursive: true, force: true })
    assert.deepEqual(left, [])
  })

  test('a directory to be made on a node whose login prints something', async () => {
    const ran = await deploy({ name: 'talking', directory: '~/new' })
    assert.equal(ran.status, 0, ran.stdout)
    assertHolds(join(lab.node('talking').home, 'new'), 'talking')
  })

  test('a directory that is there on a node whose login prints something', async () => {
    mkdirSync(join(lab.node('talking').home, 'there'), { recursive: true })
    const ran = await deploy({ name: 'talking', directory: '~/there' })
    assert.equal(ran.status, 0, ran.stdout)
    assertHolds(join(lab.node('talking').home, 'there'), 'talking')
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
