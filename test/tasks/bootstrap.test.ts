/** Who runs the phases: listr2, a task for each, in the order of the table. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Listr, type ListrRendererFactory, type ListrTaskObject, SilentRenderer } from 'listr2'
import pLimit from 'p-limit'
import { Failure } from '../../lib/failure.ts'
import { openWalk } from '../../lib/graph/executor.ts'
import { buildGraph, byPhase } from '../../lib/graph/target.ts'
import { runPhases } from '../../tasks/bootstrap.ts'
import type { ClusterTarget } from '../../tasks/target.ts'
import { fakeTarget, fresh, nowhere, settled, stale } from '../support/fakes.ts'

const table = [
  { name: 'ca', title: 'Certificate authority' },
  { name: 'certs', title: 'Certificates' },
]

const fails = { build: () => Promise.reject(new Failure('no')) }
const targets = [
  fakeTarget('ca', { check: () => fresh }),
  fakeTarget('certs/made', { needs: ['ca'] }),
  fakeTarget('certs/fresh', { check: () => fresh }),
  fakeTarget('certs/failed', fails),
  fakeTarget('certs/held', { needs: ['certs/failed'] }),
]

async function runFakePhases(all: readonly ClusterTarget[], renderer?: ListrRendererFactory) {
  const limits = { auth: pLimit(2), node: pLimit(2), kubeconfig: pLimit(1) }
  const options = { mode: 'run', forced: new Map(), signal: new AbortController().signal, emit: () => {} } as const
  const graph = buildGraph(all)
  const walk = openWalk(graph, { run: { ...nowhere, limits }, ...options })
  return runPhases(byPhase(table, graph), walk, renderer)
}

/** The tasks of what is run meanwhile, by their titles: the path, and the state in which each ended. */
async function tasksOf(t: { mock: typeof import('node:test').mock }, work: () => Promise<unknown>) {
  const roots: ListrTaskObject<unknown>[] = []
  const { run } = Listr.prototype
  t.mock.method(Listr.prototype, 'run', function (this: Listr, ...args: Parameters<typeof run>) {
    if (this.isRoot()) roots.push(...this.tasks)
    return run.apply(this, args)
  })
  await work()
  return roots.flatMap((task) => [task, ...(task.subtasks ?? [])]).map(({ path, state }) => [path.join(' > '), state])
}

test('with a renderer each target has a task of its own below its phase, and ends as it does', async (t) => {
  class Renderer extends SilentRenderer {}
  const drawn = await tasksOf(t, () => runFakePhases(targets, Renderer as ListrRendererFactory))
  assert.deepEqual(drawn, [
    ['Certificate authority', 'COMPLETED'],
    ['Certificate authority > ca', 'SKIPPED'],
    ['Certificates', 'COMPLETED'],
    ['Certificates > certs/made', 'COMPLETED'],
    ['Certificates > certs/fresh', 'SKIPPED'],
    ['Certificates > certs/failed', 'FAILED'],
    ['Certificates > certs/held', 'SKIPPED'],
  ])
})

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
