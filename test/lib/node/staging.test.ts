import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkStaging, namesOf } from '../../../lib/node/place.ts'

const owner = { auth: 'a'.repeat(12), run: 'b'.repeat(8) }
const own = namesOf(owner)
const earlier = namesOf({ ...owner, run: 'e'.repeat(8) })
const colleague = namesOf({ auth: 'c'.repeat(12), run: owner.run })

test('a run leaves its own folder alone, removes one of its auth/, whose lock it holds, and any other after 15 minutes', () => {
  for (const [name, age, use] of [
    [`${own}x-swap`, 9999, 'of this run'],
    [`${earlier}x`, 0, 'left'],
    [`${colleague}x`, 0, 'may be in use'],
    [`${colleague}x`, 900, 'may be in use'],
    [`${colleague}x-discarded`, 901, 'left'],
    // The clock of the node was set.
    [`${colleague}x`, -900, 'may be in use'],
    [`${colleague}x`, -901, 'left'],
    ['.harderway-x', 900, 'may be in use'],
    ['ca.pem.harderway-new', 0, 'left'],
    ['ca.pem.harderway-old', 0, 'left'],
    ['.harderway-x', 901, 'left'],
  ] as const)
    assert.equal(checkStaging({ name, age }, owner), use, `${name} ${age}`)
})
