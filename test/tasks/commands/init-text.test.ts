/** The text of a new cluster.yaml: as it is read by a person, and by the parser. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { findProblems } from '../../../lib/cluster/cluster.ts'
import { type ClusterDraft, formatCluster, newDraft, plainCluster } from '../../../tasks/commands/init-draft.ts'
import { harderWay } from '../../../tasks/layouts/harder-way.ts'
import { known } from '../../../tasks/tables/files.ts'
import { readCluster } from '../../support/harderway.ts'

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

test('is short, and says beside a line what its reader has to know', () => {
  assert.equal(
    formatCluster(draft, './cluster.schema.json'),
    `# yaml-language-server: $schema=./cluster.schema.json
# Every key, its default and its rules: docs/cluster-yaml.md of harderway.
name: kubenet # of the cluster, in every kubeconfig
domain: kubenet # nodes are also <node>.<domain>
subject: # of every certificate; can't be changed once there is a CA
  # country:
  # state:
  # locality:
  organization: Kubernetes
  # organizationalUnit:
certificates:
  key: rsa-2048 # rsa-2048 | rsa-3072 | rsa-4096 | ecdsa-p256 | ecdsa-p384; can't be changed once there is a CA
  validity: 10y # also 365d, 8760h
  caValidity: 10y
  renewBefore: 30d # with less than this left, a certificate is issued again
api:
  host: kubernetes # https://<host>:<port> in every kubeconfig
  port: 6443
  virtualIP: 192.168.1.21
  extraSANs: [] # more names or addresses of the API
network:
  serviceCIDR: 10.32.0.0/16 # has to be kube-apiserver's --service-cluster-ip-range
  clusterDomain: cluster.local
encryption: # of what is in etcd
  provider: aescbc # aescbc | aesgcm | secretbox; once there are Secrets, only rotate encryption-key changes it
  resources: [secrets]
ssh: # aliases, ports and jump hosts are those of your ssh configuration
  user: ubuntu
  # configFile: # ssh -F
  directory: "~" # where files go on a node
# localKubeconfig: false # otherwise the admin is added to your own kubeconfig
install: true # copies files to where the guide's units read them, and restarts units: docs/install.md; false leaves both to you
# users: # besides admin
#   - { name: jane, groups: [devs], validity: 90d }
nodes:
  - { name: control0, role: control, ip: 192.168.1.11 }
  - { name: worker0, role: worker, ips: [ 192.168.1.14, "fd00::" ], host: 10.0.0.9, sans: [ w.example.org ] }
  - { name: worker1, role: worker, ip: } # MISSING: the address of worker1
`,
  )
})

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
      fc.pre(findProblems(plainCluster(draft), known).length === 0)
      const plain = JSON.stringify(plainCluster(draft))
      assert.deepEqual(readCluster(Buffer.from(formatCluster(draft, 's'))), readCluster(Buffer.from(plain)))
    }),
  )
})
