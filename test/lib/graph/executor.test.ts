import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { findRefusals } from '../../../lib/graph/executor.ts'
import {
  type BuildContext,
  buildGraph,
  type Earlier,
  type Force,
  isFailedOrSkipped,
  type Row,
  Skipped,
} from '../../../lib/graph/target.ts'
import type { Check } from '../../../lib/results.ts'
import type { ClusterTarget } from '../../../tasks/cluster-target.ts'
import { fakeTarget, fresh, nowhere, runFakes, settled, stale } from '../../support/fakes.ts'
import { fc } from '../../support/properties.ts'

const refused = (message: string) => new Failure(message, { kind: 'refused' })
const throws = (error: unknown) => () => {
  throw error
}
const notBuilt = async () => assert.fail('built')
const states = (rows: ReadonlyMap<string, Row>) => Object.fromEntries([...rows].map(([id, { state }]) => [id, state]))

/** A build that is begun, waits, and is ended by hand. */
function gate() {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>()
  return { build: () => promise, open: () => resolve(undefined), fail: reject }
}

/** Without its target, and what is empty. */
function bare(row: Row | undefined): object {
  const { id, target, diffs, ...outcome } = row ?? assert.fail()
  return diffs.length > 0 ? { ...outcome, diffs } : outcome
}

test('a target holds its slot from before its check until it is released; those of other places go on', async () => {
  const [looked, build, release] = [gate(), gate(), gate()]
  const check = async () => {
    await looked.build()
    return stale
  }
  const a = fakeTarget('a', { where: 'node', check, build: build.build, release: release.build })
  const run = runFakes([a, fakeTarget('b', { where: 'node' }), fakeTarget('c')], { auth: 1, node: 1 })
  await settled()
  assert.deepEqual(run.told, ['started a', 'started c', 'building c', 'built c'])
  looked.open()
  await settled()
  build.open()
  await settled()
  assert.equal(run.told.at(-1), 'building a')
  release.open()
  assert.deepEqual(states(await run.rows), { a: 'built', b: 'built', c: 'built' })
})

for (const [how, told] of [
  ['built', {}],
  ['failed in its check', { check: throws(new Failure('no')) }],
] as const satisfies readonly [string, Partial<ClusterTarget>][])
  test(`a target on a node that is ${how} is released once, before it ends`, async () => {
    const order: string[] = []
    const release = async () => {
      await settled()
      order.push('released')
    }
    const run = runFakes([fakeTarget('a', { where: 'node', release, ...told })], {
      onEvent: (event) => event.type === 'ended' && order.push('ended'),
    })
    await run.rows
    assert.deepEqual(order, ['released', 'ended'])
  })

test('a check and a build know the targets before them, wait for those that they name, and may be skipped because of these', async () => {
  const slow = gate()
  const waits = async (earlier: Earlier | undefined, ids: readonly string[]) => {
    const rows = await Promise.all(ids.map((id) => earlier?.whenEnded(id)))
    const lost = rows.flatMap((row) => (isFailedOrSkipped(row) && row ? row.id : []))
    if (lost.length > 0) throw new Skipped(lost)
    return rows.map((row) => row?.state)
  }
  const statesSeen: unknown[] = []
  const run = runFakes([
    fakeTarget('a', { build: slow.build }),
    fakeTarget('b', { check: throws(new Failure('no')) }),
    fakeTarget('c', {
      check: async (_run, _force, earlier) => {
        statesSeen.push(await waits(earlier, ['a', 'not there']))
        return stale
      },
    }),
    fakeTarget('d', { build: async (_, { earlier }) => void (await waits(earlier, ['a', 'b'])) }),
  ])
  await settled()
  assert.ok(!run.told.includes('built c'))
  slow.open()
  const rows = await run.rows
  assert.deepEqual(statesSeen, [['built', undefined]])
  assert.equal(rows.get('c')?.state, 'built')
  assert.deepEqual(bare(rows.get('d')), { state: 'skipped', because: ['b'] })
})

test('a build that an abort makes fail is skipped, not failed, and what it began is kept in mind', async () => {
  const build = (_: unknown, { signal }: BuildContext) =>
    new Promise<undefined>((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  const run = runFakes([fakeTarget('a', { build }), fakeTarget('b', { needs: ['a'] })])
  await settled()
  run.abort.abort()
  const outcomes = await run.rows
  assert.deepEqual(bare(outcomes.get('a')), { state: 'skipped', because: [], isBegun: true })
  assert.equal(outcomes.get('b')?.state, 'skipped')
})

test('a look builds nothing; a plan builds what is in memory, and checks the rest against that', async () => {
  const made: string[] = []
  const copied: Check = { diffs: [{ what: 'a.pem missing', verb: 'copy', names: ['a.pem'] }] }
  const targets = [
    fakeTarget('a', {
      build: async () => {
        made.push('a')
        return { note: 'expires 2036-11-21', warn: ['moved the old one'] }
      },
    }),
    fakeTarget('node', {
      needs: ['a'],
      where: 'node',
      check: () => (made.length > 0 ? copied : fresh),
      build: notBuilt,
    }),
  ]
  const looked = await runFakes(targets, { mode: 'look' }).rows
  assert.deepEqual([states(looked), made], [{ a: 'stale', node: 'fresh' }, []])
  const planned = await runFakes(targets, { mode: 'plan' }).rows
  assert.deepEqual(bare(planned.get('a')), { state: 'stale', ...stale, note: 'expires 2036-11-21' })
  assert.deepEqual(bare(planned.get('node')), { state: 'stale', ...copied })
})

test('a forced rebuild is checked, and refused as an unforced one is; a replacement says itself what it replaces', async () => {
  const works: Pick<BuildContext, 'diffs' | 'force'>[] = []
  const build = async (_: unknown, { diffs, force }: BuildContext) => {
    works.push({ diffs, force })
    return undefined
  }
  const run = runFakes(
    [
      fakeTarget('rebuilt', { check: () => fresh, build }),
      fakeTarget('refused', { check: throws(refused('no')), build: notBuilt }),
      fakeTarget('replaced', { check: () => stale, build }),
      fakeTarget('other', { check: () => fresh }),
    ],
    { forced: { rebuilt: 'rebuild', refused: 'rebuild', replaced: 'replace' } },
  )
  const ended = { rebuilt: 'built', refused: 'failed', replaced: 'built', other: 'fresh' }
  assert.deepEqual(states(await run.rows), ended)
  assert.deepEqual(works, [
    { diffs: [{ what: 'forced', verb: 'renew' }], force: 'rebuild' },
    { ...stale, force: 'replace' },
  ])
})

test('every refusal is found, and nothing else', async () => {
  const refuse = (error?: unknown) => ({ refuse: () => (error === undefined ? undefined : throws(error)()) })
  const graph = buildGraph([
    fakeTarget('ca', refuse(refused('one'))),
    fakeTarget('key', { refuse: async () => throws(refused('two'))() }),
    fakeTarget('well', refuse()),
    fakeTarget('unreadable', refuse(new Failure('three'))),
    fakeTarget('other', { check: throws(refused('five')) }),
    fakeTarget('forced', {
      refuse: (_, force) => {
        if (force === 'replace') throw refused('six')
      },
    }),
  ])
  const refusals = await findRefusals(graph, nowhere, new Map<string, Force>([['forced', 'replace']]))
  assert.deepEqual(
    [...refusals].map(([id, { message }]) => `${id}: ${message}`),
    ['ca: one', 'key: two', 'forced: six'],
  )
  const bug = buildGraph([fakeTarget('bug', refuse(new TypeError('four')))])
  await assert.rejects(findRefusals(bug, nowhere, new Map()), TypeError)
})

/** A graph, and what goes wrong in it. */
const plans = fc.array(
  fc.record({
    needs: fc.array(fc.nat(1000), { maxLength: 3 }),
    where: fc.constantFrom('auth', 'node', 'kubeconfig'),
    state: fc.constantFrom('stale', 'stale', 'stale', 'fresh', 'check-fails', 'build-fails', 'bug'),
  }),
  { minLength: 1, maxLength: 14 },
)

const edges = (numbers: readonly number[], i: number) =>
  i === 0 ? [] : [...new Set(numbers.map((number) => `t${number % i}`))]

test('in any graph, with any failures, each target ends once, after its needs, and only what needs a failure is lost', async () => {
  await fc.assert(
    fc.asyncProperty(plans, fc.integer({ min: 1, max: 3 }), async (plan, slots) => {
      const targets = plan.map(({ needs, where, state }, i) =>
        fakeTarget(`t${i}`, {
          where,
          needs: edges(needs, i),
          check: async () => {
            if (state === 'check-fails') throw new Failure('check')
            return state === 'fresh' ? fresh : stale
          },
          build: async () => {
            await settled()
            if (state === 'build-fails') throw new Failure('build')
            if (state === 'bug') throw new TypeError('bug')
            return undefined
          },
        }),
      )
      const run = runFakes(targets, { auth: slots, node: slots })
      const outcomes = await run.rows
      const lost = new Set<string>()
      for (const [i, { id, needs: earlier }] of targets.entries()) {
        const state = plan[i]?.state
        const told = run.told.filter((line) => line.endsWith(` ${id}`)).map((line) => line.split(' ')[0])
        const end = run.told.indexOf(`${outcomes.get(id)?.state} ${id}`)
        const begin = run.told.findIndex((line) => line.endsWith(` ${id}`))
        for (const edge of earlier)
          assert.ok(
            run.told.indexOf(`${outcomes.get(edge)?.state} ${edge}`) < begin,
            `${edge} ends before ${id} begins`,
          )
        assert.ok(end >= 0)
        const expected = earlier.some((edge) => lost.has(edge))
          ? ['skipped']
          : state === 'fresh'
            ? ['started', 'fresh']
            : state === 'check-fails'
              ? ['started', 'failed']
              : ['started', 'building', state === 'stale' ? 'built' : 'failed']
        assert.deepEqual(
          told.filter((type) => type !== 'queued'),
          expected,
        )
        if (['skipped', 'failed'].includes(expected.at(-1) ?? '')) lost.add(id)
      }
      assert.equal(outcomes.size, targets.length)
    }),
    { numRuns: 60 },
  )
})

test('an abort at any event of any run lets no build begin after it, and still ends every target once', async () => {
  await fc.assert(
    fc.asyncProperty(plans, fc.nat(20), async (plan, when) => {
      let seen = 0
      const run = runFakes(
        plan.map(({ needs, where }, i) => fakeTarget(`t${i}`, { where, needs: edges(needs, i) })),
        {
          auth: 2,
          node: 2,
          onEvent: () => {
            if (seen++ === when) run.abort.abort()
          },
        },
      )
      await run.rows
      assert.ok(run.told.slice(when + 1).every((line) => !line.startsWith('building')))
      assert.equal(run.events.filter(({ type }) => type === 'ended').length, plan.length)
    }),
    { numRuns: 60 },
  )
})

test('a build, and the checks after it, get what a check found, unless it was built since; the outcome does not hold it', async () => {
  const handed: unknown[] = []
  const look = (diffs: Check['diffs']) => () => ({ diffs, findings: 'what was there' })
  const run = runFakes([
    fakeTarget('fresh', { check: look([]) }),
    fakeTarget('built', {
      check: look(stale.diffs),
      build: async (_, { findings }) => {
        handed.push(findings)
        return undefined
      },
    }),
    fakeTarget('after', {
      needs: ['fresh', 'built'],
      check: (_run, _force, before) => {
        handed.push(Object.fromEntries(before?.findings ?? []))
        return fresh
      },
    }),
  ])
  assert.deepEqual(bare((await run.rows).get('built')), { state: 'built', ...stale })
  assert.deepEqual(handed, ['what was there', { fresh: 'what was there' }])
})
