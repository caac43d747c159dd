import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Work } from '../../../lib/graph/target.ts'
import { tellingTogether } from '../../../tasks/nodes/install.ts'

test('of several that are worked on at once, the last step that is reported is of one that is still at work', async () => {
  const told: string[] = []
  const tell: Work['tell'] = (step) => told.push('unit' in step ? `${step.doing} ${step.unit}` : step.doing)
  const units = ['a', 'b', 'c'].map((unit) => ({ unit, ...Promise.withResolvers<void>() }))
  const all = tellingTogether(tell, units, async (own, { unit, promise }) => {
    own({ doing: 'restarting', unit })
    await promise
  })
  const [a, b, c] = units
  // It was not what stood there: nothing to report.
  a?.resolve()
  await all[0]
  // It was; b is still at it.
  c?.reject(new Error('not healthy'))
  await assert.rejects(all[2] ?? assert.fail(), /not healthy/)
  b?.resolve()
  await all[1]
  assert.deepEqual(told, ['restarting a', 'restarting b', 'restarting c', 'restarting b'])
})
