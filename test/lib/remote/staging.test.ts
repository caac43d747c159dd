import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { checkStaging, stagingName } from '../../../lib/remote/staging.ts'

const owner = { auth: 'a'.repeat(12), run: 'b'.repeat(8) }
const colleague = { auth: 'c'.repeat(12), run: 'd'.repeat(8) }
const uptime = { boot: '01234567-89ab-cdef-0123-456789abcdef', seconds: 5000 }
const another = { ...uptime, boot: 'fedcba98-89ab-cdef-0123-456789abcdef' }
const random = '0123456789abcdef'
const later = (seconds: number) => ({ ...uptime, seconds: uptime.seconds + seconds })
const judge = (name: string, age = 0, now: typeof uptime | undefined = uptime) =>
  checkStaging({ name, age }, owner, now)

describe('the staging folder', () => {
  const theirs = stagingName(colleague, uptime, random)

  test("of this run is in use by another node's deploy that shares the folder, whatever its age", () => {
    for (const suffix of ['', '-swap', '-discarded'])
      assert.equal(judge(stagingName(owner, uptime, random) + suffix, 9999, another), 'of this run')
  })

  test('of another run over this auth/ is left: we hold the lock', () =>
    assert.equal(judge(stagingName({ ...owner, run: 'e'.repeat(8) }, uptime, random)), 'left'))

  test('of another auth/ may be in use for so long as a run takes, by the count of the kernel', () => {
    assert.equal(judge(theirs, 0, later(900)), 'may be in use')
    assert.equal(judge(theirs, 0, later(901)), 'left')
    assert.equal(judge(`${theirs}-swap`, 0, later(901)), 'left')
  })

  test('is judged the same whatever the clock of the node is set to', () => {
    for (const age of [-1e9, -901, 901, 1e9]) assert.equal(judge(theirs, age, later(60)), 'may be in use')
    for (const age of [-60, 0, 60]) assert.equal(judge(theirs, age, later(3600)), 'left')
  })

  test('of another boot is left at once, and so is one after the uptime restarted', () => {
    assert.equal(judge(theirs, 1, another), 'left')
    assert.equal(judge(theirs, 1, { ...uptime, seconds: 3 }), 'left')
  })

  for (const [title, name, now] of [
    ['that names no boot', stagingName(colleague, undefined, random), uptime],
    ['on a node that tells no boot', theirs, undefined],
    ['of an earlier version', '.harderway-ffffffffffff-0123456789abcdef', uptime],
    ['with a name of anybody', '.harderway-x', uptime],
  ] as const)
    test(`${title} is judged by its age`, () => {
      const verdicts = [-901, -900, 900, 901].map((age) => checkStaging({ name, age }, owner, now))
      assert.deepEqual(verdicts, ['left', 'may be in use', 'may be in use', 'left'])
    })
})
