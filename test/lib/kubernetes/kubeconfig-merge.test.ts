import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse, stringify } from 'yaml'
import { type KubeconfigAccess, mergeEntries, readKubeconfig } from '../../../lib/kubernetes/kubeconfig.ts'
import { scratch } from '../../support/files.ts'
import { kubectl, kubectlConfig, needs } from '../../support/programs.ts'
import { fc } from '../../support/properties.ts'

const access: KubeconfigAccess = {
  cluster: 'kubenet',
  server: 'https://kubernetes:6443',
  user: 'admin',
  context: 'kubenet',
  ca: Buffer.from('the CA '.repeat(40)),
  certificate: Buffer.from('the certificate '.repeat(40)),
  key: Buffer.from('the key '.repeat(40)),
}

/** The text with our entries, which are made current where `switches` says so. */
function merge(text: string, switches = true, of = access) {
  const content = readKubeconfig(text) ?? assert.fail('it was refused')
  return mergeEntries({ path: '', real: '', mode: undefined, text, content }, of, switches)
}

const applied = (text: string): string => merge(text).text

const commented = `# My clusters. Don't touch.

apiVersion: v1   # there is no v2
kind: Config

# ---- clusters ----
clusters:
    # the first

    -   name:   one            # named one
        cluster:
            server:   https://one.example:6443    # behind the VPN
            # inline:
            certificate-authority-data:   b25l

    -   cluster: {server: 'https://two.example:6443', x-mine: [1, 2,   3]}   # flow
        name: "two"
    # the last
# ---- contexts ----
contexts:
  - {name: one, context: {cluster: one, user: one}}

  - name: two # second
    context:
        user: two
        cluster: two

current-context:   "two"    # the one I work with
x-colors:
    one: red

# ---- users ----
users:
    -   name: one
        user:
            token: >-
                a token
                on two lines
    -   name: two
        user:
            password: |
              keep
                this

              as it is

# the end
`

const json = `{
  "kind": "Config",
  "clusters": [ { "name": "one", "cluster": { "server": "https://one.example:6443", "x-mine": 3 } } ],
  "current-context": "one",
  "users": [ { "name": "one", "user": { "token": "t\\u006fken" } } ]
}
`

const otherValues = `clusters:
  - name: kubenet # from last year
    cluster:
      proxy-url: http://proxy:3128   # the only way there
      certificate-authority: /home/me/auth/ca.pem
      server: "https://192.168.1.21:6443" # by address
      tls-server-name: kubernetes
  - name: one
    cluster: {server: 'https://one.example:6443'}
contexts:
  - {name: one, context: {cluster: one, user: one}}
  - name: kubenet
    context:
      namespace: kube-system # where I look first
      cluster: kubenet
      user: root
users:
  - {name: one, user: {token: abc}}
  - name: admin
    user:
      client-certificate: /home/me/auth/admin.pem
      client-key: /home/me/auth/admin-key.pem
      impersonate: somebody
current-context: kubenet
`

const samples: Readonly<Record<string, string>> = {
  'with comments, odd indents and unknown fields': commented,
  'with the line ends of Windows': commented.replaceAll('\n', '\r\n'),
  'in JSON': json,
  'with lists that are null': 'clusters: null # none\ncontexts: ~\ncurrent-context: ""\nusers:\n',
  'with empty lists': '# mine\nclusters: [] # none\ncontexts: [ ]\nkind: Config\nusers: []\n# end\n',
  'with nothing in it': '',
  'that is null': 'null\n',
  'with other values in our entries': otherValues,
  'with our entries in flow style': `clusters: [{name: kubenet, cluster: {insecure-skip-tls-verify: true, x-mine: 1}}]
contexts: [{name: kubenet, context: {}}]
users: [{name: admin}]
`,
}

describe('each kubeconfig', () => {
  for (const [title, text] of Object.entries(samples))
    test(`${title} has our entries then, and keeps its comments and everything else`, () => {
      const after = applied(text)
      const read = readKubeconfig(after) ?? assert.fail('it can not be read')
      const base64 = (pem: Buffer) => pem.toString('base64')
      const [cluster, user, context] = [
        read.clusters.get('kubenet'),
        read.users.get('admin'),
        read.contexts.get('kubenet'),
      ]
      assert.deepEqual([cluster?.server, cluster?.['certificate-authority-data']], [access.server, base64(access.ca)])
      const { certificate, key } = access
      const credentials = ['client-certificate-data', 'client-key-data'].map((field) => user?.[field])
      assert.deepEqual(credentials, [certificate, key].map(base64))
      assert.deepEqual([context?.cluster, context?.user], ['kubenet', 'admin'])
      for (const field of ['certificate-authority', 'insecure-skip-tls-verify', 'tls-server-name'])
        assert.equal(cluster?.[field], undefined)
      assert.deepEqual(foreignIn(after), foreignIn(text))
      assert.deepEqual(commentsIn(after), commentsIn(text))
      assert.deepEqual(merge(after), { text: after, changed: [] })
    })

  for (const title of ['with comments, odd indents and unknown fields', 'with other values in our entries'])
    test(`${title} means what kubectl makes of it`, { skip: needs('kubectl') }, (t) => {
      const home = scratch(t)
      const [ours, theirs] = [join(home, 'ours'), join(home, 'theirs')]
      const text = samples[title] ?? assert.fail()
      writeFileSync(ours, applied(text))
      writeFileSync(theirs, text)
      kubectlConfig(home, access, { file: theirs })
      const view = (file: string) =>
        JSON.parse(kubectl(home, ['config', 'view', '--raw', '-o', 'json', `--kubeconfig=${file}`]))
      assert.deepEqual(view(ours), view(theirs))
    })
})

/** What the text means, without our entries and the fields that kubectl starts from. */
function foreignIn(text: string): unknown {
  const { 'current-context': _, apiVersion, kind, ...data } = parse(text, { version: '1.1', merge: true }) ?? {}
  const foreign = (list: { name: string }[] | null) =>
    (list ?? []).filter(({ name }) => name !== 'kubenet' && name !== 'admin')
  return { ...data, clusters: foreign(data.clusters), contexts: foreign(data.contexts), users: foreign(data.users) }
}

function commentsIn(text: string): string[] {
  return [...text.matchAll(/#.*/g)].map(([comment]) => comment.trim())
}

test('a file of two documents, with a key that stands twice or with an alias is none that is read', () => {
  for (const text of [
    'kind: Config\n---\nkind: Config\n',
    'kind: Config\nkind: Config\n',
    // It may lead into an entry of ours.
    'users:\n- {name: a, user: &one {}}\n- {name: b, user: *one}\n',
  ])
    assert.equal(readKubeconfig(text), undefined)
})

test('what is changed is named, and the current context stays where no control node was reached, or the user chose it', () => {
  const ours = applied('')
  const foreign = 'users:\n- {name: admin, user: {token: theirs}}\ncurrent-context: one\n'
  const all = ['cluster kubenet', 'user admin', 'context kubenet']
  for (const [text, switches, expected] of [
    ['', true, [...all, 'current-context']],
    [foreign, true, [...all, 'current-context (was one)']],
    [foreign, false, all],
    [ours.replace(/^current-context.*/m, 'current-context: one'), true, []],
  ] as const) {
    const merged = merge(text, switches)
    assert.deepEqual(merged.changed, expected)
    assert.equal(merged.text === text, expected.length === 0)
  }
})

test('what the user added to our entries stays, and another way to say the same goes', () => {
  const text = applied('').replace('    server:', '    proxy-url: x\n    server:')
  assert.deepEqual(merge(text), { text, changed: [] })
  const other = text.replace('    server:', '    tls-server-name: y\n    server:')
  assert.deepEqual(merge(other), { text, changed: ['cluster kubenet'] })
})

test('whatever its texts and its style, a kubeconfig is changed, and means the same but for our entries', () => {
  const words = fc.oneof(
    fc.constantFrom('a #b', 'a: b', "'", '"', '\\', '\nline\n', '\n\n  indented\n', ' ', ',]}', 'yes', '0x1'),
    fc.string({ maxLength: 100, unit: 'grapheme' }),
  )
  const list = (key: string, name: string) =>
    fc.uniqueArray(
      fc.record({ [key]: fc.dictionary(words, words, { maxKeys: 3 }), name: fc.oneof(words, fc.constant(name)) }),
      {
        maxLength: 3,
        selector: (entry) => entry.name,
      },
    )
  const data = fc.record(
    {
      clusters: list('cluster', 'kubenet'),
      users: list('user', 'admin'),
      contexts: list('context', 'kubenet'),
      'x-more': words,
    },
    { requiredKeys: [] },
  )
  const style = fc.record({
    collectionStyle: fc.constantFrom('any' as const, 'flow' as const),
    defaultStringType: fc.constantFrom('PLAIN' as const, 'QUOTE_SINGLE' as const, 'BLOCK_LITERAL' as const),
    indent: fc.constantFrom(2, 4),
    indentSeq: fc.boolean(),
    lineWidth: fc.constantFrom(0, 20),
  })
  fc.assert(
    fc.property(data, style, (before, options) => {
      const text = stringify(before, { version: '1.1', ...options })
      assert.deepEqual(foreignIn(applied(text)), foreignIn(text))
    }),
    { numRuns: 50 },
  )
})
