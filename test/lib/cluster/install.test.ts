import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseCluster } from '../../../lib/cluster/cluster.ts'
import { known } from '../../../tasks/tables/files.ts'
import { edited, minimal, testBadFiles } from '../../support/bad-files.ts'

const install = (text: string) => `${minimal}install: ${text}\n`
const withGateway = (text: string) =>
  edited('nodes:', `install: ${text}\nnodes:\n  - { name: gateway, role: gateway, ip: 10.0.0.9 }`)

testBadFiles({
  'install is true, false or a map': [
    install('yes'),
    '5:10: install "yes" is neither true nor false nor a map of sudo, drain, undrain, timeout, units',
  ],
  'the layout is a known one': [
    install('{ layout: kubeadm }'),
    '5:20: install.layout "kubeadm" is not a layout: known are guide',
  ],
  'a time to wait has a unit, and an end': [
    install('{ timeout: 2d }'),
    '5:21: install.timeout "2d" is not a time to wait, such as 90s or 2m (up to 1h)',
  ],
  'a command is on one line': [
    install('{ sudo: "sudo\\n-n" }'),
    String.raw`5:18: install.sudo "sudo\n-n" is not a command on one line`,
  ],
  'a drain needs an undrain, and a gateway that does it': [
    install('{ drain: balance }'),
    '5:12: install.drain needs undrain too: give both, or none',
    '5:12: install.drain is run on gateways, and there is no node with role: gateway',
  ],
  'an undrain needs a drain': [
    withGateway('{ undrain: balance }'),
    '3:12: install.undrain needs drain too: give both, or none',
  ],
  'a unit is one of the layout': [
    install('{ units: { kube-api-server: false } }'),
    '5:21: install.units.kube-api-server is not a unit of the layout: did you mean kube-apiserver?',
  ],
  'a file of a unit is one that it reads': [
    install('{ units: { etcd: { files: { ca-key.pem: /etc/x } } } }'),
    '5:38: install.units.etcd.files.ca-key.pem is not a file of etcd: known are ca.pem, kubernetes.pem, kubernetes-key.pem',
  ],
  'a place is an absolute path': [
    install('{ units: { etcd: { files: { ca.pem: /etc/../x } } } }'),
    '5:46: install.units.etcd.files.ca.pem "/etc/../x" is not an absolute path of plain characters, without .. in it',
  ],
  'true is nothing for a unit': [
    install('{ units: { etcd: true } }'),
    '5:27: install.units.etcd true is neither false nor a map of restart and files',
  ],
})

test('a drain and an undrain, with a gateway, are right', () => {
  const parsed = parseCluster(Buffer.from(withGateway('{ drain: a, undrain: b }')), known)
  assert.ok('cluster' in parsed, JSON.stringify(parsed))
  assert.deepEqual(parsed.cluster.install, {
    sudo: 'sudo -n',
    drain: 'a',
    undrain: 'b',
    timeout: 120_000,
    units: new Map(),
  })
})
