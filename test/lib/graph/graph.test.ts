import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildGraph, closure } from '../../../lib/graph/target.ts'
import { fakeTarget } from '../../support/fakes.ts'
import { fc } from '../../support/properties.ts'

const node = (id: string, ...needs: string[]) => fakeTarget(id, { needs })

test('a graph keeps the order it was given where the needs allow', () => {
  assert.deepEqual([...buildGraph([node('a'), node('b'), node('c', 'a')]).keys()], ['a', 'b', 'c'])
})

test('a repeated id, an unknown need and a cycle are mistakes that name what they are of', () => {
  for (const [targets, message] of [
    [[node('a'), node('b'), node('a')], /two targets are called a$/],
    [[node('a', 'b'), node('b', 'gone')], /b needs gone, which does not exist/],
    [[node('a', 'b'), node('b', 'c'), node('c', 'a')], /targets need each other: a > b > c > a/],
    [[node('a', 'a')], /a > a/],
  ] as const)
    assert.throws(() => buildGraph(targets), message)
})

test('a closure holds what is asked for and all that it needs, needs first, and nothing else', () => {
  const graph = buildGraph([node('a'), node('b', 'a'), node('c', 'b'), node('d', 'a'), node('e')])
  assert.deepEqual([...closure(graph, ['c']).keys()], ['a', 'b', 'c'])
  assert.deepEqual([...closure(graph, ['e', 'd']).keys()], ['e', 'a', 'd'])
  assert.deepEqual([...closure(graph, []).keys()], [])
})

test('in any graph without a cycle each target stands after its needs, whatever the order it was given in', () => {
  const shuffled = fc.integer({ min: 1, max: 12 }).chain((size) =>
    fc.tuple(
      fc.array(fc.array(fc.nat(1000), { maxLength: 4 }), { minLength: size, maxLength: size }),
      fc.shuffledSubarray(
        Array.from({ length: size }, (_, i) => i),
        { minLength: size, maxLength: size },
      ),
    ),
  )
  fc.assert(
    fc.property(shuffled, ([edges, order]) => {
      const targets = order.map((i) => {
        const needs = i === 0 ? [] : (edges[i] ?? []).map((number) => `t${number % i}`)
        return node(`t${i}`, ...needs)
      })
      const ids = [...buildGraph(targets).keys()]
      assert.deepEqual(ids.toSorted(), targets.map(({ id }) => id).toSorted())
      for (const { id, needs } of targets)
        for (const need of needs) assert.ok(ids.indexOf(need) < ids.indexOf(id), `${need} before ${id}`)
    }),
  )
})
