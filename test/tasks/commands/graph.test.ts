/** `graph`, as its users call it. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { scratch } from '../../support/files.ts'
import { exits, gateway, writeCluster } from '../../support/harderway.ts'

type Told = Readonly<Record<'id' | 'phase', string>> & Readonly<Record<'needs' | 'makes', readonly string[]>>

async function readTargets(place: string, ...args: string[]): Promise<Told[]> {
  const { events } = await exits(0, place, 'graph', '--json', ...args)
  return events.map(({ type: _, ...target }) => target as unknown as Told)
}

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
})
