/** `graph`, as its users call it. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { scratch } from '../../support/files.ts'
import { exits, gateway, writeCluster } from '../../support/harderway.ts'

type Told = Readonly<Record<'id' | 'phase', string>> & Readonly<Record<'needs' | 'makes', readonly string[]>>

async function draw(place: string, ...args: string[]): Promise<string> {
  return (await exits(0, place, 'graph', ...args)).stdout
}

async function readTargets(place: string, ...args: string[]): Promise<Told[]> {
  const { events } = await exits(0, place, 'graph', '--json', ...args)
  return events.map(({ type: _, ...target }) => target as unknown as Told)
}

/** "ca cluster_cert", an arrow each, in the order of the alphabet. */
const edgesIn = (mermaid: string, arrow: RegExp) =>
  [...mermaid.matchAll(new RegExp(`^ {2}(\\w+) ${arrow.source} (\\w+)$`, 'gm'))]
    .map(([, from, to]) => `${from} ${to}`)
    .toSorted()
const boxesIn = (mermaid: string) => [...mermaid.matchAll(/^ {2}(\w+)\["/gm)].map(([, id]) => id).toSorted()

describe('graph', { concurrency: 2 }, () => {
  test('with --json says what each target is, what it needs and which files it makes', async (t) => {
    const place = scratch(t)
    writeCluster(place, [gateway])
    const targets = await readTargets(place)
    const byId = new Map(targets.map((target) => [target.id, target]))
    assert.equal(byId.size, 32)
    assert.deepEqual(byId.get('kubeconfigs/worker0'), {
      ...{ id: 'kubeconfigs/worker0', phase: 'kubeconfigs', node: 'worker0' },
      ...{ needs: ['ca', 'node-certs/worker0'], makes: ['worker0.kubeconfig'] },
    })
    assert.deepEqual(byId.get('deploy/gateway')?.needs, ['ca'])
    assert.equal(targets.flatMap(({ makes }) => makes).length, 2 * 13 + 10 + 1)
  })

  test('has a box for each phase, or each target, and an arrow for each need between two', async (t) => {
    const place = scratch(t)
    writeCluster(place, [gateway])
    const targets = await readTargets(place)
    const phaseOf = new Map(targets.map(({ id, phase }) => [id, phase]))
    const word = (text: string) => text.replaceAll(/\W/g, '_')
    for (const [args, boxOf] of [
      [[], (id: string) => phaseOf.get(id) ?? id],
      [['--verbose'], (id: string) => id],
    ] as const) {
      const mermaid = await draw(place, ...args)
      assert.deepEqual(boxesIn(mermaid), [...new Set(targets.map(({ id }) => word(boxOf(id))))].toSorted())
      const edges = targets.flatMap(({ id, needs }) =>
        needs.flatMap((need) => (boxOf(need) === boxOf(id) ? [] : `${word(boxOf(need))} ${word(boxOf(id))}`)),
      )
      assert.deepEqual(edgesIn(mermaid, /-->/), [...new Set(edges)].toSorted())
    }
  })
})
