import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { type Cluster, parseCluster } from '../../../lib/cluster/cluster.ts'
import { layoutRules } from '../../../tasks/layouts/tables.ts'
import { and, edited, minimal, parsed, problemsOf, testFiles } from '../../support/files.ts'

const guide = readFileSync(new URL('../../../cluster.yaml', import.meta.url), 'utf8')
const day = 86_400_000

test("the guide's cluster.yaml says what the guide's commands do", () => {
  const node = (name: string, role: 'control' | 'worker', ip: string) => ({
    name,
    role,
    ips: [ip],
    sans: [],
    units: {},
    host: name,
    user: 'ubuntu',
    directory: '~',
  })
  assert.deepEqual(parsed(guide), {
    name: 'kubenet',
    layout: 'harder-way',
    domain: 'kubenet',
    subject: {
      country: 'PL',
      state: 'Lesser Poland',
      locality: 'Krakow',
      organization: 'Kubernetes',
      organizationalUnit: 'kubenet',
    },
    certificates: {
      key: 'rsa-2048',
      validity: 3650 * day,
      caValidity: 3650 * day,
      renewBefore: 30 * day,
      caKeyOnNodes: true,
    },
    api: { host: 'kubernetes', port: 6443, virtualIP: '192.168.1.21', extraSANs: [] },
    network: { serviceCIDRs: [{ network: Buffer.from([10, 32, 0, 0]), prefix: 16 }], clusterDomain: 'cluster.local' },
    encryption: { provider: 'aescbc', resources: ['secrets'] },
    etcd: { ca: 'shared' },
    aggregation: false,
    ssh: { user: 'ubuntu', directory: '~', concurrency: 16 },
    install: { sudo: 'sudo -n', drain: '', undrain: '', timeout: 120_000, units: new Map() },
    users: [],
    localKubeconfig: { as: undefined, path: undefined, context: 'kubenet', user: 'admin' },
    nodes: [
      node('control0', 'control', '192.168.1.11'),
      node('control1', 'control', '192.168.1.12'),
      node('control2', 'control', '192.168.1.13'),
      node('worker0', 'worker', '192.168.1.14'),
      node('worker1', 'worker', '192.168.1.15'),
      node('worker2', 'worker', '192.168.1.16'),
    ],
  })
})

test('name, api.virtualIP and nodes are enough: the rest has its default', () => {
  const { install: _, ...all } = parsed(guide)
  assert.deepEqual(parsed(minimal.replace('kubenet', 'home')), {
    ...all,
    name: 'home',
    domain: 'home',
    subject: { organization: 'Kubernetes' },
    api: { ...all.api, virtualIP: '10.0.0.1' },
    install: false,
    localKubeconfig: { as: undefined, path: undefined, context: 'home', user: 'admin' },
    nodes: [
      {
        name: 'c0',
        role: 'control',
        ips: ['10.0.0.2'],
        sans: [],
        units: {},
        host: 'c0',
        user: 'ubuntu',
        directory: '~',
      },
    ],
  })
})

test('a section with everything in it commented out has its defaults', () => {
  assert.deepEqual(parsed(`${minimal}subject:\n  # country: PL\nssh:\n`), parsed(minimal))
})

const wholeNode =
  'ips: [10.0.0.2, "FD00:0::2"], sans: [c0.example.org], host: c0-ssh, port: 22022, user: root, directory: /srv/c0'

test('what is written is what is read', () => {
  const rows: readonly (readonly [text: string, read: (cluster: Cluster) => unknown, value: unknown])[] = [
    [
      edited('ip: 10.0.0.2', wholeNode),
      ({ nodes: [first] }) => first,
      {
        ...{ name: 'c0', role: 'control', ips: ['10.0.0.2', 'fd00::2'], sans: ['c0.example.org'] },
        ...{ host: 'c0-ssh', port: 22022, user: 'root', directory: '/srv/c0', units: {} },
      },
    ],
    [
      and('ssh: { user: root }\ninstall: true'),
      ({ install }) => install,
      { sudo: '', drain: '', undrain: '', timeout: 120_000, units: new Map() },
    ],
    [
      and('network: { serviceCIDR: [10.32.0.0/16, "fd00:32::/108"] }'),
      ({ network }) => network.serviceCIDRs.map(({ network, prefix }) => `${network.length} ${prefix}`),
      ['4 16', '16 108'],
    ],
    [
      and('certificates: { validity: 87600h, caValidity: 2y, renewBefore: 1d }'),
      ({ certificates }) => certificates,
      { key: 'rsa-2048', validity: 3650 * day, caValidity: 730 * day, renewBefore: day, caKeyOnNodes: true },
    ],
    // Not a boolean.
    [and('subject: { country: NO }'), ({ subject }) => subject.country, 'NO'],
  ]
  for (const [text, read, value] of rows) assert.deepEqual(read(parsed(text)), value, text)
})

test('line ends of Windows, a byte order mark and document markers make no difference', () => {
  const cluster = parsed(minimal)
  assert.deepEqual(parsed(minimal.replaceAll('\n', '\r\n')), cluster)
  assert.deepEqual(parsed(`\u{feff}${minimal}`), cluster)
  assert.deepEqual(parsed(`---\n${minimal}...\n`), cluster)
})

test('several mistakes are all named, in the order of the file', () => {
  const text = guide
    .replace('country: PL', 'country: pl')
    .replace('key: rsa-2048', 'key: rsa-1024')
    .replace('port: 6443', 'port: 0')
    .replace('encryption:', 'encrypton:')
    .replace('role: control, ip: 192.168.1.12', 'role: contorl, ip: 192.168.1.11')
  assert.deepEqual(problemsOf(text), [
    '7:12: subject.country "pl" is not a country: two capital letters, such as PL',
    '13:8: certificates.key "rsa-1024" is not a kind of key; did you mean rsa-2048?',
    '20:9: api.port 0 is not a whole number from 1 to 65535',
    '26:1: encrypton is an unknown key in cluster.yaml; did you mean encryption?',
    '40:29: nodes[1].role "contorl" is not a role; did you mean control?',
    '40:42: nodes[1].ip "192.168.1.11" is already the address of a node',
  ])
})

const write = 'write name, api.virtualIP and nodes; docs/cluster-yaml.md begins with an example'

testFiles('what is no map of keys', [
  ...['', '# name: kubenet\n', '---\n'].map((text) => [text, `1:1 the file is empty; ${write}`] as const),
  ['name:kubenet\n', `1:1 the file has no keys (a key ends with a colon and a space); ${write}`],
  [Buffer.from('name: k\xe9\n', 'latin1'), '1:1 the file is not UTF-8 text; save it as UTF-8'],
])

const named = (text: string) => edited('name: kubenet', `name: ${text}`)

testFiles('what is no YAML is told once, in the words of the parser', [
  [and('network:\n    serviceCIDR: 10.0.0.0/16\n  clusterDomain: x'), '7:1 must start at the same column'],
  ['name: k\napi: kubernetes\n  virtualIP: 10.0.0.1\n', '2:6 Nested mappings'],
  [named('a: b'), '1:7 Nested mappings'],
  ['name: k\napi:\n\tvirtualIP: 10.0.0.1\n', '3:1 Tabs are not allowed as indentation'],
  [and('name: other'), '5:1 "name" stands above already'],
  [and('---\nname: a'), '5:1 Source contains multiple documents'],
  // With a wrong --config it may be a key.
  [named(`|${'k'.repeat(50)}`), '1:8 extra characters: |…'],
])

testFiles('an alias is refused: a value that begins with * needs quotes', [
  [edited('name: kubenet', 'name: &n kubenet\ndomain: *n'), '2:9 this is an alias'],
  [
    edited('virtualIP: 10.0.0.1', 'virtualIP: 10.0.0.1, extraSANs: [*.a.org, *.b.org]'),
    ...['2:41 begins with *', '2:50 begins with *'],
  ],
])

test('nesting that no cluster needs is refused, whether it ends or not', () => {
  for (const text of ['['.repeat(20_000), named('['.repeat(20_000) + ']'.repeat(20_000))])
    assert.deepEqual(problemsOf(text).length, 1)
})

// By a check of each key against all others: minutes.
test('fifty thousand unknown keys are reported, each at its line', () => {
  const count = 50_000
  const parsed = parseCluster(Buffer.from(Array.from({ length: count }, (_, i) => `k${i}: 1\n`).join('')), layoutRules)
  assert.ok('problems' in parsed)
  const lines = parsed.problems.flatMap(({ message, line }) => (message.includes('unknown key') ? [line] : []))
  assert.deepEqual([lines.length, lines.at(-1)], [count, count])
})
