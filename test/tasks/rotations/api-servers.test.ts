/** Which members etcd has beside the control nodes, from what etcd itself reports. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { foreignMembers } from '../../../tasks/install/restart.ts'

const control0 = { name: 'control0', ips: ['192.168.1.11', 'fd00::11'] }
const control1 = { name: 'control1', ips: ['192.168.1.12'] }
const member = (name: string, ...peerURLs: string[]) => ({ ID: '10501334649042878790', name, peerURLs })

test('a member of etcd is a control node by an address or a name of its peer URLs, or by its name if they have none', () => {
  for (const [name, url] of [
    ['control0', 'https://etcd-0.example.org:2380'],
    ['', 'https://192.168.1.12:2380'],
    ['infra0', 'https://[fd00::11]:2380'],
    ['infra1', 'https://control1:2380'],
    ['default', 'http://localhost:2380'],
    // As Kubernetes The Hard Way has it.
    ['controller', 'http://127.0.0.1:2380'],
  ] as const)
    assert.deepEqual(foreignMembers([member(name, url)], [control0, control1]), [], url)
  for (const [name, url] of [
    ['', 'no address'],
    ['control0', 'https://10.9.9.9:2380'],
    ['default', 'https://control10.kubernetes.local:2380'],
  ] as const)
    assert.equal(foreignMembers([member(name, url)], [control0, control1]).length, 1, url)
  const both = [member('control0', 'https://192.168.1.11:2380'), member('control2', 'https://192.168.1.13:2380')]
  const [text = '', ...more] = foreignMembers(both, [control0, control1])
  const told =
    /^the etcd member control2 \(https:\/\/192\.168\.1\.13:2380\)[\s\S]* etcdctl member remove 91bc3c398fb3c146$/
  assert.match(text, told)
  assert.deepEqual(more, [])
})
