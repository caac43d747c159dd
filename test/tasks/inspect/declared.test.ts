/** What is printed where units read other paths than cluster.yaml has: written there, nothing contradicts any more. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parse, parseDocument } from 'yaml'
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import { refuseContradicted } from '../../../tasks/inspect/declared.ts'
import { unitsOn } from '../../../tasks/inspect/reads.ts'
import { allThere, failureOf, placesWith, processAs, runningUnit, startedAs } from '../../support/fakes.ts'
import { parsed } from '../../support/files.ts'

const text = `name: kubenet
api: { virtualIP: 10.0.0.1 }
install: { units: { kube-proxy: false } }
nodes:
  - { name: c0, role: control, ip: 10.0.0.2 }
  - { name: w0, role: worker, ip: 10.0.0.4 }
`
type Command = readonly [unit: string, ...args: string[]]

function refused(cluster: Cluster, at: number, [unit, ...args]: Command) {
  const node = cluster.nodes[at] ?? assert.fail()
  const { command } = unit === 'kube-apiserver' ? startedAs(unit, ...args) : processAs(unit, ...args)
  const places = placesWith({ ...allThere, units: new Map([[unit, { ...runningUnit, command }]]) })
  return failureOf(() => refuseContradicted(node, unitsOn(cluster, node, places)))
}

/** cluster.yaml with the key that was printed. */
function write(remedy: string): Cluster {
  const [, key = '', value = ''] = /:\n +(install\.units\.\S+): (.*)$/.exec(remedy) ?? []
  const document = parseDocument(text)
  document.setIn(key.split('.'), parse(value))
  return parsed(document.toString())
}

describe('a unit that reads other paths than cluster.yaml has', () => {
  const etcd = (folder: string): Command => [
    'etcd',
    `--cert-file=${folder}/server.pem`,
    `--key-file=${folder}/server.key`,
    `--trusted-ca-file=${folder}/ca.pem`,
  ]
  const rows: Readonly<Record<string, [at: number, command: Command, printed: RegExp]>> = {
    'of several files': [0, etcd('/srv'), /install\.units\.etcd\.files: \{ .*ca\.pem: \/srv\/ca\.pem/],
    'with one path for a setting and another for the next': [
      0,
      ['kube-apiserver', '--client-ca-file=/a/ca.pem'],
      /ca\.pem: \{ .*--client-ca-file: \/a\/ca\.pem/,
    ],
    'with the name of the node in them': [0, etcd('/srv/c0'), /ca\.pem: \/srv\/<node>\/ca\.pem/],
    'of its configuration': [
      1,
      ['kubelet', '--config=/etc/kubelet.yaml'],
      /install\.units\.kubelet\.config: \/etc\/kubelet\.yaml$/,
    ],
  }
  for (const [what, [at, command, printed]] of Object.entries(rows))
    test(`${what}: nothing is installed, and one line says what it reads`, () => {
      const { message = '', remedy = '' } = refused(parsed(text), at, command) ?? {}
      assert.match(message, /; nothing is installed$/)
      assert.match(remedy, printed)
      assert.match(remedy, /^[^\n]*\n[^\n]*$/)
      assert.equal(refused(write(remedy), at, command), undefined, remedy)
    })

  test('is none where the paths are declared, or can not be read', () => {
    assert.equal(refused(parsed(text), 0, ['kube-apiserver']), undefined)
  })
})
