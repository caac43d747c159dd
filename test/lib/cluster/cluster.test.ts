import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { edited, minimal, parsed, problemsOf, testBadFiles } from '../../support/bad-files.ts'

const guide = readFileSync(new URL('../../../cluster.yaml', import.meta.url), 'utf8')
const day = 86_400_000

test("the guide's cluster.yaml says what the guide's commands do", () => {
  const node = (name: string, role: 'control' | 'worker', ip: string) => ({
    name,
    role,
    ips: [ip],
    sans: [],
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
    certificates: { key: 'rsa-2048', validity: 3650 * day, caValidity: 3650 * day, renewBefore: 30 * day },
    api: { host: 'kubernetes', port: 6443, virtualIP: '192.168.1.21', extraSANs: [] },
    network: { serviceCIDRs: [{ network: Buffer.from([10, 32, 0, 0]), prefix: 16 }], clusterDomain: 'cluster.local' },
    encryption: { provider: 'aescbc', resources: ['secrets'] },
    ssh: { user: 'ubuntu', directory: '~', concurrency: 16, options: new Map() },
    install: { sudo: 'sudo -n', drain: '', undrain: '', timeout: 120_000, units: new Map() },
    users: [],
    localKubeconfig: { path: undefined, context: 'kubenet', user: 'admin' },
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
  assert.deepEqual(parsed(minimal.replace('kubenet', 'home')), {
    name: 'home',
    layout: 'harder-way',
    domain: 'home',
    subject: { organization: 'Kubernetes' },
    certificates: { key: 'rsa-2048', validity: 3650 * day, caValidity: 3650 * day, renewBefore: 30 * day },
    api: { host: 'kubernetes', port: 6443, virtualIP: '10.0.0.1', extraSANs: [] },
    network: { serviceCIDRs: [{ network: Buffer.from([10, 32, 0, 0]), prefix: 16 }], clusterDomain: 'cluster.local' },
    encryption: { provider: 'aescbc', resources: ['secrets'] },
    ssh: { user: 'ubuntu', directory: '~', concurrency: 16, options: new Map() },
    install: false,
    users: [],
    localKubeconfig: { path: undefined, context: 'home', user: 'admin' },
    nodes: [{ name: 'c0', role: 'control', ips: ['10.0.0.2'], sans: [], host: 'c0', user: 'ubuntu', directory: '~' }],
  })
})

test('a section with everything in it commented out has its defaults', () => {
  assert.deepEqual(parsed(`${minimal}subject:\n  # country: PL\nssh:\n`), parsed(minimal))
})

test('a node may say where ssh finds it, who logs in, in which folder, and under what other names it is known', () => {
  const node =
    '{ name: c0, role: control, ips: [10.0.0.2, "FD00:0::2"], sans: [c0.example.org], host: c0-ssh, port: 22022, user: root, directory: /srv/c0 }'
  assert.deepEqual(parsed(edited('{ name: c0, role: control, ip: 10.0.0.2 }', node)).nodes, [
    {
      name: 'c0',
      role: 'control',
      ips: ['10.0.0.2', 'fd00::2'],
      sans: ['c0.example.org'],
      host: 'c0-ssh',
      port: 22022,
      user: 'root',
      directory: '/srv/c0',
    },
  ])
})

test('files go into ssh.directory on every node that names no folder of its own', () => {
  assert.equal(parsed(`${minimal}ssh: { directory: /etc/kubernetes }\n`).nodes[0]?.directory, '/etc/kubernetes')
})

test('ssh options become the words that ssh reads', () => {
  const { options } = parsed(
    `${minimal}ssh:\n  options: { ConnectTimeout: 5, Compression: true, ProxyJump: bastion }\n`,
  ).ssh
  assert.deepEqual(
    [...options],
    [
      ['ConnectTimeout', '5'],
      ['Compression', 'yes'],
      ['ProxyJump', 'bastion'],
    ],
  )
})

test('localKubeconfig: false leaves that phase out', () => {
  assert.equal(parsed(`${minimal}localKubeconfig: false\n`).localKubeconfig, false)
})

test('a dual-stack cluster has a service block of each family', () => {
  const { serviceCIDRs } = parsed(`${minimal}network: { serviceCIDR: [10.32.0.0/16, "fd00:32::/108"] }\n`).network
  assert.deepEqual(
    serviceCIDRs.map(({ network, prefix }) => [network.length, prefix]),
    [
      [4, 16],
      [16, 108],
    ],
  )
})

test('hours, days and years of 365 days are durations', () => {
  const { validity, caValidity, renewBefore } = parsed(
    `${minimal}certificates: { validity: 87600h, caValidity: 2y, renewBefore: 1d }\n`,
  ).certificates
  assert.deepEqual([validity, caValidity, renewBefore], [3650 * day, 730 * day, day])
})

test('NO is the country Norway, not a boolean', () => {
  assert.equal(parsed(`${minimal}subject: { country: NO }\n`).subject.country, 'NO')
})

test('line ends of Windows, a byte order mark and document markers make no difference', () => {
  const cluster = parsed(minimal)
  assert.deepEqual(parsed(minimal.replaceAll('\n', '\r\n')), cluster)
  assert.deepEqual(parsed(`\u{feff}${minimal}`), cluster)
  assert.deepEqual(parsed(`---\n${minimal}...\n`), cluster)
})

test('an anchor stands for its value', () => {
  assert.equal(parsed(edited('name: kubenet', 'name: &n kubenet\ndomain: *n')).domain, 'kubenet')
})

test('loopback addresses are addresses of nodes too', () => {
  assert.deepEqual(parsed(edited('10.0.0.2', '127.0.0.2')).nodes[0]?.ips, ['127.0.0.2'])
})

test('several mistakes are all named, in the order of the file', () => {
  const text = guide
    .replace('country: PL', 'country: pl')
    .replace('key: rsa-2048', 'key: rsa-1024')
    .replace('port: 6443', 'port: 0')
    .replace('encryption:', 'encrypton:')
    .replace('role: control, ip: 192.168.1.12', 'role: contorl, ip: 192.168.1.11')
  assert.deepEqual(problemsOf(text), [
    '6:12: subject.country "pl" is not a country: two capital letters, such as PL',
    '12:8: certificates.key "rsa-1024" is not a kind of key: did you mean rsa-2048?',
    '18:9: api.port 0 is not a whole number from 1 to 65535',
    '24:1: encrypton is an unknown key in cluster.yaml: did you mean encryption?',
    '39:29: nodes[1].role "contorl" is not a role: did you mean control?',
    '39:42: nodes[1].ip "192.168.1.11" is given as an address already',
  ])
})

const write = 'write name, api.virtualIP and nodes; docs/cluster-yaml.md begins with an example'

testBadFiles({
  'an empty file says what is needed': ['', `1:1: the file is empty: ${write}`],
  'a file of comments is empty': ['# name: kubenet\n', `1:1: the file is empty: ${write}`],
  'a file with a marker alone is empty': ['---\n', `1:1: the file is empty: ${write}`],
  'a text is not a cluster, nor is a key without its blank': [
    'name:kubenet\n',
    `1:1: the file has no keys (a key ends with a colon and a blank): ${write}`,
  ],
  'keys that are needed are named': [
    '{}\n',
    '1:1: name is missing',
    '1:1: nodes is missing',
    '1:1: api.virtualIP is missing',
  ],
  'a name without a value is missing': [edited('name: kubenet', 'name:'), '1:1: name is missing'],
  'a list that does not end is named where it should have': [
    'name: [\napi: }\n',
    '2:1: a ] is missing before this line',
  ],
  'a key that is indented less than its neighbours is a mistake': [
    `${minimal}network:\n    serviceCIDR: 10.0.0.0/16\n  clusterDomain: x\n`,
    '7:1: the indentation of this line matches no line above: indent it like the lines that it belongs with',
  ],
  'so is a key of an entry that is indented neither like the entry nor like the list': [
    'nodes:\n  - name: c0\n   role: control\n',
    '3:1: this line belongs to no entry of the list: begin it with "- ", or indent it like the rest of its entry',
  ],
  'a key has a value or lines below it, not both': [
    'name: k\napi: kubernetes\n  virtualIP: 10.0.0.1\n',
    '2:6: this key has a value, and lines below it as well: indent those less, or remove the value',
  ],
  'a list is not among keys': [
    'nodes: # mine\n  - c0\n- c1\n',
    '3:1: a list begins among keys here: indent it below the key that it belongs to',
  ],
  'a key needs a colon': ['name: k\nssh\n', '2:1: a colon and a blank are missing after this key'],
  'an entry needs a blank after its hyphen': ['nodes:\n- c0\n-c1\n', '3:1: a blank is missing after this -'],
  'a comment needs a blank before it': ['name: "k"# mine\n', '1:10: a blank is missing before this #'],
  'two commas have a value between them': [
    edited('virtualIP: 10.0.0.1', 'virtualIP: 10.0.0.1, extraSANs: [a,,b]'),
    '2:43: a value is missing before this comma',
  ],
  'a bracket closes what one opened': [
    edited('10.0.0.1 }', '10.0.0.1 }}'),
    '2:29: this } closes nothing: remove it, or put the whole value in quotes',
  ],
  'quotes are around all of a value': [
    edited('name: kubenet', "name: 'kube'net"),
    '1:13: the value ends before this: put all of it in quotes, or nothing',
  ],
  'a backslash in double quotes begins an escape': [
    edited('name: kubenet', 'name: "C:\\kubenet"'),
    '1:10: \\k means nothing in double quotes: use single quotes',
  ],
  'a text of several lines begins on its next line': [
    edited('name: kubenet', 'name: |kubenet'),
    '1:8: after | or > the text begins on the next line',
  ],
  'what is rare has no text of its own': [
    edited('name: kubenet', 'name: &a &b kubenet'),
    '1:10: this is not valid YAML: if it is meant as text, put it in quotes',
  ],
  'a colon inside a value must be in quotes': [
    `${minimal}subject: { state: a: b }\n`,
    '5:19: a value with ": " in it needs quotes: "a: b"',
  ],
  'a tab does not indent': [
    'name: k\napi:\n\tvirtualIP: 10.0.0.1\n',
    '3:1: a tab indents this line: indent it with blanks',
  ],
  'a key may not stand twice in the file': [
    `${minimal}name: other\n`,
    '5:1: "name" is a key of this map already: remove one of the two',
  ],
  'a key may not stand twice in a node': [
    edited('role: control', 'role: control, role: worker'),
    '4:32: "role" is a key of this map already: remove one of the two',
  ],
  'bytes that are no UTF-8 are no text': [
    Buffer.from('name: k\xe9\n', 'latin1'),
    '1:1: the file is not UTF-8 text: save it as UTF-8',
  ],
  'aliases that multiply are not followed': [
    [...'abcdefghi']
      .map((key, i) => `${key}: &${key} [${Array(9).fill(i === 0 ? 'x' : `*${'abcdefghi'[i - 1]}`)}]\n`)
      .join(''),
    '1:1: aliases (*) repeat too much here: write the values out',
  ],
  'an alias needs an anchor': [
    'name: *x\n',
    '1:7: a value that begins with * needs quotes: "*x" (as an alias it needs the anchor &x above it)',
  ],
  'each wildcard needs quotes': [
    edited('virtualIP: 10.0.0.1', 'virtualIP: 10.0.0.1, extraSANs: [*.example.org]').concat(
      'encryption: {resources: [*.*]}\n',
    ),
    '2:41: a value that begins with * needs quotes: "*.example.org"',
    '5:26: a value that begins with * needs quotes: "*.*"',
  ],
  'a wildcard alone needs quotes': [
    `${minimal}encryption: {resources: [*]}\n`,
    '5:26: a value that begins with * needs quotes: "*"',
  ],
  'a missing comma is named where it is missing': [
    edited('role: control,', 'role: control'),
    '4:31: a comma is missing before ip',
  ],
  'a comma may also be missing after a quoted value, and before a line end': [
    edited('name: c0,', 'name: "c0"\n    '),
    '5:6: a comma is missing before this',
  ],
  'a comma that is missing in a list is named too': [
    edited('virtualIP: 10.0.0.1', 'virtualIP: 10.0.0.1, extraSANs: ["a" "b"]'),
    '2:45: a comma is missing before this',
  ],
  'a template has to be rendered first': [
    edited('name: kubenet', 'name: {{ name }}'),
    '1:7: a template was not rendered here; if the value itself is meant, it needs quotes: "{{ name }}"',
  ],
  'a template may begin with a statement': [
    `{% if x %}\n${minimal}{% endif %}\n`,
    '1:1: a template was not rendered here; if the value itself is meant, it needs quotes: "{% if x %}"',
  ],
  'merge keys are no part of YAML 1.2': [
    minimal.replace('- {', '- &c0 {').concat('  - {<<: *c0, name: c1}\n'),
    '5:6: << merges no keys here: write the keys out',
  ],
  'a reserved character begins no value': [
    edited('name: kubenet', 'name: @kubenet # mine'),
    '1:7: a value that begins with @ needs quotes: "@kubenet"',
  ],
  'a quote that is not closed is named where it begins': [
    edited('name: kubenet', 'name: "kubenet'),
    '1:7: the quote that begins here is not closed',
  ],
  'nor is another quote named in a map on one line': [
    edited('role: control', 'role: "control').concat('ssh: { user: "ubuntu" }\n'),
    '4:23: the quote that begins here is not closed',
  ],
  'nor is another quote named, on a later line': [
    edited('name: kubenet', 'name: "kubenet').concat('ssh: { user: "ubuntu" }\n'),
    '1:7: the quote that begins here is not closed',
  ],
  'what could be a key is not repeated': [
    `name: @${'k'.repeat(50)}\n`,
    '1:7: a value that begins with @ needs quotes: "@…"',
  ],
})

test('nesting that no cluster needs is refused, whether it ends or not', () => {
  for (const text of ['['.repeat(20_000), `name: ${'['.repeat(20_000)}${']'.repeat(20_000)}\n`, 'name: &a [*a]\n'])
    assert.equal(problemsOf(text).length, 1)
})
