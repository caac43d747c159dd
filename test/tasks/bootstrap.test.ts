/** Who runs the phases: listr2, a task for each, in the order of the table. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ListrRendererFactory, SilentRenderer } from 'listr2'
import pLimit from 'p-limit'
import { openWalk } from '../../lib/graph/executor.ts'
import { buildGraph, byPhase } from '../../lib/graph/target.ts'
import { runPhases } from '../../tasks/bootstrap.ts'
import type { ClusterTarget } from '../../tasks/cluster-target.ts'
import { fakeTarget, nowhere, settled, stale } from '../support/fakes.ts'

const table = [
  { name: 'ca', title: 'Certificate authority' },
  { name: 'certs', title: 'Certificates' },
]

async function runFakePhases(all: readonly ClusterTarget[], renderer?: ListrRendererFactory) {
  const limits = { auth: pLimit(2), node: pLimit(2), kubeconfig: pLimit(1) }
  const options = { mode: 'run', forced: new Map(), signal: new AbortController().signal, emit: () => {} } as const
  const graph = buildGraph(all)
  const walk = openWalk(graph, { run: { ...nowhere, limits }, ...options })
  return runPhases(byPhase(table, graph), walk, renderer)
}

for (const renderer of [undefined, SilentRenderer as unknown as ListrRendererFactory])
  test(`${renderer ? 'with' : 'without'} a renderer no target of a phase begins before the last of the phase before it has ended, and those of one phase overlap`, async () => {
    const told: string[] = []
    const target = (id: string) =>
      fakeTarget(id, {
        check: () => {
          told.push(`begin ${id}`)
          return stale
        },
        build: async () => {
          await settled()
          told.push(`end ${id}`)
        },
      })
    const names = ['ca/own', 'ca/other', 'certs/a', 'certs/b']
    await runFakePhases(names.toReversed().map(target), renderer)
    const begins = (id: string) => told.indexOf(`begin ${id}`)
    const ends = (id: string) => told.indexOf(`end ${id}`)
    const [own = '', other = '', a = '', b = ''] = names
    assert.ok(Math.max(begins(own), begins(other)) < Math.min(ends(own), ends(other)), told.join(', '))
    assert.ok(Math.max(ends(own), ends(other)) < Math.min(begins(a), begins(b)), told.join(', '))
    assert.ok(Math.max(begins(a), begins(b)) < Math.min(ends(a), ends(b)), told.join(', '))
  })

test('a target of a phase that is not in the table is a bug, before anything is made', async () => {
  const built: string[] = []
  const build = async () => void built.push('ca')
  const all = [fakeTarget('ca', { build }), fakeTarget('lost/one', { needs: ['ca'] })]
  await assert.rejects(runFakePhases(all), { name: 'Error', message: 'there is no phase lost in the table' })
  assert.deepEqual(built, [])
})
