import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildGraph } from '../../../lib/graph/target.ts'
import { drawBoxes, formats } from '../../../tasks/commands/graph.ts'
import type { ClusterTarget } from '../../../tasks/target.ts'
import { fakeTarget } from '../../support/fakes.ts'
import { fc } from '../../support/properties.ts'

const titles = new Map([
  ['root', 'The root'],
  ['leaf', 'The leaves'],
  ['node', 'The nodes'],
])

/** Every pair of which the second is reached from the first. */
function reachable(needs: ReadonlyMap<string, readonly string[]>): Set<string> {
  const pairs = new Set<string>()
  const walk = (from: string, at: string) => {
    for (const next of needs.get(at) ?? [])
      if (!pairs.has(`${from} ${next}`)) {
        pairs.add(`${from} ${next}`)
        walk(from, next)
      }
  }
  for (const id of needs.keys()) walk(id, id)
  return pairs
}

const needsOf = (all: Iterable<{ readonly id: string; readonly needs: readonly string[] }>) =>
  new Map([...all].map(({ id, needs }) => [id, needs]))
const boxId = (id: string) => id.replace('/', '_')

/** Targets in a few phases, some of them irreplaceable, each with needs among those before it. */
const dags = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.boolean(), fc.array(fc.nat(), { maxLength: 6 })), {
    minLength: 1,
    maxLength: 25,
  })
  .map((rows) => {
    const ids = rows.map(([phase], i) => `p${phase}/t${i}`)
    return buildGraph(
      rows.map(([, isWhole, picks], i): ClusterTarget => {
        const needs = i === 0 ? [] : [...new Set(picks.map((pick) => ids[pick % i] ?? ''))]
        return fakeTarget(ids[i] ?? '', { needs, irreplaceable: isWhole ? 'whole' : undefined })
      }),
    )
  })

test('unfolded, the arrows of any graph lead wherever its needs lead, and none repeats what others imply', () => {
  fc.assert(
    fc.property(dags, (graph) => {
      const boxes = drawBoxes(graph, titles, false)
      assert.deepEqual(boxes.map(({ id }) => id).toSorted(), [...graph.keys()].map(boxId).toSorted())
      const wanted = needsOf([...graph.values()].map(({ id, needs }) => ({ id: boxId(id), needs: needs.map(boxId) })))
      const all = reachable(needsOf(boxes))
      assert.deepEqual(all, reachable(wanted))
      for (const { id, needs } of boxes)
        for (const need of needs) {
          const less = boxes.map((box) => (box.id === id ? { ...box, needs: needs.filter((n) => n !== need) } : box))
          assert.ok(reachable(needsOf(less)).size < all.size, `${need} -> ${id}`)
        }
    }),
  )
})

test('folded, each target of any graph is in one box, no box needs itself through others, and every need is drawn', () => {
  fc.assert(
    fc.property(dags, (graph) => {
      const boxes = drawBoxes(graph, titles, true)
      const boxOf = new Map(boxes.flatMap(({ id, names }) => names.map((name) => [name, id])))
      assert.equal(boxes.flatMap(({ names }) => names).length, graph.size)
      assert.equal(boxOf.size, graph.size)
      const all = reachable(needsOf(boxes))
      for (const { id } of boxes) assert.ok(!all.has(`${id} ${id}`), `${id} needs itself`)
      const boxOfTarget = (id: string) => boxOf.get(id.slice(id.indexOf('/') + 1))
      for (const { id, needs } of graph.values())
        for (const need of needs) assert.ok(all.has(`${boxOfTarget(id)} ${boxOfTarget(need)}`), `${need} -> ${id}`)
    }),
  )
})

test('a picture has one box for more than two targets that are alike: of one phase and its needs, equally irreplaceable', () => {
  const leaf = (name: string, more: Partial<ClusterTarget> = {}) =>
    fakeTarget(`leaf/${name}`, { needs: ['root'], ...more })
  const graph = buildGraph([
    fakeTarget('root', { irreplaceable: 'whole' }),
    ...['a0', 'a1', 'a2', 'a3', 'a4'].map((name) => leaf(name)),
    leaf('key', { irreplaceable: 'key' }),
    fakeTarget('node/n0', { needs: ['root', 'leaf/a0'] }),
    fakeTarget('node/n1', { needs: ['root', 'leaf/a0'] }),
  ])
  const boxes = drawBoxes(graph, titles, true)
  assert.deepEqual(formats.get('mermaid')?.(boxes).split('\n'), [
    'flowchart LR',
    '  root["The root"]',
    '  leaf_a0["The leaves<br>a0, a1, a2 and 2 more"]',
    '  leaf_key["The leaves<br>key"]',
    '  node_n0["The nodes<br>n0"]',
    '  node_n1["The nodes<br>n1"]',
    '  root --> leaf_a0',
    '  root --> leaf_key',
    '  leaf_a0 --> node_n0',
    '  leaf_a0 --> node_n1',
    '  classDef irreplaceable stroke-width:3px',
    '  class root,leaf_key irreplaceable',
  ])
  const dot = formats.get('dot')?.(boxes) ?? ''
  assert.match(dot, /^ {2}leaf_key \[label="The leaves\\nkey", penwidth=3\]$/m)
  assert.match(dot, /^ {2}leaf_a0 -> node_n0$/m)
})
