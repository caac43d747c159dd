/**
 * The text of a new cluster.yaml, as it is read by a person and by the parser; and what the names in an API server's
 * certificate tell of a cluster, where they could be read in more than one way.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { validate } from '../../../lib/cluster/cluster.ts'
import {
  type ClusterDraft,
  formatCluster,
  newDraft,
  plainCluster,
  readApiNames,
} from '../../../tasks/commands/init-draft.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { layoutRules } from '../../../tasks/layouts/tables.ts'
import { readCluster } from '../../support/harderway.ts'
import { fc } from '../../support/properties.ts'

const begun = newDraft('kubenet', harderWay)
const draft: ClusterDraft = {
  ...begun,
  api: { ...begun.api, virtualIP: '192.168.1.21' },
  nodes: [
    { name: 'control0', role: 'control', host: undefined, ips: ['192.168.1.11'], sans: [] },
    { name: 'worker0', role: 'worker', host: '10.0.0.9', ips: ['192.168.1.14', 'fd00::'], sans: ['w.example.org'] },
    { name: 'worker1', role: 'worker', host: undefined, ips: [], sans: [] },
  ],
}

test('a path to the schema stays one word on one line', () => {
  const [first] = formatCluster(draft, '../a b\nname: x/cluster.schema.json').split('\n')
  assert.equal(first, '# yaml-language-server: $schema=../a%20b%0Aname:%20x/cluster.schema.json')
})

/** What YAML treats in a way of its own. */
const awkward = ['no ~ null 1e3 0x10 2001-01-01 {a \' " &a *a !x % @ … a\\n'.split(' '), '- a', '# a', 'a: b'].flat()
const word = fc.oneof(fc.constantFrom(...awkward), fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }))
const drafts = fc
  .record({ state: word, locality: word, organization: word, organizationalUnit: word, group: word, file: word })
  .map(({ group, file, ...subject }): ClusterDraft => {
    const nodes = draft.nodes.slice(0, 2)
    const users = [{ name: '0x10', groups: [group], validity: '90d' }]
    return { ...draft, subject: { ...subject, country: 'NO' }, users, nodes, ssh: { ...draft.ssh, configFile: file } }
  })

test('means what the draft says, whatever words are in it', () => {
  fc.assert(
    fc.property(drafts, (draft) => {
      fc.pre(validate(plainCluster(draft), layoutRules).problems.length === 0)
      const plain = JSON.stringify(plainCluster(draft))
      assert.deepEqual(readCluster(Buffer.from(formatCluster(draft, 's'))), readCluster(Buffer.from(plain)))
    }),
  )
})

test('a new cluster has, as comments, an admin whom RBAC can cut off, and what a year means', () => {
  const text = formatCluster({ ...draft, nodes: draft.nodes.slice(0, 2) }, 's')
  assert.match(text, /^ {2}validity: .*with 1y, a daily run/m)
  const written = text.replace(/^# (?=localKubeconfig:|users:| {2}- \{ name: jane)/gm, '')
  const { localKubeconfig: local, users } = readCluster(Buffer.from(written))
  assert.ok(local)
  assert.equal(local.as, 'jane')
  assert.deepEqual(
    users.map(({ name, groups }) => [name, groups]),
    [['jane', []]],
  )
})

const inside = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster']
const outside = ['kubernetes.lan', 'c0', 'c0.lan', '10.0.0.11', '127.0.0.1']
const usual = [...inside, 'kubernetes.default.svc.cluster.local', ...outside]
const nodes = [
  { name: 'c0', sans: ['c0', 'c0.lan', '10.0.0.11'] },
  { name: 'w0', sans: ['w0', 'w0.lan', '10.0.0.12'] },
]

const read = (more: readonly string[], names = nodes, server = { host: 'kubernetes', port: 6443 }) =>
  readApiNames(harderWay, newDraft('k', harderWay), { server, sans: [...usual, ...more], nodes: names })

const guides = '10.32.0.0/16'
for (const [what, more, range, virtualIP = undefined, extra = []] of [
  ["the guide's range", ['10.32.0.1', '10.0.0.21'], guides, '10.0.0.21'],
  ['a name of another type', ['10.32.0.1', '10.0.0.21', 'email:a@b'], guides, '10.0.0.21'],
  ['no address of a load balancer', ['10.32.0.1'], guides],
  // What is not known is left open, and every address stays in the certificate.
  ["kubeadm's range", ['10.0.0.21', '10.96.0.1'], undefined, undefined, ['10.0.0.21', '10.96.0.1']],
  ['no address inside the cluster', ['10.0.0.21'], undefined, undefined, ['10.0.0.21']],
  ["an address in the guide's range", ['10.32.0.1', '10.32.9.9'], undefined, undefined, ['10.32.0.1', '10.32.9.9']],
  ['two families', ['10.32.0.1', 'fd00::1', 'fd00:1::21'], guides, undefined, ['fd00::1', 'fd00:1::21']],
  ['more names', ['10.32.0.1', '10.0.0.21', 'a.org', '1.2.3.4'], guides, undefined, ['10.0.0.21', 'a.org', '1.2.3.4']],
] as const)
  test(`${what}: ${more.join(' ')}`, () => {
    const { network, api, domain, nodes } = read(more)
    assert.deepEqual([network.serviceCIDR, api.virtualIP, api.extraSANs, domain], [range, virtualIP, extra, 'lan'])
    assert.deepEqual(
      nodes.map(({ role, ips, sans }) => [role, ips, sans]),
      [
        ['control', ['10.0.0.11'], []],
        ['worker', ['10.0.0.12'], []],
      ],
    )
  })

test('an address of a control node that the API server has not is one of its own certificate alone', () => {
  const [control] = nodes
  const { nodes: found } = read(
    [],
    [{ ...control, name: 'c0', sans: [...(control?.sans ?? []), '10.9.0.1', 'c0.org'] }],
  )
  assert.deepEqual([found[0]?.ips, found[0]?.sans], [['10.0.0.11'], ['10.9.0.1', 'c0.org']])
})

test('an API that is called by an address is behind no other', () => {
  assert.equal(read(['10.32.0.1'], nodes, { host: '10.0.0.21', port: 443 }).api.virtualIP, '10.0.0.21')
})

test('a domain that not every node has is none, and is the name of the cluster', () => {
  const [control] = nodes
  assert.equal(read([], [...nodes, { ...control, name: 'w1', sans: ['w1', 'w1.other'] }]).domain, 'k')
})
