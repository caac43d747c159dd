/** `graph`, as its users call it; what it draws is read by Graphviz and by libxml2. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, type TestContext, test } from 'node:test'
import { scratch } from '../../support/files.ts'
import { type Edit, exits, gateway, harderway, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

interface Told {
  readonly id: string
  readonly phase: string
  readonly node?: string
  readonly needs: readonly string[]
  readonly makes: readonly string[]
}

function makeFolder(t: TestContext, edits: readonly Edit[] = []): string {
  const place = scratch(t)
  writeCluster(place, edits)
  return place
}

async function draw(place: string, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await harderway(place, 'graph', ...args)
  assert.deepEqual([status, stderr], [0, ''])
  return stdout
}

async function readTargets(place: string, ...args: string[]): Promise<Told[]> {
  const { events } = await exits(0, place, 'graph', '--json', ...args)
  return events.map(({ type, ...target }) => {
    assert.equal(type, 'target')
    return target as unknown as Told
  })
}

/** "ca cluster_cert", an arrow each, in the order of the alphabet. */
const edgesIn = (mermaid: string, arrow: RegExp) =>
  [...mermaid.matchAll(new RegExp(`^ {2}(\\w+) ${arrow.source} (\\w+)$`, 'gm'))]
    .map(([, from, to]) => `${from} ${to}`)
    .toSorted()
const boxesIn = (mermaid: string) => [...mermaid.matchAll(/^ {2}(\w+)\["/gm)].map(([, id]) => id).toSorted()

describe('graph', { concurrency: 2 }, () => {
  test('with --json says what each target is, what it needs and which files it makes', async (t) => {
    const targets = await readTargets(makeFolder(t, [gateway]))
    const byId = new Map(targets.map((target) => [target.id, target]))
    assert.equal(byId.size, 32)
    assert.deepEqual(byId.get('kubeconfigs/worker0'), {
      ...{ id: 'kubeconfigs/worker0', phase: 'kubeconfigs', node: 'worker0' },
      ...{ needs: ['ca', 'node-certs/worker0'], makes: ['worker0.kubeconfig'] },
    })
    assert.deepEqual(byId.get('deploy/gateway')?.needs, ['ca'])
    assert.equal(targets.flatMap(({ makes }) => makes).length, 2 * 13 + 10 + 1)
  })

  test('of a node has what belongs to it, and what that is made of', async (t) => {
    const targets = await readTargets(makeFolder(t), '--node', 'worker0')
    assert.deepEqual(targets.map(({ id }) => id).toSorted(), [
      ...['ca', 'component-certs/kube-proxy', 'deploy/worker0', 'kubeconfigs/kube-proxy', 'kubeconfigs/worker0'],
      'node-certs/worker0',
    ])
  })

  test('as DOT is drawn by Graphviz, with the boxes and arrows of the Mermaid', { skip: needs('dot') }, async (t) => {
    const place = makeFolder(t, [gateway])
    for (const detail of [[], ['--verbose']]) {
      const [mermaid, dot] = await Promise.all([draw(place, ...detail), draw(place, '--format', 'dot', ...detail)])
      const plain = execFileSync('dot', ['-Tplain'], {
        input: dot,
        encoding: 'utf8',
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      const drawn = (what: string) =>
        plain.split('\n').flatMap((line) => (line.startsWith(`${what} `) ? [line.split(' ')] : []))
      assert.deepEqual(
        drawn('edge')
          .map(([, from, to]) => `${from} ${to}`)
          .toSorted(),
        edgesIn(mermaid, /(?:-->|-\.->)/),
      )
      const labels = drawn('node').map((words) => words.join(' '))
      assert.ok(
        labels.some((label) => label.includes('"Certificate authority"')),
        plain,
      )
      assert.deepEqual(
        drawn('node')
          .map(([, id]) => id)
          .toSorted(),
        boxesIn(mermaid),
      )
    }
  })
})
