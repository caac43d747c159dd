/** What is printed where units read other paths than cluster.yaml has: pasted, nothing contradicts any more. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseDocument } from 'yaml'
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import type { Outcome } from '../../../lib/graph/target.ts'
import { joinFailures } from '../../../lib/show/rows.ts'
import { refuseContradicted, withOneInstall } from '../../../tasks/inspect/declared.ts'
import { unitsOn } from '../../../tasks/inspect/reads.ts'
import { allThere, fakeRows, placesWith, processAs, runningUnit, startedAs } from '../../support/fakes.ts'
import { parsed } from '../../support/files.ts'

const text = `name: kubenet
api: { virtualIP: 10.0.0.1 }
install: { drain: 'true', undrain: 'true', timeout: 3m, units: { kube-proxy: false } }
nodes:
  - { name: c0, role: control, ip: 10.0.0.2 }
  - { name: c1, role: control, ip: 10.0.0.3 }
  - { name: w0, role: worker, ip: 10.0.0.4 }
  - { name: g0, role: gateway, ip: 10.0.0.5 }
`
type Commands = Readonly<Record<string, readonly (readonly [unit: string, ...args: string[]])[]>>

/** What each node refuses, joined as at the end of a run. */
function refused(cluster: Cluster, commands: Commands): { message: string; remedy: string }[] {
  const outcomes = cluster.nodes.flatMap((node): [string, Outcome][] => {
    const processes = (commands[node.name] ?? []).map(([unit, ...args]) =>
      unit === 'kube-apiserver' ? startedAs(unit, ...args) : processAs(unit, ...args),
    )
    const units = new Map(
      processes.map(({ group }) => [/([^/]*).service$/.exec(group)?.[1] ?? '', { ...runningUnit, group }] as const),
    )
    try {
      refuseContradicted(cluster, node, unitsOn(cluster, node, placesWith({ ...allThere, units, processes })))
      return []
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      return [[`install/${node.name}`, { kind: 'failed', failure: error }]]
    }
  })
  const rows = withOneInstall(cluster, fakeRows(Object.fromEntries(outcomes)))
  const failures = [...rows].flatMap(([id, { failure }]): [string, Failure][] => (failure ? [[id, failure]] : []))
  return joinFailures(failures).map(([, { message, remedy = '' }]) => ({ message, remedy }))
}

/** cluster.yaml with what was printed in place of what it has. */
function paste(remedy: string): Cluster {
  const document = parseDocument(text)
  const [ofAll = '', ...ofNodes] = remedy.split(/^and in the node /m)
  const yaml = (lines: string) => parseDocument(lines.replaceAll(/^ {4}/gm, '')).toJS() as Record<string, unknown>
  document.set('install', yaml(ofAll.replace(/^.*\n/, '')).install)
  for (const part of ofNodes) {
    const [, name = '', lines = ''] = /^(\S+):\n(.*)$/s.exec(part) ?? []
    const at = ['c0', 'c1', 'w0'].indexOf(name)
    document.setIn(['nodes', at, 'units'], yaml(lines).units)
  }
  return parsed(document.toString())
}

const etcd = (folder: string, ...more: string[]): ['etcd', ...string[]] => [
  'etcd',
  `--cert-file=${folder}/server.pem`,
  `--key-file=${folder}/server.key`,
  `--trusted-ca-file=${folder}/ca.pem`,
  ...more,
]

describe('units that read other paths than cluster.yaml has', () => {
  const rows: Readonly<Record<string, [commands: Commands, printed: RegExp]>> = {
    'on all nodes alike': [{ c0: [etcd('/srv')], c1: [etcd('/srv')] }, /units:\n +kube-proxy: false\n +etcd:\n/],
    'with one path for a setting and another for the next': [
      Object.fromEntries(['c0', 'c1'].map((name) => [name, [['kube-apiserver', '--client-ca-file=/a/ca.pem']]])),
      /ca\.pem:\n +--client-ca-file: \/a\/ca\.pem\n/,
    ],
    'with the name of the node in them': [
      { c0: [etcd('/srv/c0')], c1: [etcd('/srv/c1')] },
      /ca\.pem: \/srv\/<node>\/ca\.pem\n/,
    ],
    'on nodes that differ': [
      { c0: [etcd('/srv')], c1: [etcd('/opt')], w0: [['kubelet', '--config=/etc/kubelet.yaml']] },
      /and in the node c0:\n {4}units:\n[\s\S]*and in the node c1:[\s\S]*and in the node w0:[\s\S]*config: \/etc\/kubelet\.yaml/,
    ],
  }
  for (const [what, [commands, printed]] of Object.entries(rows))
    test(`${what}: nothing is installed, and one block for all says what they read`, () => {
      const cluster = parsed(text)
      const [{ message, remedy } = { message: '', remedy: '' }, ...more] = refused(cluster, commands)
      assert.match(message, /nothing is installed/)
      assert.match(remedy, printed)
      assert.deepEqual([more, refused(paste(remedy), commands)], [[], []], remedy)
      const { install } = paste(remedy)
      assert.deepEqual(install && [install.drain, install.timeout, install.units.get('kube-proxy')], [
        'true',
        180_000,
        false,
      ])
    })

  test('that are declared, or can not be read, are no contradiction', () => {
    assert.deepEqual(refused(parsed(text), { c0: [['kube-apiserver']], c1: [['etcd']] }), [])
  })
})
