import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type Box, drawBoxes, formatDot, formatMermaid } from '../../../lib/graph/diagram.ts'
import { buildGraph, type Graph } from '../../../lib/graph/graph.ts'
import type { Target } from '../../../lib/graph/target.ts'
import { fakeTarget } from '../../support/fake-target.ts'

const titles = new Map([
  ['root', 'The root'],
  ['leaf', 'The leaves'],
  ['node', 'The nodes'],
])

/** A root, some leaves of it, and nodes that need the root and every leaf. */
function family(leaves: number, nodes: number): Graph {
  const names = (phase: string, count: number) => Array.from({ length: count }, (_, i) => `${phase}/${phase}${i}`)
  return buildGraph([
    fakeTarget('root', { irreplaceable: 'whole' }),
    ...names('leaf', leaves).map((id) => fakeTarget(id, { needs: ['root'], makes: [`${id.slice(5)}.pem`] })),
    ...names('node', nodes).map((id) => fakeTarget(id, { needs: ['root', ...names('leaf', leaves)] })),
  ])
}

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
      rows.map(([, isWhole, picks], i): Target => {
        const needs = i === 0 ? [] : [...new Set(picks.map((pick) => ids[pick % i] ?? ''))]
        return fakeTarget(ids[i] ?? '', { needs, irreplaceable: isWhole ? 'whole' : undefined })
      }),
    )
  })

describe('unfolded, for any graph,', () => {
  test('each target has a box, and the arrows lead wherever its needs lead, and nowhere else', () => {
    fc.assert(
      fc.property(dags, (graph) => {
        const boxes = drawBoxes(graph, titles, false)
        assert.deepEqual(boxes.map(({ id }) => id).toSorted(), [...graph.keys()].map(boxId).toSorted())
        const asked = needsOf([...graph.values()].map(({ id, needs }) => ({ id: boxId(id), needs: needs.map(boxId) })))
        assert.deepEqual(reachable(needsOf(boxes)), reachable(asked))
      }),
    )
  })

  test('no arrow repeats what others imply', () => {
    fc.assert(
      fc.property(dags, (graph) => {
        const boxes = drawBoxes(graph, titles, false)
        const all = reachable(needsOf(boxes))
        for (const { id, needs } of boxes)
          for (const need of needs) {
            const less = boxes.map((box) => (box.id === id ? { ...box, needs: needs.filter((n) => n !== need) } : box))
            assert.ok(reachable(needsOf(less)).size < all.size, `${need} -> ${id}`)
          }
      }),
    )
  })
})

describe('folded, for any graph,', () => {
  test('each target is in one box, no box needs itself through others, and every need is drawn', () => {
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
})

const shape = (boxes: readonly Box[]) => boxes.map(({ title, names, needs }) => [title, names.join(), needs.join()])

describe('a picture', () => {
  test('has one box for more than two targets that are alike, and one each for two', () => {
    assert.deepEqual(shape(drawBoxes(family(3, 2), titles, true)), [
      ['The root', '', ''],
      ['The leaves', 'leaf0,leaf1,leaf2', 'root'],
      ['The nodes', 'node0', 'leaf_leaf0'],
      ['The nodes', 'node1', 'leaf_leaf0'],
    ])
    assert.equal(drawBoxes(family(3, 2), titles, false).length, 6)
  })

  test('has boxes apart for what has other needs, and for what may not be replaced', () => {
    const graph = buildGraph([
      fakeTarget('root'),
      ...[0, 1, 2].map((i) => fakeTarget(`leaf/a${i}`, { needs: ['root'] })),
      ...[0, 1, 2].map((i) => fakeTarget(`leaf/b${i}`)),
      fakeTarget('leaf/key', { needs: ['root'], irreplaceable: 'key' }),
    ])
    assert.deepEqual(shape(drawBoxes(graph, titles, true)), [
      ['The root', '', ''],
      ['The leaves', 'a0,a1,a2', 'root'],
      ['The leaves', 'b0,b1,b2', ''],
      ['The leaves', 'key', 'root'],
    ])
  })

  test('in Mermaid has a line a box, a line an arrow, and a thick line round what may not be replaced', () => {
    assert.equal(
      formatMermaid(drawBoxes(family(5, 1), titles, true)),
      [
        'flowchart LR',
        '  root["The root"]',
        '  leaf_leaf0["The leaves<br>leaf0, leaf1, leaf2 and 2 more"]',
        '  node_node0["The nodes<br>node0"]',
        '  root --> leaf_leaf0',
        '  leaf_leaf0 --> node_node0',
        '  classDef irreplaceable stroke-width:3px',
        '  class root irreplaceable',
      ].join('\n'),
    )
  })

  test('in DOT has the same boxes and arrows', () => {
    const lines = formatDot(drawBoxes(family(5, 1), titles, true)).split('\n')
    assert.deepEqual([lines[0], lines.at(-1)], ['digraph harderway {', '}'])
    assert.deepEqual(lines.slice(3, -1), [
      '  root [label="The root", penwidth=3]',
      '  leaf_leaf0 [label="The leaves\\nleaf0, leaf1, leaf2 and 2 more"]',
      '  node_node0 [label="The nodes\\nnode0"]',
      '  root -> leaf_leaf0',
      '  leaf_leaf0 -> node_node0',
    ])
  })
})

test('what comes after another box has a dashed arrow from it, and none to itself', () => {
  const [root, first, second] = [
    fakeTarget('root'),
    fakeTarget('node/a', { needs: ['root'] }),
    fakeTarget('node/b', { needs: ['root'], after: ['node/a'] }),
  ]
  const last = fakeTarget('leaf/z', { after: ['node/b'] })
  const unfolded = drawBoxes(buildGraph([root, first, second, last]), titles, false)
  const mermaid = formatMermaid(unfolded)
  assert.match(mermaid, /^ {2}node_a -\.-> node_b$/m)
  assert.match(mermaid, /^ {2}node_b -\.-> leaf_z$/m)
  assert.match(formatDot(unfolded), /^ {2}node_a -> node_b \[style=dashed\]$/m)
  const third = fakeTarget('node/c', { needs: ['root'], after: ['node/b'] })
  const folded = formatMermaid(drawBoxes(buildGraph([root, first, second, third, last]), titles, true))
  assert.equal(folded.split('\n').filter((line) => line.includes('-.->')).length, 1)
})
