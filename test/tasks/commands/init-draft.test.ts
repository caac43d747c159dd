/** The text of a new cluster.yaml: as it is read by a person, and by the parser. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { validate } from '../../../lib/cluster/cluster.ts'
import { type ClusterDraft, formatCluster, newDraft, plainCluster } from '../../../tasks/commands/init-draft.ts'
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
