import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { phases } from '../../../tasks/bootstrap.ts'
import { clusterGraph } from '../../../tasks/cluster-target.ts'
import { formatCommand } from '../../../tasks/run/host.ts'
import { parseOptions, type Selection, select } from '../../../tasks/run/options.ts'
import { parsed } from '../../support/files.ts'

const yaml = `
name: kubenet
api: {virtualIP: 192.168.1.21}
nodes:
  - {name: control0, role: control, ip: 192.168.1.11}
  - {name: worker0, role: worker, ip: 192.168.1.14}
  - {name: gateway, role: gateway, ip: 192.168.1.10}
`

const cluster = parsed(yaml)
const graph = await clusterGraph(phases, cluster)
const asked = (line: string) => ({
  cluster,
  options: parseOptions(line.split(' ')),
  command: (task: string) => formatCommand(task, parseOptions(line.split(' ')).config),
})
const selected = (line: string): Selection => select(asked(line), graph)

const components = ['admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy', 'service-account'].map(
  (name) => `component-certs/${name}`,
)
const certs = ['ca', 'cluster-cert', ...components, 'node-certs/control0', 'node-certs/worker0']

const selections: readonly [string, readonly string[]][] = [
  ['ca', ['ca']],
  ['certs', certs],
  ['bootstrap', [...graph.keys()]],
  ['node-certs/worker0', ['node-certs/worker0']],
  ['encryption-key ca', ['encryption-key', 'ca']],
  ['deploy', ['deploy/control0', 'deploy/worker0', 'deploy/gateway']],
  ['deploy --node worker0 --node gateway', ['deploy/worker0', 'deploy/gateway']],
  ['bootstrap --node worker0', ['node-certs/worker0', 'kubeconfigs/worker0', 'deploy/worker0']],
]

test('a name selects what it names, and nothing is forced', () => {
  for (const [line, ids] of selections) {
    assert.deepEqual(new Set(selected(line).ids), new Set(ids), line)
    assert.deepEqual([...selected(line).forced], [])
  }
})

test('targets begin in the order of the graph, whatever was typed first: a node that waits for its turn holds a slot', () => {
  assert.deepEqual(selected('deploy/gateway deploy/worker0 deploy/control0').ids, selected('deploy').ids)
})

test('a name, a node or an option that does not fit is bad usage, and the message says why', () => {
  for (const [line, message] of [
    ['certz', /unknown command "certz"; did you mean certs\?/],
    ['node-certs/worker1', /"node-certs\/worker1"; did you mean node-certs\/worker0\?/],
    ['something-else-altogether', /"something-else-altogether"\nsee all/],
    ['deploy --node worker0 --node worker1', /cluster\.yaml has no node worker1; did you mean worker0\?/],
    ['ca --node worker0', /ca has no target on worker0/],
    ['deploy worker0', /^worker0 is a node\n.*:\n +npm run bootstrap -- --node worker0$/],
    ['certs --renew --config a.yaml', /can only be used with ca\n.*:\n +npm run task -- ca --renew --config a\.yaml$/],
    ['ca --renew --force', /^--renew and --force can't be combined$/m],
    ['deploy install', /^nothing is installed: cluster\.yaml has no install$/m],
  ] as const)
    assert.throws(
      () => selected(line),
      (error: unknown) => {
        assert.ok(error instanceof Failure, String(error))
        assert.equal(error.kind, 'usage')
        assert.match([error.message, error.remedy ?? []].flat().join('\n'), message)
        return true
      },
    )
})

const replaced = ({ forced }: Selection) => [...forced].filter(([, force]) => force === 'replace').map(([id]) => id)

test('--force replaces what is irreplaceable only where that very target is named', () => {
  for (const id of ['ca', 'component-certs/service-account', 'encryption-key'])
    assert.deepEqual([...selected(`${id} --force`).forced], [[id, 'replace']])
  for (const name of ['certs', 'component-certs', 'bootstrap', 'cluster-cert'])
    assert.deepEqual(replaced(selected(`${name} --force`)), [], name)
  assert.deepEqual(replaced(selected('encryption-key bootstrap --force')), ['encryption-key'])
})

test('a forced selection rebuilds each target of it, not what it needs; ca --renew does not replace the CA', () => {
  assert.deepEqual([...selected('node-certs/worker0 --force').forced], [['node-certs/worker0', 'rebuild']])
  assert.deepEqual([...selected('component-certs --force').forced.keys()], components)
  assert.deepEqual(selected('ca --renew'), { ids: ['ca'], forced: new Map([['ca', 'renew']]) })
})
